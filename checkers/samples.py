"""The answers of nodes to probes, in order: what several checkers look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from checkers.log_view import LogView
from harness.history import INVOKE, OK

PROBE = "probe"


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
            out.append(Sample(index[row], asked.pop(process), row, node, line.value))
    return out
