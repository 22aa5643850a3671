"""Committed offsets of a topic that is deleted: one of the same name that is made later begins without them."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.ready import Request
from broker.core.replication.leader import Leader
from broker.wire.messages.delete_topics import DeleteTopicsRequest
from broker.wire.messages.list_groups import ListGroupsRequest
from broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from tests.broker.core.test_broker import create
from tests.broker.core.test_group_coordinator import call, commit, committed, coordinator, ready
from tests.broker.core.test_transactional_offsets import fetched, send_offset
from tests.broker.core.test_transactional_offsets import ready as with_transactions
from tests.broker.core.test_transactions import Producer


def delete_topic(network, name="t"):
    assert call(network, min(network.nodes), DeleteTopicsRequest(topic_names=(name,))).responses[0].error_code == 0
    assert network.run(until=lambda: all(name not in node.image.topic_ids for node in network.nodes.values()))


def write(offset, name="t"):
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
    topic = OffsetCommitRequestTopic(name=name, partitions=(partition,))
    return OffsetCommitRequest(group_id="g", topics=(topic,))


def settled(network):
    """Wait until no coordinator has anything to forget."""
    assert network.run(
        until=lambda: not any(shard.deleted for node in network.nodes.values() for shard in node.groups.shards())
    )
    network.run(100)


def test_offsets_go_with_their_topic():
    network = ready()
    create(network, "u")
    assert commit(network, 5) == Code.NONE
    node = coordinator(network)
    assert call(network, node, write(3, "u")).topics[0].partitions[0].error_code == Code.NONE
    delete_topic(network)
    create(network)
    assert committed(network) == -1
    assert commit(network, 2) == Code.NONE
    settled(network)
    assert committed(network) == 2
    shard = network.nodes[node].groups.shard("g")
    assert {key.topic: value.offset for key, value in shard.offsets.items()} == {"t": 2, "u": 3}
    network.crash(node, power=False)
    assert committed(network) == 2


@pytest.mark.parametrize("before", [False, True])
def test_a_commit_that_is_on_its_way_is_of_the_topic_that_it_was_made_for(before):
    network = ready()
    assert commit(network, 5) == Code.NONE
    node = coordinator(network)
    broker = network.nodes[node]
    late = write(7)
    if before:
        network.deliver(node, Request(("client", "late"), late))
        broker.groups.deleted_topics.note("t")
    else:
        broker.groups.deleted_topics.note("t")
        broker.groups.handle(("client", "late"), late, 0, ("c", "h"), network.now_ms)
    assert ("client", "late") not in network.client_replies
    assert network.run(until=lambda: ("client", "late") in network.client_replies)
    settled(network)
    assert committed(network) == (-1 if before else 7)
    network.crash(node, power=False)
    assert committed(network) == (-1 if before else 7)


def test_a_coordinator_that_was_not_there_finds_out_later():
    network = ready()
    assert commit(network, 5) == Code.NONE
    old = coordinator(network)
    for node in network.nodes.values():
        node.groups.deleted_topics.note = lambda _: None  # it comes while nobody coordinates
    delete_topic(network)
    assert committed(network) == 5
    network.crash(old, power=False)
    assert network.run(until=lambda: call(network, coordinator(network), ListGroupsRequest()).groups == ())
    create(network)
    assert committed(network) == -1


def test_an_offset_that_is_deleted_inside_a_transaction_does_not_come_back_with_it():
    network, key = with_transactions()
    assert commit(network, 4) == Code.NONE
    producer = Producer(network, "x", v2=True, timeout_ms=20_000).init()
    producer.send(key, b"a")
    send_offset(producer, 7)
    topic = OffsetDeleteRequestTopic(name="t", partitions=(OffsetDeleteRequestPartition(partition_index=0),))
    node = coordinator(network)
    assert call(network, node, OffsetDeleteRequest(group_id="g", topics=(topic,))).error_code == Code.NONE
    producer.end(commit=True)
    assert fetched(network) == (Code.NONE, -1)
    network.crash(node, power=False)
    assert fetched(network) == (Code.NONE, -1)


def test_offsets_of_an_open_transaction_go_with_their_topic():
    network, _ = with_transactions()
    other = create(network, "u")
    producer = Producer(network, "x", v2=True, timeout_ms=20_000).init()
    producer.send(other, b"a")
    send_offset(producer, 7)
    delete_topic(network)
    create(network)
    settled(network)
    producer.end(commit=True)
    assert fetched(network) == (Code.NONE, -1)


def test_a_commit_that_was_refused_keeps_nothing(monkeypatch):
    network = ready()
    assert commit(network, 5) == Code.NONE
    broker = network.nodes[coordinator(network)]
    with monkeypatch.context() as patch:
        patch.setattr(Leader, "has_min_isr", lambda *_: False)
        broker.groups.handle(("client", "refused"), write(7), 0, ("c", "h"), network.now_ms)
    shard = broker.groups.shard("g")
    assert not shard.being_written()
    delete_topic(network)
    settled(network)
    assert not shard.offsets
