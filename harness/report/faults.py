"""The faults and phases of a run, read from its history.

A fault's window runs from the completion of its injection (it bites) to the invocation of its heal (HISTORY.md); the
report also keeps when the injection was begun and when the heal was done. A heal that was never recorded leaves the
window open until the end of the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.history import HARNESS, INVOKE, NEMESIS, Op

HEAL = "heal"
MAX_TOLD = 200
OTHER_OPS = frozenset({"recover", "await-leader", "await-stable"})
"""What the nemesis does besides faults: waiting."""


@dataclass(slots=True)
class FaultRow:
    """One injection: where, when (ns), whether it bit, and the evidence."""

    id: int
    name: str
    aimed: int
    """When the injection was begun."""
    begins: int
    """When it was done."""
    heals: int | None = None
    healed: int | None = None
    nodes: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    bit: bool | None = None
    """None: the history does not say."""
    expects: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    heal_evidence: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the run (setup, main, heal, drain) and when it began, in ns."""

    name: str
    begins: int


class FaultLog:
    """Listens to the events of `nemesis` and `harness`, in history order."""

    def __init__(self) -> None:
        self.faults: list[FaultRow] = []
        self.phases: list[Phase] = []
        self.incomplete_drains: list[str] = []
        """Keys whose final read did not reach its end."""
        self._begun: dict[str, int] = {}
        self._heals: dict[int, int] = {}

    def event(self, op: Op) -> None:
        """Take one event; what is not the nemesis' or the harness' is ignored."""
        value = op.value if isinstance(op.value, Mapping) else {}
        if op.process == HARNESS:
            if op.f == "phase":
                self.phases.append(Phase(str(op.value), op.time))
            elif op.f == "drain" and value.get("complete") is False:
                self.incomplete_drains.append(str(value.get("key", "?")))
        elif op.process == NEMESIS:
            self._nemesis(op, value)

    def _nemesis(self, op: Op, value: Mapping[str, Any]) -> None:
        if op.f == HEAL:
            self._heal(op, value)
        elif op.type == INVOKE:
            self._begun[op.f] = op.time
        elif "bit" in value or (op.error and op.f not in OTHER_OPS):
            self.faults.append(
                FaultRow(
                    id=_number(value.get("fault-id"), default=len(self.faults) + 1),
                    name=op.f,
                    aimed=self._begun.pop(op.f, op.time),
                    begins=op.time,
                    nodes=[str(node) for node in _listed(value.get("nodes"))],
                    keys=[str(key) for key in _listed(value.get("keys"))],
                    bit=value.get("bit") if isinstance(value.get("bit"), bool) else None,
                    expects=str(value.get("expects") or ""),
                    evidence=_mapping(value.get("evidence")),
                    error=str((op.error or {}).get("message") or op.error or "") if op.error else "",
                )
            )

    def _heal(self, op: Op, value: Mapping[str, Any]) -> None:
        """A heal without a fault-id heals whatever still holds; its completion tells of each one."""
        number = value.get("fault-id")
        if number is None:
            healed = [fault for fault in self.faults if fault.healed is None]
        else:
            healed = [fault for fault in self.faults if fault.id == number][-1:]
        evidence = _mapping(value.get("evidence"))
        for fault in healed:
            if op.type == INVOKE:
                fault.heals = op.time
            else:
                fault.heals = fault.heals if fault.heals is not None else op.time
                fault.healed = op.time
                fault.heal_evidence = evidence if number is not None else _mapping(evidence.get(str(fault.id)))


def _number(value: Any, *, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def told(value: Any) -> str:
    """Return a piece of evidence as a reader says it: yes and no, lists and tables without brackets; bounded."""
    match value:
        case bool():
            text = "yes" if value else "no"
        case None:
            text = "none"
        case Mapping():
            text = ", ".join(f"{key} {told(one)}" for key, one in value.items())
        case list() | tuple():
            text = ", ".join(told(one) for one in value)
        case _:
            text = str(value)
    return text if len(text) <= MAX_TOLD else text[: MAX_TOLD - 1] + "…"
