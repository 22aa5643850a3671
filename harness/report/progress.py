"""What is known of a run while it goes: counted per event in about a microsecond, read now and then by who draws.

`event` is called from the run's thread for every recorded op, thousands of times a second; it only counts. Everything
that costs (rates, sorting, words) happens in `snapshot`, which another thread calls a few times a second. The two share
nothing but dicts and tuples that are copied or replaced in one step, so no lock is needed; a snapshot may be one event
behind, never torn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.history import FAIL, INFO, INVOKE, NEMESIS, OK, Op
from harness.report.faults import told
from harness.report.leaders import says_who_leads

RATE_WINDOW_S = 5.0
HEAL = "heal"

Leader = tuple[int, str | None, int | None]
"""(epoch, leader's name, ISR size)."""


@dataclass(frozen=True, slots=True)
class FaultNow:
    """The latest fault: what it is, where, what is known of it, and whether it still holds."""

    name: str
    where: str
    evidence: str
    bit: bool | None
    holds: bool
    since_ns: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a drawing shows. Counts: kind -> (ok, info, fail, open)."""

    phase: str
    counts: Mapping[str, tuple[int, int, int, int]]
    rate: float
    """Completions per second of the last seconds."""
    time_ns: int
    """Of the last event of a client, in the run's time."""
    leaders: Mapping[str, Leader]
    shown_faults: tuple[FaultNow, ...]
    """Those that hold; the last one where none does."""
    faults: int
    bit: int

    @property
    def total(self) -> tuple[int, int, int, int]:
        """Return the counts of all kinds together."""
        columns = list(zip(*self.counts.values(), strict=True)) or [(0,)] * 4
        ok, info, failed, open_ = (sum(column) for column in columns)
        return ok, info, failed, open_


@dataclass(slots=True)
class Progress:
    """Counts what happens. `phase` and `event` come from the run; `snapshot` from whoever draws."""

    phase: str = "setup"
    _counts: dict[tuple[str, str], int] = field(default_factory=dict)
    _last: int = 0
    _leaders: dict[str, Leader] = field(default_factory=dict)
    fault: FaultNow | None = None
    """The latest."""
    _holding: dict[Any, FaultNow] = field(default_factory=dict)
    _faults: int = 0
    _bit: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque([(0.0, 0)]))

    def event(self, op: Op) -> bool:
        """Count one op; return whether it is worth a line of its own (a fault was injected, healed or went wrong)."""
        if op.process.__class__ is int:
            key = (op.f, op.type)
            counts = self._counts
            counts[key] = counts.get(key, 0) + 1
            self._last = op.time
            return False
        if op.process == NEMESIS:
            return self._nemesis(op)
        if op.f == "probe" and op.type == OK:
            self._probe(op.value)
        return False

    def _nemesis(self, op: Op) -> bool:
        value = op.value if isinstance(op.value, Mapping) else {}
        if op.f == HEAL:
            if op.type != INVOKE:
                healed = self._holding.pop(value.get("fault-id"), None)
                if healed is not None and self.fault is healed:
                    self.fault = replace(healed, holds=False, since_ns=op.time)
            return op.type != INVOKE
        if op.type == INVOKE or "fault-id" not in value:
            return bool(op.error)
        bit = value.get("bit")
        where = " ".join(str(one) for one in [*(value.get("nodes") or ()), *(value.get("keys") or ())])
        self._faults += 1
        self._bit += bit is True
        evidence = evidence_line(value.get("evidence"))
        self.fault = FaultNow(op.f, where, evidence, bit, holds=True, since_ns=op.time)
        self._holding[value["fault-id"]] = self.fault
        return True

    def _probe(self, value: Any) -> None:
        if not isinstance(value, Mapping) or "key" not in value or not says_who_leads(value):
            return
        key, epoch = str(value["key"]), value.get("epoch")
        epoch = epoch if isinstance(epoch, int) else -1
        known = self._leaders.get(key)
        if known is not None and epoch < known[0]:
            return
        leader, isr = value["leader"], value.get("isr")
        nobody = leader is None or (isinstance(leader, int) and leader < 0)
        self._leaders[key] = (epoch, None if nobody else str(leader), len(isr) if isinstance(isr, list) else None)

    def snapshot(self, now_s: float) -> Snapshot:
        """Return what is known at `now_s`, seconds since the run began; called from one thread."""
        counts = dict(self._counts)
        kinds = dict.fromkeys(kind for kind, _ in counts)
        table = {}
        for kind in kinds:
            ok, info, failed = (counts.get((kind, outcome), 0) for outcome in (OK, INFO, FAIL))
            table[kind] = (ok, info, failed, max(0, counts.get((kind, INVOKE), 0) - ok - info - failed))
        done = sum(sum(row[:3]) for row in table.values())
        self._marks.append((now_s, done))
        while len(self._marks) > 2 and now_s - self._marks[0][0] > RATE_WINDOW_S:
            self._marks.popleft()
        then_s, before = self._marks[0]
        return Snapshot(
            phase=self.phase,
            counts=table,
            rate=(done - before) / (now_s - then_s) if then_s < now_s else 0.0,
            time_ns=self._last,
            leaders=dict(self._leaders),
            shown_faults=tuple(self._holding.copy().values()) or ((self.fault,) if self.fault else ()),
            faults=self._faults,
            bit=self._bit,
        )


def evidence_line(evidence: Any) -> str:
    """Return evidence as "name value, name value"."""
    if not isinstance(evidence, Mapping):
        return ""
    return ", ".join(f"{name} {told(value)}" for name, value in evidence.items() if value is not None)
