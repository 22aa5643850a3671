"""A topic that grows: when it counts, that it stays so, and that everybody hears of it."""

from __future__ import annotations

import json

import pytest

from harness.generator import Context
from harness.history import HARNESS, INFO, NEMESIS, PARTITIONS, Op
from harness.store import JOURNAL
from nemesis import journal
from nemesis.growth import MOST
from nemesis.plan import FaultEntry, FaultPlan
from nemesis.schedule import Schedule
from tests.contracts.test_fault import AIM, KEY, invoked
from tests.nemesis.fake import FakeCluster, nemesis


@pytest.mark.parametrize(("draw", "added"), [(0.0, ["t0/1"]), (0.9, ["t0/1", "t0/2"])])
def test_a_topic_gets_one_or_two_partitions_and_keeps_them(draw, added, tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "add-partitions", {"keys": [KEY], "draw": draw}).value
    assert (value["nodes"], value["bit"]) == (["n1"], True)
    assert (value["evidence"]["from"], value["evidence"]["to"], value["evidence"]["added"]) == (
        1,
        1 + len(added),
        added,
    )
    assert len(value["evidence"]["led-after_ms"]) == len(added)
    assert all(cluster.partitions([key])[0].leader for key in added)
    healed = invoked(client, "heal", {"fault-id": 1})
    assert healed.error is None
    assert healed.value["evidence"] == {"kept": 1 + len(added)}
    assert invoked(client, "recover", {"bound-s": 60.0}).value["full-isr"]


def test_growth_is_journalled_and_nothing_is_outstanding(tmp_path):
    invoked(nemesis(FakeCluster(), tmp_path), "add-partitions", AIM)
    first = json.loads((tmp_path / JOURNAL).read_text().splitlines()[0])
    assert first["do"] == [{"add-partitions": ["n1", "t0", 2]}]
    assert journal.outstanding(tmp_path / JOURNAL) == []


def test_a_topic_that_is_large_already_is_left_alone(tmp_path):
    cluster = FakeCluster(keys=[f"t0/{index}" for index in range(MOST)])
    value = invoked(nemesis(cluster, tmp_path), "add-partitions", AIM).value
    assert (value["nodes"], value["bit"]) == ([], False)
    assert "partitions already" in value["evidence"]["reason"]
    assert not [call for call in cluster.calls if call[0] == "add-partitions"]


def test_a_provider_that_fails_is_an_error_of_the_harness(tmp_path):
    cluster = FakeCluster()
    cluster.broken = {"add-partitions"}
    told = invoked(nemesis(cluster, tmp_path), "add-partitions", AIM)
    assert (told.value["bit"], told.error["name"]) == (False, "CLUSTER_ERROR")


def completion(value) -> Op:
    return Op(process=NEMESIS, type=INFO, f="add-partitions", value=value, time=7)


def after_an_injection(value) -> Schedule:
    """The schedule of one growth, whose injection has just completed with this value."""
    entry = FaultEntry(at_s=0.0, faults=("add-partitions",), keys=(KEY,), draws=(0.0,), length_s=1.0)
    ctx = Context(0, (NEMESIS,), (NEMESIS,), 1)
    schedule = Schedule(FaultPlan(entries=(entry,)), 60.0).op(ctx).successor.op(Context(10**12, *ctx_of())).successor
    return schedule.update(ctx, completion(value))


def ctx_of():
    return (NEMESIS,), (NEMESIS,), 1


def test_new_keys_are_told_to_all_before_the_next_step():
    evidence = {"added": ["t0/1"]}
    schedule = after_an_injection({"fault-id": 1, "nodes": ["n1"], "bit": True, "evidence": evidence})
    told = schedule.op(Context(10**12, *ctx_of()))
    assert (told.op.process, told.op.f, told.op.value) == (HARNESS, PARTITIONS, ["t0/1"])
    following = told.successor.op(Context(2 * 10**12, *ctx_of()))
    assert following.op.f == "heal"


@pytest.mark.parametrize(
    "value", [None, {"bit": False, "evidence": {"added": ["t0/1"]}}, {"bit": True, "evidence": {}}]
)
def test_nobody_is_told_of_keys_that_nobody_has_seen(value):
    assert after_an_injection(value).added == ()
