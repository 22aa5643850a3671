"""ListOffsets by time against a full read."""

from __future__ import annotations

import random

import pytest

from broker.core.log.time_lookup import NOTHING, first_at
from broker.wire import batch, compression, entries
from tests.broker.core.keyed_log import KeyedLog


def timed_batch(times, codec):
    body = b"".join(
        entries.shifted(b"\x0c\x00\x00" + bytes([2 * index]) + b"\x01\x00\x00", entry, time - times[0])
        for index, time in enumerate(times)
        for entry in entries.entries(b"\x0c\x00\x00" + bytes([2 * index]) + b"\x01\x00\x00", 1)
    )
    packed = compression.compress(codec, body)
    return batch.build(packed, count=len(times), base_timestamp=times[0], max_timestamp=max(times), compression=codec)


@pytest.mark.parametrize("codec", range(5))
@pytest.mark.parametrize("seed", range(4))
def test_the_first_record_of_a_time_or_later_is_found(codec, seed):
    rng = random.Random(seed)
    log, all_times = KeyedLog(segment_bytes=500), []
    for _ in range(20):
        times = [rng.randrange(1000, 1200) for _ in range(rng.randint(1, 5))]
        log._append(timed_batch(times, codec))
        all_times += times
    log.log.advance_start(7)
    log.flush()
    for wanted in range(995, 1205):
        for end in (log.log.end, 40):
            expected = next(
                ((offset, at) for offset, at in enumerate(all_times) if at >= wanted and offset >= 7), NOTHING
            )
            assert first_at(log.disk, log.log, wanted, end) == (expected if expected[0] < end else NOTHING)


def test_after_compaction_the_rest_is_found():
    log = KeyedLog()
    log.now_ms = 1000
    log.send((b"a", b"1"), (b"b", b"1"))
    log.now_ms = 2000
    log.send((b"a", b"2"), (b"c", None))
    log.now_ms = 3000
    log.send((b"c", b"3"))
    log.roll()
    log.compact()
    read = log.consume()
    for wanted in range(0, 4000, 250):
        expected = next(((offset, at) for offset, _, _, at in read if at >= wanted), NOTHING)
        assert first_at(log.disk, log.log, wanted, log.log.end) == expected


def test_a_batch_that_lies_about_its_time_is_passed():
    log = KeyedLog()
    lie = bytearray(timed_batch([1000], 0))
    header = batch.parse_header(lie, 0)
    log._append(batch.rebuild(header, bytes(lie[61:]), count=1, max_timestamp=9000))
    log._append(timed_batch([2000], 0))
    assert first_at(log.disk, log.log, 1500, log.log.end) == (1, 2000)
