"""The fault journal: what has been done to a cluster and not yet undone, on disk before it is done.

A run appends to `faults.jsonl` in its folder, one JSON object a line:
* `{"fault-id": 3, "fault": "kill-leader", "do": [{"kill": "n1"}]}` before the actions are performed;
* `{"fault-id": 3, "fault": "kill-leader", "healed": true}` after all of the fault has been undone.
What is outstanding is then the inverse of every injury of every fault that is not healed, the newest first. An injury
that was written and never done is harmless, since undoing is done only where it is needed (`nemesis.actions.undo`).

Each line is one unbuffered write: it survives `kill -9` of the harness. There is no fsync: a power cut of the machine
takes the nodes' processes and the rules in their network namespaces with it, so there is nothing left to undo.
A line that a kill tore is of an action that was not begun; it is cut off when the journal is next opened.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from harness.cluster.actions import Action
from harness.cluster.api import Cluster, ClusterError
from harness.store import JOURNAL
from nemesis.actions import from_json, in_words, inverses, to_json, undo

Outstanding = list[tuple[int, tuple[Action, ...]]]
"""[(fault-id, the actions that undo it, in order)], the newest fault first."""


class Journal:
    """Appends to a run's fault journal; used from one thread."""

    def __init__(self, path: Path) -> None:
        """Open it, new or not; a torn last line is cut off."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        content = path.read_bytes()
        os.ftruncate(self._fd, content.rfind(b"\n") + 1)

    def do(self, fault_id: int, fault: str, actions: Sequence[Action]) -> None:
        """Write down what is about to be done."""
        self._append({"fault-id": fault_id, "fault": fault, "do": [to_json(action) for action in actions]})

    def healed(self, fault_id: int, fault: str) -> None:
        """Write down that all of the fault has been undone."""
        self._append({"fault-id": fault_id, "fault": fault, "healed": True})

    def _append(self, document: dict[str, Any]) -> None:
        line = msgspec.json.encode(document) + b"\n"
        written = os.write(self._fd, line)
        while written < len(line):  # a full disk can tear a write; the rest still belongs to this line
            written += os.write(self._fd, line[written:])

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the journal's lines without a torn last one. Raises ClusterError when another line is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClusterError(f"{path}:{number}: not a line of a fault journal: {error}") from error
    return found


def outstanding(path: Path) -> Outstanding:
    """Return what has been done and not undone; [] when there is no journal.

    Raises ClusterError when the journal is damaged (other than by a torn last line).
    """
    done: dict[int, list[Action]] = {}
    for number, line in enumerate(_read(path), start=1):
        try:
            if line.get("healed"):
                done.pop(line["fault-id"], None)
            else:
                done.setdefault(line["fault-id"], []).extend(from_json(action) for action in line["do"])
        except (KeyError, TypeError, ValueError) as error:
            raise ClusterError(f"{path}:{number}: not a line of a fault journal: {error!r}") from error
    undone = [(fault_id, inverses(actions)) for fault_id, actions in done.items()]
    return [(fault_id, actions) for fault_id, actions in reversed(undone) if actions]


def heal(folder: Path, cluster: Cluster, gone: Sequence[str] = ()) -> list[str]:
    """Undo what a run left behind in `cluster`, and nothing else; return a line for each thing done or not possible.

    gone: names of what is no node of the cluster, and is not there any more.

    May be repeated: what was undone is written down, and what is not needed is not done. An action that the provider
    refuses is told in its line and stays outstanding; the others are done all the same.
    """
    path = folder / JOURNAL
    lines: list[str] = []
    left = outstanding(path)
    if not left:
        return lines
    names = {line["fault-id"]: str(line.get("fault", "?")) for line in _read(path)}
    with contextlib.closing(Journal(path)) as journal:
        for fault_id, actions in left:
            whole = True
            for action in actions:
                what = f"{names[fault_id]} (fault {fault_id}): {in_words(action)}"
                try:
                    needed = getattr(action, "node", "") not in gone and undo(action, cluster)
                    lines.append(what if needed else f"{what}: not needed")
                except ClusterError as error:
                    whole = False
                    lines.append(f"{what}: failed: {error}")
            if whole:
                journal.healed(fault_id, names[fault_id])
    return lines
