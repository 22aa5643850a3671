"""Compaction against a model: what a consumer's state is, what may be missing, what must be kept."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.core.cleaning.compaction import dirt
from broker.core.config import CleanupConfig
from broker.core.metadata.records import PartitionState
from broker.core.ready import DropSegment, Remove
from broker.core.replication.leader import Leader
from broker.wire import batch, record
from tests.broker.core.keyed_log import DELETE_RETENTION_MS, NAME, KeyedLog, keyed_batch


def keys_of(log):
    return [(key, value) for _, key, value, _ in log.consume()]


def test_only_the_last_value_of_each_key_stays():
    log = KeyedLog()
    log.send((b"a", b"1"), (b"b", b"1"))
    log.send((b"a", b"2"), (b"c", b"1"))
    log.roll()
    log.send((b"d", b"1"))
    log.compact()
    assert log.consume() == [
        (1, b"b", b"1", 10_000),
        (2, b"a", b"2", 10_000),
        (3, b"c", b"1", 10_000),
        (4, b"d", b"1", 10_000),
    ]
    assert log.log.start == 0


def test_the_active_segment_is_not_touched():
    log = KeyedLog(segment_bytes=1 << 20)
    for _ in range(5):
        log.send((b"a", b"1"))
    log.compact()
    assert len(log.consume()) == 5


def test_nothing_at_or_past_the_last_stable_offset_is_touched():
    log = KeyedLog()
    log.send((b"a", b"1"))
    log.roll()
    log.send((b"a", b"2"), pid=1, transactional=True)
    log.roll()
    log.send((b"a", b"3"))
    log.roll()
    log.compact()
    assert len(log.batches()) == 3, "an open transaction decides nothing yet"
    log.end(1, commit=False)
    log.roll()
    log.compact()
    assert keys_of(log) == [(b"a", b"3")]


def test_an_aborted_value_never_becomes_the_latest():
    log = KeyedLog()
    log.send((b"a", b"1"))
    log.send((b"a", b"2"), pid=1, transactional=True)
    log.end(1, commit=False)
    log.roll()
    log.compact()
    assert keys_of(log) == [(b"a", b"1")]
    for _ in range(3):
        log.now_ms += 2 * DELETE_RETENTION_MS
        log.send((b"b", b"1"))
        log.roll()
        log.compact()
    assert log.state() == {b"a": b"1", b"b": b"1"}


def test_a_tombstone_stays_for_its_time_and_then_goes():
    log = KeyedLog()
    log.send((b"a", b"1"))
    tombstone = log.send((b"a", None))
    log.roll()
    log.compact()
    assert [offset for offset, *_ in log.consume()] == [tombstone]
    assert log.consume()[0][3] == 10_000, "its timestamp is its own"
    log.now_ms += DELETE_RETENTION_MS - 1
    log.send((b"b", b"1"))
    log.roll()
    log.compact()
    assert (b"a", None) in keys_of(log)
    log.now_ms += 1
    log.send((b"c", b"1"))
    log.roll()
    assert log.log.cleaned.horizon == 0
    log.compact()
    assert keys_of(log) == [(b"b", b"1"), (b"c", b"1")]
    assert log.log.cleaned.horizon == tombstone + 1


def test_a_tombstone_stays_while_a_replica_that_fetches_lacks_it():
    log = KeyedLog()
    log.send((b"a", b"1"))
    log.send((b"a", None))
    for _ in range(3):
        log.roll()
        log.compact(forget_below=1)
        log.now_ms += 2 * DELETE_RETENTION_MS
        log.send((b"b", b"1"))
    assert (b"a", None) in keys_of(log)
    assert log.log.cleaned.horizon == 0


def passes(log, count):
    """Compact `count` times, each time with something new and everything expired."""
    for number in range(count):
        log.now_ms += 2 * DELETE_RETENTION_MS
        log.send((b"filler", str(number).encode()))
        log.roll()
        log.compact()


def test_a_marker_goes_after_its_transaction_and_takes_the_aborted_entry_with_it():
    log = KeyedLog()
    log.send((b"a", b"1"), pid=1, transactional=True)
    log.end(1, commit=False)
    log.send((b"a", b"2"), pid=1, transactional=True)
    log.end(1, commit=True)
    log.roll()
    passes(log, 4)
    markers = [header.base_offset for header, _ in log.batches() if header.is_control]
    assert markers == [3], "the second transaction still has a record"
    assert log.log.aborted.overlapping(0, 100) == []
    assert log.state() == log.state(log.committed())
    assert log.log.cleaned.horizon == 2


def test_the_last_batch_of_a_producer_stays_as_an_empty_one_until_it_is_forgotten():
    log = KeyedLog()
    log.send((b"a", b"1"), pid=7)
    last = log.send((b"a", b"2"), (b"a", b"3"), pid=7)
    log.send((b"a", b"4"))
    log.roll()
    log.compact()
    header = next(header for header, _ in log.batches() if header.producer_id == 7)
    assert (header.base_offset, header.record_count, header.last_sequence) == (last, 0, 2)
    for name in log.disk.files(NAME):
        if name.endswith(".producers"):
            log.disk.write(Remove(name))
    log.restart()
    assert log.log.producers.get(7).last_sequence == 2
    assert log.log.producers.expire(1 << 50, 1) == 1
    passes(log, 1)
    assert all(header.producer_id != 7 for header, _ in log.batches())


def test_the_last_committed_batch_of_a_producer_stays_while_a_later_one_may_be_cut_off():
    log = KeyedLog()
    last = log.send((b"a", b"1"), pid=7)
    log.send((b"a", b"2"))
    log.roll()
    end = log.log.end
    log.send((b"b", b"1"), pid=7)
    log.log.high_watermark = end  # what comes behind is not committed
    log.compact()
    header = next(header for header, _ in log.batches() if header.producer_id == 7)
    assert (header.base_offset, header.record_count, header.last_sequence) == (last, 0, 0)


@pytest.mark.parametrize("by_marker", [False, True], ids=["by-a-batch", "by-a-marker"])
def test_a_producer_whose_risen_epoch_is_cut_off_is_who_it_was_before(by_marker):
    """A copy of its last batch that comes late is still known."""
    log = KeyedLog()
    log.send((b"a", b"1"), pid=7)
    (sent, _), *_ = log.batches()
    log.send((b"a", b"2"))
    log.roll()
    end = log.log.end
    marker = record.marker(producer_id=7, producer_epoch=1, commit=False, coordinator_epoch=0, timestamp_ms=1)
    rises = marker if by_marker else keyed_batch([(b"b", b"1")], pid=7, epoch=1, sequence=0)
    log.log.append(rises, [batch.parse_header(rises, 0)], 0, log.now_ms)  # and is not committed
    log.flush()
    log.compact()
    assert log.state(log.consume()) == {b"a": b"2"}
    log.log.truncate(end)
    log.flush()
    log.restart()
    producers = log.log.producers
    assert (producers.get(7).epoch, producers.get(7).last_sequence) == (0, 0)
    assert producers.check(sent).base_offset == sent.base_offset


def test_small_segments_become_one():
    log = KeyedLog(segment_bytes=1000)
    for number in range(6):
        log.send((str(number).encode(), b"1"))
        log.roll()
    log.compact()
    assert [segment.base for segment in log.log.segments] == [0, 6]
    assert log.disk.segments(NAME)[0][0] == 0
    assert len(log.disk.segments(NAME)) <= 2
    assert len(log.consume()) == 6


def test_a_log_that_is_clean_is_not_written_again():
    log = KeyedLog(segment_bytes=100)
    for number in range(6):
        log.send((str(number).encode(), bytes(20)))
    log.roll()
    log.compact()
    generations = [segment.generation for segment in log.log.segments]
    assert generations == [0] * len(generations)


def test_a_reader_passes_segments_of_which_nothing_is_left():
    log = KeyedLog(segment_bytes=100)
    for _ in range(8):
        log.send((b"a", bytes(30)))
    log.roll()
    log.compact()
    log.send((b"b", b"1"))
    assert [offset for offset, *_ in log.consume()] == [7, 8]
    log.restart()
    assert [offset for offset, *_ in log.consume()] == [7, 8]


@pytest.mark.parametrize("codec", range(5))
def test_compressed_batches_are_opened_and_closed_again(codec):
    log = KeyedLog(segment_bytes=1 << 20)
    log.send(*((b"k%d" % number, bytes(300)) for number in range(300)), codec=codec)
    log.send(*((b"k%d" % number, None if number == 7 else b"new") for number in range(290)), codec=codec)
    log.roll()
    log.compact()
    assert {header.compression for header, _ in log.batches()} == {codec}
    assert log.state() == log.state(log.committed())
    assert len(log.consume()) == 300


def test_a_batch_that_nobody_can_open_stays_and_no_tombstone_behind_it_goes():
    log = KeyedLog()
    data = batch.build(b"not gzip", count=1, base_timestamp=1, max_timestamp=1, compression=1)
    log.log.append(data, [batch.parse_header(data, 0)], 0, 0)
    log.log.advance_high_watermark(1)
    log.flush()
    log.send((b"a", None))
    log.roll()
    for _ in range(3):
        log.compact()
        log.now_ms += 2 * DELETE_RETENTION_MS
        log.written.append((log.send((b"b", b"1")), b"b", b"1", 0, None))
        log.roll()
    headers = [header for header, _ in log.batches()]
    assert headers[0].compression == 1
    assert headers[1].delete_horizon_ms is not None


def test_young_records_stay_for_their_lag():
    cleanup = CleanupConfig(compact=True, delete=False, min_lag_ms=500)
    log = KeyedLog(cleanup=cleanup)
    log.send((b"a", b"1"))
    log.roll()
    log.send((b"a", b"2"))
    log.roll()
    log.now_ms += 499
    assert dirt(log.log, cleanup, log.now_ms).dirty_bytes == 0
    log.now_ms += 1
    log.compact()
    assert keys_of(log) == [(b"a", b"2")]


def test_a_log_that_changes_under_a_compaction_ends_it():
    log = KeyedLog()
    for number in range(20):
        log.send((b"a", str(number).encode()))
    log.roll()
    compaction = log.compact(budget=1, steps=22)
    assert not compaction.is_over
    log.log.truncate(3)
    log.flush()
    compaction.step(1 << 30)
    log.flush()
    assert compaction.is_over
    assert keys_of(log) == [(b"a", str(number).encode()) for number in range(3)]


def forgetful():
    """A log that has forgotten a tombstone at offset 1, and has records up to 7 behind it."""
    log = KeyedLog()
    log.send((b"a", b"1"))
    log.send((b"a", None))
    log.roll()
    passes(log, 2)
    for number in range(4):
        log.send((b"b%d" % number, b"1"))
    log.flush()
    assert (log.log.cleaned.horizon, log.log.end) == (2, 8)
    return log


def test_of_what_was_cut_off_nothing_is_forgotten_any_more():
    log = forgetful()
    log.log.truncate(4)
    assert log.log.cleaned.horizon == 2, "it lies below the end"
    log.log.truncate(0)
    log.flush()
    assert (log.log.cleaned.horizon, log.log.end) == (0, 0)
    log.restart()
    assert log.log.cleaned.horizon == 0


def test_a_leader_whose_log_ends_below_what_it_had_forgotten_takes_followers_that_have_all_of_it():
    """After unsynced records were lost: who is in sync must not begin anew, or the last copies go as well."""
    log = forgetful()
    log.log.note_cleaned(msgspec.structs.replace(log.log.cleaned, horizon=100))
    state = PartitionState(
        topic_id="t", index=0, replicas=(1, 2), isr=(1, 2), leader=1, leader_epoch=7, partition_epoch=1
    )
    leader = Leader(1, state, log.log, 0)
    assert log.log.cleaned.horizon == log.log.end
    assert leader.can_follow(2, log.log.end, is_empty=False)
    assert not leader.can_follow(2, log.log.end - 1, is_empty=False)


def test_a_copy_that_was_interrupted_knows_what_its_source_had_forgotten():
    log = KeyedLog()
    log.log.take_horizon(9)
    log.send((b"a", b"1"))
    log.flush()
    log.restart()
    assert (log.log.cleaned.horizon, log.log.end) == (9, 1)
    log.log.truncate(1)
    assert log.log.cleaned.horizon == 9, "nothing was cut off"


def test_what_compaction_has_forgotten_is_known_after_a_power_loss():
    log = KeyedLog()
    log.send((b"a", b"1"))
    log.send((b"a", None))
    log.roll()
    passes(log, 2)
    assert log.log.cleaned.horizon == 2
    log.log.sync()
    log.flush()
    log.restart(power=True, rng=random.Random(1))
    assert log.log.cleaned.horizon == 2
    assert (b"a", b"1") not in keys_of(log)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "send",
                "send",
                "delete",
                "idempotent",
                "txn",
                "txn",
                "commit",
                "abort",
                "roll",
                "compact",
                "slices",
                "wait",
                "restart",
                "power",
                "expire",
            ]
        ),
        st.integers(0, 4),
        st.integers(1, 4),
    ),
    max_size=60,
)


FORGOTTEN_AND_READ_AGAIN = [
    ("txn", 0, 1),
    ("abort", 0, 1),
    ("wait", 0, 4),
    ("expire", 0, 1),
    ("compact", 0, 1),
    ("restart", 0, 1),
]


@settings(max_examples=100, deadline=None)
@given(OPERATIONS, st.sampled_from([120, 300, 2000]), st.integers(0, 4))
@example(FORGOTTEN_AND_READ_AGAIN, 120, 0)
def test_compaction_never_changes_what_a_consumer_ends_up_with(operations, segment_bytes, codec):
    log = KeyedLog(segment_bytes=segment_bytes)
    held, forgotten = None, set[int]()
    for number, (what, which, count) in enumerate(operations):
        key = b"k%d" % which
        value = b"v%d" % number
        match what:
            case "send":
                log.send(*((b"k%d" % ((which + i) % 5), value) for i in range(count)), codec=codec)
            case "delete":
                log.send((key, None))
            case "idempotent":
                log.send((key, value), pid=10 + which)
            case "txn":
                log.send(
                    *((b"k%d" % ((which + i) % 5), value if i else None) for i in range(count)),
                    pid=which,
                    transactional=True,
                )
            case "commit" | "abort":
                log.end(which, commit=what == "commit")
            case "roll":
                log.roll()
            case "compact":
                held = None
                log.compact(forget_below=None if count > 1 else log.log.end // 2)
            case "slices":
                if held is None or held.is_over:
                    held = log.compact(budget=1, steps=count * 4)
                else:
                    held.step(count)
                    log.flush()
            case "wait":
                log.now_ms += count * DELETE_RETENTION_MS // 2
            case "restart":
                held = None
                log.restart()
            case "power":
                held = None
                log.log.sync()
                log.flush()
                log.restart(power=True, rng=random.Random(number))
            case "expire":
                before = {producer.producer_id for producer in log.log.producers.all()}
                log.log.producers.expire(log.now_ms, 2 * DELETE_RETENTION_MS)
                forgotten |= before - {producer.producer_id for producer in log.log.producers.all()}
        forgotten -= {10 + which} if what == "idempotent" else {which} if what == "txn" else set()
        assert_consumers_end_up_right(log, forgotten)


def assert_consumers_end_up_right(log, forgotten=frozenset()):
    read, committed = log.consume(), log.committed()
    assert set(read) <= set(committed), "a record appeared, or changed"
    assert [r[0] for r in read] == sorted({r[0] for r in read}), "offsets rise"
    assert log.state(read) == log.state(committed)
    last = {}
    for item in committed:
        last[item[1]] = item
    for item in last.values():
        expired = item[2] is None and log.now_ms - item[3] >= DELETE_RETENTION_MS
        assert item in read or expired, f"the last record of {item[1]} is gone: {item}"
    gone = {item[0] for item in last.values() if item not in read}
    assert all(offset < log.log.cleaned.horizon for offset in gone), "forgotten above the horizon"
    check_producers(log, forgotten)


def check_producers(log, forgotten):
    """A new replica that copies this log must go on where the producers are.

    Those that were forgotten, and that a restart knows again from what a sealed segment had noted, are nobody's concern.
    """
    copy = KeyedLog(segment_bytes=1 << 20)
    for _, data in log.batches():
        copy.log.append_fetched(data)
        copy.flush()
    for producer in log.log.producers.all():
        theirs = copy.log.producers.get(producer.producer_id)
        if producer.batches and producer.producer_id not in forgotten:
            assert theirs is not None
            assert theirs.epoch == producer.epoch
            assert theirs.last_sequence == producer.last_sequence
        assert producer.first_offset == (theirs.first_offset if theirs is not None else None)


@pytest.mark.parametrize("cut", ["live", "recovery"])
def test_what_was_compacted_before_a_cut_is_not_taken_for_what_came_after_it(cut):
    log = KeyedLog(segment_bytes=100)
    for number in range(6):
        log.send((b"%d" % number, bytes(40)))
    log.compact()
    assert log.log.cleaned.compacted_to == 5
    if cut == "live":  # an unclean election
        log.log.truncate(1)
        log.flush()
    else:
        for base, _ in log.disk.segments(NAME)[1:]:
            log.disk.write(DropSegment(NAME, base))
        log.restart()
    log.written = log.written[:1]
    log.send((b"k", bytes(40)))
    log.send((b"k", None))
    log.send((b"other", bytes(40)))
    log.send((b"last", bytes(40)))
    for _ in range(3):
        log.now_ms += 2 * DELETE_RETENTION_MS
        log.compact()
    assert b"k" not in log.state()
    assert log.state() == log.state(log.committed())
