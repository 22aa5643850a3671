"""Where runs are kept: `results/<name>/<stamp>/`, with relative `latest` links as Jepsen has them.

A run's folder holds scenario.json (the plan, written first), cluster.json (the handles from which `harness heal` can
remove what a killed run left), owner.json (whose run it is), plan.json (the faults drawn from the seed), script.json (a
scripted run's operations and faults), history.jsonl, faults.jsonl (the fault journal), verdict.json, report.html,
nodes/<node>/ (logs and properties), application.json and application/<instance>/ (of a program of the user's), and
harness.log if the harness itself failed. Whatever dies, what was written before stays judgeable.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.scenario import Scenario

T = TypeVar("T")

SCENARIO, CLUSTER, OWNER, HISTORY = "scenario.json", "cluster.json", "owner.json", "history.jsonl"
SCRIPT = "script.json"
PLAN, JOURNAL, VERDICT, REPORT, NODES, LOG = (
    "plan.json",
    "faults.jsonl",
    "verdict.json",
    "report.html",
    "nodes",
    "harness.log",
)
LATEST = "latest"
MAX_SAME_STAMP = 100
"""Runs that may begin in the same millisecond under one name."""
MAX_NAME = 120
"""File systems take 255 bytes, and tools add to it."""


class StoreError(Exception):
    """A results folder that can't be used; the message names it."""


def slug(text: str) -> str:
    """Return a name that is safe as a folder: letters, digits, dot, plus, dash; a long one ends with a hash."""
    name = re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-.") or "run"
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - 9]}-{zlib.crc32(text.encode()):08x}"


def new_folder(results: Path, name: str, now: datetime) -> Path:
    """Make results/<name>/<stamp>/ and point the `latest` links at it.

    Raises StoreError if that can't be done.
    """
    stamp = now.strftime("%Y%m%dT%H%M%S.") + f"{now.microsecond // 1000:03d}"
    parent = results / slug(name)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(MAX_SAME_STAMP):
            folder = parent / (stamp if attempt == 0 else f"{stamp}-{attempt}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            _point(parent / LATEST, folder)
            _point(results / LATEST, folder)
            return folder
    except OSError as error:
        raise StoreError(f"can't make a run's folder under {results}: {error.strerror or error}") from error
    raise StoreError(f"more than {MAX_SAME_STAMP} runs named {name} began in one millisecond under {results}")


def _point(link: Path, folder: Path) -> None:
    """Point a symbolic link at the folder, atomically: parallel runs race for it, and the last one wins."""
    temporary = link.with_name(f".{link.name}-{os.getpid()}-{folder.name}")
    temporary.symlink_to(os.path.relpath(folder, link.parent))
    temporary.replace(link)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically (a reader sees the old file or the new one)."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises StoreError with its name when it is absent or broken."""
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"can't read {path}: {error}") from error


def read_as(path: Path, what: type[T]) -> T:
    """Read a JSON file that holds such a value; raises StoreError with its name when it is absent or another."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=what)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"can't read {path}: {error}") from error


def read_scenario(folder: Path) -> Scenario:
    """Read a run's scenario; raises StoreError."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder")
    if not (folder / SCENARIO).exists():
        raise StoreError(f"{folder} is not a run's folder: it has no {SCENARIO}")
    return read_as(folder / SCENARIO, Scenario)


def process_started(pid: int) -> str | None:
    """Return a mark of when the process began, so that a recycled pid isn't taken for it; None if there is none.

    A zombie is none: it has ended, and only its parent has not looked yet.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # state and starttime, fields 3 and 22 of proc(5)
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:  # without /proc (macOS): existence is all that can be said
        os.kill(pid, 0)
    except OSError:
        return None
    return "unknown"


class Owner(msgspec.Struct, frozen=True):
    """Whose run it is, and whether it has ended."""

    pid: int
    started: str | None
    done: bool


def claim(folder: Path) -> None:
    """Write owner.json: this process runs the run."""
    pid = os.getpid()
    write_json(folder / OWNER, Owner(pid=pid, started=process_started(pid), done=False))


def finish(folder: Path) -> None:
    """Mark the run as ended: its cluster is gone, nothing is left to heal."""
    owner = read_as(folder / OWNER, Owner)
    write_json(folder / OWNER, msgspec.structs.replace(owner, done=True))


def is_finished(folder: Path) -> bool:
    """Return whether the run has ended, or has not begun."""
    return not (folder / OWNER).exists() or read_as(folder / OWNER, Owner).done


def is_abandoned(folder: Path) -> bool:
    """Return whether the run didn't end and its process is dead: `harness heal` may touch what it left."""
    if not (folder / OWNER).exists():
        return False
    owner = read_as(folder / OWNER, Owner)
    return not owner.done and process_started(owner.pid) != owner.started


RUNS = ("*", "*/*", "*/*/*/*")
"""Where runs are under results: by hand, of `harness run`, of a soak."""


def run_folders(results: Path) -> Iterator[Path]:
    """Yield every run's folder under results, oldest first."""
    found = [scenario.parent for depth in RUNS for scenario in results.glob(f"{depth}/{SCENARIO}")]
    real = [folder for folder in found if folder.resolve() == results.resolve() / folder.relative_to(results)]
    yield from sorted(real, key=lambda folder: folder.name)
