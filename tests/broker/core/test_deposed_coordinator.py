"""A coordinator that may be deposed without knowing it does not judge: its successor has taken what it has not heard of."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.ready import Outbox, Tick
from broker.core.transaction.coordinator import TOPIC
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages.end_txn import EndTxnRequest
from broker.wire.messages.init_producer_id import InitProducerIdRequest
from tests.broker.core.test_broker import cluster, create
from tests.broker.core.test_transactions import Producer


def end(producer, *, commit=True, epoch=0):
    """An end of the transaction that is open now: there is none."""
    return (
        EndTxnRequest(
            transactional_id=producer.name,
            producer_id=producer.id,
            producer_epoch=producer.epoch + epoch,
            committed=commit,
        ),
        5 if producer.v2 else 3,
    )


def init_of_a_former(producer):
    return (
        InitProducerIdRequest(
            transactional_id=producer.name,
            transaction_timeout_ms=5000,
            producer_id=producer.id,
            producer_epoch=producer.epoch + 1,
        ),
        5,
    )


def leads(network, name, node, witness):
    """Whether the node coordinates the id, as the witness knows."""
    placed = network.nodes[witness].image.topic(TOPIC)
    return placed.partitions[partition_for(name, len(placed.partitions))].leader == node


def deposed(network, name, old):
    """Cut a coordinator off until the others have replaced it, and it does not know."""
    others = [node for node in network.nodes if node != old]
    for other in others:
        network.cut(old, other)
        network.cut(other, old)

    def is_deposed():
        return leads(network, name, old, old) and not any(leads(network, name, old, other) for other in others)

    assert network.run(until=is_deposed, limit_ms=60_000)


@pytest.mark.parametrize(
    ("v2", "question", "says"),
    [
        pytest.param(True, end, Code.INVALID_TXN_STATE, id="nothing-to-commit"),
        pytest.param(True, lambda one: end(one, epoch=1), Code.PRODUCER_FENCED, id="another-epoch"),
        pytest.param(False, end, Code.NONE, id="committed-already"),
        pytest.param(False, lambda one: end(one, commit=False), Code.INVALID_TXN_STATE, id="nothing-to-abort"),
        pytest.param(True, init_of_a_former, Code.PRODUCER_FENCED, id="another-session"),
    ],
)
def test_it_does_not_say_what_only_the_coordinator_knows(v2, question, says):
    network = cluster(3, 5, transaction_partitions=2, transaction_sweep_ms=200, transaction_replication_factor=3)
    key = create(network)
    producer = Producer(network, "x", v2=v2, timeout_ms=60_000).init()
    producer.send(key, b"1")
    producer.end(commit=True)
    old = producer.coordinator()
    message, version = question(producer)
    assert producer.call(old, message, version).error_code == says
    deposed(network, "x", old)
    assert producer.call(old, message, version).error_code == Code.NOT_COORDINATOR
    network.heal()
    assert network.run(until=lambda: not leads(network, "x", old, old), limit_ms=60_000)
    assert producer.call(old, message, version).error_code == Code.NOT_COORDINATOR
    new = producer.coordinator()
    network.run(1000)
    assert producer.call(new, message, version).error_code == says


def test_it_verifies_nothing():
    network = cluster(3, 5, transaction_partitions=2, transaction_sweep_ms=200, transaction_replication_factor=3)
    key = create(network)
    producer = Producer(network, "x", v2=False, timeout_ms=60_000).init()
    producer.send(key, b"1")
    node = producer.coordinator()
    identity, place = (producer.id, producer.epoch), (("t", key[1]),)
    coordinator = network.nodes[node].transactions
    assert coordinator.verify("x", identity, place, network.now_ms) is Code.NONE
    assert coordinator.verify("x", identity, (("t", 7),), network.now_ms) is Code.TRANSACTION_ABORTABLE
    deposed(network, "x", node)
    assert coordinator.verify("x", identity, place, network.now_ms) is Code.NOT_COORDINATOR
    assert coordinator.verify("x", identity, (("t", 7),), network.now_ms) is Code.NOT_COORDINATOR


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_node_that_is_back_has_heard_of_its_successors_before_it_counts_as_active(seed):
    """Its first heartbeat made it active again, and itself sure of what it still believed to coordinate."""
    network = cluster(3, seed, transaction_partitions=2, transaction_replication_factor=3)
    create(network)
    old = Producer(network, "x", v2=True).init().coordinator()
    deposed(network, "x", old)
    network.heal()
    node = network.nodes[old]
    assert network.run(until=lambda: not node.lifecycle.may_be_fenced(network.now_ms), limit_ms=10_000)
    assert not leads(network, "x", old, old)


class Still:
    """A process that stands still: what comes is there when it goes on."""

    def __init__(self):
        self.events = []

    def step(self, event, _now_ms):
        self.events.append(event)
        return Outbox().take(None)


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_controller_that_stood_still_does_not_tell_itself_that_it_is_active(seed):
    """It is a coordinator, too: on going on it would judge by what it knew when it stopped."""
    network = cluster(3, seed, transaction_partitions=9, transaction_replication_factor=3)
    create(network)
    old = network.nodes[1].quorum.leader_id
    names = (f"x{number}" for number in range(20))
    name = next(name for name in names if Producer(network, name, v2=True).init().coordinator() == old)
    others = [other for other in network.nodes if other != old]
    node, still = network.nodes[old], Still()
    network.check, check = (lambda _: None), network.check
    network.nodes[old] = still
    assert network.run(until=lambda: not any(leads(network, name, old, other) for other in others), limit_ms=60_000)
    network.nodes[old], network.check = node, check
    assert leads(network, name, old, old), "it has not heard of it"
    for event in (*still.events, Tick()):
        network.step(old, event)
        assert node.lifecycle.may_be_fenced(network.now_ms) or not leads(network, name, old, old)
    assert network.run(until=lambda: not node.lifecycle.may_be_fenced(network.now_ms), limit_ms=20_000)
    assert not leads(network, name, old, old)
