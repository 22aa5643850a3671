"""Mutations of what was stored and shown: lost, torn, moved, phantom, aborted and dirty data."""

from __future__ import annotations

from harness.history import HARNESS
from tests.checkers.mutating import change, forget, log_of, mutation, polls, read_values, sends


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


@mutation("lost-write")
def acknowledged_part_of_an_undecided_send_vanishes_from_all_reads(ops, rng):
    parts = _acknowledged_parts(ops)
    rng.shuffle(parts)
    for place, key, value in parts:
        if log_of(ops, key)[-1][1] != value:
            ops[place] = change(ops[place], type="info")
            forget(ops, key, value)
            return ops
    return None


@mutation("unseen")
def acknowledged_part_of_an_undecided_send_at_the_end_is_never_read(ops, rng):
    for place, key, value in _acknowledged_parts(ops):
        if log_of(ops, key)[-1][1] == value:
            ops[place] = change(ops[place], type="info")
            forget(ops, key, value)
            return ops
    return None


def _acknowledged_parts(ops):
    """Return (place, key, value) of sends outside transactions, of ops after which the process did nothing more."""
    if not any(op.process == HARNESS for op in ops):
        return []  # of foreign runs only whole ops count
    seen = read_values(ops)
    found = ((place, micro[1], micro[2][1]) for place, _, micro in sends(ops, types=("ok", "info"), f="send"))
    return [(place, key, value) for place, key, value in found if (key, value) in seen and _last_of(ops, place)]


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
