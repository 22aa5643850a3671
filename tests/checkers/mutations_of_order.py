"""Mutations of order, of cycles, of liveness, and of the history itself."""

from __future__ import annotations

from typing import Any

from harness.history import HARNESS, Op
from tests.checkers.mutating import change, mutation, polls, sends


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


@mutation("poll-skip")
def consumer_does_not_begin_at_the_beginning(ops, rng):
    if not any(op.process == HARNESS for op in ops):
        return None
    first, by_hand = (
        {},
        {op.process for op in ops if op.f == "assign"} - {op.process for op in ops if op.f == "subscribe"},
    )
    for _, op, key, records in polls(ops, ok=False):
        if (op.process, key) in first:
            continue
        first[op.process, key] = records
        others = sum(records[0] in rs for _, _, k, rs in polls(ops, ok=False) if k == key)
        if op.process in by_hand and op.type == "ok" and len(records) > 1 and records[0] != records[1] and others > 1:
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


@mutation("nonmonotonic-send", "int-nonmonotonic-send")
def later_send_lands_before_an_earlier_one(ops, rng):
    acked = list(sends(ops))
    for place, op, one in acked:
        for later_place, later, other in acked:
            moved = any(o.f == "assign" and o.process == op.process for o in ops[place:later_place])
            if later.process != op.process or later_place <= place or moved:
                continue
            if one[1] == other[1] and one[2][0] < other[2][0]:
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
