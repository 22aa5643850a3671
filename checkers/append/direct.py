"""Anomalies that need no graph, and the version orders that the graph is made of.

internal, future-read, duplicate-elements, incompatible-order, G1a, G1b, dirty-update, lost-update (Adya; Elle).
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from checkers.append.history import Appends, Transaction
from checkers.findings import Findings
from harness.history import FAIL, OK

UNKNOWN_PREFIX = "..."


def internal(history: Appends, findings: Findings) -> None:
    """Report reads that contradict what their own transaction read or appended before, or read its own future."""
    for transaction in history.transactions:
        if transaction.type == OK and len(transaction.micro_ops) > 1:
            _internal(transaction, findings)


def _internal(transaction: Transaction, findings: Findings) -> None:
    known: dict[Any, list[Any]] = {}
    suffix: dict[Any, list[Any]] = {}
    for place, micro in enumerate(transaction.micro_ops):
        kind, key = micro[0], micro[1]
        if kind == "append":
            (known if key in known else suffix).setdefault(key, []).append(micro[2])
            continue
        seen = list((micro[2] if len(micro) > 2 else None) or ())
        later = {m[2] for m in transaction.micro_ops[place + 1 :] if m[0] == "append" and m[1] == key}
        future = [element for element in seen if element in later]
        if future:
            findings.add(
                "future-read",
                [transaction.index],
                f"op {transaction.index} read {future[0]!r} in {key} before it appended it itself.",
                key=key,
                element=future[0],
            )
        expected = known.get(key)
        tail = suffix.get(key, [])
        fits = seen == expected if expected is not None else seen[len(seen) - len(tail) :] == tail
        if not fits:
            want = expected if expected is not None else [UNKNOWN_PREFIX, *tail]
            findings.add(
                "internal",
                [transaction.index],
                f"op {transaction.index} read {seen} in {key}, though by its own earlier steps it had to read {want}.",
                key=key,
                expected=want,
            )
        known[key] = seen


def version_orders(history: Appends, findings: Findings) -> dict[Any, list[Any]]:
    """Return key -> its elements in order (the longest read); report reads that don't fit one order."""
    orders: dict[Any, list[Any]] = {}
    for key, reads in history.reads.items():
        number, longest = max(reads, key=lambda read: len(read[1]))
        if len(set(longest)) != len(longest):
            longest = list(dict.fromkeys(longest))
        orders[key] = longest
        for reader, seen in reads:
            if seen == longest[: len(seen)]:
                continue
            history.crooked.add(key)
            distinct = list(dict.fromkeys(seen))
            op = history.transactions[reader].index
            if len(distinct) != len(seen):
                twice = next(e for place, e in enumerate(seen) if e in seen[:place])
                findings.add(
                    "duplicate-elements",
                    [op],
                    f"op {op} read {twice!r} more than once in {key}.",
                    key=key,
                    element=twice,
                )
            if distinct != longest[: len(distinct)]:
                other = history.transactions[number].index
                findings.add(
                    "incompatible-order",
                    [op, other],
                    f"op {op} read {seen} in {key} but op {other} read {longest}: neither is a prefix of the other.",
                    key=key,
                    values=[seen, longest],
                )
    return orders


def reads_of_the_uncommitted(history: Appends, orders: dict[Any, list[Any]], findings: Findings) -> None:
    """Report what nobody appended, G1a (its transaction failed), G1b (a version in the middle of a transaction)."""
    transactions = history.transactions
    for key, reads in history.reads.items():
        writers = history.writer.get(key, {})
        final = history.final.get(key, set())
        phantoms = _never_appended(history, orders[key], key)
        failed = {element for element, number in writers.items() if transactions[number].type == FAIL}
        for reader, seen in reads:
            op = transactions[reader].index
            for element in seen if failed else ():
                if element in failed:
                    writer = transactions[writers[element]].index
                    findings.add(
                        "G1a",
                        [writer, op],
                        f"op {op} read {element!r} in {key}, which op {writer} appended, and op {writer} failed.",
                        key=key,
                        element=element,
                    )
            strange = [element for element in seen if element in phantoms] if phantoms else []
            if strange:
                why = f"op {op} read {strange[-1]!r} in {key}, which nobody appended."
                findings.add("phantom-read", [op], why, key=key)
            number = writers.get(seen[-1]) if seen else None
            if number is None:
                continue
            if number != reader and transactions[number].type != FAIL and seen[-1] not in final:
                writer = transactions[number].index
                findings.add(
                    "G1b",
                    [writer, op],
                    f"op {op} read {key} up to {seen[-1]!r}, a state in the middle of op {writer}, which appended more "
                    "to it.",
                    key=key,
                    element=seen[-1],
                )


def _never_appended(history: Appends, order: list[Any], key: Any) -> set[Any]:
    """Return the elements that reads saw and nobody appended."""
    writers = history.writer.get(key, {})
    seen = order if key not in history.crooked else chain.from_iterable(seen for _, seen in history.reads[key])
    return {element for element in seen if element not in writers}


def dirty_updates(history: Appends, orders: dict[Any, list[Any]], findings: Findings) -> None:
    """Report committed appends on top of an element whose transaction failed."""
    for key, order in orders.items():
        writers = history.writer.get(key, {})
        base: int | None = None
        for element in order:
            number = writers.get(element)
            if number is None:
                continue
            transaction = history.transactions[number]
            if transaction.type == FAIL:
                base = number
            elif transaction.type == OK and base is not None:
                one, other = history.transactions[base].index, transaction.index
                findings.add(
                    "dirty-update",
                    [one, other],
                    f"In {key}, op {other} (committed) appended {element!r} on top of what op {one} appended, "
                    "which failed.",
                    key=key,
                )
                base = None


def lost_updates(history: Appends, findings: Findings) -> None:
    """Report two committed transactions that read the same version of a key and then both appended to it."""
    seen: dict[tuple[Any, int, Any], int] = {}
    for number, transaction in enumerate(history.transactions):
        if transaction.type != OK or len(transaction.micro_ops) < 2:
            continue
        first_read: dict[Any, list[Any]] = {}
        done: set[Any] = set()
        for micro in transaction.micro_ops:
            key = micro[1]
            if micro[0] == "r":
                if key not in done:
                    first_read.setdefault(key, list((micro[2] if len(micro) > 2 else None) or ()))
                continue
            if key in first_read and key not in done:
                version = first_read[key]
                name = (key, len(version), version[-1] if version else None)
                other = seen.setdefault(name, number)
                if other != number:
                    one = history.transactions[other].index
                    findings.add(
                        "lost-update",
                        [one, transaction.index],
                        f"op {one} and op {transaction.index} both read {version} in {key} and then appended to it.",
                        key=key,
                        value=version,
                    )
            done.add(key)
