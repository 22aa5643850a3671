"""Mutations of valid histories: each breaks one guarantee and names the classes of which at least one must be found.

A mutation takes the operations of a run of `kafka_model` and a random source; it returns the mutated operations, or
None where this history has no place for it. Histories are rebuilt with fresh indexes; times are kept.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import msgspec

from checkers.judge import judge
from checkers.options import CheckOptions
from harness.history import HARNESS, HistoryError
from tests.checkers.kafka_model import run

MUTATIONS: dict[str, tuple[Any, frozenset[str]]] = {}
"""Name -> (mutation, classes of which one must be found; "vacuous", "unknown" or "refused" for verdicts)."""


PLAYED_BY: dict[str, Callable[[int], Any]] = {}
"""Name -> the model whose runs it breaks, where that is not `kafka_model`."""
OPTIONS: dict[str, CheckOptions] = {}
"""Name -> how the broken histories are judged, where that is not the default."""


def mutation(*expected, model=None, **options):
    def register(function):
        MUTATIONS[function.__name__] = (function, frozenset(expected))
        if model is not None:
            PLAYED_BY[function.__name__] = model
        if options:
            OPTIONS[function.__name__] = CheckOptions(**options)
        return function

    return register


def mutated(name, seed):
    """Return the mutated history of a seed, or None where it has no place for the mutation."""
    world = _played(PLAYED_BY.get(name, run), seed)
    if world.mixed or world.retention or world.killed:
        return None
    return apply(name, world.ops, random.Random(seed))


@functools.lru_cache(maxsize=512)
def _played(model, seed):
    return model(seed)


def outcome(name, ops):
    """Return the names of what was found, or the verdict's word, or "refused"."""
    try:
        judgement = judge(ops, OPTIONS.get(name))
    except HistoryError:
        return {"refused"}
    found = {anomaly.name for anomaly in judgement.anomalies if anomaly.permitted_by is None}
    if not found:
        return {str(judgement.validity.wire)}
    return found | {"unknown"} if judgement.reasons else found


def change(op, **fields):
    return msgspec.structs.replace(op, **fields)


def deep(value):
    if isinstance(value, dict):
        return {name: deep(part) for name, part in value.items()}
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
