"""Polynomial monitors: linearizability of unique values without a search, with a witness pair.

register  Gibbons & Korach 1997: a value's zone spans from the first return to the last call of its write and reads.
          Linearizable iff no two forward zones overlap and no backward zone lies inside a forward one.
queue     the four bad patterns of Bouajjani, Emmi, Enea & Hamza 2015.
log, set  every operation has a position (how much the state holds around it); linearizable iff no operation that must
          come later in position returned before one that comes earlier was called.
Each returns None where it can't decide (values repeat, or an undecided operation could explain anything): the search
goes on then. All work on columns and cost a sort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.columns import Ints, rank
from checkers.linear.model import NEVER
from checkers.linear.table import NO_OUTPUT, Table


@dataclass(frozen=True, slots=True)
class _Clusters:
    """A register's operations by value: rows of writes and reads, and the rank of the value of each."""

    writes: Ints
    wrote: Ints
    reads: Ints
    read: Ints
    initial: int
    size: int

    def members(self, value: int) -> Ints:
        return np.concatenate((self.writes[self.wrote == value], self.reads[self.read == value]))


@dataclass(frozen=True, slots=True)
class Witness:
    """Why a history is not linearizable: operations (indexes in the history) and a sentence."""

    ops: list[int]
    why: str


SHOWN = 6
"""Values that a sentence names."""
Finding = Witness | bool | None
"""A witness; True: linearizable; None: can't tell."""


def register(table: Table, initial: Any) -> Finding:
    """Judge reads and writes of one register whose written values are all different."""
    writes, reads = table.of("write"), table.of("read")
    reads = reads[table.output[reads] != NO_OUTPUT]
    start = table.values.code(initial)
    values, distinct = rank(np.concatenate((np.array([start]), table.input[writes], table.output[reads])))
    wrote, read = values[1 : len(writes) + 1], values[len(writes) + 1 :]
    writer = np.full(len(distinct), -1, np.int64)
    writer[wrote] = writes
    if len(np.unique(wrote)) != len(wrote) or (wrote == values[0]).any():
        return None
    orphans = np.flatnonzero((writer[read] < 0) & (read != values[0]))
    if len(orphans):
        row = int(reads[orphans[0]])
        return Witness(
            [_op(table, row)], f"op {_op(table, row)} read {_value(table, table.output[row])}, never written."
        )
    early = np.flatnonzero((writer[read] >= 0) & (table.ret[reads] < table.call[writer[read]]))
    if len(early):
        row = int(reads[early[0]])
        source = int(writer[read[early[0]]])
        return Witness(
            [_op(table, row), _op(table, source)],
            f"op {_op(table, row)} read {_value(table, table.output[row])} and returned before its write (op "
            f"{_op(table, source)}) was called.",
        )
    return _zones(table, _Clusters(writes, wrote, reads, read, int(values[0]), len(distinct)))


def _zones(table: Table, clusters: _Clusters) -> Finding:
    """Compare the zones of all values: from the least return (`low`) to the last call (`high`) of its operations."""
    low = np.full(clusters.size, NEVER)
    high = np.full(clusters.size, -2)
    low[clusters.wrote] = table.ret[clusters.writes]
    high[clusters.wrote] = table.call[clusters.writes]
    low[clusters.initial], high[clusters.initial] = -1, -2
    np.minimum.at(low, clusters.read, table.ret[clusters.reads])
    np.maximum.at(high, clusters.read, table.call[clusters.reads])
    seen = low != NEVER  # an undecided write that nobody read need never have happened
    forward = np.flatnonzero(seen & (low < high))
    forward = forward[np.argsort(low[forward])]
    overlap = np.flatnonzero(high[forward[:-1]] > low[forward[1:]])
    if len(overlap):
        return _pair(table, clusters, int(forward[overlap[0]]), int(forward[overlap[0] + 1]), low, high)
    backward = np.flatnonzero(seen & (low >= high))
    if not len(forward) or not len(backward):
        return True
    host = np.searchsorted(low[forward], high[backward]) - 1
    inside = np.flatnonzero((host >= 0) & (low[backward] < high[forward[np.maximum(host, 0)]]))
    if len(inside):
        return _pair(table, clusters, int(forward[host[inside[0]]]), int(backward[inside[0]]), low, high)
    return True


def _pair(  # noqa: PLR0917  two values and their zones
    table: Table, clusters: _Clusters, one: int, other: int, low: Ints, high: Ints
) -> Witness:
    def edges(value: int) -> list[int]:
        rows = clusters.members(value)
        first, last = rows[table.ret[rows] == low[value]], rows[table.call[rows] == high[value]]
        return list(dict.fromkeys(_op(table, int(row)) for row in (*first[:1], *last[:1])))

    def name(value: int) -> str:
        row = int(clusters.members(value)[0])
        return _value(table, table.output[row] if row in clusters.reads else table.input[row])

    ops_a, ops_b = edges(one), edges(other)
    return Witness(
        list(dict.fromkeys((*ops_a, *ops_b))),
        f"The register must hold {name(one)} from the return of the first to the call of the last of {_named(ops_a)}, "
        f"and within that time it must also hold {name(other)} ({_named(ops_b)}).",
    )


def queue(table: Table) -> Finding:
    """Judge enqueues and dequeues of values that are all different."""
    enqueues, dequeues = table.of("enqueue"), table.of("dequeue")
    undecided = table.output[dequeues] == NO_OUTPUT
    nothing = table.values.code(None)
    empty = dequeues[~undecided & (table.output[dequeues] == nothing)]
    taken = dequeues[~undecided & (table.output[dequeues] != nothing)]
    ranks, distinct = rank(np.concatenate((table.input[enqueues], table.output[taken])))
    put, got = ranks[: len(enqueues)], ranks[len(enqueues) :]
    if len(np.unique(put)) != len(put) or undecided.any():
        return None
    putter = np.full(len(distinct), -1, np.int64)
    putter[put] = enqueues
    getter = np.full(len(distinct), -1, np.int64)
    getter[got] = taken
    bad = np.flatnonzero((putter[got] < 0) | (table.ret[taken] < table.call[np.maximum(putter[got], 0)]))
    if len(bad):
        row = int(taken[bad[0]])
        return Witness(
            [_op(table, row)], f"op {_op(table, row)} dequeued {_value(table, table.output[row])} before it was put."
        )
    twice = np.flatnonzero(getter[got] != taken)
    if len(twice):
        row, again = int(taken[twice[0]]), int(getter[got[twice[0]]])
        return Witness(
            [_op(table, row), _op(table, again)],
            f"op {_op(table, row)} and op {_op(table, again)} both dequeued {_value(table, table.output[row])}.",
        )
    return _fifo(table, putter, getter, empty)


def _fifo(table: Table, putter: Ints, getter: Ints, empty: Ints) -> Finding:
    """Look for values out of order, and for a dequeue that found nothing although something had to be there."""
    done = getter >= 0
    put_call, put_ret = table.call[putter], table.ret[putter]
    get_call = np.where(done, table.call[np.maximum(getter, 0)], NEVER)
    get_ret = np.where(done, table.ret[np.maximum(getter, 0)], NEVER)
    order = np.argsort(put_ret)
    most = np.maximum.accumulate(get_call[order]) if len(order) else order
    before = np.searchsorted(put_ret[order], put_call) - 1
    late = np.flatnonzero(done & (before >= 0) & (most[np.maximum(before, 0)] > get_ret)) if len(order) else order
    if len(late):
        second = int(late[0])
        ahead = order[: before[second] + 1]
        first = int(ahead[np.argmax(get_call[ahead])])
        ops = [
            _op(table, int(row)) for row in (putter[first], putter[second], getter[second], getter[first]) if row >= 0
        ]
        return Witness(
            ops,
            f"{_value(table, table.input[putter[first]])} was put before {_value(table, table.input[putter[second]])}, "
            "but was taken after it or never.",
        )
    if not len(empty) or not len(putter):
        return True
    filled = put_ret < get_call
    row = _never_empty(put_ret[filled], get_call[filled], table.call[empty], table.ret[empty])
    if row is None:
        return True
    found = int(empty[row])
    op, cover = _op(table, found), _cover(put_ret, get_call, int(table.call[found]), int(table.ret[found]))
    rows = [int(r) for value in cover for r in (putter[value], getter[value]) if r >= 0]
    names = ", ".join(_value(table, table.input[putter[value]]) for value in cover[:SHOWN])
    return Witness(
        [op, *(_op(table, r) for r in rows)],
        f"op {op} found the queue empty, but it never was while that operation ran: it held {names} in turn.",
    )


def _cover(start: Ints, end: Ints, call: int, ret: int) -> list[int]:
    """Return few values whose certain times inside cover an operation that something covers."""
    chain, reach = [int(np.argmax(np.where(start < call, end, -1)))], 0
    while (reach := int(end[chain[-1]])) < ret:
        chain.append(int(np.argmax(np.where(start < reach, end, -1))))
    return chain


def _never_empty(start: Ints, end: Ints, call: Ints, ret: Ints) -> int | None:
    """Return an operation [call, ret] during all of which some value certainly lay in the queue (from start to end)."""
    if not len(start):
        return None
    order = np.argsort(start)
    start, reach = start[order], np.maximum.accumulate(end[order])
    first = np.flatnonzero(np.concatenate((np.array([True]), start[1:] > reach[:-1])))
    last = np.append(first[1:], len(start)) - 1
    stretch = np.searchsorted(start[first], call, side="right") - 1
    inside = np.flatnonzero((stretch >= 0) & (reach[last[np.maximum(stretch, 0)]] >= ret))
    return int(inside[0]) if len(inside) else None


def positions(table: Table, rows: Ints, position: Ints, *, realtime: bool) -> Finding:
    """Judge operations that have a position each: none may precede one with a smaller position.

    realtime: x precedes y if it returned before y was called; else only within one process.
    """
    if realtime:
        return _positions(table, rows, position)
    for process in np.unique(table.process[rows]):
        mine = table.process[rows] == process
        found = _positions(table, rows[mine], position[mine])
        if found is not True:
            return found
    return True


def _positions(table: Table, rows: Ints, position: Ints) -> Finding:
    if not len(rows):
        return True
    by_return = np.argsort(table.ret[rows])
    highest = np.maximum.accumulate(position[by_return])
    before = np.searchsorted(table.ret[rows][by_return], table.call[rows]) - 1
    late = np.flatnonzero((before >= 0) & (highest[np.maximum(before, 0)] > position))
    if not len(late):
        return True
    second = int(late[0])
    ahead = by_return[: before[second] + 1]
    first = int(ahead[np.argmax(position[ahead])])
    one, other = _op(table, int(rows[first])), _op(table, int(rows[second]))
    return Witness(
        [one, other],
        f"op {one} returned before op {other} was called, but op {other} shows or makes an earlier state than "
        f"op {one}.",
    )


def _named(ops: list[int]) -> str:
    return " and ".join(f"op {op}" for op in ops)


def _op(table: Table, row: int) -> int:
    return int(table.index[row])


def _value(table: Table, code: Any) -> str:
    return repr(table.values.value(int(code)))
