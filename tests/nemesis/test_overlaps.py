"""Overlapping faults, scheduled and performed on a cluster in memory: they show what they are for, and only then.

The model has Kafka's sessions, ISRs, quorum and truncation, and acknowledges like a leader does; so whether an
acknowledged record can be lost is decided by the order and timing of the schedule.
"""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from harness.generator import process
from harness.history import INFO, INVOKE, NEMESIS, Op
from harness.scenario import Scenario
from harness.simulate import simulate
from nemesis.fault import Power
from nemesis.faults import FAULTS
from nemesis.plan import LAST, FaultPlan, draw, parse
from nemesis.schedule import Schedule
from tests.contracts.test_fault import KEY
from tests.nemesis.fake import TICK_S, FakeCluster, nemesis

EVERY = frozenset(get_args(Power))
SEEDS = range(8)
S = 1_000_000_000


def plan_of(text: str, seed: int, time_limit_s: float = 60.0) -> FaultPlan:
    scenario = Scenario(seed=seed, time_limit_s=time_limit_s)
    return draw(scenario, parse(text, EVERY, "fake"), [KEY])


def run(cluster: FakeCluster, plan: FaultPlan, folder) -> list[Op]:
    """Carry the plan out; the cluster lives on between the nemesis's ops."""
    folder.mkdir()
    client, ops = nemesis(cluster, folder), []

    def perform(op: Op, now_ns: int) -> tuple[Op, int]:
        behind_s = now_ns / S - cluster.time_s
        if behind_s >= TICK_S:
            cluster.wait(behind_s)
        completion = client.invoke(op)
        return completion, round(cluster.time_s * S)

    simulate(process(NEMESIS, Schedule(plan, 60.0)), 1, perform, ops.append, [NEMESIS])
    assert cluster.whole()
    assert all(op.error is None for op in ops)
    return ops


def completions(ops: list[Op], f: str) -> list[Op]:
    return [op for op in ops if op.type == INFO and op.f == f]


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_waits_for_another_leader_where_the_second_fault_hurts_none(seed, tmp_path):
    cluster = FakeCluster()
    ops = run(cluster, plan_of("kill-leader+change-config", seed), tmp_path / "run")
    waits = completions(ops, "await-leader")
    assert waits
    assert all(op.value["new-leader"] for op in waits)


@pytest.mark.parametrize("seed", SEEDS)
def test_leader_killed_while_its_followers_pause_loses_what_acks_1_acknowledged(seed, tmp_path):
    plan = plan_of("pause-followers+kill-leader", seed)
    cluster = FakeCluster(acks="1")
    ops = run(cluster, plan, tmp_path / "1")
    for f in ("pause-followers", "kill-leader"):
        assert all(op.value["bit"] for op in completions(ops, f))
    assert all(op.value["new-leader"] for op in completions(ops, "await-leader"))
    assert len(cluster.lost(KEY)) >= 10 * len(plan.entries)  # a second of writes at least, each time

    safe = FakeCluster(acks="all", min_isr=2)
    run(safe, plan, tmp_path / "all")
    assert safe.partitions_by_key[KEY].acked
    assert safe.lost(KEY) == []


def test_leader_killed_after_its_followers_were_given_up_loses_nothing(tmp_path):
    """Why the gap is short: with five nodes the quorum survives the pause, and after 3 s the ISR is the leader alone."""
    for gap_s, loses in ((1.0, True), (1.5, True), (4.0, False)):
        (entry, *_) = plan_of("pause-followers+kill-leader", 1).entries
        cluster = FakeCluster(nodes=5, replication=3, acks="1")
        plan = FaultPlan(entries=(msgspec.structs.replace(entry, gap_s=gap_s),))
        run(cluster, plan, tmp_path / str(gap_s))
        assert bool(cluster.lost(KEY)) is loses, gap_s


@pytest.mark.parametrize("seed", SEEDS)
def test_follower_back_before_the_killed_leader_loses_writes_only_by_unclean_election(seed, tmp_path):
    plan = plan_of("kill-follower+kill-leader", seed, 100.0)
    unclean = FakeCluster(replication=2, unclean=True)
    ops = run(unclean, plan, tmp_path / "unclean")
    for f in ("kill-follower", "kill-leader"):
        assert all(op.value["bit"] for op in completions(ops, f))
    followers = [op.value["nodes"][0] for op in completions(ops, "kill-follower")]
    assert [op.value["new-leader"] for op in completions(ops, "await-leader")] == followers
    assert unclean.lost(KEY)

    clean = FakeCluster(replication=2)
    ops = run(clean, plan, tmp_path / "clean")
    assert all(op.value["new-leader"] is None for op in completions(ops, "await-leader"))
    assert clean.partitions_by_key[KEY].acked
    assert clean.lost(KEY) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_third_node_stays_up_when_follower_and_leader_of_two_replicas_are_killed(seed, tmp_path):
    cluster = FakeCluster(replication=2, unclean=True)
    run(cluster, plan_of("kill-follower+kill-leader", seed), tmp_path / "run")
    assert {node for what, *nodes in cluster.calls if what == "kill" for node in nodes} == {"n1", "n2"}


@pytest.mark.parametrize("second", sorted(FAULTS.keys() - LAST))
@pytest.mark.parametrize("first", ["kill-leader", "pause-leader", "partition-leader", "kill-follower", "kill-random"])
def test_any_two_faults_overlap_on_different_nodes_and_are_both_healed(first, second, tmp_path):
    cluster = FakeCluster(nodes=5, replication=3)
    ops = run(cluster, plan_of(f"{first}+{second}", 0), tmp_path / "run")
    holding: dict[int, list[str]] = {}
    both = 0
    for op in ops:
        if op.type == INFO and op.f in FAULTS:
            if "partitions already" in op.value["evidence"].get("reason", ""):
                continue
            assert op.value["bit"], op.value
            assert not {n for nodes in holding.values() for n in nodes} & set(op.value["nodes"]), op
            holding[op.value["fault-id"]] = op.value["nodes"]
            both += len(holding) == 2
        elif op.type == INVOKE and op.f == "heal":
            assert op.value["fault-id"] == min(holding)
            del holding[op.value["fault-id"]]
    assert both >= 1
    assert holding == {}
    assert all(op.value["full-isr"] for op in completions(ops, "recover"))
