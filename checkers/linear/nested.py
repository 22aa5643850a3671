"""Stacks and priority queues with different values: linearizability in polynomial time, with a witness.

Both rest on the same fact: a value that was put before the return of its put and taken after the call of its take is
*certainly inside* between the two (its core); elsewhere its points can be moved.

Stack. Times inside are nested or apart, never crossed. Where cores overlap one after another, one value lies below all
the others of that stretch: it has to be pushed before the stretch begins and popped after it ends. Whichever value can
do that may be the one (the others fit inside it), so it is taken out and the rest is judged in the same way, in the
stretches that are left. A pop that finds nothing needs a moment outside all stretches. Each round is a sort-free pass
over the values left, and takes out at least one value of each stretch; deep nesting has many rounds, so that the work
is bounded and the search goes on past it.

Priority queue (`delete-min`). Smaller values first: a value is put as late and taken as early as the values before it
allow, which is best for all later ones. What is left of its core then bars every larger value from being taken, and
every delete-min that found nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.columns import Ints, rank
from checkers.interning import FOREIGN
from checkers.linear.model import NEVER
from checkers.linear.monitors import Finding, Witness
from checkers.linear.table import NO_OUTPUT, Table

WORK = 200_000_000
"""Values times rounds of a stack; past it the monitor can't tell."""
CHAIN_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Taken:
    """Per value: rows of its put and its take (-1: never taken), and the rows of takes that found nothing."""

    put: Ints
    take: Ints
    empty: Ints


def stack(table: Table) -> Finding:
    """Judge pushes and pops of values that are all different."""
    matched = match(table, "push", "pop")
    if not isinstance(matched, Taken):
        return matched
    put, take = matched.put, matched.take
    pushed, popped = table.ret[put], _call(table, take)
    core = np.flatnonzero(pushed < popped)
    core = core[np.argsort(pushed[core])]
    stretches: tuple[Ints, Ints] | None = None
    work = 0
    while len(core):
        work += len(core)
        if work > WORK:
            return None
        start, reach = pushed[core], np.maximum.accumulate(popped[core])
        first = np.flatnonzero(np.concatenate((np.array([True]), start[1:] > reach[:-1])))
        last = np.append(first[1:], len(core)) - 1
        begin, end = start[first], reach[last]
        if stretches is None:
            stretches = begin, end
        mine = np.repeat(np.arange(len(first)), last - first + 1)
        lowest = (table.call[put[core]] < begin[mine]) & (_ret(table, take[core]) > end[mine])
        lowest |= (table.call[put[core]] < begin[mine]) & (take[core] < 0)
        found = np.zeros(len(first), np.bool_)
        found[mine[lowest]] = True
        if not found.all():
            at = int(np.flatnonzero(~found)[0])
            return _crossed(table, matched, core[first[at] : last[at] + 1])
        core = core[~lowest]
    return _never_empty(table, matched, stretches) if stretches is not None else True


def _crossed(table: Table, matched: Taken, values: Ints) -> Witness:
    """Tell a stretch in which no value can lie below the others, by the fewest cores that cover it."""
    pushed, popped = table.ret[matched.put[values]], _call(table, matched.take[values])
    chain, reach, end = [int(values[0])], int(popped[0]), int(popped.max())
    while reach < end:
        next_ = int(np.argmax(np.where(pushed < reach, popped, -1)))
        chain.append(int(values[next_]))
        reach = int(popped[next_])
    names = ", ".join(_named(table, matched, value) for value in chain[:CHAIN_SHOWN])
    ops = [_op(table, row) for value in chain for row in (matched.put[value], matched.take[value]) if row >= 0]
    return Witness(
        ops,
        f"The stack holds {names} one after another without a gap, but none of them was both pushed before the others "
        "and popped after them: as a stack one of them has to lie below all the others.",
    )


def _never_empty(table: Table, matched: Taken, stretches: tuple[Ints, Ints]) -> Finding:
    begin, end = stretches
    call, ret = table.call[matched.empty], table.ret[matched.empty]
    host = np.searchsorted(begin, call) - 1
    inside = np.flatnonzero((host >= 0) & (end[np.maximum(host, 0)] > ret))
    if not len(inside):
        return True
    op = _op(table, int(matched.empty[inside[0]]))
    within = (table.ret[matched.put] < ret[inside[0]]) & (_call(table, matched.take) > call[inside[0]])
    values = np.flatnonzero(within & (table.ret[matched.put] < _call(table, matched.take)))[:CHAIN_SHOWN]
    rows = [row for value in values for row in (matched.put[value], matched.take[value]) if row >= 0]
    return Witness(
        [op, *(_op(table, int(row)) for row in rows)],
        f"op {op} found nothing, but while it ran something lay there all the time: "
        f"{', '.join(_named(table, matched, int(value)) for value in values)}.",
    )


def priority_queue(table: Table) -> Finding:
    """Judge inserts and delete-mins of numbers that are all different."""
    matched = match(table, "insert", "delete-min")
    if not isinstance(matched, Taken):
        return matched
    codes = table.input[matched.put]
    numbers = np.array([table.values.value(code) if code >= FOREIGN else code for code in codes.tolist()], object)
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        return None
    bars = _Bars(int(max(table.call.max(), table.ret[table.ret != NEVER].max(initial=0))) + 2)
    for value in np.argsort(numbers, kind="stable").tolist():
        put, take = int(matched.put[value]), int(matched.take[value])
        pushed = int(table.ret[put])
        if take < 0:
            if pushed != NEVER:
                bars.bar(pushed + 1, bars.size, value)
            continue
        at = bars.free_from(int(max(table.call[take], table.call[put])) + 1)
        if at > int(table.ret[take]):
            return _overtaken(table, matched, bars, take, value)
        if pushed != NEVER:
            bars.bar(pushed + 1, at, value)
    for row in matched.empty.tolist():
        if bars.free_from(int(table.call[row]) + 1) > int(table.ret[row]):
            return _overtaken(table, matched, bars, row, None)
    return True


class _Bars:
    """Moments (the gap before event n is n) at which some value certainly lies inside; they only grow."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.owner: dict[int, int] = {}
        """Gap -> the value that barred it first."""
        self._next = list(range(size + 1))

    def free_from(self, gap: int) -> int:
        """Return the first gap from this one on that is not barred."""
        next_, root = self._next, gap
        while next_[root] != root:
            root = next_[root]
        while next_[gap] != root:
            next_[gap], gap = root, next_[gap]
        return root

    def bar(self, first: int, end: int, value: int) -> None:
        """Bar the gaps from first up to (not including) end."""
        gap = self.free_from(min(first, self.size))
        while gap < end:
            self._next[gap] = gap + 1
            self.owner[gap] = value
            gap = self.free_from(gap)


def _overtaken(table: Table, matched: Taken, bars: _Bars, row: int, value: int | None) -> Witness:
    smaller: dict[int, None] = {}
    for gap in range(int(table.call[row]) + 1, int(min(table.ret[row], bars.size - 1)) + 1):
        if gap in bars.owner:
            smaller[bars.owner[gap]] = None
    shown = list(smaller)[:CHAIN_SHOWN]
    op = _op(table, row)
    rows = [r for one in shown for r in (matched.put[one], matched.take[one]) if r >= 0]
    what = "found nothing" if value is None else f"took {_value(table, table.output[row])}"
    which = "something" if value is None else "a smaller value"
    return Witness(
        list(dict.fromkeys([op, *(_op(table, int(r)) for r in rows)])),
        f"op {op} {what}, but while it ran {which} lay there all the time: "
        f"{', '.join(_named(table, matched, one) for one in shown)}.",
    )


def match(table: Table, put: str, take: str) -> Taken | Finding:
    """Match takes with puts; a witness where that is impossible, None where values repeat or a take is undecided."""
    puts, takes = table.of(put), table.of(take)
    nothing = table.values.code(None)
    if (table.output[takes] == NO_OUTPUT).any():
        return None
    empty, taken = takes[table.output[takes] == nothing], takes[table.output[takes] != nothing]
    ranks, distinct = rank(np.concatenate((table.input[puts], table.output[taken])))
    placed, got = ranks[: len(puts)], ranks[len(puts) :]
    if len(np.unique(placed)) != len(placed):
        return None
    putter, taker = np.full(len(distinct), -1, np.int64), np.full(len(distinct), -1, np.int64)
    putter[placed], taker[got] = puts, taken
    bad = np.flatnonzero((putter[got] < 0) | (table.ret[taken] < table.call[np.maximum(putter[got], 0)]))
    if len(bad):
        row, source = int(taken[bad[0]]), int(putter[got[bad[0]]])
        ops = [_op(table, row)] + ([_op(table, source)] if source >= 0 else [])
        return Witness(ops, f"op {ops[0]} took {_value(table, table.output[row])} before it was put there.")
    twice = np.flatnonzero(taker[got] != taken)
    if len(twice):
        ops = [_op(table, int(taken[twice[0]])), _op(table, int(taker[got[twice[0]]]))]
        name = _value(table, table.output[taken[twice[0]]])
        return Witness(ops, f"op {ops[0]} and op {ops[1]} both took {name}, which was put there once.")
    happened = (putter >= 0) & ((taker >= 0) | (table.ret[np.maximum(putter, 0)] != NEVER))
    return Taken(putter[happened], taker[happened], empty)


def _call(table: Table, take: Ints) -> Ints:
    return np.where(take >= 0, table.call[np.maximum(take, 0)], NEVER)


def _ret(table: Table, take: Ints) -> Ints:
    return np.where(take >= 0, table.ret[np.maximum(take, 0)], NEVER)


def _op(table: Table, row: int) -> int:
    return int(table.index[row])


def _value(table: Table, code: Ints | int) -> str:
    return repr(table.values.value(int(code)))


def _named(table: Table, matched: Taken, value: int) -> str:
    put, take = int(matched.put[value]), int(matched.take[value])
    until = f"taken by op {_op(table, take)}" if take >= 0 else "never taken"
    return f"{_value(table, table.input[put])} (put by op {_op(table, put)}, {until})"
