"""Mutations of runs of `program_model`, and of real runs of `--app`: what a program, or the brokers, may not do."""

from __future__ import annotations

from collections import defaultdict

from tests.checkers.mutating import forget, mutation, polls
from tests.checkers.program_model import promised, run

PROGRAMS = {"model": run}


def _origin(record):
    return tuple(record[2]["origin"]) if len(record) > 2 and "origin" in record[2] else None


def _rows(ops):
    """Return the records of the final read_committed reads, by key: (records of a poll, record)."""
    found = defaultdict(list)
    for _, op, key, records in polls(ops, final=True):
        if op.isolation == "read_committed":
            found[key] += [(records, record) for record in records]
    return found


def _made(ops):
    """Return by input key and value where its outputs are: [(output key, offset)]."""
    made = defaultdict(list)
    for key, rows in _rows(ops).items():
        for _, record in rows:
            if (origin := _origin(record)) is not None:
                made[origin].append((key, record[0]))
    return made


def _inputs(ops):
    """Return by key the values that were committed, in order."""
    told = next(op.value["inputs"] for op in ops if op.f == "application")
    rows = _rows(ops)
    return {key: [record[1] for _, record in rows[key]] for key in told if rows[key]}


def _sent(ops, outcome="ok"):
    return {
        (micro[1], micro[2][1] if isinstance(micro[2], list) else micro[2])
        for op in ops
        if op.type == outcome and op.f in {"send", "txn"}
        for micro in op.value
        if micro[0] == "send"
    }


def _certain(ops):
    """Return the inputs that were acknowledged and have come out, with their outputs."""
    known = _sent(ops)
    return [(origin, outputs) for origin, outputs in sorted(_made(ops).items()) if origin in known]


def _remove(ops, outputs):
    for key, offset in outputs:
        for _, _, k, records in polls(ops, ok=False):
            if k == key:
                records[:] = [record for record in records if record[0] != offset]


def _append(ops, key, origin):
    """Let the final reads of a key, and its drain, show one more output; return whether they could."""
    (drain,) = [op.value for op in ops if op.f == "drain" and op.value["key"] == key]
    offset, last = drain["end"], {}
    for _, op, k, records in polls(ops, final=True):
        if k == key:
            last[op.isolation] = records
    for records in last.values():
        records.append([offset, f"{origin[1]}@{offset}", {"origin": list(origin)}])
    for name in ("end", "lso", "read-to"):
        drain[name] = offset + 1
    return bool(last)


@mutation("eos-loss", **PROGRAMS)
def output_was_never_made(ops, rng):
    known = _sent(ops)
    made = _made(ops)
    found = [
        (key, value)
        for key, values in _inputs(ops).items()
        for at, value in enumerate(values)
        if (key, value) in known and any((key, later) in made for later in values[at + 1 :])
    ]
    if not found:
        return None
    _remove(ops, made[rng.choice(found)])
    return ops


@mutation("eos-loss", **PROGRAMS)
def output_of_an_undecided_input_was_never_made(ops, rng):
    known, made = _sent(ops), _made(ops)
    found = [
        (key, value)
        for key, values in _inputs(ops).items()
        for at, value in enumerate(values)
        if (key, value) in made
        and (key, value) not in known
        and any((key, later) in made and (key, later) in known for later in values[at + 1 :])
    ]
    if not found:
        return None
    _remove(ops, made[rng.choice(found)])
    return ops


@mutation("eos-stalled", **PROGRAMS)
def last_outputs_of_an_input_were_never_made(ops, rng):
    known, made = _sent(ops), _made(ops)
    inputs = [(key, values) for key, values in _inputs(ops).items() if (key, values[-1]) in known]
    if not inputs:
        return None
    key, values = rng.choice(inputs)
    for value in values[-rng.randint(1, len(values)) :]:
        _remove(ops, made[key, value])
    return ops


@mutation("eos-stalled", **PROGRAMS)
def program_did_nothing(ops, rng):
    for outputs in _made(ops).values():
        _remove(ops, outputs)
    return ops


@mutation("lost-write", **PROGRAMS)
def output_that_was_seen_is_gone(ops, rng):
    start = next(at for at, op in enumerate(ops) if op.value == "drain")
    seen = [(key, record[0]) for at, _, key, records in polls(ops) if at < start for record in records]
    ends = {op.value["key"] for op in ops if op.f == "drain" and op.value["complete"]}
    found = sorted({one for one in seen if one[0] in ends})
    if not found:
        return None
    key, offset = rng.choice(found)
    for at, _, k, records in polls(ops, ok=False):
        if at > start and k == key:
            records[:] = [record for record in records if record[0] != offset]
    return ops


@mutation("eos-duplicate", **PROGRAMS)
def output_is_made_twice(ops, rng):
    made = _certain(ops)
    if promised(ops) != "exactly-once" or not made:
        return None
    origin, outputs = rng.choice(made)
    return ops if _append(ops, rng.choice(outputs)[0], origin) else None


@mutation("eos-duplicate", **PROGRAMS)
def output_is_made_twice_elsewhere(ops, rng):
    made = _certain(ops)
    others = sorted({key for outputs in _made(ops).values() for key, _ in outputs})
    if promised(ops) != "exactly-once" or not made or len(others) < 2:
        return None
    origin, outputs = rng.choice(made)
    return ops if _append(ops, rng.choice([key for key in others if key != outputs[0][0]]), origin) else None


@mutation("eos-reorder", **PROGRAMS)
def outputs_change_places(ops, rng):
    by_line = defaultdict(list)
    for origin, outputs in sorted(_made(ops).items()):
        if len(outputs) == 1:
            by_line[outputs[0][0], origin[0]].append((outputs[0][1], origin))
    lines = [(key, line) for (key, _), line in sorted(by_line.items()) if len(line) > 1]
    if not lines:
        return None
    key, line = rng.choice(lines)
    (one, first), (other, second) = rng.sample(line, 2)
    becomes = {one: second, other: first}
    for _, _, k, records in polls(ops, ok=False):
        for record in records if k == key else ():
            if record[0] in becomes:
                origin = becomes[record[0]]
                record[1], record[2] = f"{origin[1]}@{record[0]}", {**record[2], "origin": list(origin)}
    return ops


@mutation("eos-phantom", **PROGRAMS)
def aborted_input_is_copied(ops, rng):
    told = next(op.value["inputs"] for op in ops if op.f == "application")
    refused = sorted(_sent(ops, "fail"))
    outputs = sorted({key for outputs in _made(ops).values() for key, _ in outputs})
    if not outputs or not (found := [one for one in refused if one[0] in told]):
        return None
    return ops if _append(ops, rng.choice(outputs), rng.choice(found)) else None


@mutation("eos-phantom", **PROGRAMS)
def output_is_made_of_nothing(ops, rng):
    outputs = sorted({key for outputs in _made(ops).values() for key, _ in outputs})
    key = next(op.value["inputs"][0] for op in ops if op.f == "application")
    return ops if outputs and _append(ops, rng.choice(outputs), (key, 1_000_000)) else None


@mutation("record-altered", **PROGRAMS)
def output_is_damaged(ops, rng):
    rows = [row for rows in _rows(ops).values() for row in rows if _origin(row[1]) is not None]
    if len(rows) < 2:
        return None
    _, record = rng.choice(rows)
    record[1], record[2] = f"?6831@{record[0]}", {"altered": "checksum"}
    return ops


@mutation("unknown", **PROGRAMS)
def program_does_not_keep_the_values(ops, rng):
    told = next(op.value["outputs"] for op in ops if op.f == "application")
    if not _made(ops):
        return None
    for _, _, key, records in polls(ops, ok=False):
        for record in records if key in told else ():
            record[1], record[2] = f"?7b22@{record[0]}", {"altered": "undecodable"}
    return ops


@mutation("lost-write", "unseen", **PROGRAMS)
def input_is_gone_after_it_was_copied(ops, rng):
    made = _certain(ops)
    if not made:
        return None
    forget(ops, *rng.choice(made)[0])
    return ops
