"""What the checkpoint says of a log that is no more says nothing of the next one in its folder."""

from __future__ import annotations

import msgspec
import pytest

from broker.core.errors import Code
from broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tests.broker.core.test_broker import cluster, contents, create, healthy, newest_leader, produced
from tests.broker.core.test_delete_records import delete


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_topic_that_was_deleted_and_made_again_keeps_its_records_after_a_kill(nodes):
    network = cluster(nodes)
    key = create(network, factor=nodes)
    for number in range(5):
        assert produced(network, key, b"%d" % number).error_code == Code.NONE
    assert delete(network, key, 4).error_code == Code.NONE
    network.run(600)
    request_id = network.send(1, DeleteTopicsRequest(topics=(DeleteTopicState(name="t"),)))
    assert network.run(until=lambda: request_id in network.client_replies)
    network.run(20)
    key = create(network, factor=nodes)
    for number in range(2):
        assert produced(network, key, b"new%d" % number).error_code == Code.NONE
    for node in list(network.nodes):
        network.crash(node, power=False)
    for node in list(network.disks):
        network.start(node)
    assert network.run(until=lambda: newest_leader(network, key)[0] is not None)
    assert network.run(until=lambda: healthy(network))
    assert contents(network, key) == {0: b"new0", 1: b"new1"}


def left_alone(network, count=7):
    """Let an ISR shrink to its leader, which then gets records that nobody else has; return (leader, other replica)."""
    key = create(network, factor=2, **{"unclean.leader.election.enable": "true"})
    for number in range(3):
        assert produced(network, key, b"%d" % number).error_code == Code.NONE
    leader, replica = newest_leader(network, key)
    other = next(node for node in replica.state.replicas if node != leader)
    network.crash(other, power=False)
    assert network.run(until=lambda: not network.nodes[leader].image.is_active(other))
    for number in range(count):
        assert produced(network, key, b"lost%d" % number).error_code == Code.NONE
    return key, leader, other


def succeeded(network, key, leader, other):
    """Let the other replica be elected uncleanly, and its predecessor follow it."""
    network.crash(leader, power=False)
    network.start(other)
    assert network.run(until=lambda: newest_leader(network, key)[0] == other)
    network.start(leader)
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)


def test_a_log_that_was_cut_below_the_checkpoint_does_not_take_what_follows_for_committed():
    network = cluster(3, checkpoint_interval_ms=4000)
    key, leader, other = left_alone(network)
    network.run(4000)
    assert msgspec.json.decode(network.disks[leader].load("checkpoint"))["t-0"][2] == 10
    succeeded(network, key, leader, other)
    assert max(msgspec.json.decode(network.disks[leader].load("checkpoint"))["t-0"][1:3]) <= 3


def test_a_follower_whose_log_starts_past_the_end_of_an_unclean_leader_begins_anew():
    network = cluster(3)
    key, leader, other = left_alone(network)
    assert delete(network, key, 9).error_code == Code.NONE
    network.run(1000)
    succeeded(network, key, leader, other)
    assert produced(network, key, b"next").base_offset == 3
    for node in list(network.nodes):
        network.crash(node, power=False)
    for node in list(network.disks):
        network.start(node)
    assert network.run(until=lambda: newest_leader(network, key)[0] is not None and healthy(network))
    assert contents(network, key) == {0: b"0", 1: b"1", 2: b"2", 3: b"next"}
