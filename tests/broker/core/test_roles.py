"""Nodes that only vote, nodes that only hold partitions, and nodes that come and go while the cluster works."""

from __future__ import annotations

import pytest

from broker.core.broker import Broker
from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.lifecycle import Life
from broker.core.quorum.state import Role
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from broker.wire.messages.unregister_broker import UnregisterBrokerRequest
from tests.broker.core.test_broker import (
    Invariants,
    contents,
    controller,
    create,
    image,
    leaders,
    logs_agree,
    make,
    newest_leader,
    produced,
)
from tests.broker.network import Network

VOTERS = (1, 2, 3)


def start_node(brokers, voters=VOTERS, **settings):
    start = make(voters, **settings)

    def begin(node_id, disk, seed, now_ms):
        config = start(node_id, disk, seed, now_ms).config if node_id in brokers else None
        if config is not None:
            return Broker(config, disk, seed, now_ms)
        quick = {"election_timeout_ms": 100, "fetch_timeout_ms": 200, "session_timeout_ms": 300}
        return Broker(BrokerConfig(node_id=node_id, voters=voters, is_broker=False, **quick), disk, seed, now_ms)

    return begin


def settled(network, brokers):
    """All brokers that are there run, and every replica is in its ISR."""
    here = [node for node in brokers if node in network.nodes]
    if any(network.nodes[node].lifecycle.life is not Life.RUNNING for node in here):
        return False
    states = list(image(network).partitions())
    return all(sorted(state.isr) == sorted(state.replicas) and state.leader >= 0 for state in states)


def apart(seed=1, *, drop=0.0):
    """Three controllers, three brokers."""
    brokers = (4, 5, 6)
    network = Network((*VOTERS, *brokers), start_node(brokers), seed, Invariants(), drop=drop)
    assert network.run(until=lambda: settled(network, brokers), limit_ms=20_000)
    return network, brokers


def through(network, node, message):
    request_id = network.send(node, message)
    assert network.run(until=lambda: request_id in network.client_replies)
    return network.client_replies[request_id]


def move(network, name, *replicas, by):
    partition = ReassignablePartition(partition_index=0, replicas=replicas)
    topic = ReassignableTopic(name=name, partitions=(partition,))
    answer = through(network, by, AlterPartitionReassignmentsRequest(topics=(topic,)))
    assert not answer.error_code
    assert not answer.responses[0].partitions[0].error_code


def topic(network, brokers):
    """A topic of three replicas, all in sync."""
    key = create(network)
    assert network.run(until=lambda: settled(network, brokers))
    return key


def test_controllers_hold_nothing_and_brokers_do_not_vote():
    network, brokers = apart()
    key = topic(network, brokers)
    assert produced(network, key, b"x").error_code == Code.NONE
    assert {node for node, _ in leaders(network, key)} <= set(brokers)
    assert sorted(image(network).brokers) == list(brokers)
    assert all(not list(network.nodes[node].replicas) for node in VOTERS)
    assert {network.nodes[node].quorum.role for node in brokers} == {Role.FOLLOWER}
    assert {progress[0] for progress in network.nodes[controller(network)].quorum.leadership.progress()} == {
        *({*VOTERS} - {controller(network)}),
        *brokers,
    }


def test_brokers_follow_the_next_controller_and_controllers_see_to_the_next_leader():
    network, brokers = apart(seed=2)
    key = topic(network, brokers)
    assert produced(network, key, b"x").error_code == Code.NONE
    old = controller(network)
    network.crash(old, power=False)
    assert network.run(until=lambda: controller(network) not in {None, old}, limit_ms=5000)
    leader, _ = newest_leader(network, key)
    network.crash(leader, power=False)
    assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, leader}, limit_ms=5000)
    assert produced(network, key, b"y").error_code == Code.NONE
    network.start(leader)
    network.start(old)
    assert network.run(until=lambda: settled(network, brokers), limit_ms=10_000)
    assert contents(network, key) == {0: b"x", 1: b"y"}
    logs_agree(network)


@pytest.mark.parametrize("seed", range(3))
def test_a_broker_finds_the_controller_although_messages_are_lost_and_leaders_change(seed):
    network, brokers = apart(seed, drop=0.05)
    for _ in range(3):
        old = controller(network)
        network.crash(old, power=False)
        assert network.run(until=lambda old=old: controller(network) not in {None, old}, limit_ms=10_000)
        network.start(old)
        ends = network.nodes[controller(network)].quorum.metadata
        assert network.run(
            until=lambda ends=ends: all(network.nodes[n].quorum.metadata.applied >= ends.applied for n in brokers),
            limit_ms=10_000,
        )
    assert all(network.nodes[node].quorum.epoch <= network.nodes[controller(network)].quorum.epoch for node in brokers)


def test_a_controller_that_stops_hands_over_and_ends_at_once():
    network, brokers = apart(seed=4)
    old = controller(network)
    node = network.nodes[old]
    node.lifecycle.stop()
    network.run(until=lambda: node.is_stopped, limit_ms=500)
    assert node.is_stopped
    network.run(5)
    network.crash(old, power=False)
    assert network.run(until=lambda: controller(network) not in {None, old}, limit_ms=1000)
    assert produced(network, topic(network, brokers), b"x").error_code == Code.NONE


def joined_by_a_fourth():
    """Three nodes of both roles and a topic on them; a broker has come."""
    network = Network((*VOTERS, 4), start_node((*VOTERS, 4)), 1, Invariants())
    assert network.run(until=lambda: settled(network, (*VOTERS, 4)), limit_ms=5000)
    key = create(network)
    move(network, "t", *VOTERS, by=1)
    assert network.run(until=lambda: image(network).partition(*key).replicas == VOTERS and settled(network, VOTERS))
    for number in range(10):
        assert produced(network, key, b"%d" % number).error_code == Code.NONE
    return network, key


def test_a_broker_that_is_added_takes_over_and_the_one_that_is_drained_can_be_forgotten():
    network, key = joined_by_a_fourth()
    gone, _ = newest_leader(network, key)
    rest = tuple(node for node in VOTERS if node != gone)
    move(network, "t", 4, *rest, by=4)
    assert network.run(
        until=lambda: (
            sorted(image(network).partition(*key).replicas) == sorted((4, *rest)) and settled(network, (*rest, 4))
        ),
        limit_ms=5000,
    )
    assert network.run(until=lambda: network.disks[gone].segments("t-0") == []), "the drained node keeps its records"
    assert network.run(until=lambda: newest_leader(network, key)[0] is not None)
    assert contents(network, key) == {number: b"%d" % number for number in range(10)}
    node = network.nodes[gone]
    node.lifecycle.stop()
    assert network.run(until=lambda: node.is_stopped, limit_ms=1000)
    network.run(5)
    network.crash(gone, power=False)
    answer = through(network, 4, UnregisterBrokerRequest(broker_id=gone))
    assert answer.error_code == Code.NONE
    assert network.run(until=lambda: all(gone not in node.image.brokers for node in network.nodes.values()))
    assert produced(network, key, b"10").error_code == Code.NONE
    logs_agree(network)


def test_a_node_that_is_forgotten_while_it_lives_comes_back_and_loses_nothing():
    network, key = joined_by_a_fourth()
    move(network, "t", *VOTERS, 4, by=1)
    assert network.run(until=lambda: 4 in image(network).partition(*key).isr, limit_ms=5000)
    epoch = network.nodes[4].lifecycle.epoch
    assert through(network, 1, UnregisterBrokerRequest(broker_id=4)).error_code == Code.NONE
    assert network.run(until=lambda: network.nodes[4].lifecycle.epoch > epoch and settled(network, (*VOTERS, 4)))
    assert 4 in image(network).partition(*key).isr
    assert contents(network, key) == {number: b"%d" % number for number in range(10)}


def test_a_node_that_nobody_knows_can_not_be_forgotten():
    network, _ = joined_by_a_fourth()
    assert through(network, 2, UnregisterBrokerRequest(broker_id=9)).error_code == Code.BROKER_ID_NOT_REGISTERED
