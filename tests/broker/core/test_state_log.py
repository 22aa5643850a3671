"""What a coordinator writes is replicated at once: its followers' waiting fetches are answered by the write.

What a new one reads counts when it is replicated, not before.
"""

from types import SimpleNamespace

import pytest

from broker.core.errors import Code
from broker.core.replication.state_log import StateLog
from broker.wire import record
from broker.wire.batch import CorruptBatchError
from tests.broker.core.test_broker import cluster, create
from tests.broker.core.test_group_coordinator import commit, committed
from tests.broker.core.test_partition_log import Bench

WAIT_MS = 400


def test_a_committed_offset_does_not_wait_for_a_follower_to_ask_again():
    network = cluster(3, 1, replica_fetch_wait_ms=WAIT_MS, replica_lag_ms=10 * WAIT_MS, offsets_partitions=1)
    create(network)
    assert commit(network, 1) == Code.NONE
    network.run(2 * WAIT_MS)
    took = []
    for offset in range(2, 12):
        began = network.now_ms
        assert commit(network, offset) == Code.NONE
        took.append(network.now_ms - began)
    assert max(took) < WAIT_MS / 2
    assert committed(network) == 11


class Replay:
    def __init__(self):
        self.seen = []

    def apply(self, header, item):
        self.seen.append(item.key)

    def end(self, header, *, commit):
        self.seen.append(commit)


def test_a_new_coordinator_does_not_answer_from_what_its_node_alone_has():
    """Seed 527 of the mix: it told of a record that was lost with it, and a transaction hung for ever."""
    bench, replay = Bench(), Replay()

    def read(name, base, position, size):
        return bytes(bench.disk._segments[name][base].data[position : position + size])

    bench.append(record.batch_of([(b"a", b"1")], timestamp_ms=1))
    replica = SimpleNamespace(log=bench.log, leader=SimpleNamespace(epoch=1))
    log = StateLog(replica, SimpleNamespace(read=read))
    assert log.is_due
    assert [log.load_slice(replay) for _ in range(3)] == [False, False, False]
    assert (log.is_due, log.is_loaded, replay.seen) == (False, False, [b"a"])
    bench.append(record.marker(producer_id=1, producer_epoch=0, commit=True, coordinator_epoch=0, timestamp_ms=1))
    assert log.is_due, "what others write meanwhile is read, too"
    assert not log.load_slice(replay)
    bench.log.advance_high_watermark(bench.log.end)
    assert log.is_due
    assert log.load_slice(replay)
    assert (log.is_loaded, replay.seen) == (True, [b"a", True])


def lagging(bench):
    """A log that is being loaded, and how many bytes of its segment the storage has so far, in a list of one."""
    there = [1 << 30]

    def read(name, base, position, size):
        return bytes(bench.disk._segments[name][base].data[position : min(position + size, there[0])])

    replica = SimpleNamespace(log=bench.log, leader=SimpleNamespace(epoch=1))
    return StateLog(replica, SimpleNamespace(read=read)), there


def test_what_the_same_step_has_appended_is_read_in_the_next_one():
    """Seed 20035 of the mix: a marker that came while the log was loaded was skipped, and its offsets hung for ever."""
    bench, replay = Bench(), Replay()
    first = record.batch_of([(b"a", b"1")], timestamp_ms=1)
    bench.append(first)
    log, there = lagging(bench)
    there[0] = len(first)
    bench.append(record.marker(producer_id=1, producer_epoch=0, commit=True, coordinator_epoch=0, timestamp_ms=1))
    bench.log.advance_high_watermark(bench.log.end)
    assert [log.load_slice(replay) for _ in range(3)] == [False, False, False]
    assert replay.seen == [b"a"]
    assert log.is_due
    there[0] = 1 << 30
    assert [log.load_slice(replay) for _ in range(2)] == [False, True]
    assert replay.seen == [b"a", True]


def test_a_log_whose_bytes_never_come_is_not_waited_for_for_ever():
    bench = Bench()
    bench.append(record.batch_of([(b"a", b"1")], timestamp_ms=1))
    log, there = lagging(bench)
    there[0] = 7
    replay = Replay()
    with pytest.raises(CorruptBatchError, match="0 of 70 bytes are there at offset 0"):
        assert not any(log.load_slice(replay) for _ in range(2000))
    assert replay.seen == []
