"""Shrinking, with runs that are made up: what is kept fails, and is small."""

from __future__ import annotations

import random

import msgspec
import pytest

from harness.scenario import Scenario
from harness.shrink import Case, Shrinker, story
from nemesis.plan import FaultEntry
from workloads.script import ScriptedOp

MS = 1_000_000


def fault(number, at_s):
    return FaultEntry(at_s=at_s, faults=("kill-leader",), keys=(f"t0/{number % 3}",), draws=(0.5,), length_s=4.0)


def big(seed, ops=120, faults=10):
    rng = random.Random(seed)
    lines = []
    for number in range(ops):
        parts = [
            ["send", f"t{rng.randrange(2)}/{rng.randrange(3)}", number * 4 + i] for i in range(rng.randrange(1, 4))
        ]
        lines.append(ScriptedOp(at_ns=(2000 + number * 100) * MS, thread=rng.randrange(5), f="txn", value=parts))
    scenario = Scenario(cluster="simulated", seed=seed, concurrency=5, time_limit_s=15, nodes=5, scripted=True)
    return Case(scenario=scenario, ops=tuple(lines), faults=tuple(fault(n, 1.0 + n) for n in range(faults)))


def values(case):
    return {part[2] for op in case.ops for part in op.value}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_is_what_is_needed(seed):
    case = big(seed)
    rng = random.Random(seed)
    needed = {part[2] for op in rng.sample(case.ops[:100], 3) for part in op.value[:1]}
    at = rng.choice(case.faults).draws, rng.choice(case.faults[:6]).keys

    def fails(one):
        return needed <= values(one) and any(f.draws == at[0] for f in one.faults)

    shrinker = Shrinker(case, fails, lambda: False)
    least = shrinker.shrink(10**12)
    assert fails(least)
    assert values(least) == needed
    assert len(least.faults) == 1
    assert least.scenario.concurrency == len({op.thread for op in least.ops})
    assert (least.scenario.nodes, least.scenario.topics) == (1, 1)
    assert least.scenario.time_limit_s < case.scenario.time_limit_s
    assert shrinker.runs < 500


def test_what_came_behind_the_proof_goes_first():
    case = big(1)
    sizes = []

    def fails(one):
        sizes.append(len(one.ops))
        return case.ops[3].value[0][2] in values(one)

    Shrinker(case, fails, lambda: False).shrink(case.ops[10].at_ns)
    assert sizes[0] == 11


def test_a_case_that_fails_in_another_world_only_is_found_there():
    case = big(2, ops=40)

    def fails(one):
        return len(one.ops) > 30 or one.scenario.seed == 4

    assert not fails(msgspec.structs.replace(case, ops=case.ops[:5]))
    least = Shrinker(case, fails, lambda: False).shrink(10**12)
    assert least.scenario.seed == 4
    assert not least.ops


def test_when_the_budget_is_spent_the_least_case_so_far_counts():
    case, runs = big(3), []

    def fails(one):
        runs.append(one)
        return True

    shrinker = Shrinker(case, fails, lambda: len(runs) >= 2)
    least = shrinker.shrink(case.ops[50].at_ns)
    assert len(runs) == 2
    assert fails(least)
    assert least.size < case.size


def test_no_case_is_run_twice():
    case, seen = big(4, ops=60), []

    def fails(one):
        seen.append(msgspec.json.encode(one))
        return case.ops[20].value[0][2] in values(one)

    Shrinker(case, fails, lambda: False).shrink(10**12)
    assert len(seen) == len(set(seen))


def test_the_story_tells_operations_and_faults_in_the_order_of_time():
    case = big(5, ops=2, faults=1)
    lines = story(case)
    assert len(lines) == 3
    assert "fault: kill-leader of t0/0, for 4 s" in lines[0]
    assert "client" in lines[1]
    assert lines == sorted(lines)
