"""What the run itself says: phases, fault windows, and how complete the final read was.

HISTORY.md, "Events that are not a client's". A history without `phase` events is foreign: Jepsen's, or another tool's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from types import NoneType
from typing import Any

from checkers.interning import FOREIGN
from checkers.log_view import LogView
from checkers.samples import APPLICATION
from harness.history import HARNESS, INVOKE, NEMESIS, HistoryError

HEAL, RECOVER, GROUP, PROBE = "heal", "recover", "group", "probe/"
NOT_FAULTS = frozenset({HEAL, RECOVER, "wait", "phase"})
"""Nemesis operations that injure nothing."""
DEADLY = ("kill", "lose-power", "last-replica", "replica-away")
"""So begin the names of faults that leave no process behind."""
RECOVERED_NS = 10_000_000_000
"""So long after a fault a deposed leader may not have heard of it."""
LONGEST_MS = 24 * 3600 * 1000
"""No clock jumps further."""
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Drain:
    """The final read of one key: complete, or how far it came."""

    key: Any
    end: int | None
    lso: int | None
    read_to: int | None
    complete: bool
    op: int


@dataclass(slots=True, kw_only=True)
class Fault:
    """One injection, from the completion of its injection to the invocation of its heal."""

    fault_id: Any
    name: str
    injected: int
    """Index of the injection's completion."""
    begin_ns: int
    asked_ns: int
    """Time of the injection's invocation: from then on the nodes may be injured."""
    bit: bool
    expects: str
    keys: tuple[Any, ...] = ()
    nodes: tuple[Any, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)
    """What the injection saw of what it did."""
    healed: int | None = None
    """Index of the heal's completion (or invocation, if the run died between)."""
    end_ns: int | None = None
    """Time of the heal's invocation."""
    healed_ns: int | None = None
    """Time of the heal's completion."""


@dataclass(frozen=True, slots=True)
class Phases:
    """The run's own events, in order."""

    ours: bool
    """The history has phase events."""
    starts: tuple[tuple[str, int, int], ...]
    """(phase, row, time in ns)."""
    faults: tuple[Fault, ...]
    drains: dict[Any, Drain] = field(default_factory=dict)
    """By key."""
    recovered_ns: tuple[int, ...] = ()
    """When all replicas were in sync again after a fault."""
    interrupted_ns: int | None = None
    """When whoever watched ended the main phase."""
    unknown_ns: int | None = None
    """From when on a foreign nemesis did things of which nobody says what they were, or when they were over."""

    def span(self, name: str, end_ns: int) -> tuple[int, int] | None:
        """Return [start, end) in ns of a phase, None if the run never entered it."""
        for place, (phase, _, start) in enumerate(self.starts):
            if phase == name:
                after = self.starts[place + 1 :]
                return start, after[0][2] if after else end_ns
        return None

    @property
    def clocks_jump_s(self) -> float:
        """How far the clocks on the nodes' walls may have jumped."""
        return max((_jump_ms(fault.evidence) for fault in self.faults), default=0) / 1000

    def row(self, name: str) -> int | None:
        """Return the row at which a phase began."""
        return next((row for phase, row, _ in self.starts if phase == name), None)


class Windows:
    """Spans of anything that rises; tells in two steps whether one of them meets another span."""

    __slots__ = ("_begins", "_ends")

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        """Take spans, each from its first up to and including its last."""
        ordered = sorted(spans)
        self._begins = [begin for begin, _ in ordered]
        self._ends = list(accumulate((end for _, end in ordered), max))

    def meet(self, begin: int, end: int) -> bool:
        """Return whether one of the spans and the span from begin up to and including end have something in common."""
        before = bisect_right(self._begins, end)
        return before > 0 and self._ends[before - 1] >= begin


def deposed_leaders(phases: Phases) -> Windows:
    """Return when leaders that were deposed, and do not know it, may have been alive."""
    spans = [
        (fault.asked_ns, _NEVER if fault.healed_ns is None else fault.healed_ns + RECOVERED_NS)
        for fault in phases.faults
        if not all(part.startswith(DEADLY) for part in fault.name.split("+"))
    ]
    return Windows(spans if phases.unknown_ns is None else [*spans, (phases.unknown_ns, _NEVER)])


def phases_of(view: LogView) -> Phases:
    """Return what the marks of a history say."""
    starts: list[tuple[str, int, int]] = []
    drains: dict[Any, Drain] = {}
    faults: dict[Any, Fault] = {}
    asked: dict[Any, int] = {}
    for row, time, line in view.marks:
        index = int(view.index[row])
        value = line.value
        if not _is_well_formed(line.process, line.f, value):
            raise HistoryError(
                f"{view.name}: op {index}: {line.f!r} of {line.process} with a malformed value: {value!r}; "
                "docs/history.md has the shapes"
            )
        if line.process == HARNESS and line.f == "phase":
            starts.append((value, row, time))
        elif line.process == HARNESS and line.f == "drain":
            end, lso, read_to = value.get("end"), value.get("lso"), value.get("read-to")
            complete = value.get("complete") is True and (end is None or read_to is None or read_to >= end)
            drains[value["key"]] = Drain(value["key"], end, lso, read_to, complete, index)
        elif line.process == NEMESIS and line.f == HEAL and not (isinstance(value, dict) and "fault-id" in value):
            for fault in faults.values():  # a heal without a fault-id heals whatever still holds
                if fault.bit and fault.healed_ns is None:
                    _heal(fault, line, index, time)
        elif line.process == NEMESIS and isinstance(value, dict) and "fault-id" in value:
            _fault_event(faults, line, value, index, (asked.pop(line.f, time), time))
        elif line.process == NEMESIS and line.type == INVOKE:
            asked.setdefault(line.f, time)
    unknown_ns = None if starts else _unknown_ns(view)
    return Phases(
        ours=bool(starts),
        starts=tuple(starts),
        faults=tuple(faults.values()),
        drains=drains,
        recovered_ns=_recovered_ns(view),
        interrupted_ns=_interrupted_ns(view, starts),
        unknown_ns=unknown_ns,
    )


def _interrupted_ns(view: LogView, starts: list[tuple[str, int, int]]) -> int | None:
    """Return when the main phase was ended by nothing that the run itself saw, which would say what in its value."""
    main = [index for index, (phase, _, _) in enumerate(starts) if phase == "main"]
    after = next((time for _, _, time in starts[main[0] + 1 :]), _NEVER) if main else 0
    stops = (
        time for _, time, line in view.marks if line.process == HARNESS and line.f == "interrupt" and not line.value
    )
    return next((time for time in stops if time <= after), None)


def _recovered_ns(view: LogView) -> tuple[int, ...]:
    return tuple(
        time
        for _, time, line in view.marks
        if line.process == NEMESIS
        and line.f == RECOVER
        and isinstance(line.value, dict)
        and line.value.get("full-isr") is True
    )


def _unknown_ns(view: LogView) -> int | None:
    for _, time, line in view.marks:
        told = isinstance(line.value, dict) and "fault-id" in line.value
        if line.process == NEMESIS and line.type != INVOKE and line.f not in NOT_FAULTS and not told:
            return time
    return None


def _is_well_formed(process: str, f: str | None, value: Any) -> bool:
    """Return whether an event that decides what is judged says what it must; of a foreign nemesis anything goes."""
    if process == HARNESS and f == "phase":
        return isinstance(value, str)
    if process == HARNESS and f == "drain":
        bounds = ("end", "lso", "read-to")
        return (
            isinstance(value, dict)
            and type(value.get("key")) in {str, int}
            and all(value.get(name) is None or _is_offset(value[name]) for name in bounds)
        )
    if process == HARNESS and f == APPLICATION:
        ends = ("inputs", "outputs")
        return (
            isinstance(value, dict) and _names(value, *ends) and all(isinstance(value.get(name), list) for name in ends)
        )
    if process == NEMESIS and isinstance(value, dict) and "fault-id" in value:
        known = type(value["fault-id"]) in {int, str} and type(value.get("bit")) in {bool, NoneType}
        return f is not None and known and _names(value, "keys", "nodes")
    if process == GROUP and f == "rebalance":
        return isinstance(value, dict) and _names(value, "assigned", "revoked", "lost")
    if process.startswith(PROBE) and isinstance(value, dict):
        return type(value.get("key")) in {int, str, NoneType}
    return True


def _is_offset(value: Any) -> bool:
    return type(value) is int and -1 <= value < FOREIGN


def _names(value: dict[str, Any], *fields: str) -> bool:
    """Return whether these fields are lists of keys or nodes, where they are given."""
    lists = [value.get(name) or [] for name in fields]
    return all(isinstance(part, list) and all(type(each) in {int, str} for each in part) for part in lists)


def _heal(fault: Fault, line: Any, index: int, time: int) -> None:
    fault.healed = index
    if line.type == INVOKE:
        fault.end_ns = time
    else:
        fault.end_ns = time if fault.end_ns is None else fault.end_ns
        fault.healed_ns = time


def _jump_ms(evidence: dict[str, Any]) -> int:
    """Return how far a clock was made to jump, shown or not."""
    offset_ms = evidence.get("offset_ms")
    return min(abs(offset_ms), LONGEST_MS) if type(offset_ms) is int else 0


def _fault_event(
    faults: dict[Any, Fault], line: Any, value: dict[str, Any], index: int, times: tuple[int, int]
) -> None:
    """Take an injection or a heal; times: when it was asked for, and now."""
    fault_id, (asked, time) = value["fault-id"], times
    if line.f == HEAL:
        fault = faults.get(fault_id)
        if fault is None:
            return
        _heal(fault, line, index, time)
    elif line.f not in NOT_FAULTS and line.type != INVOKE:
        faults[fault_id] = Fault(
            fault_id=fault_id,
            name=line.f,
            injected=index,
            begin_ns=time,
            asked_ns=asked,
            bit=bool(value.get("bit")),
            expects=str(value.get("expects", "progress")),
            keys=tuple(value.get("keys") or ()),
            nodes=tuple(value.get("nodes") or ()),
            evidence=evidence if isinstance(evidence := value.get("evidence"), dict) else {},
        )
