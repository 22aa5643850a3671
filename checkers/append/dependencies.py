"""The dependency graph of a list-append history: ww, wr and rw edges from the version orders.

ww: the writer of an element -> the writer of the next one. wr: the writer of the last element that a read saw -> the
reader. rw: a reader -> the writer of the element after what it saw. Committed appends that nobody read lie somewhere
after the last element read: they get edges from it and from its readers. So does an undecided transaction of which an
element was read, on whichever key: it was committed, all of it. From readers only: should it have been aborted after
all, they read what is no longer there (G1a), which breaks every model that such an edge can.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from checkers.append.history import Appends
from checkers.graph import RW, WR, WW, Edges, edges_of, joined
from harness.history import FAIL, INFO, OK

Reason = tuple[Any, Any]
"""(key, element) behind an edge."""


def dependencies(history: Appends, orders: dict[Any, list[Any]]) -> tuple[Edges, list[Reason]]:
    """Return the edges between transactions; `what` is a place in the list of reasons."""
    reasons: list[Reason] = []
    found: dict[int, tuple[list[int], list[int], list[int]]] = {kind: ([], [], []) for kind in (WW, WR, RW)}
    shown = _shown(history)
    for key in dict.fromkeys((*history.writer, *history.reads)):
        _key(history, key, orders.get(key, []), found, reasons, shown)
    parts = []
    for kind, (source, target, what) in found.items():
        columns = [np.array(column, np.int64) for column in (source, target, what)]
        parts.append(edges_of(columns[0], columns[1], kind, columns[2]))
    return joined(*parts), reasons


def _shown(history: Appends) -> set[int]:
    """Return the undecided transactions of which another one read an element."""
    transactions, shown = history.transactions, set[int]()
    for key, reads in history.reads.items():
        writers = history.writer.get(key, {})
        undecided = {element: number for element, number in writers.items() if transactions[number].type == INFO}
        if not undecided:
            continue
        for _, seen in reads:
            shown.update(undecided[element] for element in seen if element in undecided)
    return shown


def _key(  # noqa: C901, PLR0917  three kinds of edges, one walk
    history: Appends,
    key: Any,
    order: list[Any],
    found: dict[int, tuple[list[int], list[int], list[int]]],
    reasons: list[Reason],
    shown: set[int],
) -> None:
    transactions = history.transactions
    every = history.writer.get(key, {})
    writers = {element: number for element, number in every.items() if transactions[number].type != FAIL}
    placed = [element for element in order if element in writers]
    base = len(reasons)
    reasons.extend((key, element) for element in placed)
    crooked = key in history.crooked
    reason = {element: base + place for place, element in enumerate(placed)}
    following = dict(pairwise(placed))
    unread = [e for e, number in writers.items() if e not in reason and transactions[number].type == OK]
    missed = unread + [e for e, number in writers.items() if e not in reason and number in shown]
    for element in missed:
        reason[element] = len(reasons)
        reasons.append((key, element))

    def edge(kind: int, source: int, target: int, element: Any) -> None:
        if source != target:
            sources, targets, what = found[kind]
            sources.append(source)
            targets.append(target)
            what.append(reason[element])

    for element, after in following.items():
        edge(WW, writers[element], writers[after], after)
    if placed:
        for element in unread:
            edge(WW, writers[placed[-1]], writers[element], element)
    for reader, seen in history.reads.get(key, ()):
        last = seen[-1] if seen else None
        if seen and last in reason:
            edge(WR, writers[last], reader, last)
        elif seen:
            continue  # a failed or unknown writer: told elsewhere
        if crooked and seen and following.get(last) in seen:
            continue  # out of order: it saw what lies after its last element, too; told elsewhere
        if seen and last in following:
            edge(RW, reader, writers[following[last]], following[last])
        elif not seen and placed:
            edge(RW, reader, writers[placed[0]], placed[0])
        else:
            for element in missed:
                edge(RW, reader, writers[element], element)
