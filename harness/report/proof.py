"""The operations that prove an anomaly, as a reader wants to see them.

A second streaming pass over the history, made only when there is something to prove. It picks up
* the calls that an example names, with their invocation (what was asked) and completion (what came back);
* the calls around them, so that the page can show values there and nowhere else;
* for an example about a place in a partition, the order view (`harness.report.order`).
Everything is bounded; what is left out is counted. Values are foreign data: they leave here as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.history import FAIL, INFO, INVOKE, OK, Op
from harness.report.columns import error_name, micro_ops
from harness.report.order import MAX_TEXT, OrderRow, Orders, Place, placed, polled, shown

NEIGHBOURS = 40
"""Client events on each side of a named one whose values travel with the page."""
MAX_VALUED_CALLS = 2_000
MAX_EFFECTS = 8
"""Lines shown for one call; a poll of hundreds of records is cut around what matters."""
MAX_RUN = 6
"""Records of one partition shown for one poll."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a call did: a send with its place, or the records polled from a partition."""

    verb: str
    key: str
    text: str
    hot: bool


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call as the tables show it. Times in ns; `completed` is None where nobody knows what became of it."""

    index: int
    """Of the completion, or of the invocation where there is none."""
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

    calls: dict[int, CallRow] = field(default_factory=dict)
    """By each index that an example named."""
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
        self._hot = {(place.key, offset) for place in places for offset in place.offsets}
        self._places, self._orders = places, Orders(places)
        self._found = Evidence()

    def take(self, invocation: Op | None, completion: Op | None) -> None:
        indexes = {op.index for op in (invocation, completion) if op is not None}
        mine = indexes & self._named
        valued = bool(indexes & self._near) and len(self._found.valued) < MAX_VALUED_CALLS
        if mine or valued:
            row = call_row(invocation, completion, self._hot)
            for index in mine:
                self._found.calls[index] = row
            if valued and isinstance(row.process, int):
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
            effects.append(Effect("poll", "", "", hot=False))
        elif len(micro) > 2:
            key, (offset, value) = str(micro[1]), placed(micro[2])
            text = shown(value) if offset is None else f"@{offset} = {shown(value)}"
            effects.append(Effect(micro[0], key, text, hot=offset is not None and (key, offset) in hot))
        else:
            effects.append(Effect(micro[0], "", shown(list(micro[1:])), hot=False))
    if not effects and op.value not in (None, []):
        effects.append(Effect("", "", shown(op.value), hot=False))
    if len(effects) <= MAX_EFFECTS:
        return effects, 0
    kept = sorted(range(len(effects)), key=lambda i: (not effects[i].hot, i))[:MAX_EFFECTS]
    return [effects[i] for i in sorted(kept)], len(effects) - MAX_EFFECTS


def _polled(micro: Sequence[Any], hot: set[tuple[str, int]]) -> Iterator[Effect]:
    for key, records in polled(micro):
        offsets = [offset for offset, _ in records]
        marks = [i for i, offset in enumerate(offsets) if (key, offset) in hot]
        begin = max(0, min(marks) - MAX_RUN // 2) if marks else 0
        cut = records[begin : begin + max(MAX_RUN, (marks[-1] - begin + 2) if marks and len(marks) < MAX_RUN else 0)]
        cut = cut[: 4 * MAX_RUN]
        text = ", ".join(f"@{offset} = {shown(value)}" if offset is not None else shown(value) for offset, value in cut)
        if begin:
            text = f"… {text}"
        if begin + len(cut) < len(records):
            text += f" … ({len(records):,} records)"
        yield Effect("poll", key, text or "nothing", hot=bool(marks))


OUTCOME_MARKS = {OK: "●", INFO: "◆", FAIL: "✕", "pending": "◇"}
"""A shape beside every colour."""
