"""`impossible-watermark` by its definition, as plain loops over all pairs: slow and obvious.

For histories whose completions all have invocations, whose clocks don't go back and whose topics are made once.
`impossible(ops)` returns how many answers contradict what.
"""

from __future__ import annotations

from harness.history import HARNESS
from tests.checkers.definitions import completions

RC = "read_committed"
ENDS = ("log-start", "lso", "hw")


def impossible(ops):
    """Count (answer, what it contradicts)."""
    if not any(op.process == HARNESS and op.f == "phase" for op in ops):
        return 0
    answers = answers_of(ops)
    count = sum(a["lso"] > a["hw"] for _, _, _, a in answers)
    calls = [call for call in completions([op for op in ops if isinstance(op.process, int)]) if call[0] is not None]
    return count + between(answers) + appended(ops, calls, answers) + opened(calls, answers, ops) + behind(ops, answers)


def answers_of(ops):
    """Return (row asked, row answered, node, answer) of answers that name a leader's ends, all of them."""
    asked, found = {}, []
    for row, op in enumerate(ops):
        if op.f == "probe" and op.type == "invoke":
            asked[op.process] = row
        elif op.f == "probe" and op.value["api"] == "ListOffsets" and {"epoch", *ENDS} <= op.value.keys():
            found.append((asked[op.process], row, op.process, op.value))
    return found


def between(answers):
    """Count ends that an answer names below what the same leader had named for one that is never higher."""
    count = 0
    for asked, _, node, later in answers:
        before = [
            one
            for _, row, other, one in answers
            if row < asked and other == node and (one["key"], one["epoch"]) == (later["key"], later["epoch"])
        ]
        for low, high in (("log-start", "lso"), ("log-start", "hw"), ("lso", "hw")):
            fell = any(one[high] > later[high] for one in before)
            count += not fell and any(one[low] > later[high] for one in before)
    return count


def places(ops):
    """Return (key, value) -> the offset at which it is certain to lie, of values that lie at one."""
    found = {}
    for op in ops:
        for micro in (op.value or ()) if isinstance(op.process, int) and op.type != "invoke" else ():
            if micro[0] == "poll" and len(micro) > 1:
                for key, records in micro[1]:
                    for record in records:
                        found.setdefault((key, record[1]), record[0])
            elif micro[0] == "send" and isinstance(micro[2], list) and op.type == "ok":
                found.setdefault((micro[1], micro[2][1]), micro[2][0])
    return found


def appended(ops, calls, answers):
    """Count records that lie below a high watermark which had been answered when they were sent."""
    where, count = places(ops), 0
    for begun, op in calls:
        row = next(n for n, one in enumerate(ops) if one is begun)
        for micro in op.value or () if op.f in ("send", "txn") else ():
            if micro[0] == "send":
                value = micro[2][1] if isinstance(micro[2], list) else micro[2]
                top = max((a["hw"] for _, done, _, a in answers if a["key"] == micro[1] and done < row), default=-1)
                count += where.get((micro[1], value), top) < top
    return count


def opened(calls, answers, ops):
    """Count records of transactions below a last stable offset that was answered before commit was called."""
    count = 0
    for begun, op in calls:
        if op.type == "ok" and type(op.commit_time) is int and begun.time <= op.commit_time <= op.time:
            for micro in op.value:
                if micro[0] == "send" and isinstance(micro[2], list):
                    count += any(
                        a["lso"] > micro[2][0]
                        for _, done, _, a in answers
                        if a["key"] == micro[1] and ops[done].time < op.commit_time
                    )
    return count


def behind(ops, answers):
    """Count watermarks of the last leader at or below what was acknowledged or read before."""
    drain = next((row for row, op in enumerate(ops) if op.process == HARNESS and op.value == "drain"), None)
    complete = {op.value["key"] for op in ops if op.process == HARNESS and op.f == "drain"}
    count = 0
    for key in complete:
        epochs = [op.value["epoch"] for op in ops if op.f == "probe" and op.value["key"] == key and "epoch" in op.value]
        mine = [one for one in answers if one[3]["key"] == key and one[3]["epoch"] == max(epochs)]
        if any(asked > drain for asked, _, _, _ in mine):
            for asked, _, _, answer in mine:
                count += answer["hw"] <= seen(ops[:asked], key, committed=False)
                count += answer["lso"] <= seen(ops[:asked], key, committed=True)
    return count


def seen(ops, key, *, committed):
    """Return the highest offset that was acknowledged or read (committed: read by read_committed consumers)."""
    highest, level = -1, {}
    for op in ops:
        if op.isolation:
            level[op.process] = op.isolation
    for op in ops:
        for micro in (op.value or ()) if isinstance(op.process, int) and op.type != "invoke" else ():
            if micro[0] == "poll" and len(micro) > 1 and (not committed or level.get(op.process, RC) == RC):
                highest = max([highest, *(record[0] for k, records in micro[1] if k == key for record in records)])
            elif micro[0] == "send" and micro[1] == key and isinstance(micro[2], list) and not committed:
                alone = op.type == "info" and op.f == "send"
                highest = max(highest, micro[2][0] if op.type == "ok" or alone else -1)
    return highest
