"""Moves of partitions that are taken back."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from tests.broker.core.test_broker import cluster, contents, create, healthy, image, newest_leader, produced


def move(network, node, target):
    ask = ReassignableTopic(name="t", partitions=(ReassignablePartition(partition_index=0, replicas=target),))
    request_id = network.send(node, AlterPartitionReassignmentsRequest(topics=(ask,)))
    assert network.run(until=lambda: request_id in network.client_replies)
    return network.client_replies[request_id].responses[0].partitions[0].error_code


@pytest.mark.parametrize("back", ["cancelled", "moved to where it was"])
def test_a_move_that_is_taken_back_while_a_new_replica_leads_leaves_no_leader_outside_of_the_replicas(back):
    network = cluster(3)
    key = create(network, factor=1)
    assert produced(network, key, b"x").error_code == Code.NONE
    (first,) = image(network).partition(*key).replicas
    joins, never = (n for n in (1, 2, 3) if n != first)
    node = network.nodes[never]
    node.fetchers._fetch = lambda *_: None
    assert move(network, joins, (joins, never)) == Code.NONE
    assert network.run(until=lambda: set(image(network).partition(*key).isr) == {first, joins}, limit_ms=5000)
    network.crash(first, power=False)
    assert network.run(until=lambda: newest_leader(network, key)[0] == joins, limit_ms=5000)
    network.start(first)
    assert network.run(until=lambda: set(image(network).partition(*key).isr) == {first, joins}, limit_ms=5000)
    before = image(network).partition(*key)
    assert (before.leader, before.adding) == (joins, (joins, never))
    assert move(network, joins, None if back == "cancelled" else (first,)) == Code.NONE
    assert network.run(until=lambda: healthy(network), limit_ms=2000)
    after = image(network).partition(*key)
    assert (after.replicas, after.leader, after.isr) == ((first,), first, (first,))
    assert after.leader_epoch > before.leader_epoch
    assert produced(network, key, b"y").error_code == Code.NONE
    assert contents(network, key) == {0: b"x", 1: b"y"}
