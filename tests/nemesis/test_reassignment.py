"""Moves of leaders and replicas: who is moved where, when it counts, and that everything comes back."""

from __future__ import annotations

import pytest

from tests.contracts.test_fault import AIM, KEY, invoked
from tests.nemesis.fake import FakeCluster, nemesis


def state(cluster: FakeCluster):
    return cluster.partitions([KEY])[0]


def asked(cluster: FakeCluster) -> list[str]:
    return [what for what, *_ in cluster.calls if what in {"reassign", "elect"}]


@pytest.mark.parametrize(("draw", "node"), [(0.0, "n2"), (0.9, "n3")])
def test_move_leader_elects_another_replica_in_sync_and_gives_the_lead_back(draw, node, tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "move-leader", {"keys": [KEY], "draw": draw}).value
    assert (value["nodes"], value["bit"], value["evidence"]["new-leader"]) == (["n1"], True, node)
    assert (state(cluster).leader, state(cluster).replicas[0]) == (node, node)
    healed = invoked(client, "heal", {"fault-id": 1}).value["evidence"]
    assert healed["led-again"] == state(cluster).leader == "n1"
    assert state(cluster).replicas == ("n1", "n2", "n3")
    assert cluster.whole()


def test_move_leader_passes_over_who_is_not_in_sync_or_does_not_run(tmp_path):
    cluster = FakeCluster(nodes=4, replication=4)
    cluster.partitions_by_key[KEY].isr = ["n1", "n3", "n4"]
    cluster.machines["n2"].fenced = True
    cluster.machines["n3"].pid = None
    value = invoked(nemesis(cluster, tmp_path), "move-leader", AIM).value
    assert value["evidence"]["new-leader"] == "n4"


def test_move_leader_elects_whom_the_cluster_prefers_where_another_leads(tmp_path):
    cluster = FakeCluster()
    cluster.partitions_by_key[KEY].leader = "n3"
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "move-leader", {"keys": [KEY], "draw": 0.0}).value
    assert (value["nodes"], value["bit"], value["evidence"]["new-leader"]) == (["n3"], True, "n1")
    assert state(cluster).leader == "n1"
    began_s = cluster.now_s()
    healed = invoked(client, "heal", {"fault-id": 1}).value["evidence"]
    assert (healed["led-again"], "reason" in healed) == ("n1", False)
    assert cluster.now_s() - began_s < 1.0, "nothing has to move back"


def test_move_leader_without_another_replica_in_sync_is_a_miss(tmp_path):
    cluster = FakeCluster(replication=1)
    value = invoked(nemesis(cluster, tmp_path), "move-leader", AIM).value
    assert (value["nodes"], value["bit"]) == ([], False)
    assert "no other replica" in value["evidence"]["reason"]
    assert asked(cluster) == []


def test_reassign_moves_the_leaders_replica_to_a_broker_that_has_none_and_back(tmp_path):
    cluster = FakeCluster(nodes=4)
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "reassign", AIM).value
    assert (value["nodes"], value["bit"]) == (["n1"], True)
    assert value["evidence"] == {"from": ["n1", "n2", "n3"], "to": ["n2", "n3", "n4"], "begun-after_ms": 0}
    assert state(cluster).leader == "n1", "it leads until the new one is in sync"
    cluster.wait(5.0)
    assert state(cluster).replicas == ("n2", "n3", "n4")
    assert state(cluster).leader != "n1"
    healed = invoked(client, "heal", {"fault-id": 1}).value["evidence"]
    assert healed["moved-after_ms"] == 0
    assert healed["back-after_ms"] > 0
    assert state(cluster).replicas == ("n1", "n2", "n3")
    assert cluster.lost(KEY) == []


def test_reassign_drops_the_leaders_replica_where_every_broker_has_one(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "reassign", AIM).value
    assert value["evidence"]["to"] == ["n2", "n3"]
    cluster.wait(1.0)
    assert (state(cluster).replicas, state(cluster).leader) == (("n2", "n3"), "n2")
    invoked(client, "heal", {"fault-id": 1})
    assert state(cluster).replicas == ("n1", "n2", "n3")


def test_a_broker_that_does_not_run_gets_no_replica(tmp_path):
    cluster = FakeCluster(nodes=5)
    cluster.machines["n4"].pid = None
    value = invoked(nemesis(cluster, tmp_path), "reassign", AIM).value
    assert value["evidence"]["to"] == ["n2", "n3", "n5"]


def test_a_partition_that_can_lie_nowhere_else_is_a_miss(tmp_path):
    cluster = FakeCluster(nodes=1, replication=1)
    value = invoked(nemesis(cluster, tmp_path), "reassign", AIM).value
    assert (value["nodes"], value["bit"]) == ([], False)
    assert "no other broker runs" in value["evidence"]["reason"]
    assert asked(cluster) == []


@pytest.mark.parametrize("name", ["move-leader", "reassign"])
def test_a_move_that_does_not_begin_has_not_bitten_and_is_taken_back_all_the_same(name, tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    cluster.ignored.add("reassign")
    value = invoked(client, name, AIM).value
    assert value["bit"] is False
    assert "did not begin to move" in value["evidence"]["reason"]
    cluster.ignored.clear()
    assert invoked(client, "heal", {"fault-id": 1}).value["evidence"]["back"] == ["n1", "n2", "n3"]
    assert cluster.whole()


def test_a_last_replica_that_still_has_its_place_is_not_taken_for_one_that_was_dropped(tmp_path):
    """The other replicas stand before it whether the move has begun or not."""
    cluster = FakeCluster()
    cluster.partitions_by_key[KEY].leader = "n3"
    cluster.ignored.add("reassign")
    client = nemesis(cluster, tmp_path)
    assert invoked(client, "reassign", AIM).value["bit"] is False
    cluster.ignored.clear()
    invoked(client, "heal", {})
    value = invoked(client, "reassign", AIM).value
    assert (value["bit"], value["evidence"]["to"]) == (True, ["n1", "n2"])


def test_a_second_fault_may_hit_who_is_moved_and_the_move_is_taken_back(tmp_path):
    cluster = FakeCluster(nodes=4)
    client = nemesis(cluster, tmp_path)
    invoked(client, "reassign", AIM)
    killed = invoked(client, "kill-leader", AIM | {"during": 1}).value
    assert (killed["nodes"], killed["bit"]) == (["n1"], True), "nothing was done to n1 that would be undone"
    healed = invoked(client, "heal", {"fault-id": 1}).value["evidence"]
    assert "reason" not in healed
    invoked(client, "heal", {})
    recovered = invoked(client, "recover", {"bound-s": 60.0}).value
    assert recovered["full-isr"]
    cluster.wait(0.1)
    assert state(cluster).replicas == ("n1", "n2", "n3")
    assert cluster.lost(KEY) == []
    assert cluster.whole()


def test_a_move_that_cannot_be_taken_back_is_told(tmp_path):
    cluster = FakeCluster(nodes=4)
    client = nemesis(cluster, tmp_path)
    invoked(client, "reassign", AIM)
    cluster.ignored.add("reassign")
    healed = invoked(client, "heal", {"fault-id": 1}).value["evidence"]
    assert "did not begin to move back" in healed["reason"]
