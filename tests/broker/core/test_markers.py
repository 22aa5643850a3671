"""What a coordinator of the past began, or is told, does nothing to the markers of the next one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.ready import Outbox
from broker.core.transaction.markers import MarkerSender
from broker.core.transaction.state import State
from broker.wire.messages.write_txn_markers import (
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponse,
)
from tests.broker.core.test_transactions import Producer, ready

PLACE = ("t", 0)
OTHER_NODE = 2


def sender(completed):
    partitions = {0: SimpleNamespace(leader=OTHER_NODE)}
    image = SimpleNamespace(topic=lambda name: SimpleNamespace(partitions=partitions))
    config = BrokerConfig(node_id=1, voters=(1, 2, 3))
    out = Outbox()
    return out, MarkerSender(
        config,
        out,
        image=lambda: image,
        write=lambda *_: None,
        completed=lambda shard, *_: completed.append(shard.epoch),
    )


def decided(epoch):
    value = SimpleNamespace(producer_id=7, epoch=3, state=State.PREPARE_ABORT, partitions=(PLACE,), version=2)
    return SimpleNamespace(epoch=epoch), SimpleNamespace(value=value, unmarked={})


def answer(code):
    partition = WritableTxnMarkerPartitionResult(partition_index=0, error_code=code)
    topic = WritableTxnMarkerTopicResult(name="t", partitions=(partition,))
    return WriteTxnMarkersResponse(markers=(WritableTxnMarkerResult(producer_id=7, topics=(topic,)),))


@pytest.mark.parametrize("code", [Code.TRANSACTION_COORDINATOR_FENCED, Code.NONE])
def test_an_answer_to_a_shard_that_was_dropped_says_nothing_of_the_next_one(code):
    completed = []
    out, markers = sender(completed)
    old, new = decided(2), decided(4)
    markers.start(*old)
    markers.send(0)
    (first,) = out.take(None).requests
    markers.drop(old[0])
    markers.start(*new)
    markers.answered(first.token, answer(code), 10)
    assert completed == []
    (second,) = out.take(None).requests
    assert [(marker.coordinator_epoch, marker.transaction_version) for marker in second.message.markers] == [(4, 2)]
    markers.answered(second.token, answer(Code.NONE), 20)
    assert completed == [4]


def test_a_write_that_is_replicated_in_a_later_epoch_is_the_next_shards():
    """Seed 614 of the mix: the old shard's job took the place of the new one's, was fenced, and nobody ended it."""
    network, key, _ = ready()
    producer = Producer(network, "tx", v2=True).init()
    producer.send(key, b"x")
    coordinator = network.nodes[producer.coordinator()].transactions
    shard = next(shard for shard in coordinator._shards.values() if "tx" in shard.entries)
    entry, replica, told, written = shard.entries["tx"], shard.log.replica, [], []
    shard.write = lambda value, now_ms, done: written.append(done)
    coordinator._change(shard, entry, entry.value.to(State.PREPARE_ABORT), network.now_ms, told.append)
    leader, replica.leader = replica.leader, SimpleNamespace(epoch=shard.epoch + 2)
    written[0](Code.NONE)
    replica.leader = leader
    assert told == [Code.NOT_COORDINATOR]
    assert coordinator.markers.jobs == {}
    assert entry.value.state is State.ONGOING
