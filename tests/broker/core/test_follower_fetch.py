"""Consumers read from a replica in their rack, and never what is not committed (KIP-392)."""

import pytest

from broker.core.errors import Code
from broker.wire import batch, record
from tests.broker.core import test_broker as small

RACKS = {1: "a", 2: "b", 3: "c"}


@pytest.fixture
def network():
    return small.cluster(rack_aware=True, racks=RACKS)


def read(network, node, key, offset=0, rack=""):
    asked = small.fetch(network, node, key, offset, rack_id=rack)
    assert network.run(until=lambda: asked in network.client_replies)
    return network.client_replies[asked].responses[0].partitions[0]


def values(data):
    return [
        one.value
        for position, header in batch.parse(data.records or b"")
        for one in record.decode(data.records, position, header)
    ]


def led(network):
    key = small.create(network, min_insync_replicas=2)
    assert small.produced(network, key, b"x").error_code == Code.NONE
    assert network.run(until=lambda: small.healthy(network))
    leader, _ = small.newest_leader(network, key)
    return key, leader


def test_a_consumer_is_sent_to_the_replica_in_its_rack_and_reads_there(network):
    key, leader = led(network)
    near = next(node for node in RACKS if node != leader)
    told = read(network, leader, key, rack=RACKS[near])
    assert (told.preferred_read_replica, told.error_code, values(told)) == (near, Code.NONE, [])
    assert network.run(until=lambda: network.nodes[near].replicas.get(key).log.high_watermark == 1)
    assert values(read(network, near, key, rack=RACKS[near])) == [b"x"]


def test_a_consumer_without_a_rack_or_in_an_unknown_one_stays_with_the_leader(network):
    key, leader = led(network)
    for rack in ("", RACKS[leader], "nowhere"):
        data = read(network, leader, key, rack=rack)
        assert (data.preferred_read_replica, values(data)) == (-1, [b"x"])


def test_nobody_is_sent_to_a_replica_that_is_dead_or_has_left_the_isr(network):
    key, leader = led(network)
    near = next(node for node in RACKS if node != leader)
    network.crash(near)
    assert network.run(until=lambda: not network.nodes[leader].image.is_active(near))
    assert read(network, leader, key, rack=RACKS[near]).preferred_read_replica == -1


def test_a_follower_shows_nothing_above_its_high_watermark(network):
    key, leader = led(network)
    near, other = (node for node in RACKS if node != leader)
    network.cut(near, leader)  # what it asks for does not arrive: it hears of nothing new
    network.cut(other, leader)
    small.produce(network, key, b"never committed", acks=1)
    network.run(30)
    assert b"never committed" not in values(read(network, near, key, rack=RACKS[near]))


def test_a_fetch_that_waits_at_a_follower_is_answered_when_records_are_committed(network):
    key, leader = led(network)
    near = next(node for node in RACKS if node != leader)
    assert network.run(until=lambda: network.nodes[near].replicas.get(key).log.high_watermark == 1)
    asked = small.fetch(network, near, key, 1, rack_id=RACKS[near])
    assert small.produced(network, key, b"y").error_code == Code.NONE
    assert network.run(until=lambda: asked in network.client_replies)
    assert values(network.client_replies[asked].responses[0].partitions[0]) == [b"y"]


def test_replicas_ask_leaders_only(network):
    key, leader = led(network)
    follower, other = (node for node in RACKS if node != leader)
    asked = small.fetch(network, follower, key, replica_id=other)
    assert network.run(until=lambda: asked in network.client_replies)
    assert network.client_replies[asked].responses[0].partitions[0].error_code == Code.NOT_LEADER_OR_FOLLOWER


def test_without_the_selector_followers_serve_nobody():
    network = small.cluster(racks=RACKS)
    key, leader = led(network)
    near = next(node for node in RACKS if node != leader)
    assert read(network, leader, key, rack=RACKS[near]).preferred_read_replica == -1
    assert read(network, near, key, rack=RACKS[near]).error_code == Code.NOT_LEADER_OR_FOLLOWER
