"""Offsets inside transactions: they count with the records of the transaction, or not at all."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from broker.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics
from broker.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tests.broker.core.test_broker import cluster, create, healthy
from tests.broker.core.test_group_coordinator import SETTINGS, commit, coordinator, joined, patiently
from tests.broker.core.test_transactions import Producer, RefusedError, both


def ready():
    network = cluster(3, 5, transaction_partitions=2, transaction_sweep_ms=200, **SETTINGS)
    return network, create(network)


def fetched(network):
    topic = OffsetFetchRequestTopics(name="t", partition_indexes=(0,))
    message = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id="g", topics=(topic,)),), require_stable=True)
    answer = patiently(network, message, lambda a: a.groups[0].error_code).groups[0].topics[0].partitions[0]
    return Code(answer.error_code), answer.committed_offset


def add(producer):
    message = AddOffsetsToTxnRequest(
        transactional_id=producer.name, producer_id=producer.id, producer_epoch=producer.epoch, group_id="g"
    )
    producer.patiently(lambda: producer.call(producer.coordinator(), message, 3), lambda a: a.error_code)


def send_offset(producer, offset, generation=-1, member=""):
    coordinator(producer.network)
    if not producer.v2:
        add(producer)
    partition = TxnOffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
    message = TxnOffsetCommitRequest(
        transactional_id=producer.name,
        group_id="g",
        producer_id=producer.id,
        producer_epoch=producer.epoch,
        generation_id=generation,
        member_id=member,
        topics=(TxnOffsetCommitRequestTopic(name="t", partitions=(partition,)),),
    )
    version = 5 if producer.v2 else 3
    producer.patiently(
        lambda: producer.call(coordinator(producer.network), message, version),
        lambda a: a.topics[0].partitions[0].error_code,
    )


@both
def test_offsets_count_with_their_transaction(v2):
    network, key = ready()
    producer = Producer(network, "x", v2=v2).init()
    producer.send(key, b"a")
    send_offset(producer, 7)
    assert fetched(network)[0] is Code.UNSTABLE_OFFSET_COMMIT
    producer.end(commit=True)
    assert fetched(network) == (Code.NONE, 7)
    send_offset(producer, 9)
    producer.end(commit=False)
    assert fetched(network) == (Code.NONE, 7)


@both
def test_the_next_group_coordinator_knows_what_is_pending(v2):
    network, key = ready()
    producer = Producer(network, "x", v2=v2, timeout_ms=20_000).init()
    producer.send(key, b"a")
    send_offset(producer, 7)
    old = coordinator(network)
    network.crash(old, power=False)
    assert fetched(network)[0] is Code.UNSTABLE_OFFSET_COMMIT
    network.start(old)
    assert network.run(until=lambda: healthy(network), limit_ms=10_000)
    producer.end(commit=True)
    assert fetched(network) == (Code.NONE, 7)


@both
def test_a_commit_made_while_the_transaction_was_open_is_the_later_one_and_stays(v2):
    network, key = ready()
    producer = Producer(network, "x", v2=v2, timeout_ms=20_000).init()
    producer.send(key, b"a")
    send_offset(producer, 7)
    assert commit(network, 9) == Code.NONE
    producer.end(commit=True)
    assert fetched(network) == (Code.NONE, 9)
    old = coordinator(network)
    network.crash(old, power=False)
    assert fetched(network) == (Code.NONE, 9)


@both
def test_a_fenced_consumer_fences_its_producer(v2):
    network, key = ready()
    member = joined(network)
    producer = Producer(network, "x", v2=v2).init()
    producer.send(key, b"a")
    with pytest.raises(RefusedError, match="ILLEGAL_GENERATION"):
        send_offset(producer, 7, member.generation_id + 1, member.member_id)
    with pytest.raises(RefusedError, match="UNKNOWN_MEMBER_ID"):
        send_offset(producer, 7, member.generation_id, "stranger")
    producer.end(commit=True)
    assert fetched(network) == (Code.NONE, -1)


@both
def test_a_member_that_has_joined_but_not_synced_sends_its_offsets_in_its_transaction(v2):
    network, key = ready()
    member = joined(network)
    protocols = (JoinGroupRequestProtocol(name="range", metadata=b"m"),)
    rejoin = JoinGroupRequest(
        group_id="g",
        session_timeout_ms=60_000,
        rebalance_timeout_ms=60_000,
        member_id=member.member_id,
        protocol_type="consumer",
        protocols=protocols,
    )
    again = patiently(network, rejoin, lambda a: a.error_code, version=3)
    assert again.generation_id == member.generation_id + 1
    assert commit(network, 5, again.generation_id, member.member_id) == Code.REBALANCE_IN_PROGRESS
    producer = Producer(network, "x", v2=v2).init()
    producer.send(key, b"a")
    send_offset(producer, 7, again.generation_id, member.member_id)
    producer.end(commit=True)
    assert fetched(network) == (Code.NONE, 7)


def test_a_v1_producer_must_announce_its_offsets():
    network, key = ready()
    producer = Producer(network, "x", v2=False).init()
    producer.send(key, b"a")
    producer.v2 = True  # leaves AddOffsetsToTxn out ...
    call = producer.call
    producer.call = lambda node, message, version, limit_ms=1500: call(
        node, message, min(version, 3), limit_ms
    )  # ... but speaks v1
    with pytest.raises(RefusedError, match="INVALID_TXN_STATE"):
        send_offset(producer, 7)
    assert fetched(network) == (Code.NONE, -1)
