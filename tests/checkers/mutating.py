"""Mutations of valid histories: each breaks one guarantee and names the classes of which at least one must be found.

A mutation takes the operations of a run of `kafka_model` and a random source; it returns the mutated operations, or
None where this history has no place for it. Histories are rebuilt with fresh indexes; times are kept.
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.history import HARNESS

MUTATIONS: dict[str, tuple[Any, frozenset[str]]] = {}
"""Name -> (mutation, classes of which one must be found; "vacuous", "unknown" or "refused" for verdicts)."""


def mutation(*expected):
    def register(function):
        MUTATIONS[function.__name__] = (function, frozenset(expected))
        return function

    return register


def change(op, **fields):
    return msgspec.structs.replace(op, **fields)


def deep(value):
    return [deep(part) for part in value] if isinstance(value, list) else value


def polls(ops, *, ok=True, final=False):
    """Yield (place in ops, op, key, records) of every non-empty polled batch; records may be changed in place."""
    start = next((n for n, op in enumerate(ops) if op.process == HARNESS and op.value == "drain"), len(ops))
    for place, op in enumerate(ops):
        if op.f in ("poll", "txn") and op.type != "invoke" and (op.type == "ok" or not ok) and op.value:
            for micro in op.value:
                if micro[0] == "poll" and len(micro) > 1 and (not final or place > start):
                    for key, records in micro[1]:
                        if records:
                            yield place, op, key, records


def sends(ops, types=("ok",), f=None):
    """Yield (place, op, micro-op) of every send whose offset is known."""
    for place, op in enumerate(ops):
        if op.type in types and op.f in ("send", "txn") and (f is None or op.f == f):
            for micro in op.value:
                if micro[0] == "send" and isinstance(micro[2], list):
                    yield place, op, micro


def read_values(ops):
    return {(key, record[1]) for _, _, key, records in polls(ops) for record in records}


def forget(ops, key, value):
    """Remove a record from every poll."""
    for _, _, k, records in polls(ops, ok=False):
        if k == key:
            records[:] = [record for record in records if record[1] != value]


def log_of(ops, key):
    return sorted(
        {(record[0], record[1]) for _, _, k, records in polls(ops, ok=False) if k == key for record in records}
    )


def apply(name, ops, rng):
    """Return the mutated history with fresh indexes, or None."""
    function, _ = MUTATIONS[name]
    copies = [change(op, value=deep(op.value)) for op in ops]
    changed = function(copies, rng)
    if changed is None:
        return None
    return [change(op, index=index) for index, op in enumerate(changed)]
