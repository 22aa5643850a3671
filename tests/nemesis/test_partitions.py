"""Which links each partition cuts, and in which direction."""

from __future__ import annotations

import itertools

import pytest

from tests.contracts.test_fault import AIM, invoked
from tests.nemesis.fake import FakeCluster, nemesis

DRAWS = [place / 20 for place in range(20)]


def cut_by(name, tmp_path, *, nodes, draw=0.4):
    """Return the cluster and the completion of one injection."""
    tmp_path.mkdir(exist_ok=True)
    cluster = FakeCluster(nodes=nodes)
    value = invoked(nemesis(cluster, tmp_path), name, AIM | {"draw": draw}).value
    return cluster, value


def heard_by(cluster):
    """Return by node whom it still hears, itself too."""
    names = sorted(cluster.machines)
    return {node: {other for other in names if (other, node) not in set(cluster.cuts)} for node in names}


def test_partition_leader_cuts_the_leader_off_both_ways_and_counts_packets(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "partition-leader", AIM).value
    assert set(cluster.cuts) == {("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1")}
    assert value["nodes"] == ["n1"]
    assert value["evidence"]["new-leader"] == "n2"
    assert set(value["evidence"]["dropped"]) == {"n1>n2", "n2>n1", "n1>n3", "n3>n1"}
    assert all(value["evidence"]["dropped"].values())
    healed = invoked(client, "heal", {"fault-id": 1}).value["evidence"]
    assert healed["dropped"] >= sum(value["evidence"]["dropped"].values())
    assert healed["answers_after_ms"] is not None


def test_cuts_that_drop_nothing_are_no_bite_even_if_the_leader_moved(tmp_path):
    cluster = FakeCluster()
    cluster.dropped = lambda source, target: 0
    value = invoked(nemesis(cluster, tmp_path), "partition-leader", AIM).value
    assert value["evidence"]["new-leader"] == "n2"
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "the cuts dropped no packet"


def test_partition_leader_cuts_separate_controllers_off_too(tmp_path):
    cluster = FakeCluster(nodes=5)
    value = invoked(nemesis(cluster, tmp_path), "partition-leader", AIM).value
    assert value["bit"] is True
    assert {target for source, target in cluster.cuts if source == "n1"} == {"n2", "n3", "n4", "n5"}


def test_mute_leader_hears_the_others_and_loses_its_office(tmp_path):
    cluster, value = cut_by("mute-leader", tmp_path, nodes=3)
    assert set(cluster.cuts) == {("n1", "n2"), ("n1", "n3")}
    assert value["evidence"]["new-leader"] == "n2"
    assert value["bit"] is True


def test_deaf_leader_is_heard_and_need_not_lose_its_office(tmp_path):
    cluster, value = cut_by("deafen-leader", tmp_path, nodes=3)
    assert set(cluster.cuts) == {("n2", "n1"), ("n3", "n1")}
    assert value["bit"] is True
    assert value["expects"] == "stall"


@pytest.mark.parametrize("nodes", [3, 4, 5, 7])
def test_minority_leaves_a_majority_that_sees_itself_and_any_node_may_be_in_it(nodes, tmp_path):
    drawn = set()
    for draw in DRAWS:
        cluster, value = cut_by("partition-minority", tmp_path / str(draw), nodes=nodes, draw=draw)
        minority = set(value["evidence"]["minority"])
        drawn |= minority
        assert sorted(minority) == value["nodes"]
        assert 0 < len(minority) < nodes / 2
        rest = set(cluster.machines) - minority
        assert heard_by(cluster) == {node: minority if node in minority else rest for node in cluster.machines}
    assert drawn == set(cluster.machines)


@pytest.mark.parametrize("nodes", [3, 4, 5, 7])
def test_bridge_sees_both_sides_which_do_not_see_each_other(nodes, tmp_path):
    bridges = set()
    for draw in DRAWS:
        cluster, value = cut_by("partition-bridge", tmp_path / str(draw), nodes=nodes, draw=draw)
        bridge, sides = value["evidence"]["bridge"], [set(side) for side in value["evidence"]["sides"]]
        bridges.add(bridge)
        assert "n1" in sides[0]  # it led
        assert sides[0] | sides[1] | {bridge} == set(cluster.machines)
        assert min(len(side) for side in sides) >= 1
        assert 0 <= len(sides[1]) - len(sides[0]) <= 1
        heard = heard_by(cluster)
        assert heard.pop(bridge) == set(cluster.machines)
        assert heard == {node: side | {bridge} for side in sides for node in side}
    assert bridges == set(cluster.machines) - {"n1"}


@pytest.mark.parametrize("nodes", [3, 4, 5, 7])
def test_in_a_ring_each_node_hears_a_majority_and_no_two_the_same(nodes, tmp_path):
    for draw in DRAWS:
        cluster, value = cut_by("partition-ring", tmp_path / str(draw), nodes=nodes, draw=draw)
        heard = heard_by(cluster)
        assert value["nodes"] == sorted(cluster.machines)
        assert all(node in heard[node] for node in heard)
        assert {len(majority) for majority in heard.values()} == {nodes // 2 + 1}
        assert all(a != b for a, b in itertools.combinations(heard.values(), 2))
        if nodes == 5:
            assert all((a in heard[b]) == (b in heard[a]) for a, b in itertools.combinations(heard, 2))


@pytest.mark.parametrize("name", ["partition-minority", "partition-bridge", "partition-ring"])
def test_two_nodes_are_too_few_to_be_parted_so_that_a_majority_is_left(name, tmp_path):
    cluster, value = cut_by(name, tmp_path, nodes=2)
    assert not cluster.cuts
    assert value["bit"] is False
    assert value["evidence"]["reason"] == f"2 nodes are too few for {name}"


def test_nodes_that_another_fault_holds_are_left_out_of_minority_and_ring(tmp_path):
    for name in ("partition-minority", "partition-ring"):
        for draw in DRAWS:
            cluster = FakeCluster(nodes=5, replication=3)
            folder = tmp_path / f"{name}{draw}"
            folder.mkdir()
            client = nemesis(cluster, folder)
            first = invoked(client, "kill-follower", AIM).value
            second = invoked(client, name, AIM | {"draw": draw, "during": first["fault-id"]}).value
            assert second["bit"] is True
            assert not set(first["nodes"]) & set(second["nodes"])


@pytest.mark.parametrize(
    "name", ["mute-leader", "deafen-leader", "partition-minority", "partition-bridge", "partition-ring"]
)
def test_cuts_that_drop_nothing_are_no_bite(name, tmp_path):
    cluster = FakeCluster()
    cluster.dropped = lambda source, target: 0
    client = nemesis(cluster, tmp_path)
    value = invoked(client, name, AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "the cuts dropped no packet"
    assert cluster.cuts
    invoked(client, "heal", {"fault-id": 1})
    assert not cluster.cuts
