"""A fetch of stable offsets waits for the transactions that hold them, as long as its patience lasts."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.group.stable_offsets import PATIENCE_MS
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
)
from tests.broker.core.test_broker import cluster, create
from tests.broker.core.test_coordinator_moves import move_away
from tests.broker.core.test_group_coordinator import SETTINGS, commit, coordinator
from tests.broker.core.test_transactional_offsets import send_offset
from tests.broker.core.test_transactions import Producer


def ready(nodes=3, **settings):
    network = cluster(nodes, 5, transaction_partitions=2, transaction_sweep_ms=200, **SETTINGS, **settings)
    return network, create(network)


def holding(network, key, name="x", offset=7, timeout_ms=5000):
    producer = Producer(network, name, v2=True, timeout_ms=timeout_ms).init()
    producer.send(key, name.encode())
    send_offset(producer, offset)
    return producer


def ask(network, *, stable=True):
    topic = OffsetFetchRequestTopics(name="t", partition_indexes=(0,))
    message = OffsetFetchRequest(
        groups=(OffsetFetchRequestGroup(group_id="g", topics=(topic,)),), require_stable=stable
    )
    return network.send(coordinator(network), message)


def answered(network, request_id, limit_ms):
    network.run(until=lambda: request_id in network.client_replies, limit_ms=limit_ms)
    answer = network.client_replies.get(request_id)
    if answer is None:
        return None
    group = answer.groups[0]
    if group.error_code:
        return Code(group.error_code), None
    return Code(group.topics[0].partitions[0].error_code), group.topics[0].partitions[0].committed_offset


@pytest.mark.parametrize(("committed", "told"), [(True, 7), (False, 3)], ids=["commit", "abort"])
def test_the_answer_comes_with_the_end_of_the_transaction(committed, told):
    network, key = ready()
    assert commit(network, 3) == Code.NONE
    producer = holding(network, key)
    waiting = ask(network)
    assert answered(network, waiting, PATIENCE_MS // 2) is None
    began_ms = network.now_ms
    producer.end(commit=committed)
    assert answered(network, waiting, 100) == (Code.NONE, told)
    assert network.now_ms - began_ms < PATIENCE_MS // 4


def test_what_a_timed_out_transaction_held_is_told_with_its_abort():
    network, key = ready()
    assert commit(network, 3) == Code.NONE
    holding(network, key, timeout_ms=PATIENCE_MS // 2)
    assert answered(network, ask(network), PATIENCE_MS - 100) == (Code.NONE, 3)


def test_patience_ends():
    network, key = ready()
    holding(network, key, timeout_ms=10 * PATIENCE_MS)
    began_ms = network.now_ms
    assert answered(network, ask(network), 2 * PATIENCE_MS) == (Code.UNSTABLE_OFFSET_COMMIT, -1)
    assert PATIENCE_MS <= network.now_ms - began_ms < PATIENCE_MS + 100


def test_it_waits_for_every_transaction_that_holds_an_offset_and_for_no_other():
    network, key = ready()
    first, second = holding(network, key, "x", 7), holding(network, key, "y", 8)
    other = Producer(network, "z", v2=True).init()
    waiting = ask(network)
    other.send(key, b"z")
    other.end(commit=True)
    first.end(commit=True)
    assert answered(network, waiting, 200) is None
    second.end(commit=True)
    assert answered(network, waiting, 100) == (Code.NONE, 8)


def test_who_does_not_care_whether_it_is_stable_does_not_wait():
    network, key = ready()
    assert commit(network, 3) == Code.NONE
    holding(network, key)
    assert answered(network, ask(network, stable=False), 10) == (Code.NONE, 3)


def test_the_request_for_one_group_waits_as_well():
    network, key = ready()
    producer = holding(network, key)
    topic = OffsetFetchRequestTopic(name="t", partition_indexes=(0,))
    message = OffsetFetchRequest(group_id="g", topics=(topic,), require_stable=True)
    waiting = network.send(coordinator(network), message, version=7)
    network.run(200)
    assert waiting not in network.client_replies
    producer.end(commit=True)
    network.run(until=lambda: waiting in network.client_replies, limit_ms=100)
    assert network.client_replies[waiting].topics[0].partitions[0].committed_offset == 7


def test_whoever_waits_hears_that_the_group_has_moved():
    network, key = ready(4, offsets_replication_factor=2, transaction_replication_factor=2)
    holding(network, key, timeout_ms=10 * PATIENCE_MS)
    waiting = ask(network)
    network.run(20)
    move_away(network, "__consumer_offsets", "g")
    assert answered(network, waiting, 1) == (Code.NOT_COORDINATOR, None)


def test_a_coordinator_that_may_be_deposed_tells_no_stable_offsets():
    """Its successor takes commits of which it does not hear."""
    network, _ = ready()
    assert commit(network, 3) == Code.NONE
    old = coordinator(network)
    others = [node for node in network.nodes if node != old]
    for other in others:
        network.cut(old, other)
        network.cut(other, old)
    topic = OffsetFetchRequestTopics(name="t", partition_indexes=(0,))
    groups = (OffsetFetchRequestGroup(group_id="g", topics=(topic,)),)
    assert network.run(until=lambda: deposed(network, old, others), limit_ms=60_000)
    stable = network.send(old, OffsetFetchRequest(groups=groups, require_stable=True))
    assert answered(network, stable, 100) == (Code.UNSTABLE_OFFSET_COMMIT, -1)
    plain = network.send(old, OffsetFetchRequest(groups=groups))
    assert answered(network, plain, 100) == (Code.NONE, 3), "who does not ask for stable ones is told what there is"
    network.heal()
    assert network.run(until=lambda: not leads(network, old, old), limit_ms=60_000)
    assert answered(network, ask(network), 5000) == (Code.NONE, 3)


def leads(network, node, witness):
    """Whether the node leads the group's partition, as the witness knows."""
    image = network.nodes[witness].image
    placed = image.topic("__consumer_offsets")
    return placed.partitions[partition_for("g", len(placed.partitions))].leader == node


def deposed(network, old, others):
    """Whether the others know another leader, and the old one does not."""
    return leads(network, old, old) and all(not leads(network, old, other) for other in others)
