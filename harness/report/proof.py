"""The operations that prove an anomaly, as a reader wants to see them.

A second streaming pass over the history, made only when there is something to prove. It picks up
* the calls that an example names, with their invocation (what was asked) and completion (what came back);
* the calls around them, so that the page can show values there and nowhere else;
* for an example about a place in a partition, the order view (`harness.report.order`).
Everything is bounded; what is left out is counted. Values are foreign data: they leave here as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.history import INVOKE, Op
from harness.report.columns import error_name, micro_ops
from harness.report.order import MAX_TEXT, OrderRow, Orders, Place, placed, polled, shown

NEIGHBOURS = 40
"""Client events on each side of a named one whose values travel with the page."""
MAX_VALUED_CALLS = 2_000
MAX_EFFECTS = 8
"""Lines shown for one call; a poll of hundreds of records is cut around what matters."""
MAX_RUN = 6
"""Records of one partition shown for one poll that holds none that matters."""
AROUND = 2
"""Records shown on each side of one that matters."""
MAX_MARKED = 4
"""Records that matter shown for one partition of one poll."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a call did: a send with its place, or the records polled from a partition."""

    verb: str
    key: str
    pieces: Sequence[tuple[str, bool]]
    """(text, whether it is what the example is about)."""

    @property
    def hot(self) -> bool:
        """Return whether any piece is what the example is about."""
        return any(hot for _, hot in self.pieces)


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call as the tables show it. Times in ns; `completed` is None where nobody knows what became of it."""

    index: int
    """Of the completion, or of the invocation where there is none."""
    begun: int
    """Of the invocation, or of the completion where there is none."""
    process: int | str
    f: str
    outcome: str
    invoked: int
    completed: int | None
    effects: Sequence[Effect]
    left_out: int
    error: str


@dataclass(slots=True)
class Evidence:
    """What the second pass found."""

    calls: dict[int, tuple[Op | None, Op | None]] = field(default_factory=dict)
    """(invocation, completion), by each index that an example named; at least one of the two is there."""
    valued: dict[int, CallRow] = field(default_factory=dict)
    """Calls around the named ones, by CallRow.index."""
    orders: dict[Place, Sequence[OrderRow]] = field(default_factory=dict)


def collect(ops: Iterable[Op], named: set[int], places: Sequence[Place]) -> Evidence:
    """Return the evidence for examples that name these indexes and places."""
    collector = _Collector(named, places)
    open_calls: dict[int | str, Op] = {}
    for op in ops:
        if op.type == INVOKE:
            open_calls[op.process] = op
        else:
            collector.take(open_calls.pop(op.process, None), op)
    for invocation in open_calls.values():
        collector.take(invocation, None)
    return collector.evidence()


def _near(named: set[int]) -> set[int]:
    near: set[int] = set(named)
    for index in sorted(named):
        if len(near) > MAX_VALUED_CALLS:
            break
        near.update(range(index - NEIGHBOURS, index + NEIGHBOURS + 1))
    return near


class _Collector:
    """Takes call after call and keeps what the examples need."""

    def __init__(self, named: set[int], places: Sequence[Place]) -> None:
        self._named, self._near = named, _near(named)
        self._places, self._orders = places, Orders(places)
        self._found = Evidence()

    def take(self, invocation: Op | None, completion: Op | None) -> None:
        indexes = {op.index for op in (invocation, completion) if op is not None}
        mine = indexes & self._named
        valued = bool(indexes & self._near) and len(self._found.valued) < MAX_VALUED_CALLS
        for index in mine:
            self._found.calls[index] = (invocation, completion)
        if valued:
            row = call_row(invocation, completion, hot=set())
            if isinstance(row.process, int):
                self._found.valued[row.index] = row
        op = completion if completion is not None else invocation
        if op is not None and isinstance(op.process, int):
            self._orders.take(op, completed=completion is not None)

    def evidence(self) -> Evidence:
        for place in self._places:
            self._found.orders[place] = self._orders.rows(place)
        return self._found


def call_row(invocation: Op | None, completion: Op | None, hot: set[tuple[str, int]]) -> CallRow:
    """Return a call as a row; at least one of its two ops must be there."""
    last = completion if completion is not None else invocation
    assert last is not None
    first = invocation if invocation is not None else last
    effects, left_out = _effects(last, hot)
    error = ""
    if last.error:
        error = error_name(last.error)
        message = last.error.get("message") if isinstance(last.error, dict) else None
        error += f": {message}"[:MAX_TEXT] if message and str(message) != error else ""
    return CallRow(
        index=last.index,
        begun=first.index,
        process=last.process,
        f=last.f,
        outcome=completion.type if completion is not None else "pending",
        invoked=first.time,
        completed=completion.time if completion is not None else None,
        effects=effects,
        left_out=left_out,
        error=error,
    )


def _effects(op: Op, hot: set[tuple[str, int]]) -> tuple[list[Effect], int]:
    effects: list[Effect] = []
    for micro in micro_ops(op):
        if micro[0] == "poll" and len(micro) > 1:
            effects.extend(_polled(micro, hot))
        elif micro[0] == "poll":
            effects.append(Effect("poll", "", ()))
        elif len(micro) > 2:
            key, (offset, value) = str(micro[1]), placed(micro[2])
            effects.append(Effect(micro[0], key, [(_record(offset, value), (key, offset) in hot)]))
        else:
            effects.append(Effect(micro[0], "", [(shown(list(micro[1:])), False)]))
    if op.f == "rebalance" and isinstance(op.value, dict):
        effects = _rebalance(op.value)
    if not effects and op.value not in (None, []):
        effects.append(Effect("", "", [(shown(op.value), False)]))
    if len(effects) <= MAX_EFFECTS:
        return effects, 0
    kept = sorted(range(len(effects)), key=lambda i: (not effects[i].hot, i))[:MAX_EFFECTS]
    return [effects[i] for i in sorted(kept)], len(effects) - MAX_EFFECTS


def _rebalance(value: Mapping[str, Any]) -> list[Effect]:
    """Return what a consumer's callbacks were told: which keys, of whom, in which generation."""
    whom = f" · process {value.get('process')}, generation {value.get('generation')} of {value.get('group')}"
    told = {kind: value.get(kind) for kind in ("assigned", "revoked", "lost")}
    return [
        Effect(kind, "", [(f"{', '.join(map(str, keys))}{whom}"[:MAX_TEXT], False)])
        for kind, keys in told.items()
        if isinstance(keys, list) and keys
    ]


def _record(offset: int | None, value: Any) -> str:
    return shown(value) if offset is None else f"@{offset} = {shown(value)}"


def _polled(micro: Sequence[Any], hot: set[tuple[str, int]]) -> Iterator[Effect]:
    for key, records in polled(micro):
        marks = [i for i, (offset, _) in enumerate(records) if (key, offset) in hot][:MAX_MARKED]
        chosen = {i for mark in marks for i in range(mark - AROUND, mark + AROUND + 1) if 0 <= i < len(records)}
        pieces: list[tuple[str, bool]] = []
        before = -1
        for i in sorted(chosen) or range(min(MAX_RUN, len(records))):
            pieces.append((", " if i == before + 1 and pieces else " … " if i != before + 1 else "", False))
            pieces.append((_record(*records[i]), i in marks))
            before = i
        if before + 1 < len(records):
            pieces.append((f" … ({len(records):,} records)", False))
        yield Effect("poll", key, [piece for piece in pieces if piece[0]] or [("nothing", False)])
