"""The rolling upgrade: which version each node is brought to, one after the other, and what proves it."""

from __future__ import annotations

import pytest

from tests.contracts.test_fault import AIM, invoked
from tests.nemesis.fake import FakeCluster, nemesis

OLD, NEW = "3.7.1", "4.1.1"


def upgraded(client, **aim):
    """Inject, heal, and return both completions."""
    injected = invoked(client, "upgrade-rolling", AIM | aim).value
    healed = invoked(client, "heal", {"fault-id": injected["fault-id"]})
    assert healed.error is None
    invoked(client, "recover", {"bound-s": 60.0})
    return injected, healed.value["evidence"]


def test_every_broker_is_stopped_brought_to_the_version_and_started_before_the_next(tmp_path):
    cluster = FakeCluster()
    injected, healed = upgraded(nemesis(cluster, tmp_path))
    done = [call for call in cluster.calls if call[0] in {"stop", "install", "start"}]
    nodes = injected["nodes"]
    assert sorted(nodes) == ["n1", "n2", "n3"]
    assert done == [step for node in nodes for step in (("stop", node), ("install", node, NEW), ("start", node))]
    assert injected["bit"] is True
    assert (injected["evidence"]["from"], injected["evidence"]["to"]) == ([OLD], NEW)
    assert all(after is not None for after in injected["evidence"]["isr_after_ms"])
    assert healed["versions"] == dict.fromkeys(nodes, NEW)


def test_the_next_one_goes_back_and_the_one_after_it_up_again(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    assert [upgraded(client)[0]["evidence"]["to"] for _ in range(3)] == [NEW, OLD, NEW]
    assert set(cluster.said.values()) == {NEW}


def test_what_broke_off_goes_on_upwards(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    first = invoked(client, "kill-follower", AIM).value
    beside = invoked(client, "upgrade-rolling", AIM | {"during": first["fault-id"]}).value
    assert len(beside["nodes"]) == 1
    for fault in (first, beside):
        invoked(client, "heal", {"fault-id": fault["fault-id"]})
    invoked(client, "recover", {"bound-s": 60.0})
    assert sorted(cluster.said.values()) == [OLD, OLD, NEW]
    injected, _ = upgraded(client)
    assert (injected["evidence"]["from"], injected["evidence"]["to"]) == ([OLD, NEW], NEW)
    assert set(cluster.said.values()) == {NEW}


def test_node_that_says_another_version_is_no_bite(tmp_path):
    cluster = FakeCluster()
    cluster.ignored = {"install"}
    injected, healed = upgraded(nemesis(cluster, tmp_path))
    assert injected["bit"] is False
    assert injected["evidence"]["reason"].endswith(f"did not say that it runs {NEW}")
    assert set(healed["versions"].values()) == {OLD}


@pytest.mark.parametrize("said", [None, "9.9.9"])
def test_node_that_has_not_said_its_version_is_brought_up(said, tmp_path):
    cluster = FakeCluster()
    cluster.said["n2"] = said
    injected, _ = upgraded(nemesis(cluster, tmp_path))
    assert injected["evidence"]["to"] == NEW
    assert injected["bit"] is True


def test_cluster_of_one_version_is_missed(tmp_path):
    cluster = FakeCluster()
    cluster.has_versions = (OLD,)
    value = invoked(nemesis(cluster, tmp_path), "upgrade-rolling", AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "the cluster knows no other version"
    assert not [call for call in cluster.calls if call[0] == "stop"]
