"""Logs and sets only grow, so each operation has a position: how much the state holds around it.

A read at position 2n saw the first n appends (or the n-th distinct content); an append between the contents n and n+1
has 2n+1. Reads that disagree about the content are reported as such; the rest is `monitors.positions`.
Kafka has no read barrier (a deposed leader answers until it learns of it), so for logs real time counts only where the
caller asks for it; else the order of each process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from checkers.columns import Ints, dense, rank
from checkers.exact import comparable, exact
from checkers.interning import FOREIGN
from checkers.linear.model import NEVER
from checkers.linear.monitors import Finding, Witness, positions
from checkers.linear.table import NO_OUTPUT, Table


def log(table: Table, *, realtime: bool) -> Finding:
    """Judge appends of different values and reads of the whole log."""
    appends, reads = table.of("append"), table.of("read")
    reads = reads[table.output[reads] != NO_OUTPUT]
    contents = [table.values.value(code) or [] for code in table.output[reads].tolist()]
    longest: list[Any] = max(contents, key=len, default=[])
    encoded = table.values.codes(longest)
    order = np.argsort(encoded, kind="stable")
    ascending = encoded[order]
    if not all(map(comparable, contents)):
        contents = [list(map(exact, content)) for content in contents]
        longest = list(map(exact, longest))
    for row, content in zip(reads.tolist(), contents, strict=True):
        if content != longest[: len(content)]:
            place = next(i for i, (a, b) in enumerate(zip(content, longest, strict=False)) if a != b)
            other = int(reads[contents.index(longest)])
            return Witness(
                [int(table.index[row]), int(table.index[other])],
                f"At place {place}, op {int(table.index[row])} read {content[place]!r} but op "
                f"{int(table.index[other])} "
                f"read {longest[place]!r}: reads of one log must be prefixes of each other.",
            )
    if (ascending[1:] == ascending[:-1]).any() or len(rank(table.input[appends])[1]) != len(appends):
        return None
    for place in np.flatnonzero(~np.isin(encoded, table.input[appends]))[:1].tolist():
        reader = int(table.index[reads[contents.index(longest)]])
        return Witness([reader], f"Place {place} holds {longest[place]!r}, which nobody appended.")
    unread = len(longest)
    place_of = np.full(len(appends), unread, np.int64)
    if unread:
        at = np.minimum(np.searchsorted(ascending, table.input[appends]), unread - 1)
        there = ascending[at] == table.input[appends]
        place_of[there] = order[at[there]]
    found = _offsets(table, appends, place_of, realtime=realtime)
    if isinstance(found, Witness):
        return found
    certain = (table.ret[appends] != NEVER) | (place_of < unread)
    rows = np.concatenate((appends[certain], reads))
    sizes = np.array([len(content) for content in contents], np.int64)
    return positions(table, rows, np.concatenate((2 * place_of[certain] + 1, 2 * sizes)), realtime=realtime)


def _offsets(table: Table, appends: Ints, place_of: Ints, *, realtime: bool) -> Finding:
    """Judge the offsets that appends were told: one each, in the order of the reads, and in that of time.

    place_of: where the longest read shows the value of each; one place behind its end where it does not.
    """
    told = table.output[appends]
    known = np.flatnonzero((told >= 0) & (told < FOREIGN))
    order = known[np.argsort(told[known], kind="stable")]
    offsets, places, rows = told[order], place_of[order], appends[order]
    same = np.flatnonzero(offsets[1:] == offsets[:-1])
    if len(same):
        one, other = (int(table.index[row]) for row in rows[same[0] : same[0] + 2])
        return Witness(
            [one, other],
            f"op {one} and op {other} appended different values and were both told offset {offsets[same[0]]}.",
        )
    late = np.flatnonzero(places[1:] < np.maximum.accumulate(places)[:-1]) + 1
    if len(late):
        second = int(late[0])
        first = int(np.argmax(places[:second]))
        one, other = int(table.index[rows[first]]), int(table.index[rows[second]])
        return Witness(
            [one, other],
            f"op {one} was told offset {offsets[first]} and op {other} offset {offsets[second]}, but reads show what "
            f"op {other} appended, and not what op {one} appended before it.",
        )
    return positions(table, rows, np.arange(len(rows)), realtime=realtime)


def grow_set(table: Table) -> Finding:
    """Judge adds of different values and reads of the whole set; None where something was removed."""
    if len(table.of("remove")):
        return None
    adds, reads = table.of("add"), table.of("read")
    reads = reads[table.output[reads] != NO_OUTPUT]
    contents = [table.values.codes(table.values.value(code) or ()) for code in table.output[reads].tolist()]
    (added, *parts), distinct = dense([table.input[adds], *contents])
    parts = [_once(part) for part in parts]
    level, first, levels = 0, np.zeros(len(distinct), np.int64), np.zeros(len(reads), np.int64)
    previous, previous_row = np.empty(0, np.int64), -1
    latest = np.zeros(len(distinct), np.int64)
    for read in sorted(range(len(reads)), key=lambda read: len(parts[read])):
        content, row = parts[read], int(reads[read])
        latest[content] = read + 1
        missing = previous[latest[previous] != read + 1]
        if len(missing):
            return _incomparable(table, previous_row, row, table.values.value(distinct[missing[0]]))
        if len(content) != len(previous) or not level:
            level += 1
            first[content[first[content] == 0]] = level
        previous, previous_row = content, row
        levels[read] = level
    known = np.zeros(len(distinct), np.bool_)
    known[added] = True
    unknown = np.flatnonzero((first > 0) & ~known)
    if len(unknown):
        value = table.values.value(distinct[unknown[0]])
        return Witness([int(table.index[previous_row])], f"{value!r} was read but never added.")
    if len(_once(added)) != len(adds):
        return None
    rank_of = np.where(first[added] > 0, first[added], level + 1)
    certain = (table.ret[adds] != NEVER) | (rank_of <= level)
    rows = np.concatenate((adds[certain], reads))
    return positions(table, rows, np.concatenate((2 * rank_of[certain] - 1, 2 * levels)), realtime=True)


def _once(ranks: Ints) -> Ints:
    """Return the distinct members; a read that is free of repetitions is returned as it is."""
    size = int(ranks.max()) + 1 if len(ranks) else 0
    present = np.zeros(size, np.bool_)
    present[ranks] = True
    return ranks if np.count_nonzero(present) == len(ranks) else np.flatnonzero(present)


def _incomparable(table: Table, one: int, other: int, lost: Any) -> Witness:
    a, b = int(table.index[one]), int(table.index[other])
    return Witness(
        [a, b], f"op {a} saw {lost!r} and op {b}, which saw at least as many elements, did not: no order fits."
    )
