"""Mutations of valid histories: each breaks one guarantee and names the classes of which at least one must be found.

A mutation takes the operations of a run of `kafka_model` and a random source; it returns the mutated operations, or
None where this history has no place for it. Histories are rebuilt with fresh indexes; times are kept.
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.history import HARNESS, Op

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


@mutation("lost-write")
def acknowledged_value_vanishes_from_all_reads(ops, rng):
    seen = read_values(ops)
    places = [(m[1], m[2][1]) for _, _, m in sends(ops) if (m[1], m[2][1]) in seen]
    rng.shuffle(places)
    for key, value in places:
        if log_of(ops, key)[-1][1] != value:
            forget(ops, key, value)
            return ops
    return None


@mutation("unseen")
def last_value_of_a_key_is_never_read(ops, rng):
    seen = read_values(ops)
    for _, _, micro in reversed(list(sends(ops))):
        if (micro[1], micro[2][1]) in seen and log_of(ops, micro[1])[-1][1] == micro[2][1]:
            forget(ops, micro[1], micro[2][1])
            return ops
    return None


@mutation("torn-transaction")
def one_member_of_a_transaction_vanishes(ops, rng):
    seen = read_values(ops)
    for op in ops:
        if op.f == "txn" and op.type == "ok":
            mine = [(m[1], m[2][1]) for m in op.value if m[0] == "send" and isinstance(m[2], list)]
            if len(mine) > 1 and all(member in seen for member in mine):
                forget(ops, *mine[0])
                return ops
    return None


@mutation("torn-transaction")
def one_member_of_an_undecided_transaction_vanishes(ops, rng):
    seen = read_values(ops)
    for place, op in enumerate(ops):
        if op.f == "txn" and op.type == "ok" and isinstance(op.commit_time, int):
            mine = [(m[1], m[2][1]) for m in op.value if m[0] == "send" and isinstance(m[2], list)]
            inside = mine and mine[0] in seen and log_of(ops, mine[0][0])[-1][1] != mine[0][1]
            if len(mine) > 1 and inside and mine[1] in seen and _last_of(ops, place):
                ops[place] = change(op, type="info")
                forget(ops, *mine[0])
                return ops
    return None


def _last_of(ops, place):
    return not any(op.process == ops[place].process for op in ops[place + 1 :])


@mutation("lost-write")
def value_read_before_vanishes_from_the_final_read(ops, rng):
    if not any(op.value == "drain" for op in ops):
        return None
    early = {(k, r[1]) for place, op, k, records in polls(ops) for r in records if not _final(ops, place)}
    acked = {(m[1], m[2][1]) for _, _, m in sends(ops)}
    for _, _, key, records in polls(ops, final=True):
        for record in list(records):
            if (key, record[1]) in early & acked:
                records.remove(record)
                return ops
    return None


def _final(ops, place):
    return any(op.process == HARNESS and op.value == "drain" for op in ops[:place])


@mutation("inconsistent-offsets", "duplicate")
def one_reader_sees_another_value_at_an_offset(ops, rng):
    batches = [(key, records) for _, _, key, records in polls(ops)]
    rng.shuffle(batches)
    for key, records in batches:
        others = [value for _, value in log_of(ops, key) if value not in {r[1] for r in records}]
        shared = [r for r in records if sum(r[0] in {x[0] for x in rs} for k, rs in batches if k == key) > 1]
        if others and shared:
            shared[0][1] = others[0]
            return ops
    return None


@mutation("inconsistent-offsets")
def acknowledgement_names_the_offset_of_another_value(ops, rng):
    for _, _, micro in sends(ops):
        taken = [offset for offset, value in log_of(ops, micro[1]) if value != micro[2][1]]
        if taken:
            micro[2][0] = taken[0]
            return ops
    return None


@mutation("duplicate")
def value_lies_twice_in_the_log(ops, rng):
    for _, _, key, records in reversed(list(polls(ops))):
        log = log_of(ops, key)
        if len(log) > 1 and records[-1][0] == log[-1][0]:
            records.append([log[-1][0] + 7, log[0][1]])
            return ops
    return None


@mutation("rolled-back-offset")
def value_is_found_elsewhere_than_acknowledged(ops, rng):
    seen = read_values(ops)
    for _, _, micro in sends(ops):
        if (micro[1], micro[2][1]) in seen:
            micro[2][0] = 5000
            return ops
    return None


@mutation("phantom-read")
def value_nobody_sent_is_polled(ops, rng):
    for _, _, _, records in polls(ops):
        records[-1][1] = 987_654
        return ops
    return None


@mutation("phantom-read")
def record_is_polled_from_another_partition(ops, rng):
    for _, _op, key, records in polls(ops):
        others = [k for _, _, k, _ in polls(ops) if k != key]
        if others:
            records.append([9000, log_of(ops, others[0])[0][1]])
            return ops
    return None


@mutation("record-altered")
def record_does_not_fit_its_stamp(ops, rng):
    for _, _, _, records in polls(ops):
        records[0].append({"altered": "checksum 1 is not 2"})
        return ops
    return None


def _failed_value(ops):
    for op in ops:
        if op.f == "txn" and op.type == "fail":
            for micro in op.value:
                if micro[0] == "send" and isinstance(micro[2], list):
                    return micro
    return None


@mutation("G1a")
def ok_poll_shows_an_aborted_value(ops, rng):
    failed = _failed_value(ops)
    for _, _op, key, records in polls(ops):
        if failed and key == failed[1]:
            records.append(list(failed[2]))
            return ops
    return None


@mutation("aborted-read")
def failed_poll_shows_an_aborted_value(ops, rng):
    failed = _failed_value(ops)
    for _place, op, key, records in polls(ops, ok=False):
        own = any(micro[0] == "send" for micro in op.value)
        if failed and key == failed[1] and op.type != "ok" and op.isolation != "read_uncommitted" and not own:
            records.append(list(failed[2]))
            return ops
    return None


@mutation("aborted-read")
def transaction_that_never_called_commit_is_visible(ops, rng):
    for op in ops:
        if op.f == "txn" and op.type == "info" and op.commit_time is None:
            for micro in op.value:
                if micro[0] == "send" and isinstance(micro[2], list):
                    for _, reader, key, records in polls(ops):
                        if key == micro[1] and reader.isolation != "read_uncommitted":
                            records.append(list(micro[2]))
                            return ops
    return None


@mutation("G1a", "aborted-read")
def committed_transaction_was_said_to_have_failed(ops, rng):
    seen = read_values(ops)
    for place, op in enumerate(ops):
        if (
            op.f == "txn"
            and op.type == "ok"
            and any(m[0] == "send" and isinstance(m[2], list) and (m[1], m[2][1]) in seen for m in op.value)
        ):
            ops[place] = change(op, type="fail")
            return ops
    return None


@mutation("dirty-read")
def poll_ended_before_the_commit_was_called(ops, rng):
    writers = {(m[1], m[2][1]): place for place, _, m in sends(ops, f="txn")}
    for place, op, key, records in polls(ops):
        for record in records:
            writer = writers.get((key, record[1]))
            if writer is not None and writer != place and op.times and op.isolation != "read_uncommitted":
                late = max(end for _, end in op.times) + 1
                ops[writer] = change(ops[writer], commit_time=late)
                return ops
    return None


@mutation("precommitted-read")
def transaction_polls_what_it_sends(ops, rng):
    for op in ops:
        if op.f == "txn" and op.type == "ok":
            mine = [m for m in op.value if m[0] == "send" and isinstance(m[2], list)]
            poll = [m for m in op.value if m[0] == "poll" and len(m) > 1]
            if mine and poll:
                poll[0][1].append([mine[0][1], [list(mine[0][2])]])
                return ops
    return None


@mutation("int-poll-skip")
def poll_passes_over_a_record(ops, rng):
    for _, _, _, records in polls(ops):
        if len(records) > 2 and records[0][0] < records[1][0] < records[2][0]:
            others = sum(records[1] in rs for _, _, _, rs in polls(ops, ok=False))
            if others > 1:
                del records[1]
                return ops
    return None


@mutation("int-nonmonotonic-poll")
def poll_returns_two_records_in_the_wrong_order(ops, rng):
    for _, _, _, records in polls(ops):
        if len(records) > 1:
            records[0], records[1] = records[1], records[0]
            return ops
    return None


@mutation("int-nonmonotonic-poll")
def poll_returns_a_record_twice(ops, rng):
    for _, _, _, records in polls(ops):
        records.append(list(records[-1]))
        return ops
    return None


def _next_poll(ops, ok_first=True):
    """Yield (first records, next records) of two polls of one process and key with nothing between that forgets."""
    last: dict[tuple[Any, Any], list[Any]] = {}
    for op in ops:
        if op.type == "invoke" or not isinstance(op.process, int):
            continue
        if op.f in ("assign", "subscribe"):
            last = {k: v for k, v in last.items() if k[0] != op.process}
        if op.f not in ("poll", "txn") or not op.value:
            continue
        now: dict[Any, list[Any]] = {}
        for micro in op.value:
            if micro[0] == "poll" and len(micro) > 1:
                for key, records in micro[1]:
                    now.setdefault(key, records) if records else None
        for key, records in now.items():
            if (op.process, key) in last:
                yield last[op.process, key], records
            if op.type == "ok":
                last[op.process, key] = records


@mutation("poll-skip")
def consumer_passes_over_a_record_between_polls(ops, rng):
    for _, records in _next_poll(ops):
        if len(records) > 1 and sum(records[0] in rs for _, _, _, rs in polls(ops, ok=False)) > 1:
            del records[0]
            return ops
    return None


@mutation("nonmonotonic-poll")
def consumer_reads_a_record_again(ops, rng):
    for before, records in _next_poll(ops):
        records.insert(0, list(before[-1]))
        return ops
    return None


@mutation("int-nonmonotonic-send")
def sends_of_one_operation_land_in_the_wrong_order(ops, rng):
    for op in ops:
        if op.type == "ok" and op.f in ("send", "txn"):
            mine = [m for m in op.value if m[0] == "send" and isinstance(m[2], list)]
            for one in mine:
                for other in mine:
                    if one is not other and one[1] == other[1] and one[2][0] < other[2][0]:
                        one[2], other[2] = other[2], one[2]
                        return ops
    return None


@mutation("nonmonotonic-send")
def later_send_lands_before_an_earlier_one(ops, rng):
    acked = list(sends(ops))
    for place, op, one in acked:
        for later_place, later, other in acked:
            if later.process == op.process and later_place > place and one[1] == other[1] and one[2][0] < other[2][0]:
                one[2], other[2] = other[2], one[2]
                return ops
    return None


@mutation("G1c")
def two_transactions_read_each_other(ops, rng):
    commits = [(p, op, m) for p, op, m in sends(ops, f="txn")]
    for place, op, one in commits:
        for other_place, other, two in commits:
            if other_place > place and ops[place].process != other.process and _overlap(ops, place, other_place):
                op.value.append(["poll", [[two[1], [list(two[2])]]]])
                other.value.append(["poll", [[one[1], [list(one[2])]]]])
                return ops
    return None


def _overlap(ops, place, other):
    begun = max(n for n in range(other) if ops[n].process == ops[other].process and ops[n].type == "invoke")
    return begun < place


@mutation("G1c-realtime")
def value_is_read_before_its_send_was_invoked(ops, rng):
    acked = list(sends(ops))
    for place, op, micro in reversed(acked):
        begun = max(n for n in range(place) if ops[n].process == op.process and ops[n].type == "invoke")
        for early, reader, _key, _records in polls(ops):
            if early < begun and reader.process != op.process:
                reader.value.append(["poll", [[micro[1], [list(micro[2])]]]])
                return ops
    return None


@mutation("hung-transaction")
def last_stable_offset_never_moves(ops, rng):
    for place, op in enumerate(ops):
        if op.f == "drain" and op.value["end"]:
            ops[place] = change(op, value=op.value | {"lso": 0, "read-to": 0, "complete": False})
            return ops
    return None


@mutation("unavailable")
def partition_lost_its_leader(ops, rng):
    for place, op in enumerate(ops):
        if op.f == "drain":
            ops[place] = change(op, value=op.value | {"end": None, "lso": None, "read-to": 0, "complete": False})
            return ops
    return None


@mutation("vacuous")
def fault_never_bit(ops, rng):
    for place, op in enumerate(ops):
        if op.process == "nemesis" and isinstance(op.value, dict) and "bit" in op.value:
            ops[place] = change(op, value=op.value | {"bit": False})
            return ops
    return None


@mutation("unknown")
def final_read_is_missing(ops, rng):
    if not any(op.f == "drain" for op in ops):
        return None
    return [op for op in ops if op.f != "drain"]


@mutation("unknown")
def reader_was_too_slow(ops, rng):
    for place, op in enumerate(ops):
        if op.f == "drain" and op.value["end"]:
            ops[place] = change(op, value=op.value | {"read-to": 0, "complete": False})
            return ops
    return None


@mutation("unknown")
def one_value_is_sent_twice(ops, rng):
    process = 1 + max(op.process for op in ops if isinstance(op.process, int))
    for _, _, micro in sends(ops):
        value = [["send", micro[1], micro[2][1]]]
        at = ops[-1].time
        return [
            *ops,
            Op(process=process, type="invoke", f="send", value=value, time=at + 1),
            Op(process=process, type="info", f="send", value=value, time=at + 2),
        ]
    return None


@mutation("unknown")
def time_goes_backwards(ops, rng):
    ops[-1] = change(ops[-1], time=0)
    return ops if len(ops) > 2 else None


@mutation("unknown")
def operation_of_an_unknown_kind(ops, rng):
    process = 1 + max(op.process for op in ops if isinstance(op.process, int))
    at = ops[-1].time
    return [
        *ops,
        Op(process=process, type="invoke", f="teleport", time=at + 1),
        Op(process=process, type="ok", f="teleport", time=at + 2),
    ]


@mutation("refused")
def process_invokes_twice(ops, rng):
    place = next(n for n, op in enumerate(ops) if op.type == "invoke" and isinstance(op.process, int))
    return [*ops[: place + 1], ops[place], *ops[place + 1 :]]


@mutation("refused")
def completion_lost_its_invocation(ops, rng):
    calls = [n for n, op in enumerate(ops) if op.type == "invoke" and isinstance(op.process, int)]
    done = {op.process for op in ops if op.type != "invoke"}
    place = next((n for n in calls if ops[n].process in done), None)
    if place is None or len(calls) < 4:
        return None
    rest = [*ops[:place], *ops[place + 1 :]]
    return rest if any(op.process == ops[place].process and op.type != "invoke" for op in rest[place:]) else None


@mutation("hw-regression")
def high_watermark_falls(ops, rng):
    return _probed(ops, [("n1", 9, 9, 1), ("n1", 7, 7, 1)])


@mutation("lso-regression")
def last_stable_offset_falls(ops, rng):
    return _probed(ops, [("n1", 9, 8, 1), ("n2", 9, 7, 2)])


def _probed(ops, answers):
    out, time = list(ops), ops[-1].time
    for node, hw, lso, epoch in answers:
        asked = {"api": "ListOffsets", "key": "t9/0"}
        answer = asked | {"hw": hw, "lso": lso, "epoch": epoch}
        out.append(Op(process=f"probe/{node}", type="invoke", f="probe", value=asked, time=time + 1))
        out.append(Op(process=f"probe/{node}", type="ok", f="probe", value=answer, time=time + 2))
        time += 2
    return out


def apply(name, ops, rng):
    """Return the mutated history with fresh indexes, or None."""
    function, _ = MUTATIONS[name]
    copies = [change(op, value=deep(op.value)) for op in ops]
    changed = function(copies, rng)
    if changed is None:
        return None
    return [change(op, index=index) for index, op in enumerate(changed)]
