"""What several checkers look at: the answers of nodes to probes, and what records say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.columns import Ints
from checkers.log_view import LogView
from harness.history import HARNESS, INVOKE, OK

PROBE, APPLICATION = "probe", "application"
EXACTLY_ONCE = "exactly-once"
NUMBERS = frozenset(
    {"leader", "epoch", "partition-epoch", "hw", "lso", "again", "log-start", "log-end", "last-offset", "end", "from"}
)
"""What an answer says with numbers that are never negative."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: when it was asked and answered (rows), by whom, and what it said."""

    index: int
    begun: int
    ended: int
    node: str
    value: dict[str, Any]

    @property
    def place(self) -> tuple[Any, Any]:
        """Return (key, incarnation of its topic)."""
        return self.value.get("key"), self.value.get("incarnation")


def samples_of(view: LogView) -> list[Sample]:
    """Return the answered probes in order of their answers."""
    asked: dict[str, int] = {}
    out: list[Sample] = []
    index = view.index.tolist()
    for row, _, line in view.marks:
        process = str(line.process)
        if line.f != PROBE or not process.startswith("probe/"):
            continue
        if line.type == INVOKE:
            asked[process] = row
        elif line.type == OK and isinstance(line.value, dict) and process in asked:
            node = process.removeprefix("probe/")
            out.append(Sample(index[row], asked.pop(process), row, node, _known(line.value)))
    return out


def _known(value: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what Kafka says with -1: that there is no leader, no offset, no epoch."""
    if any(type(value.get(name)) is int and value[name] < 0 for name in NUMBERS):
        return {name: None if name in NUMBERS and type(one) is int and one < 0 else one for name, one in value.items()}
    return value


@dataclass(frozen=True, slots=True)
class Beside:
    """Record rows and what their third element says: the batch's leader epoch, its timestamp, what it is a copy of."""

    epoch_rows: Ints
    epochs: Ints
    stamp_rows: Ints
    stamps: Ints
    sources: list[tuple[int, list[Any]]]


@dataclass(frozen=True, slots=True)
class Application:
    """A program of the user's between keys (HISTORY.md's event `application` of the harness)."""

    inputs: tuple[int, ...]
    """Codes of keys."""
    outputs: tuple[int, ...]
    names: tuple[Any, ...]
    """The outputs, those too of which nothing else is told."""
    is_exact: bool
    """It promises exactly once, not at least once."""


def application_of(view: LogView) -> Application | None:
    """Return what the history says of a program of the user's: all that it ever says."""
    said = [line.value for _, _, line in view.marks if line.process == HARNESS and line.f == APPLICATION]
    if not said:
        return None
    inputs, outputs = (dict.fromkeys(key for one in said for key in one[name]) for name in ("inputs", "outputs"))
    read, written = (
        tuple(code for key in keys if (code := view.keys.get(key)) is not None) for keys in (inputs, outputs)
    )
    is_exact = said[-1].get("guarantee", EXACTLY_ONCE) == EXACTLY_ONCE
    return Application(read, written, tuple(outputs), is_exact=is_exact)


def beside_records(view: LogView) -> Beside:
    """Return what records say of themselves, in one pass."""
    epochs: list[tuple[int, int]] = []
    stamps: list[tuple[int, int]] = []
    sources: list[tuple[int, list[Any]]] = []
    for row, extra in view.records.extras.items():
        if isinstance(extra, dict):
            epoch, stamp, source = extra.get("epoch"), extra.get("ts"), extra.get("source")
            if isinstance(epoch, int) and epoch >= 0:
                epochs.append((row, epoch))
            if isinstance(stamp, int):
                stamps.append((row, stamp))
            if isinstance(source, list):
                sources.append((row, source))
    return Beside(*_columns(epochs), *_columns(stamps), sources)


def _columns(pairs: list[tuple[int, int]]) -> tuple[Ints, Ints]:
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])
