"""Replicas of compacted topics: one that was away must not bring back what the others have deleted and forgotten."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.replication.leader import Leader
from broker.wire import batch, record
from broker.wire.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from tests.broker.core.test_broker import answer, cluster, create, healthy, newest_leader, produced

SETTINGS = {
    "cleanup_policy": "compact",
    "delete_retention_ms": 300,
    "segment_ms": 50,
    "min_cleanable_dirty_ratio": 0,
    "min_insync_replicas": 2,
}


def send(network, key, data):
    topic = TopicProduceData(
        topic_id=bytes.fromhex(key[0]), partition_data=(PartitionProduceData(index=key[1], records=bytes(data)),)
    )
    for _ in range(20):
        target = newest_leader(network, key)[0] or min(network.nodes)
        request_id = network.send(target, ProduceRequest(acks=-1, timeout_ms=1000, topic_data=(topic,)))
        network.run(until=lambda one=request_id: one in network.client_replies, limit_ms=2000)
        if request_id in network.client_replies and not answer(network, request_id).error_code:
            return
        network.run(100)
    raise AssertionError("nobody takes the record")


def put(network, key, *records):
    send(network, key, record.batch_of(records, timestamp_ms=network.now_ms))
    network.run(60)  # the next record rolls the segment


def state_under(network, key):
    """The last value of each key as the leader has it."""
    node, replica = newest_leader(network, key)
    data = network.disks[node].dump(replica.log.name)
    found = {}
    for position, header in batch.parse(data):
        if not header.is_control:
            for item in record.decode(data, position, header):
                found[item.key] = item.value
    return {k: v for k, v in found.items() if v is not None and not k.startswith(b"filler")}


def lead(network, key, node):
    """Make the node, the first of the replicas, the leader."""
    topic = TopicPartitions(topic="t", partitions=(key[1],))
    for _ in range(50):
        network.send(min(network.nodes), ElectLeadersRequest(topic_partitions=(topic,), timeout_ms=1000))
        if network.run(until=lambda: newest_leader(network, key)[0] == node, limit_ms=500):
            return
    raise AssertionError(f"node {node} does not become the leader")


def away_while_deleted(network, key, power):
    """Let the preferred leader be away while a key is deleted and the tombstone is forgotten; return the node."""
    put(network, key, (b"a", b"1"), (b"b", b"1"))
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)
    state = newest_leader(network, key)[1].state
    away = state.replicas[0]
    network.crash(away, power=power)
    assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, away})
    put(network, key, (b"a", None))
    for number in range(30):
        put(network, key, (b"filler%d" % (number % 3), b"%d" % number))
        if all(node.replicas.get(key).log.cleaned.horizon > 2 for node in network.nodes.values()):
            break
    else:
        raise AssertionError("the tombstone is not forgotten")
    assert state_under(network, key) == {b"b": b"1"}
    network.start(away)
    return away


@pytest.mark.parametrize("power", [False, True])
def test_a_replica_that_was_away_does_not_bring_a_deleted_key_back(power):
    network = cluster(cleaner_backoff_ms=50)
    key = create(network, **SETTINGS)
    away = away_while_deleted(network, key, power)
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)
    lead(network, key, away)
    assert state_under(network, key) == {b"b": b"1"}
    assert newest_leader(network, key)[1].log.cleaned.horizon > 2, "a copy forgets what its source has forgotten"


def test_without_the_horizon_it_would(monkeypatch):
    monkeypatch.setattr(Leader, "can_follow", lambda *_, **__: True)
    network = cluster(cleaner_backoff_ms=50)
    network.check = lambda _: None
    key = create(network, **SETTINGS)
    away = away_while_deleted(network, key, power=False)
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)
    lead(network, key, away)
    assert state_under(network, key) == {b"a": b"1", b"b": b"1"}, "this test can't find the race any more"


def test_a_short_absence_needs_no_new_copy():
    network = cluster(cleaner_backoff_ms=50)
    key = create(network, **{**SETTINGS, "delete_retention_ms": 60_000})
    put(network, key, (b"a", b"1"))
    away = newest_leader(network, key)[1].state.replicas[0]
    network.crash(away, power=False)
    assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, away})
    put(network, key, (b"a", None))
    for number in range(5):
        put(network, key, (b"filler", b"%d" % number))
    network.start(away)
    ends = []
    assert network.run(
        until=lambda: (
            ends.append(network.nodes[away].replicas.get(key).log.end if key_there(network, away, key) else 1)
            or healthy(network)
        ),
        limit_ms=20_000,
    )
    assert min(ends) > 0, "it began anew"
    lead(network, key, away)
    assert state_under(network, key) == {}


def key_there(network, node, key):
    return network.nodes[node].replicas.get(key) is not None


def test_compaction_goes_on_while_a_replica_is_dead():
    network = cluster(cleaner_backoff_ms=50)
    key = create(network, **SETTINGS)
    put(network, key, (b"a", b"1"))
    network.crash(newest_leader(network, key)[1].state.replicas[0], power=False)
    for number in range(40):
        put(network, key, (b"a", b"%d" % number))
    replica = newest_leader(network, key)[1]
    assert sum(map(len, replica.log.segments)) < 15
    assert answer(network, max(network.client_replies)).error_code == Code.NONE


def test_a_compacted_topic_takes_no_record_without_a_key():
    network = cluster(size=1)
    key = create(network, factor=1, cleanup_policy="compact")
    assert produced(network, key, b"no key").error_code == Code.INVALID_RECORD
    put(network, key, (b"a", None))
    assert newest_leader(network, key)[1].log.end == 1
