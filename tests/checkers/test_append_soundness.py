"""What some serial order explains is never accused, and what was really broken is found."""

from __future__ import annotations

import random
from itertools import permutations

from checkers.judge import judge
from checkers.options import CheckOptions
from checkers.verdict import Validity
from harness.history import Op

OPTIONS = CheckOptions(workload="list-append")


def history(seed, *, wrong):
    """Return a small history whose transactions take effect one after another, with some reads made wrong."""
    rng = random.Random(seed)
    lists, ops, waiting, count = {"x": [], "y": []}, [], {}, 0
    for _ in range(rng.randrange(3, 16)):
        process = rng.randrange(3)
        if process not in waiting:
            asked = []
            for _ in range(rng.randrange(1, 4)):
                key = rng.choice("xy")
                count += 1
                asked.append(["append", key, count] if rng.random() < 0.5 else ["r", key, None])
            waiting[process] = [asked, None]
            ops.append(Op(process=process, type="invoke", f="txn", value=asked, index=len(ops), time=len(ops)))
            continue
        slot = waiting[process]
        if slot[1] is None:
            slot[1] = []
            for kind, key, value in slot[0]:
                if kind == "append":
                    lists[key].append(value)
                    slot[1].append([kind, key, value])
                else:
                    seen = list(lists[key])
                    if seen and rng.random() < wrong:
                        seen = seen[: rng.randrange(len(seen))]
                    slot[1].append([kind, key, seen])
            continue
        asked, done = waiting.pop(process)
        type_ = rng.choice(("ok", "ok", "ok", "ok", "info"))
        value = done if type_ == "ok" else asked
        ops.append(Op(process=process, type=type_, f="txn", value=value, index=len(ops), time=len(ops)))
    return ops


def explained(ops):
    """Whether some order of the transactions, undecided ones left out at will, respects real time and all reads."""
    calls, pending = [], {}
    for op in ops:
        if op.type == "invoke":
            pending[op.process] = op
        else:
            calls.append((pending.pop(op.process).index, op.index if op.type == "ok" else 10**6, op.type, op.value))
    calls += [(op.index, 10**6, "info", op.value) for op in pending.values()]
    sure = [call for call in calls if call[2] == "ok"]
    maybe = [call for call in calls if call[2] != "ok"]
    for mask in range(1 << len(maybe)):
        chosen = sure + [call for place, call in enumerate(maybe) if mask >> place & 1]
        if any(_runs(order) for order in permutations(chosen)):
            return True
    return False


def _runs(order):
    lists = {"x": [], "y": []}
    for place, (begun, _, type_, value) in enumerate(order):
        if any(later[1] < begun for later in order[place + 1 :]):
            return False
        for kind, key, element in value:
            if kind == "append":
                lists[key].append(element)
            elif type_ == "ok" and element != lists[key]:
                return False
    return True


def small(ops):
    return sum(op.type == "invoke" for op in ops) <= 6


def test_serial_histories_are_never_accused():
    for seed in range(300):
        ops = history(seed, wrong=0)
        if ops:
            assert judge(ops, OPTIONS).validity is not Validity.INVALID, f"seed {seed}"


def test_verdict_agrees_with_all_orders():
    broken = found = 0
    for seed in range(700):
        ops = history(seed, wrong=0.4)
        if not ops or not small(ops):
            continue
        truth = explained(ops)
        judgement = judge(ops, OPTIONS)
        if truth:
            assert judgement.anomalies == (), f"seed {seed}: {judgement.anomalies}"
        else:
            broken += 1
            found += judgement.validity is Validity.INVALID
    assert broken > 50
    assert found > 0.9 * broken
