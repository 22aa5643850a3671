"""DeleteRecords: what is deleted stays deleted, on every replica, through failover and crashes."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.log.partition_log import saved_start
from broker.core.ready import Truncate
from broker.wire.messages.delete_records import DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic
from tests.broker.core.test_broker import cluster, create, fetch, healthy, newest_leader, produced


def delete(network, key, offset, node=None, timeout_ms=2000):
    ask = DeleteRecordsPartition(partition_index=key[1], offset=offset)
    topic = DeleteRecordsTopic(name="t", partitions=(ask,))
    target = node or newest_leader(network, key)[0]
    request_id = network.send(target, DeleteRecordsRequest(topics=(topic,), timeout_ms=timeout_ms))
    assert network.run(until=lambda: request_id in network.client_replies)
    return network.client_replies[request_id].topics[0].partitions[0]


def filled(network, count=5, **configs):
    key = create(network, **configs)
    for number in range(count):
        assert produced(network, key, b"%d" % number).error_code == Code.NONE
    return key


def starts(network, key):
    return {node.replicas.get(key).log.start for node in network.nodes.values()}


def test_all_live_replicas_have_deleted_when_it_is_answered():
    network = cluster()
    key = filled(network)
    got = delete(network, key, 3)
    assert (got.error_code, got.low_watermark) == (Code.NONE, 3)
    assert starts(network, key) == {3}
    got = delete(network, key, 2)
    assert (got.error_code, got.low_watermark) == (Code.NONE, 3), "a start never goes back"
    request_id = fetch(network, newest_leader(network, key)[0], key, 2)
    assert network.run(until=lambda: request_id in network.client_replies)
    assert network.client_replies[request_id].responses[0].partitions[0].error_code == Code.OFFSET_OUT_OF_RANGE


def test_minus_one_deletes_to_the_high_watermark():
    network = cluster()
    key = filled(network)
    assert delete(network, key, -1).low_watermark == 5
    assert produced(network, key, b"after").base_offset == 5


@pytest.mark.parametrize("power", [False, True])
def test_a_deleted_record_does_not_come_back_with_another_leader_or_after_a_crash_of_all(power):
    network = cluster()
    key = filled(network)
    assert delete(network, key, 4).error_code == Code.NONE
    old, _ = newest_leader(network, key)
    network.crash(old, power=power)
    assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, old})
    assert newest_leader(network, key)[1].log.start == 4
    network.start(old)
    assert network.run(until=lambda: healthy(network))
    for node in (1, 2, 3):
        network.crash(node, power=power)
    for node in (1, 2, 3):
        network.start(node)
    assert network.run(until=lambda: newest_leader(network, key)[0] is not None and healthy(network))
    assert starts(network, key) == {4}


def test_a_replica_that_lost_more_than_what_was_deleted_begins_where_the_rest_began():
    network = cluster(1)
    key = create(network, factor=1)
    for number in range(5):
        assert produced(network, key, b"%d" % number).error_code == Code.NONE
    assert delete(network, key, 5).error_code == Code.NONE
    name = newest_leader(network, key)[1].log.name
    network.crash(1, power=False)
    disk = network.disks[1]
    for base, _ in disk.segments(name):
        disk.write(Truncate(name, base, 0))
    assert saved_start(disk, name) == 5
    network.start(1)
    assert network.run(until=lambda: newest_leader(network, key)[0] is not None)
    assert produced(network, key, b"next").base_offset == 5


def test_a_dead_replica_is_not_waited_for_and_learns_it_when_it_is_back():
    network = cluster()
    key = filled(network)
    leader, _ = newest_leader(network, key)
    away = next(node for node in (1, 2, 3) if node != leader)
    network.crash(away, power=False)
    assert network.run(until=lambda: not network.nodes[leader].image.is_active(away))
    assert delete(network, key, 3).low_watermark == 3
    network.start(away)
    assert network.run(until=lambda: healthy(network) and starts(network, key) == {3})


def test_a_replica_that_lives_but_does_not_follow_times_the_request_out():
    network = cluster(replica_lag_ms=60_000)
    key = filled(network)
    leader, _ = newest_leader(network, key)
    follower = next(node for node in (1, 2, 3) if node != leader)
    network.nodes[follower].fetchers._fetch = lambda *_: None
    got = delete(network, key, 3, timeout_ms=500)
    assert (got.error_code, got.low_watermark) == (Code.REQUEST_TIMED_OUT, -1)


def test_what_can_not_be_deleted_is_refused():
    network = cluster()
    key = filled(network)
    assert delete(network, key, 6).error_code == Code.OFFSET_OUT_OF_RANGE
    assert delete(network, (key[0], 9), 1, node=1).error_code == Code.UNKNOWN_TOPIC_OR_PARTITION
    follower = next(node for node in (1, 2, 3) if node != newest_leader(network, key)[0])
    assert delete(network, key, 1, node=follower).error_code == Code.NOT_LEADER_OR_FOLLOWER


def test_records_of_a_compacted_topic_are_not_deleted():
    network = cluster()
    key = create(network, cleanup_policy="compact")
    assert network.run(until=lambda: healthy(network), limit_ms=5000)
    assert delete(network, key, 0).error_code == Code.POLICY_VIOLATION
    assert starts(network, key) == {0}
