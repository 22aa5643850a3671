"""Retention: whole segments, by the records' time and the node's clock, by size, never at or past the high watermark."""

from __future__ import annotations

import random

import pytest

from broker.core.cleaning.retention import Retention
from broker.core.config import CleanupConfig
from tests.broker.core.keyed_log import KeyedLog
from tests.broker.core.test_broker import cluster, create, fetch, healthy, leaders, newest_leader, produce, produced


def log_of(*times, segment_bytes=100):
    """One segment per record of these times."""
    log = KeyedLog(segment_bytes=segment_bytes)
    for time in times:
        log.now_ms = time
        log.send((b"a", bytes(30)))
    return log


def apply(log, now_ms, **cleanup):
    moved = Retention().apply(log.log, CleanupConfig(**{"retention_ms": -1, **cleanup}), now_ms)
    log.flush()
    return moved


def test_segments_expire_by_the_time_of_their_last_record():
    log = log_of(1000, 2000, 3000)
    assert not apply(log, 2000, retention_ms=1000)
    assert apply(log, 2001, retention_ms=1000)
    assert log.log.start == 1
    assert apply(log, 3500, retention_ms=1000)
    assert log.log.start == 2
    assert [base for base, _ in log.disk.segments("t-0")] == [2]


def test_an_old_segment_behind_a_young_one_stays():
    log = log_of(5000, 1000, 6000)
    assert not apply(log, 5500, retention_ms=1000)
    assert log.log.start == 0


def test_an_active_segment_that_can_not_go_is_not_rolled():
    log = log_of(5000)
    log.now_ms = 1000
    log.send((b"a", None))
    end = log.log.end
    assert not apply(log, 5500, retention_ms=1000)
    for now_ms in (6000, 9000):  # the first pass dates the tombstone, the second one may take it
        log.now_ms = now_ms
        log.compact()
    log.restart()
    assert log.log.end == end, "no offset is given twice"


def test_an_active_segment_that_expired_is_rolled_and_goes():
    log = log_of(1000, 2000)
    assert apply(log, 9000, retention_ms=1000)
    assert (log.log.start, log.log.end) == (2, 2)
    assert log.send((b"a", b"1")) == 2
    assert [offset for offset, *_ in log.consume()] == [2]


def test_nothing_at_or_past_the_high_watermark_goes():
    log = log_of(1000, 2000, 3000)
    log.log.high_watermark = 1
    assert apply(log, 9000, retention_ms=1000, retention_bytes=0)
    assert log.log.start == 1


def test_a_log_keeps_as_many_bytes_as_it_may():
    log = log_of(1, 2, 3, 4)
    size = log.log.segments[0].size
    assert not apply(log, 5, retention_bytes=3 * size + 1)
    assert apply(log, 5, retention_bytes=3 * size)
    assert log.log.start == 1
    assert apply(log, 5, retention_bytes=0)
    assert log.log.start == 3, "the active segment stays"


def test_a_log_that_is_only_compacted_keeps_its_old_segments():
    log = log_of(1000, 2000)
    assert not apply(log, 1 << 50, retention_ms=1, retention_bytes=0, delete=False, compact=True)


def test_a_clock_behind_the_records_deletes_nothing():
    log = log_of(10_000, 20_000)
    assert not apply(log, 5000, retention_ms=0)


def test_what_is_dropped_is_read_until_it_is_released():
    log = log_of(1000, 2000)
    region = log.log.read(0, 2, 1000)
    before = log.disk.fetch(region)
    assert apply(log, 3000, retention_ms=1500)
    assert log.disk.fetch(region) == before != b""
    assert log.log.dropped == [(0, 0)]


def starts(network, key):
    return {replica.log.start for node in network.nodes.values() if (replica := node.replicas.get(key))}


@pytest.mark.parametrize("kind", ["CreateTime", "LogAppendTime"])
def test_all_replicas_of_a_topic_follow_and_out_of_range_is_said(kind):
    network = cluster(retention_check_ms=200)
    settings = {"retention_ms": 2000, "segment_bytes": 200, "message_timestamp_type": kind}
    key = create(network, **settings)
    for number in range(10):
        assert produced(network, key, b"%d" % number).error_code == 0
    assert network.run(until=lambda: starts(network, key) == {10}, limit_ms=10_000)
    node, replica = newest_leader(network, key)
    request_id = fetch(network, node, key, 0)
    network.run(until=lambda: request_id in network.client_replies)
    answer = network.client_replies[request_id].responses[0].partitions[0]
    assert (answer.error_code, answer.log_start_offset) == (1, 10)
    assert produced(network, key, b"after").base_offset == 10
    network.crash(node)
    assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, node})
    network.start(node)
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)
    assert min(starts(network, key)) >= 10, "a start never goes back, neither by failover nor by a crash"
    assert leaders(network, key)
    del replica


@pytest.mark.parametrize("seed", range(6))
def test_replicas_that_come_back_to_an_expired_log_are_whole_again(seed):
    """Whoever was away meets a log that begins behind its own end, or knows no epoch of its own records."""
    network, rng = cluster(seed=seed, retention_check_ms=100), random.Random(seed)
    key = create(network, retention_ms=1000, segment_ms=200, min_insync_replicas=2)
    down = None
    for _ in range(60):
        for _ in range(rng.randrange(1, 5)):
            produce(network, key, b"x")
        network.run(rng.randrange(20, 200))
        if down is None and rng.random() < 0.1 and newest_leader(network, key)[0]:
            down = newest_leader(network, key)[0]
            network.crash(down, power=False)
        elif down is not None and rng.random() < 0.2:
            network.start(down)
            down = None
    if down is not None:
        network.start(down)
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)
