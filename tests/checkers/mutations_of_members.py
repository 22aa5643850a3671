"""Mutations of runs of `kafka_members`: what members pass over, and offsets of nobody."""

from __future__ import annotations

from harness.history import HARNESS
from tests.checkers.kafka_members import OPTIONS, run
from tests.checkers.mutating import mutation, polls, sends

MEMBERS = {"model": run, "sub_via": OPTIONS.sub_via}


def _acknowledged(ops):
    return {(micro[1], micro[2][1]) for _, _, micro in sends(ops)}


def _members(ops):
    return {op.process for op in ops if op.f == "subscribe"}


def _dealt(ops):
    """Yield (place, process, key) of each key that a callback took or gave."""
    for place, op in enumerate(ops):
        if op.f == "rebalance":
            for kind in ("assigned", "revoked", "lost"):
                yield from ((place, op.value["process"], key) for key in op.value[kind])


@mutation("poll-skip", **MEMBERS)
def member_passes_over_a_record(ops, rng):
    known, members, dealt = _acknowledged(ops), _members(ops), list(_dealt(ops))
    before = {}
    for place, op, key, records in polls(ops, ok=False):
        if op.process not in members:
            continue
        start, first = before.get((op.process, key), (None, None))
        moved = start is None or any(
            start < at < place and who == op.process and what == key for at, who, what in dealt
        )
        if op.type == "ok" and not moved and len(records) > 1 and (key, records[0][1]) in known:
            del records[0]
            return ops
        begun = next(at for at in range(place - 1, -1, -1) if ops[at].process == op.process)
        before[op.process, key] = (begun, first) if op.type == "ok" else (None, None)
    return None


@mutation("nonmonotonic-poll", **MEMBERS)
def member_reads_a_record_again(ops, rng):
    members, dealt = _members(ops), list(_dealt(ops))
    if not any(op.process == HARNESS for op in ops):
        return None
    before = {}
    for place, op, key, records in polls(ops, ok=False):
        start, last = before.get((op.process, key), (None, None))
        moved = start is None or any(
            start < at < place and who == op.process and what == key for at, who, what in dealt
        )
        if op.process in members and op.type == "ok" and not moved:
            records.insert(0, list(last))
            return ops
        begun = next(at for at in range(place - 1, -1, -1) if ops[at].process == op.process)
        before[op.process, key] = (begun, records[-1]) if op.type == "ok" else (None, None)
    return None


@mutation("int-poll-skip", **MEMBERS)
def first_poll_of_a_member_passes_over_a_record(ops, rng):
    known, dealt = _acknowledged(ops), list(_dealt(ops))
    if not any(op.process == HARNESS for op in ops):
        return None
    for place, op, key, records in polls(ops, ok=False):
        begun = next((at for at in range(place - 1, -1, -1) if ops[at].process == op.process), place)
        mine = [at for at, who, what in dealt if who == op.process and what == key]
        is_first = len(mine) > 0 and begun < mine[0] < place and (len(mine) == 1 or mine[1] > place)
        if is_first and op.rebalance_log and len(records) > 2 and (key, records[1][1]) in known:
            del records[1]
            return ops
    return None


@mutation("resume-gap", **MEMBERS)
def first_poll_of_a_member_begins_late(ops, rng):
    known, dealt = _acknowledged(ops), list(_dealt(ops))
    stored = [(at, key) for at, op in enumerate(ops) if op.type == "ok" for key, _ in op.offsets or ()]
    unsure = {key for op in ops if op.extra for key, _ in op.extra.get("uncertain-offsets", ())}
    unsure |= {key for op in ops if op.f == "commit" for key, _ in op.value}
    for place, op, key, records in polls(ops, ok=False):
        begun = next((at for at in range(place - 1, -1, -1) if ops[at].process == op.process), place)
        mine = [at for at, who, what in dealt if who == op.process and what == key]
        first = len(mine) > 0 and begun < mine[0] < place and (len(mine) == 1 or mine[1] > place)
        committed = first and any(at < mine[0] and what == key for at, what in stored) and key not in unsure
        if committed and op.rebalance_log and len(records) > 1 and (key, records[0][1]) in known:
            del records[0]
            return ops
    return None


@mutation("nonlinearizable", **MEMBERS)
def offset_that_nobody_committed_shows(ops, rng):
    if not any(op.process == HARNESS for op in ops):
        return None
    answers = [
        pair for op in ops if op.f == "committed" and op.type == "ok" for pair in op.value if pair[1] is not None
    ]
    if not answers:
        return None
    answers[-1][1] += 1000
    seen = [pair for pair in answers[:-1] if pair[0] == answers[-1][0]]
    return ops if seen else None
