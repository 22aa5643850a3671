"""Who may join a transaction: partitions that are there, none of an internal topic for a client, and all or none."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.transaction.coordinator import OFFSETS_TOPIC, TOPIC
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)
from tests.broker.core.test_transactional_offsets import send_offset
from tests.broker.core.test_transactions import Producer, RefusedError, both, ready

UNKNOWN, REFUSED = Code.UNKNOWN_TOPIC_OR_PARTITION, Code.TOPIC_AUTHORIZATION_FAILED


def topic(name, *partitions):
    return AddPartitionsToTxnTopic(name=name, partitions=partitions)


def told(results):
    return {
        (one.name, part.partition_index): part.partition_error_code
        for one in results
        for part in one.results_by_partition
    }


@pytest.fixture
def producer():
    network, _, _ = ready()
    return Producer(network, "x", v2=False).init()


def by_client(producer, *topics):
    """What a client hears who adds these partitions."""
    message = AddPartitionsToTxnRequest(
        v3_and_below_transactional_id=producer.name,
        v3_and_below_producer_id=producer.id,
        v3_and_below_producer_epoch=producer.epoch,
        v3_and_below_topics=topics,
    )
    return told(producer.call(producer.coordinator(), message, 3).results_by_topic_v3_and_below)


def by_leader(producer, *topics, verify_only):
    """What a leader hears."""
    ask = AddPartitionsToTxnTransaction(
        transactional_id=producer.name,
        producer_id=producer.id,
        producer_epoch=producer.epoch,
        verify_only=verify_only,
        topics=topics,
    )
    (result,) = producer.call(
        producer.coordinator(), AddPartitionsToTxnRequest(transactions=(ask,)), 5
    ).results_by_transaction
    assert result.transactional_id == producer.name
    return told(result.topic_results)


def joined(producer):
    return producer.network.nodes[producer.coordinator()].transactions.find(producer.name).partitions


def test_what_is_not_there_keeps_the_others_out(producer):
    assert by_client(producer, topic("t", 0, 7), topic("gone", 0)) == {
        ("t", 0): Code.OPERATION_NOT_ATTEMPTED,
        ("t", 7): UNKNOWN,
        ("gone", 0): UNKNOWN,
    }
    assert joined(producer) == ()
    assert by_client(producer, topic("t", 0, 1)) == {("t", 0): Code.NONE, ("t", 1): Code.NONE}
    assert joined(producer) == (("t", 0), ("t", 1))


@pytest.mark.parametrize("name", [TOPIC, OFFSETS_TOPIC, "__share_group_state"])
def test_a_client_adds_no_internal_topic(producer, name):
    assert by_client(producer, topic(name, 0), topic("gone", 0), topic("t", 0)) == {
        (name, 0): REFUSED,
        ("gone", 0): UNKNOWN,
        ("t", 0): Code.OPERATION_NOT_ATTEMPTED,
    }
    assert joined(producer) == ()


@pytest.mark.parametrize("verify_only", [False, True])
def test_a_leader_hears_what_is_not_there_and_may_name_what_is_internal(producer, verify_only):
    assert by_client(producer, topic("t", 1)) == {("t", 1): Code.NONE}
    assert by_leader(producer, topic("t", 1, 9), verify_only=verify_only) == {
        ("t", 1): Code.OPERATION_NOT_ATTEMPTED,
        ("t", 9): UNKNOWN,
    }
    assert by_leader(producer, topic("t", 1), verify_only=verify_only) == {("t", 1): Code.NONE}
    internal = by_leader(producer, topic(TOPIC, 0), verify_only=verify_only)
    assert internal == {(TOPIC, 0): Code.TRANSACTION_ABORTABLE if verify_only else Code.NONE}


def guards(network):
    return sum(len(replica.log.producers._guards) for node in network.nodes.values() for replica in node.replicas)


@both
def test_producers_that_never_go_on_leave_nothing_in_memory(v2):
    network, key, _ = ready()
    for number in range(4):
        one = Producer(network, f"x{number}", v2=v2).init()
        one.epoch += 1  # nobody gave it that
        with pytest.raises(RefusedError, match="INVALID_PRODUCER_EPOCH"):
            one.produce(key, b"never")
        with pytest.raises(RefusedError, match=r"INVALID_PRODUCER_EPOCH|PRODUCER_FENCED"):
            send_offset(one, 7)
    assert guards(network) == 0
