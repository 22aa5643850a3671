"""Growing int64 columns, the ranking of pairs and the rows of each code: what the tables of the checkers are made of.

A `Column` takes Python integers in chunks and hands out one NumPy array. A *rank* replaces values by dense integers in
sorted order: where the values are dense already (offsets of a partition, counters as record values) it is one scatter
and one running sum, else a sort; both give the same answer. Whoever asks about many codes asks `Groups`, so that no
question looks at all rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DENSE_FACTOR = 8
"""A scatter table may have this many times the rows; beyond it a sort needs less memory."""
DENSE_FLOOR = 1 << 16
"""Tables below this size are scattered whatever the rows: half a megabyte is nothing."""


class Column:
    """An append-only column of int64; `add` takes any number of integers at once."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values = array("q")

    def add(self, values: Any) -> None:
        """Append integers (a list or an array("q")); TypeError or OverflowError where one is not an int64."""
        self._values.extend(values)

    def __len__(self) -> int:
        return len(self._values)

    def take(self) -> Ints:
        """Return the column as an array (no copy); the column must not be added to afterwards."""
        if not self._values:
            return np.empty(0, np.int64)
        return np.frombuffer(self._values, np.int64)


class Rows:
    """An append-only table of int64, filled row by row (tuples of equal width) and taken column by column."""

    __slots__ = ("_values", "_width")

    def __init__(self, width: int) -> None:
        self._values = array("q")
        self._width = width

    def add(self, rows: Iterable[tuple[int, ...]]) -> None:
        """Append rows; TypeError or OverflowError where a member is not an int64."""
        self._values.extend(chain.from_iterable(rows))

    def take(self) -> list[Ints]:
        """Return the columns; the table must not be added to afterwards."""
        if not self._values:
            return [np.empty(0, np.int64) for _ in range(self._width)]
        table = np.frombuffer(self._values, np.int64).reshape(-1, self._width)
        return [np.ascontiguousarray(table[:, column]) for column in range(self._width)]


@dataclass(frozen=True, slots=True)
class PairRank:
    """Distinct pairs (first, second) in sorted order: `rank[row]` is the row's pair, `first`/`second` are per pair."""

    rank: Ints
    first: Ints
    second: Ints

    @property
    def size(self) -> int:
        """Return the number of distinct pairs."""
        return len(self.first)


def rank(values: Ints) -> tuple[Ints, Ints]:
    """Return (rank of each row, distinct values in order)."""
    if not len(values):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    low, high = int(values.min()), int(values.max())
    if high - low < max(DENSE_FACTOR * len(values), DENSE_FLOOR):
        return _scattered(values - low if low else values.copy(), high - low + 1, low)
    distinct, inverse = np.unique(values, return_inverse=True)
    return inverse.astype(np.int64, copy=False), distinct


ROWS_AT_ONCE = 1 << 20
"""Rows that are replaced together: what is held beside the column fits a processor's cache."""


def _scattered(values: Ints, span: int, low: int) -> tuple[Ints, Ints]:
    """Return what `rank` does of values below `span` that are `low` too small; the array of values is used up."""
    present = np.zeros(span, np.bool_)
    present[values] = True
    places = np.cumsum(present, dtype=np.int32 if span < 1 << 31 else np.int64)  # one more than the rank
    for start in range(0, len(values), ROWS_AT_ONCE):
        part = values[start : start + ROWS_AT_ONCE]
        part[:] = places[part]
        part -= 1
    return values, np.flatnonzero(present) + low


def dense(parts: Sequence[Ints]) -> tuple[list[Ints], Ints]:
    """Return the parts as small integers that keep their order, and the value of each of these integers.

    Cheaper than a rank where values are dense already: integers that no part holds may be among them.
    """
    total = sum(map(len, parts))
    held = [part for part in parts if len(part)]
    if not held:
        return list(parts), np.empty(0, np.int64)
    low, high = min(int(part.min()) for part in held), max(int(part.max()) for part in held)
    if high - low < max(DENSE_FACTOR * total, DENSE_FLOOR):
        return [part - low for part in parts], np.arange(low, high + 1)
    ranks, distinct = rank(np.concatenate(parts))
    return np.split(ranks, np.cumsum([len(part) for part in parts])[:-1]), distinct


def pair_rank(*parts: tuple[Ints, Ints]) -> PairRank:
    """Rank the pairs (first, second) of all parts together; `first` is dense and not negative (a key's code).

    The ranks of the parts stand one after the other. Of a large history nothing of its length is made but these.
    """
    parts = tuple(part for part in parts if len(part[0]))
    if not parts:
        empty = np.empty(0, np.int64)
        return PairRank(empty, empty, empty)
    low, high = min(int(second.min()) for _, second in parts), max(int(second.max()) for _, second in parts)
    span = high - low + 1
    firsts = max(int(first.max()) for first, _ in parts) + 1
    if firsts * span >= 1 << 62:  # values from the interner's range beside plain ones
        second_rank, seconds = rank(np.concatenate([second for _, second in parts]))
        inner = pair_rank((np.concatenate([first for first, _ in parts]), second_rank))
        return PairRank(inner.rank, inner.first, seconds[inner.second])
    code = np.empty(sum(len(first) for first, _ in parts), np.int64)
    end = 0
    for first, second in parts:
        here = code[end : end + len(first)]
        np.multiply(first, span, out=here)
        np.add(here, second, out=here)
        np.subtract(here, low, out=here)
        end += len(first)
    if firsts * span < max(DENSE_FACTOR * len(code), DENSE_FLOOR):
        ranks, codes = _scattered(code, firsts * span, 0)
    else:
        ranks, codes = rank(code)
    return PairRank(ranks, codes // span, codes % span + low)


def same_as_before(*columns: Ints) -> Bools:
    """Return for each row whether it equals the row before it in all columns; the first row never does."""
    same = np.zeros(len(columns[0]), np.bool_)
    if len(same) > 1:
        same[1:] = True
        for column in columns:
            same[1:] &= column[1:] == column[:-1]
    return same


class Groups:
    """The rows of each code of a column, in order: one sort, then two searches a question."""

    __slots__ = ("_codes", "_order")

    def __init__(self, code: Ints) -> None:
        self._order = np.argsort(code, kind="stable")
        self._codes = code[self._order]

    def rows(self, code: int) -> Ints:
        """Return the rows of a code, rising."""
        low, high = np.searchsorted(self._codes, (code, code + 1))
        return self._order[low:high]


LOOKED_AT_FIRST = 64
"""Rows that `last_where` looks at first: where there is something to find, it mostly lies there."""


def last_where(holds: Callable[[slice], Bools], low: int, high: int) -> int | None:
    """Return the last row of [low, high) for which something holds, None if there is none; it looks from the end."""
    size = LOOKED_AT_FIRST
    while high > low:
        start = max(low, high - size)
        found = np.flatnonzero(holds(slice(start, high)))
        if len(found):
            return start + int(found[-1])
        high, size = start, 2 * size
    return None
