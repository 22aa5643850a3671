"""Judged by key, in shards or elsewhere, a history has the verdict that it has as a whole."""

from __future__ import annotations

import pickle
import random

import pytest

from checkers import judge as door
from checkers import queue, sharding
from checkers.judge import judge
from checkers.mapping import InTurn
from checkers.options import CheckOptions
from harness.history import HistoryError, Op
from tests.anomalies.test_planted import PLANTED
from tests.checkers import mutations, mutations_of_evidence, mutations_of_forgetting, mutations_of_order
from tests.checkers.kafka_model import run
from tests.checkers.linear.test_search import generate
from tests.checkers.mutating import MUTATIONS, PLAYED_BY, apply
from tests.checkers.story import Story

assert mutations  # importing them fills the table
assert mutations_of_evidence
assert mutations_of_forgetting
assert mutations_of_order


class Elsewhere(InTurn):
    """Every part and every result travels, as it does to another process."""

    width = 3
    parts = 0

    def map(self, work, makes):
        self.parts += len(makes)
        there = pickle.loads(pickle.dumps(work))
        return [pickle.loads(pickle.dumps(there(pickle.loads(pickle.dumps(make()))))) for make in makes]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(queue, "shards", lambda case, width: sharding.shards(case, width, rows=4, least=1))


def told(judgement):
    classes = {}
    for anomaly in (*judgement.anomalies, *judgement.allowed):
        examples = [(example.ops, example.why) for example in anomaly.examples]
        classes[anomaly.name] = (anomaly.count, sorted(examples))
    return judgement.validity, classes, sorted(judgement.reasons), sorted(set(judgement.not_checked))


def both(monkeypatch, ops, **options):
    mapper = Elsewhere()
    apart = judge(ops, CheckOptions(**options), mapper)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "shards", lambda case, width: [(0, len(case.view.keys))])
        whole = judge(ops, CheckOptions(**options))
    return told(apart), told(whole), mapper.parts


@pytest.mark.parametrize("name", PLANTED)
def test_planted_anomaly_is_found_by_key(monkeypatch, name):
    plant, _, options = PLANTED[name]
    story = Story()
    plant(story)
    apart, whole, _ = both(monkeypatch, story.ops, **options)
    assert apart == whole


def test_generated_histories_have_the_same_verdict_by_key(monkeypatch):
    parts = 0
    for seed in range(40):
        apart, whole, used = both(monkeypatch, run(seed).ops)
        assert apart == whole, f"seed {seed}"
        parts += used
    assert parts > 40


def test_mutated_histories_have_the_same_verdict_by_key(monkeypatch):
    changed = 0
    for name in sorted(MUTATIONS.keys() - PLAYED_BY.keys()):
        for seed in range(8):
            ops = apply(name, list(run(seed).ops), random.Random(seed))
            if ops is None:
                continue
            try:
                apart, whole, _ = both(monkeypatch, ops)
            except HistoryError:
                continue
            changed += 1
            assert apart == whole, f"{name}, seed {seed}"
    assert changed > len(MUTATIONS.keys() - PLAYED_BY.keys())


def test_each_key_is_in_one_shard(monkeypatch):
    seen = []
    monkeypatch.setattr(queue, "judge_shard", lambda case: seen.append(case) or queue.Findings())
    ops = max((run(seed).ops for seed in range(10)), key=len)
    judge(ops)
    rows = sum(len(case.view.records.key) + len(case.view.sends.key) for case in seen)
    whole = queue.case_of(door.lines_of(ops, print)[0], "history", CheckOptions())
    assert len(seen) > 1
    assert rows == len(whole.view.records.key) + len(whole.view.sends.key)


@pytest.mark.parametrize("model", ["register", "cas-register", "queue", "log"])
def test_keys_of_a_model_have_the_same_verdict_elsewhere(model):
    from checkers.linear.model import MODELS  # noqa: PLC0415

    invalid = 0
    for seed in range(40):
        ops = []
        for key, part in enumerate((generate(MODELS[model], seed), generate(MODELS[model], seed + 1000))):
            ops.extend(
                Op(
                    process=op.process + 10 * key,
                    type=op.type,
                    f=op.f,
                    value=op.value,
                    index=len(ops) + place,
                    time=len(ops) + place,
                    extra={"key": f"k{key}"},
                )
                for place, op in enumerate(part)
            )
        options = CheckOptions(workload=model)
        here, there = judge(ops, options), judge(ops, options, Elsewhere())
        assert told(here) == told(there), f"seed {seed}"
        invalid += bool(here.anomalies)
    assert invalid


def test_a_key_that_cannot_be_judged_leaves_the_others_judged_here_and_elsewhere():
    ops = []
    mixed = [["write", "x", 1], ["write", 2, 1]]  # names that have no order among them
    for key, micro, read in (("a", mixed, mixed), ("b", [["read", "x", None]], [["read", "x", 7]])):
        for type_, value in (("invoke", micro), ("ok", read)):
            at = len(ops)
            ops.append(Op(process=0, type=type_, f="txn", value=value, extra={"key": key}, index=at, time=at))
    options = CheckOptions(workload="multi-register")
    seen = told(judge(ops, options))
    assert list(seen[1]) == ["nonlinearizable"]
    assert "can't judge these values on a" in seen[2][0]
    assert told(judge(ops, options, Elsewhere())) == seen
