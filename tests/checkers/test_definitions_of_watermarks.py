"""What the columns say of answers about the ends of logs agrees with the definition, where answers are changed."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.judge import judge
from tests.checkers.definitions_of_watermarks import ENDS, answers_of, impossible
from tests.checkers.kafka_evidence import run
from tests.checkers.mutating import change, deep

CLASS = "impossible-watermark"


def damaged(seed, damages):
    """Return a run with some ends that nodes answered changed: (which answer, which end, by how much)."""
    world = run(seed)
    ops = [change(op, value=deep(op.value)) for op in world.ops]
    answers = answers_of(ops)
    for which, end, step in damages if answers else ():
        _, _, _, answer = answers[which % len(answers)]
        answer[end] = max(0, answer[end] + step)
    return world, ops


changes = st.lists(st.tuples(st.integers(0, 99), st.sampled_from(ENDS), st.integers(-6, 6)), max_size=4)


@settings(max_examples=150)
@given(st.integers(0, 400), changes)
def test_columns_agree_with_the_definition(seed, damages):
    world, ops = damaged(seed, damages)
    if world.killed:
        return
    judgement = judge(ops)
    assert not [reason for reason in judgement.reasons if "crashed" in reason], judgement.reasons
    counted = {anomaly.name: anomaly.count for anomaly in judgement.anomalies}
    assert counted.get(CLASS, 0) == impossible(ops)


def test_damages_are_found_and_none_where_there_is_none():
    rng, found = random.Random(7), 0
    for seed in range(300):
        world, ops = damaged(seed, [])
        assert world.killed or not impossible(ops)
        _, ops = damaged(seed, [(rng.randrange(99), "hw", 5)])
        found += bool(impossible(ops))
    assert found > 10
