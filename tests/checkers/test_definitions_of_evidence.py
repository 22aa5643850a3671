"""What the columns say of groups, copies, scans and epochs agrees with the definitions, on histories that are damaged
at random: records lost, epochs and sources changed, keys dealt twice."""

from __future__ import annotations

import random

import pytest

from checkers.judge import judge
from tests.checkers.definitions_of_evidence import judge_slowly
from tests.checkers.kafka_evidence import run
from tests.checkers.mutating import change, deep, polls

RUNS = 60


def damaged(seed):
    """Return a run without its own events, with a few records and rebalances changed."""
    rng = random.Random(seed)
    ops = [change(op, value=deep(op.value)) for op in run(seed).ops if op.process not in ("harness", "nemesis")]
    if len(ops) != len(run(seed).ops) and any(op.type == "invoke" for op in ops[-1:]):
        ops = ops[:-1]
    batches = list(polls(ops, ok=False))
    rng.shuffle(batches)
    for _, _, _, records in batches[: rng.randrange(6)]:
        record = rng.choice(records)
        damage = rng.random()
        if damage < 0.4:
            records.remove(record)
        elif damage < 0.7 and len(record) > 2:
            record[2]["epoch"] = rng.randrange(4)
    shown = (
        [record for _, _, _, records in batches for record in records if len(record) > 2 and "source" in record[2]]
        if batches
        else []
    )
    for wrong in rng.sample(shown, min(len(shown), rng.randrange(3))):  # for every reader of that output
        source, number = wrong[2]["source"], rng.randrange(3)
        for record in shown:
            if record[:2] == wrong[:2]:
                record[2]["source"] = [source[0], number]
    for op in ops:
        if op.f == "rebalance" and op.value["assigned"] and rng.random() < 0.3:
            op.value["generation"] = rng.randrange(1, 3)
    open_calls = {op.process for op in ops if isinstance(op.process, int)}
    for op in ops:
        if isinstance(op.process, int):
            (open_calls.add if op.type == "invoke" else open_calls.discard)(op.process)
    ops = [op for at, op in enumerate(ops) if not _dangles(ops, at, op, open_calls)]
    return [change(op, index=index) for index, op in enumerate(ops)]


def _dangles(ops, at, op, open_calls):
    return (
        op.process in open_calls
        and op.type == "invoke"
        and not any(later.process == op.process for later in ops[at + 1 :])
    )


@pytest.mark.parametrize("tenth", range(4))
def test_columns_agree_with_the_definitions(tenth):
    seen = dict.fromkeys(("isolation-mismatch", "epoch-regression", "double-ownership", "eos-duplicate"), 0)
    for seed in range(tenth * RUNS, (tenth + 1) * RUNS):
        ops = damaged(seed)
        if any("log-start" in op.value and op.value["log-start"] for op in ops if op.f == "probe"):
            continue  # log starts moved
        judgement = judge(ops)
        assert not [reason for reason in judgement.reasons if "crashed" in reason], judgement.reasons
        fast = {anomaly.name: anomaly.count for anomaly in judgement.anomalies}
        for name, count in judge_slowly(ops).items():
            if name not in judgement.not_checked:
                assert fast.get(name, 0) == count, f"seed {seed}: {name}"
                if name in seen:
                    seen[name] += bool(count)
    assert min(seen.values()) > 0, seen
