"""Offsets that nobody uses are forgotten in time, those that somebody uses are not, and no commit is undone."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.wire.messages.list_groups import ListGroupsRequest
from broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from broker.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics
from tests.broker.core.test_broker import create
from tests.broker.core.test_consumer_group import Consumer, ask, coordinator, ready
from tests.broker.core.test_group_migration import Classic

RETENTION_MS = 60_000
CHECK_MS = 1000


def network_of(**settings):
    return ready(
        1,
        offsets_retention_minutes=1,
        offsets_check_interval_ms=CHECK_MS,
        group_initial_delay_ms=0,
        group_min_session_timeout_ms=100,
        **settings,
    )


def commit(network, topic="t", offset=5):
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
    topics = (OffsetCommitRequestTopic(name=topic, partitions=(partition,)),)
    answer = ask(network, OffsetCommitRequest(group_id="g", topics=topics), 2)
    assert answer.topics[0].partitions[0].error_code == Code.NONE


def committed(network, topic="t"):
    topics = (OffsetFetchRequestTopics(name=topic, partition_indexes=(0,)),)
    fetch = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id="g", topics=topics),))
    for _ in range(100):
        group = ask(network, fetch, 8).groups[0]
        if group.error_code == Code.NONE:
            return group.topics[0].partitions[0].committed_offset
        network.run(50)
    raise AssertionError(Code(group.error_code))


def groups(network):
    return [group.group_id for group in ask(network, ListGroupsRequest()).groups]


def test_offsets_without_a_group_go_after_their_commit():
    network = network_of()
    commit(network)
    network.run(RETENTION_MS - 2 * CHECK_MS)
    assert committed(network) == 5
    network.run(4 * CHECK_MS)
    assert committed(network) == -1
    assert groups(network) == []


def test_a_working_member_keeps_offsets_of_what_it_reads_and_no_others():
    network = network_of()
    create(network, "other", factor=1)
    member = Classic(network)
    assert member.join() == Code.NONE
    assert member.commit() == Code.NONE
    for _ in range((RETENTION_MS + 4 * CHECK_MS) // 1000):
        assert member.work() == Code.NONE
        network.run(1000)
    assert committed(network) == 1
    assert member.leave() == Code.NONE
    network.run(RETENTION_MS - 4 * CHECK_MS)
    assert committed(network) == 1, "counted from when the group became empty"
    network.run(6 * CHECK_MS)
    assert committed(network) == -1
    assert groups(network) == []


@pytest.mark.parametrize("away", [False, True], ids=["works", "is gone"])
def test_a_consumer_group_keeps_what_its_members_subscribe_to(away):
    network = network_of()
    member = Consumer(network, "a").join()
    assert member.commit(7) == Code.NONE
    if away:
        member.leave()
    for _ in range((RETENTION_MS + 4 * CHECK_MS) // 1000):
        if not away:
            assert member.beat() == Code.NONE
        network.run(1000)
    assert committed(network) == (-1 if away else 7)
    assert groups(network) == ([] if away else ["g"])


def test_what_has_expired_stays_away_after_a_restart_and_a_newer_commit_stays():
    network = network_of()
    commit(network)
    network.run(RETENTION_MS + 4 * CHECK_MS)
    assert committed(network) == -1
    network.crash(1, power=False)
    network.start(1)
    assert committed(network) == -1
    commit(network, offset=9)
    network.run(RETENTION_MS // 2)
    commit(network, offset=10)
    network.run(RETENTION_MS // 2 + 4 * CHECK_MS)
    assert committed(network) == 10
    network.crash(1, power=False)
    network.start(1)
    assert committed(network) == 10


def test_a_commit_on_its_way_to_the_replicas_is_not_undone():
    network = ready(3, offsets_check_interval_ms=20)
    for node in network.nodes.values():
        node.groups.expiry._retention_ms = 2000
    commit(network)
    leader = coordinator(network)
    (shard,) = [shard for shard in network.nodes[leader].groups.shards() if shard.has_group("g")]
    (old,) = shard.offsets.values()
    network.run(old.timestamp_ms + 2000 - network.now_ms - 100)
    for node in network.nodes.values():  # they stay in the quorum; only their replication stops
        node.fetchers._fetch = lambda *_: None
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=6)
    topics = (OffsetCommitRequestTopic(name="t", partitions=(partition,)),)
    request = network.send(leader, OffsetCommitRequest(group_id="g", topics=topics), version=2)
    network.run(200)
    assert network.now_ms - old.timestamp_ms > 2000
    assert request not in network.client_replies
    assert network.run(until=lambda: request in network.client_replies, limit_ms=5000)
    network.crash(leader, power=False)
    network.start(leader)
    assert committed(network) == 6
