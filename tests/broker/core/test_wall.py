"""The clock on a node's wall may be wrong: what is written down goes by it, what the node waits for does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core import queries
from broker.core.errors import Code
from broker.core.wall import RIGHT, Skew
from broker.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from tests.broker.core.test_broker import cluster, contents, create, healthy, newest_leader, produced
from tests.broker.core.test_transactions import Producer, both, committed, ready

MINUTE_MS = 60_000


def skew(network, node, offset_ms):
    network.nodes[node].replicas.skew_ms = offset_ms


def everywhere(network, offset_ms):
    for node in network.nodes:
        skew(network, node, offset_ms)


@given(now_ms=st.integers(0, 1 << 41), offset_ms=st.integers(-MINUTE_MS, MINUTE_MS), every_ms=st.integers(1, 5000))
def test_a_clock_that_goes_to_and_fro_is_wrong_every_other_span(now_ms, offset_ms, every_ms):
    strobe = Skew(offset_ms, every_ms)
    assert {strobe.at(now_ms), strobe.at(now_ms + every_ms)} == {0, offset_ms}
    assert strobe.at(now_ms) == strobe.at(now_ms + 2 * every_ms)
    assert (Skew(offset_ms).at(now_ms), RIGHT.at(now_ms)) == (offset_ms, 0)


@pytest.mark.parametrize("offset_ms", [MINUTE_MS, -MINUTE_MS])
def test_a_leader_dates_records_by_its_wall_and_goes_on_as_before(offset_ms):
    network = cluster()
    key = create(network, message_timestamp_type="LogAppendTime")
    leader = newest_leader(network, key)[0]
    skew(network, leader, offset_ms)
    answer = produced(network, key, b"x")
    assert answer.error_code == Code.NONE
    assert abs(answer.log_append_time_ms - network.now_ms - offset_ms) < 1000
    network.run(5000)
    assert healthy(network)
    assert newest_leader(network, key)[0] == leader, "nobody was given up"


def test_records_too_far_from_the_wall_are_refused_and_nothing_else():
    network = cluster()
    key = create(network, message_timestamp_after_max_ms=10_000, message_timestamp_before_max_ms=10_000)
    leader = newest_leader(network, key)[0]
    for offset_ms, code in ((MINUTE_MS, Code.INVALID_TIMESTAMP), (-MINUTE_MS, Code.INVALID_TIMESTAMP), (0, Code.NONE)):
        skew(network, leader, offset_ms)
        assert produced(network, key, b"x").error_code == code
    assert list(contents(network, key).values()) == [b"x"]


def test_retention_goes_by_the_leaders_wall():
    network = cluster(retention_check_ms=100)
    key = create(network, retention_ms=30_000)
    assert produced(network, key, b"x").error_code == Code.NONE
    leader, replica = newest_leader(network, key)
    for follower in network.nodes.keys() - {leader}:
        skew(network, follower, MINUTE_MS)
    network.run(1000)
    assert replica.log.start == 0, "only the leader deletes"
    skew(network, leader, MINUTE_MS)
    assert network.run(until=lambda: replica.log.start == 1, limit_ms=1000)


@both
def test_a_transaction_times_out_by_the_coordinators_wall(v2):
    network, key, _ = ready()
    producer = Producer(network, "x", v2=v2, timeout_ms=5000).init()
    producer.send(key, b"a")
    everywhere(network, MINUTE_MS)
    replica = newest_leader(network, key)[1]
    assert network.run(until=lambda: replica.log.last_stable == replica.log.end == 2, limit_ms=2000), "aborted early"
    assert committed(network, key) == []


@both
def test_a_transaction_that_a_clock_ahead_began_ends_when_the_right_one_has_caught_up(v2):
    network, key, _ = ready()
    producer = Producer(network, "x", v2=v2, timeout_ms=5000).init()
    everywhere(network, 10_000)
    producer.send(key, b"a")
    everywhere(network, 0)
    replica = newest_leader(network, key)[1]
    assert not network.run(until=lambda: replica.log.last_stable > 0, limit_ms=10_000)
    assert network.run(until=lambda: replica.log.last_stable == replica.log.end == 2, limit_ms=6000)


def test_a_silent_producer_is_forgotten_by_the_wall():
    network = cluster(producer_id_expiration_ms=30_000, checkpoint_interval_ms=200)
    key = create(network)
    once = {"producer_id": 7, "producer_epoch": 0, "base_sequence": 0}
    assert produced(network, key, b"x", **once).base_offset == 0
    network.run(1000)
    assert produced(network, key, b"x", **once).base_offset == 0, "it is known"
    everywhere(network, MINUTE_MS)
    network.run(1000)
    assert produced(network, key, b"x", **once).base_offset == 1


def test_a_search_by_time_finds_what_a_wrong_clock_has_dated():
    network = cluster()
    key = create(network, message_timestamp_type="LogAppendTime")
    leader = newest_leader(network, key)[0]
    times = []
    for offset_ms in (0, MINUTE_MS, -MINUTE_MS, 0):
        skew(network, leader, offset_ms)
        times.append(produced(network, key, b"x").log_append_time_ms)
        network.run(50)
    for asked_ms in times:
        part = ListOffsetsPartition(partition_index=0, timestamp=asked_ms)
        request = ListOffsetsRequest(topics=(ListOffsetsTopic(name="t", partitions=(part,)),))
        node = network.nodes[leader]
        answer = queries.answer(node, network.disks[leader], request, network.now_ms)
        found = answer.topics[0].partitions[0]
        first = next(offset for offset, time_ms in enumerate(times) if time_ms >= asked_ms)
        assert (found.offset, found.timestamp) == (first, times[first])
