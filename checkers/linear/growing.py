"""Logs and sets only grow, so each operation has a position: how much the state holds around it.

A read at position 2n saw the first n appends (or the n-th distinct content); an append between the contents n and n+1
has 2n+1. Reads that disagree about the content are reported as such; the rest is `monitors.positions`.
Kafka has no read barrier (a deposed leader answers until it learns of it), so for logs real time counts only where the
caller asks for it; else the order of each process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from checkers.columns import rank
from checkers.linear.model import NEVER
from checkers.linear.monitors import Finding, Witness, positions
from checkers.linear.table import NO_OUTPUT, Table


def log(table: Table, *, realtime: bool) -> Finding:
    """Judge appends of different values and reads of the whole log."""
    appends, reads = table.of("append"), table.of("read")
    reads = reads[table.output[reads] != NO_OUTPUT]
    contents = [table.values.value(code) or [] for code in table.output[reads].tolist()]
    longest: list[Any] = max(contents, key=len, default=[])
    encoded = np.fromiter(map(table.values.code, longest), np.int64, len(longest))
    order = np.argsort(encoded, kind="stable")
    ascending = encoded[order]
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
    certain = (table.ret[appends] != NEVER) | (place_of < unread)
    rows = np.concatenate((appends[certain], reads))
    sizes = np.array([len(content) for content in contents], np.int64)
    return positions(table, rows, np.concatenate((2 * place_of[certain] + 1, 2 * sizes)), realtime=realtime)


def grow_set(table: Table) -> Finding:
    """Judge adds of different values and reads of the whole set; None where something was removed."""
    if len(table.of("remove")):
        return None
    adds, reads = table.of("add"), table.of("read")
    reads = reads[table.output[reads] != NO_OUTPUT]
    contents = [
        frozenset(map(table.values.code, table.values.value(code) or ())) for code in table.output[reads].tolist()
    ]
    order = sorted(range(len(contents)), key=lambda read: len(contents[read]))
    first_rank: dict[int, int] = {}
    level, previous, previous_row = 0, frozenset[int](), -1
    ranks = np.zeros(len(reads), np.int64)
    for read in order:
        content, row = contents[read], int(reads[read])
        if content != previous or not level:
            if not previous <= content:
                return _incomparable(table, previous_row, row, previous - content)
            level += 1
            for code in content - previous:
                first_rank[code] = level
            previous, previous_row = content, row
        ranks[read] = level
    known = set(table.input[adds].tolist())
    for code in first_rank:
        if code not in known:
            return Witness([int(table.index[previous_row])], f"{table.values.value(code)!r} was read but never added.")
    rank_of = np.array([first_rank.get(code, level + 1) for code in table.input[adds].tolist()], np.int64)
    if len(np.unique(table.input[adds])) != len(adds):
        return None
    certain = (table.ret[adds] != NEVER) | (rank_of <= level)
    rows = np.concatenate((adds[certain], reads))
    return positions(table, rows, np.concatenate((2 * rank_of[certain] - 1, 2 * ranks)), realtime=True)


def _incomparable(table: Table, one: int, other: int, missing: frozenset[int]) -> Witness:
    lost = table.values.value(min(missing))
    a, b = int(table.index[one]), int(table.index[other])
    return Witness(
        [a, b], f"op {a} saw {lost!r} and op {b}, which saw at least as many elements, did not: no order fits."
    )
