"""Every kind of mutation is found, in every history that has a place for it."""

from __future__ import annotations

import functools
import random

import pytest

from checkers.judge import judge
from harness.history import HistoryError
from tests.checkers import mutations, mutations_of_order
from tests.checkers.kafka_model import run
from tests.checkers.mutating import MUTATIONS, apply

assert mutations  # importing them fills the table
assert mutations_of_order

TRIED = 120
ENOUGH = 12
VERDICTS = {"vacuous", "unknown"}


@functools.cache
def world_of(seed):
    return run(seed)


def outcome(ops):
    """Return the names of what was found, or the verdict's word, or "refused"."""
    try:
        judgement = judge(ops)
    except HistoryError:
        return {"refused"}
    found = {anomaly.name for anomaly in judgement.anomalies}
    if not found:
        return {str(judgement.validity.wire)}
    return found | {"unknown"} if judgement.reasons else found


def test_there_are_more_than_thirty_kinds():
    assert len(MUTATIONS) >= 30


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_found(name):
    _, expected = MUTATIONS[name]
    planted = 0
    for seed in range(TRIED):
        world = world_of(seed)
        if world.mixed or world.retention or world.killed:
            continue
        mutated = apply(name, world.ops, random.Random(seed))
        if mutated is None:
            continue
        planted += 1
        found = outcome(mutated)
        assert found & expected, f"seed {seed}: {found}"
        if planted >= ENOUGH:
            break
    assert planted >= ENOUGH // 3
