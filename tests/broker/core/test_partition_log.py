"""The log against a naive model: a list of batches, from which everything is computed anew each time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.errors import Code, Refused
from broker.core.log.partition_log import LogConfig, PartitionLog, epochs_file
from broker.core.log.producers import Producers
from broker.core.log.recovery import Checkpoint, recover
from broker.core.log.segment import BATCH_BYTES
from broker.core.ready import Append, Outbox, Save
from broker.sim.disk import Disk
from broker.wire import batch, record

NAME = "t-0"


def data_batch(count=1, pid=-1, epoch=-1, sequence=-1, *, transactional=False, timestamp=1000, size=20):
    records = [(None, bytes(size))] * count
    return record.batch_of(
        records,
        timestamp_ms=timestamp,
        producer_id=pid,
        producer_epoch=epoch,
        base_sequence=sequence,
        transactional=transactional,
    )


class Bench:
    """A log on a disk; appends go through the checks of a leader."""

    def __init__(self, config=None):
        self.disk, self.out = Disk(), Outbox()
        self.config = config or LogConfig(segment_bytes=400)
        self.log = PartitionLog(NAME, self.config, self.disk, self.out)

    def flush(self):
        self.disk.perform(self.out.take(None))

    def append(self, data, epoch=0):
        headers = [header for _, header in batch.parse(data)]
        base = self.log.append(data, headers, epoch, 0)
        self.flush()
        return base

    def checked(self, data, epoch=0):
        header = batch.parse_header(data, 0)
        repeated = self.log.producers.check(header)
        return repeated.base_offset if repeated else self.append(data, epoch)

    def recover(self, **checkpoint):
        log, report = recover(NAME, self.config, self.disk, self.out, Checkpoint(**checkpoint))
        self.log = log
        self.flush()
        return report


def read_all(bench, start, limit):
    offset, out = start, b""
    for _ in range(1000):
        region = bench.log.read(offset, limit, 150)
        if region is None:
            return out
        out += bench.disk.fetch(region)
        offset = bench.log.end_of(region)
    raise AssertionError("a read does not end")


def state_of(producers):
    return [(p.producer_id, p.epoch, p.coordinator_epoch, p.first_offset, list(p.batches)) for p in producers.all()]


class Model:
    """Batches as (bytes, header); all derived values by brute force."""

    def __init__(self):
        self.batches = []

    def bytes_from(self, offset, limit):
        return b"".join(d for d, h in self.batches if h.next_offset > offset and h.base_offset < limit)

    def transactions(self):
        """Yield (pid, first, marker offset or None, kind)."""
        opened, out = {}, []
        for data, h in self.batches:
            if h.producer_id < 0:
                continue
            if h.is_control:
                kind, _ = record.control_type(data, 0, h)
                if h.producer_id in opened:
                    out.append((h.producer_id, opened.pop(h.producer_id), h.base_offset, kind))
            elif h.is_transactional:
                opened.setdefault(h.producer_id, h.base_offset)
        return out + [(pid, first, None, None) for pid, first in opened.items()]

    def last_stable(self, hw):
        unstable = [first for _, first, end, _ in self.transactions() if end is None or end >= hw]
        return min([hw, *unstable])

    def aborted(self, start, end):
        return {
            (p, f) for p, f, last, kind in self.transactions() if kind == record.ABORT and last >= start and f < end
        }

    def epoch_end(self, epoch):
        older = [h for _, h in self.batches if h.leader_epoch <= epoch]
        return older[-1].next_offset if older else None


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["plain", "send", "send", "txn", "txn", "commit", "abort", "hw", "epoch", "cut", "restart", "stop", "crash"]
        ),
        st.integers(0, 5),
    ),
    max_size=40,
)


@settings(max_examples=1000)
@given(OPERATIONS, st.integers(0, 2**32))
def test_the_log_equals_its_model(operations, seed):
    rng = random.Random(seed)
    bench, model, epoch = Bench(), Model(), 0
    sequences = {}

    def add(data):
        bench.append(data, epoch)
        model.batches.append((bytes(data), batch.parse_header(data, 0)))

    for kind, number in operations:
        log = bench.log
        open_pids = [p.producer_id for p in log.producers.all() if p.first_offset is not None]
        if kind == "plain":
            add(data_batch(number + 1, size=rng.randint(0, 60)))
        elif kind in ("send", "txn"):
            pid = number if kind == "txn" else number + 10
            data = data_batch(2, pid, 0, sequences.get(pid, 0), transactional=kind == "txn")
            sequences[pid] = sequences.get(pid, 0) + 2
            assert log.producers.check(batch.parse_header(data, 0)) is None
            add(data)
        elif kind in ("commit", "abort") and open_pids:
            pid = open_pids[number % len(open_pids)]
            add(
                record.marker(
                    producer_id=pid, producer_epoch=0, commit=kind == "commit", coordinator_epoch=0, timestamp_ms=5
                )
            )
        elif kind == "hw":
            log.advance_high_watermark(rng.randint(0, log.end))
        elif kind == "epoch":
            epoch += 1
        elif kind == "cut":
            target = rng.randint(log.high_watermark, log.end)
            log.truncate(target)
            log.sync()  # else a power loss may bring the tail back, and the model does not know what was there
            bench.flush()
            model.batches = [(d, h) for d, h in model.batches if h.next_offset <= target]
            sequences = {p.producer_id: batch.next_sequence(p.last_sequence) for p in bench.log.producers.all()}
        elif kind == "restart":
            bench.log.sync()
            bench.flush()
            report = bench.recover(high_watermark=log.high_watermark, recovery_point=log.end, clean=True)
            assert not report.reason
        elif kind == "stop":
            bench.log.stop()
            bench.flush()
            report = bench.recover(high_watermark=log.high_watermark, recovery_point=log.end, clean=True)
            assert not report.reason
        elif kind == "crash":
            hw, point = log.high_watermark, log.recovery_point
            bench.disk.crash(rng)
            report = bench.recover(high_watermark=min(hw, point), recovery_point=point)
            assert bench.log.end >= point
            assert not report.lossy
            model.batches = [(d, h) for d, h in model.batches if h.next_offset <= bench.log.end]
            bench.log.advance_high_watermark(min(hw, bench.log.end))
            sequences = {p.producer_id: batch.next_sequence(p.last_sequence) for p in bench.log.producers.all()}

        log = bench.log
        assert log.end == (model.batches[-1][1].next_offset if model.batches else log.end)
        assert log.end == log.segments[-1].next_offset
        assert log.epochs.latest == max((known for known, _ in log.epochs.entries()), default=-1)
        assert read_all(bench, 0, log.end) == model.bytes_from(0, log.end)
        assert log.last_stable == model.last_stable(log.high_watermark)
        start = rng.randint(0, log.end)
        end = rng.randint(start, log.end)
        assert read_all(bench, start, end) == (model.bytes_from(start, end) if start < end else b"")
        found = {(t.producer_id, t.first_offset) for t in log.aborted.overlapping(start, end)} if start < end else set()
        assert found == (model.aborted(start, end) if start < end else set())
        for old in range(epoch + 1):
            expected = model.epoch_end(old)
            if expected is not None:
                assert log.epochs.end_of(old, log.end)[1] == expected
        fresh = Producers()
        for data, header in model.batches:
            if header.producer_id >= 0 and header.is_control:
                kind_, coordinator_epoch = record.control_type(data, 0, header)
                fresh.end(header, header.base_offset, coordinator_epoch, commit=kind_ == record.COMMIT)
            elif header.producer_id >= 0:
                fresh.append(header, header.base_offset)
        assert state_of(log.producers) == state_of(fresh)


def test_a_repeated_batch_returns_its_first_offset():
    bench = Bench()
    first = [bench.checked(data_batch(1, 7, 0, sequence)) for sequence in range(5)]
    assert [bench.checked(data_batch(1, 7, 0, sequence)) for sequence in range(5)] == first
    assert bench.log.end == 5


def test_the_sixth_last_batch_is_out_of_order():
    bench = Bench()
    for sequence in range(6):
        bench.checked(data_batch(1, 7, 0, sequence))
    with pytest.raises(Refused) as refused:
        bench.checked(data_batch(1, 7, 0, 0))
    assert refused.value.code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER


@pytest.mark.parametrize(
    ("epoch", "sequence", "code"),
    [
        (2, 9, Code.OUT_OF_ORDER_SEQUENCE_NUMBER),
        (3, 5, Code.OUT_OF_ORDER_SEQUENCE_NUMBER),
        (1, 0, Code.INVALID_PRODUCER_EPOCH),
    ],
)
def test_a_batch_out_of_sequence_or_of_an_old_epoch_is_refused(epoch, sequence, code):
    bench = Bench()
    bench.checked(data_batch(1, 7, 2, 0))
    with pytest.raises(Refused) as refused:
        bench.checked(data_batch(1, 7, epoch, sequence))
    assert refused.value.code == code


def test_an_unknown_producer_may_start_anywhere_only_without_strict_start():
    bench = Bench()
    header = batch.parse_header(data_batch(1, 7, 2, 40), 0)
    assert bench.log.producers.check(header) is None
    with pytest.raises(Refused):
        bench.log.producers.check(header, strict_start=True)


def test_a_marker_of_a_deposed_coordinator_is_refused():
    bench = Bench()
    bench.append(record.marker(producer_id=1, producer_epoch=4, commit=True, coordinator_epoch=8, timestamp_ms=1))
    old = record.marker(producer_id=1, producer_epoch=4, commit=True, coordinator_epoch=7, timestamp_ms=1)
    with pytest.raises(Refused) as refused:
        bench.log.producers.check_marker(batch.parse_header(old, 0), 7)
    assert refused.value.code == Code.TRANSACTION_COORDINATOR_FENCED


def test_a_marker_of_protocol_v2_that_comes_twice_does_not_end_the_next_transaction():
    """KIP-1228: both have the epoch to which the end of the first one rose."""
    bench = Bench()
    bench.append(data_batch(pid=1, epoch=4, sequence=0, transactional=True))
    marker = record.marker(producer_id=1, producer_epoch=5, commit=True, coordinator_epoch=8, timestamp_ms=1)
    header = batch.parse_header(marker, 0)
    bench.log.producers.check_marker(header, 8, 2)
    bench.append(marker)
    bench.log.producers.check_marker(header, 8, 2)  # written again, it does no harm yet
    bench.append(data_batch(pid=1, epoch=5, sequence=0, transactional=True))
    bench.log.producers.check_marker(header, 8, 1)  # nothing tells it from its own in protocol v1
    with pytest.raises(Refused) as refused:
        bench.log.producers.check_marker(header, 8, 2)
    assert refused.value.code == Code.INVALID_PRODUCER_EPOCH


def test_a_producer_expires_but_never_inside_a_transaction():
    bench = Bench()
    bench.append(data_batch(1, 1, 0, 0, timestamp=1000))
    bench.append(data_batch(1, 2, 0, 0, transactional=True, timestamp=1000))
    assert bench.log.producers.expire(2000, 1000) == 1
    assert [p.producer_id for p in bench.log.producers.all()] == [2]


def test_a_torn_tail_is_cut_and_is_no_loss():
    bench = Bench(LogConfig())
    bench.append(data_batch(3))
    bench.append(data_batch(2))
    size = bench.log.size
    torn = Disk()
    torn.write(Append(NAME, 0, 0, bench.disk.dump(NAME)[: size - 5]))
    bench.disk = torn
    report = bench.recover(recovery_point=3, high_watermark=3)
    assert (bench.log.end, report.lossy) == (3, False)
    assert report.reason


def test_a_transaction_that_was_aborted_before_a_stop_stays_so_after_a_truncation_and_a_crash():
    bench = Bench(LogConfig(segment_bytes=1 << 20))
    bench.append(data_batch(2, 1, 0, 0, transactional=True))
    bench.append(record.marker(producer_id=1, producer_epoch=0, commit=False, coordinator_epoch=0, timestamp_ms=5))
    bench.append(data_batch(1))
    known, end = bench.log.aborted.overlapping(0, 4), bench.log.end
    assert [entry.first_offset for entry in known] == [0]
    bench.log.stop()
    bench.flush()
    bench.recover(clean=True, recovery_point=end, high_watermark=end)
    bench.append(data_batch(1))
    bench.append(data_batch(1))
    bench.log.truncate(end + 1)
    bench.log.sync()
    bench.flush()
    bench.disk.crash(random.Random(1))
    assert not bench.recover(recovery_point=end, high_watermark=end).reason
    assert bench.log.aborted.overlapping(0, 4) == known


def test_a_bad_batch_before_good_ones_is_reported_as_loss():
    bench = Bench(LogConfig())
    for _ in range(3):
        bench.append(data_batch(1))
    bench.disk.damage(NAME, 0, batch.HEADER_SIZE + bench.log.size // 3 + 2)
    report = bench.recover()
    assert (bench.log.end, report.lossy) == (1, True)


def test_a_cut_below_the_high_watermark_is_reported_as_loss():
    bench = Bench(LogConfig())
    for _ in range(3):
        bench.append(data_batch(1))
    bench.disk.damage(NAME, 0, bench.log.size - 1)
    report = bench.recover(high_watermark=3)
    assert (bench.log.end, report.lossy) == (2, True)


def test_a_log_that_is_shorter_than_an_orderly_stop_left_it_is_reported_as_loss():
    bench = Bench(LogConfig())
    for _ in range(3):
        bench.append(data_batch(1))
    shorter = Disk()
    shorter.write(Append(NAME, 0, 0, bench.disk.dump(NAME)[: bench.log.size // 3 * 2]))
    bench.disk = shorter
    report = bench.recover(recovery_point=3, high_watermark=3, clean=True)
    assert (bench.log.end, report.lossy) == (2, True)
    assert "ends at 2" in report.reason
    report = bench.recover(recovery_point=3, high_watermark=2)
    assert not report.lossy, "a checkpoint of another stop may be older than a truncation"


def test_a_segment_with_a_full_index_is_sealed_and_a_start_after_a_kill_reads_only_the_last(monkeypatch):
    bench = Bench(LogConfig(index_bytes=10 * BATCH_BYTES))
    for _ in range(45):
        bench.append(data_batch(1))
    assert [len(segment) for segment in bench.log.segments] == [10, 10, 10, 10, 5]
    read = []
    monkeypatch.setattr(
        bench.disk,
        "read",
        lambda log, base, *rest, honest=bench.disk.read: read.append(base) or honest(log, base, *rest),
    )
    report = bench.recover(recovery_point=bench.log.recovery_point, high_watermark=45)
    assert (bench.log.end, report.reason) == (45, "")
    assert set(read) == {40}
    bench.log.stop()
    bench.flush()
    read.clear()
    report = bench.recover(recovery_point=45, high_watermark=45, clean=True)
    assert (bench.log.end, report.reason, read) == (45, "", [])


def test_log_start_drops_whole_segments_and_reads_before_it_are_out_of_range():
    bench = Bench()
    for _ in range(30):
        bench.append(data_batch(1))
    before = len(bench.log.segments)
    bench.log.advance_high_watermark(30)
    assert bench.log.advance_start(17)
    bench.flush()
    assert 1 < len(bench.log.segments) < before
    assert bench.log.segments[0].base <= 17
    with pytest.raises(Refused) as refused:
        bench.log.read(16, 30, 100)
    assert refused.value.code == Code.OFFSET_OUT_OF_RANGE
    report = bench.recover(start=17, clean=True)
    assert (bench.log.start, bench.log.end, report.reason) == (17, 30, "")
    bench.log.restart_at(50)
    assert (bench.log.start, bench.log.end, bench.log.epochs.latest) == (50, 50, -1)
    assert bench.append(data_batch(2)) == 50
    assert bench.log.end == 52


def test_a_follower_takes_what_a_leader_wrote_and_refuses_gaps_backwards():
    leader, follower = Bench(), Bench()
    for sequence in range(4):
        leader.append(data_batch(2, 3, 0, sequence * 2, transactional=True), epoch=sequence // 2)
    data = leader.disk.dump(NAME)
    assert follower.log.append_fetched(data + data[:20]) == len(data)
    follower.flush()
    assert follower.disk.dump(NAME) == data
    assert follower.log.epochs.entries() == leader.log.epochs.entries() == [(0, 0), (1, 4)]
    assert state_of(follower.log.producers) == state_of(leader.log.producers)
    with pytest.raises(batch.CorruptBatchError):
        follower.log.append_fetched(data)


def test_a_read_returns_one_batch_even_if_it_is_larger_than_asked():
    bench = Bench(LogConfig())
    bench.append(data_batch(1, size=500))
    bench.append(data_batch(1, size=500))
    region = bench.log.read(0, 2, 10)
    assert region is not None
    assert bench.log.end_of(region) == 1
    assert bench.log.read(0, 2, 10, at_least_one=False) is None


def test_an_epoch_is_saved_with_its_first_record_and_costs_nothing_before():
    bench = Bench()
    bench.append(data_batch(), epoch=1)
    bench.log.start_epoch(4)
    assert bench.out.writes == [], "a thousand partitions that are taken over write nothing"
    assert bench.log.epochs.entries() == [(1, 0), (4, 1)]
    bench.log.end_leadership()
    assert bench.out.writes == []
    assert bench.log.epochs.entries() == [(1, 0)]
    bench.log.start_epoch(5)
    data = data_batch()
    bench.log.append(data, [batch.parse_header(data, 0)], 5, 0)
    saved, appended = bench.out.writes
    assert isinstance(appended, Append)
    assert saved.data == bench.log.epochs.dump() == b"0\n2\n1 0\n5 1\n"
    bench.flush()
    bench.recover()
    assert bench.log.epochs.entries() == [(1, 0), (5, 1)]


def test_an_epoch_that_led_without_a_record_may_be_forgotten_by_a_crash():
    bench = Bench()
    bench.append(data_batch(), epoch=1)
    bench.log.start_epoch(4)
    bench.flush()
    bench.recover()
    assert bench.log.epochs.entries() == [(1, 0)]
    bench.append(data_batch(), epoch=2)  # another leader's, of an epoch between
    assert bench.log.epochs.entries() == [(1, 0), (2, 1)]


@pytest.mark.parametrize(
    ("saved", "point", "known"),
    [
        (b"0\n1\n10 0\n", 0, [(3, 0), (7, 2)]),
        (b"0\n2\n3 0\n5 1\n", 0, [(3, 0), (7, 2)]),
        (b"0\n3\n3 0\n7 2\n9 4\n", 0, [(3, 0), (7, 2), (9, 4)]),
        (b"", 0, [(3, 0), (7, 2)]),
        (b"0\n2\n2 0\n9 3\n", 1, [(2, 0), (3, 1), (7, 2)]),
    ],
)
def test_batches_say_of_which_epoch_they_are_whatever_a_power_loss_left_of_the_saved_epochs(saved, point, known):
    """Seed 4 of the mix with `unsynced loss`: a leader knew none of its own epochs, and its followers cut for ever."""
    bench = Bench(LogConfig(segment_bytes=100))
    for epoch in (3, 3, 7, 7):
        bench.append(data_batch(), epoch=epoch)
    bench.disk.write(Save(epochs_file(NAME), saved))
    bench.recover(recovery_point=point, high_watermark=point)
    assert bench.log.epochs.entries() == known
    assert bench.disk.load(epochs_file(NAME)) == bench.log.epochs.dump()


def test_a_batch_that_is_bigger_than_a_segment_gets_one_of_its_own():
    bench = Bench(LogConfig(segment_bytes=200))
    for count in (1, 50, 1):
        bench.append(data_batch(count))
    assert [(segment.base, segment.next_offset) for segment in bench.log.segments] == [(0, 1), (1, 51), (51, 52)]
    assert bench.log.segments[1].size > 200
