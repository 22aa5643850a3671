"""Transactions of a list-append history: who appended what, and what each read saw.

Micro-ops are `["append", k, v]` and `["r", k, [v, ...] | null]` (null or absent: the empty list, in an ok completion).
Only ok reads count; info transactions may have appended; failed ones did not, and whoever reads theirs shows it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from checkers.exact import comparable, exact
from checkers.pairing import Paired, Pairing
from checkers.source import Lines
from harness.history import FAIL, OK, HistoryError

_KEYS = frozenset({int, str})
_MALFORMED = (TypeError, ValueError, IndexError, AttributeError, KeyError)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction; rows are positions in the history, -1 where there is none."""

    index: int
    process: int
    type: str
    micro_ops: list[Any]
    invoke_row: int
    done_row: int


@dataclass(slots=True)
class Appends:
    """The whole history, by transaction and by key."""

    transactions: list[Transaction] = field(default_factory=list)
    writer: dict[Any, dict[Any, int]] = field(default_factory=dict)
    """key -> element -> the transaction that (tried to) append it; one that did not fail wins over one that did."""
    final: dict[Any, set[Any]] = field(default_factory=dict)
    """key -> elements that are the last that their transaction appended to it."""
    reads: dict[Any, list[tuple[int, list[Any]]]] = field(default_factory=dict)
    """key -> (transaction, list) of every ok read."""
    repeated: dict[Any, list[Any]] = field(default_factory=dict)
    """key -> elements that two transactions (or one, twice) append: nothing is known of such a key (see `forget`)."""
    crooked: set[Any] = field(default_factory=set)
    """Keys with reads that are no prefix of the longest one (filled in by `direct.version_orders`)."""
    rows: int = 0
    has_invocations: bool = True
    stats: dict[str, dict[str, int]] = field(default_factory=dict)
    backwards: str | None = None

    def forget(self, keys: Collection[Any]) -> None:
        """Drop all operations on some keys."""
        for number, transaction in enumerate(self.transactions):
            left = [micro for micro in transaction.micro_ops if micro[1] not in keys]
            self.transactions[number] = replace(transaction, micro_ops=left)
        for key in keys:
            for table in (self.writer, self.final, self.reads):
                table.pop(key, None)


def build_appends(blocks: Iterable[Lines], name: str) -> Appends:
    """Return the transactions of a history."""
    pairing = Pairing(name, overlapping=True)
    out = Appends()
    pending: list[Paired] = []
    for lines, numbers in blocks:
        pending.extend(pairing.feed(lines, numbers))
    pending.extend(pairing.dangling())
    index, _ = pairing.columns()
    indexes = index.tolist()
    for call in pending:
        _add(out, call, indexes, name)
    out.rows = pairing.rows
    out.has_invocations = pairing.has_invocations
    out.backwards = pairing.backwards
    return out


def _add(out: Appends, call: Paired, indexes: list[int], name: str) -> None:
    done = call.completion
    line = done or call.invocation
    type_ = "info" if done is None else done.type
    value = line.value
    if call.invocation is not None and (value is None or type_ != OK):  # what was not told all the same was asked for
        value = call.invocation.value
    counts = out.stats.setdefault(line.f or "txn", {"count": 0, "ok": 0, "fail": 0, "info": 0})
    counts["count"] += 1
    counts[type_] += 1
    row = call.done_row if call.done_row >= 0 else call.invoke_row
    number = len(out.transactions)
    try:
        transaction = Transaction(
            indexes[row], line.process, type_, _exact(value or []), call.invoke_row, call.done_row
        )
        _index(out, number, transaction)
    except _MALFORMED as error:
        raise HistoryError(
            f'{name}:{call.number}: a list-append transaction is a list of ["append", k, v] and ["r", k, list]: {error}'
        ) from error
    out.transactions.append(transaction)


def _exact(micro_ops: list[Any]) -> list[Any]:
    """Return micro-ops whose elements are as JSON has them; nearly always what was given.

    Raises TypeError where a key is none: true and 1.0 would pass for 1.
    """
    for micro in micro_ops:
        if type(micro[1]) not in _KEYS:
            raise TypeError(f"a key is a string or an integer, not {micro[1]!r}")
        value = micro[2] if len(micro) > 2 else None
        if micro[0] == "r" and value is not None and type(value) is not list:
            raise TypeError(f"a read returns a list or null, not {value!r}")
        if not comparable(value if type(value) is list else (value,)):
            return [_exactly(each) for each in micro_ops]
    return micro_ops


def _exactly(micro: list[Any]) -> list[Any]:
    kind, key, *rest = micro
    return [kind, key, *(list(map(exact, value)) if type(value) is list else exact(value) for value in rest)]


def _index(out: Appends, number: int, transaction: Transaction) -> None:
    type_ = transaction.type
    last: dict[Any, Any] = {}
    for micro in transaction.micro_ops:
        kind, key = micro[0], micro[1]
        if kind == "append":
            element = micro[2]
            writers = out.writer.setdefault(key, {})
            other = writers.get(element)
            if other is not None and type_ != FAIL:
                if other == number or out.transactions[other].type != FAIL:
                    out.repeated.setdefault(key, []).append(element)
                writers[element] = number
            elif other is None:
                writers[element] = number
            last[key] = element
        elif kind == "r":
            if type_ == OK:
                seen = micro[2] if len(micro) > 2 else None
                out.reads.setdefault(key, []).append((number, list(seen or ())))
        else:
            raise ValueError(f"unknown micro-op {kind!r}")
    if type_ != FAIL:
        for key, element in last.items():
            out.final.setdefault(key, set()).add(element)
