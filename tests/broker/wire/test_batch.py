"""Record batch headers and records."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.wire import batch, record

values = st.lists(
    st.tuples(st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=200)), min_size=1, max_size=8
)


@given(values, st.integers(-1, 2**62), st.integers(-1, 2**31 - 1))
def test_records_come_back_as_they_went_in(pairs, base_offset, epoch):
    data = record.batch_of(pairs, timestamp_ms=7)
    batch.patch(data, 0, base_offset, epoch)
    ((position, header),) = batch.parse(data)
    batch.check(data, position, header)
    assert (header.base_offset, header.leader_epoch, header.record_count) == (base_offset, epoch, len(pairs))
    got = list(record.decode(data, position, header))
    assert [(r.key, r.value) for r in got] == pairs
    assert [r.offset for r in got] == list(range(base_offset, base_offset + len(pairs)))


@given(values, st.data())
def test_a_flipped_bit_behind_the_checksum_is_found(pairs, data):
    buffer = record.batch_of(pairs, timestamp_ms=7)
    bit = data.draw(st.integers(21 * 8, len(buffer) * 8 - 1))
    buffer[bit // 8] ^= 1 << bit % 8
    header = batch.parse_header(buffer, 0)
    with pytest.raises(batch.CorruptBatchError):
        batch.check(buffer, 0, header)


@given(st.binary(max_size=300))
def test_garbage_ends_or_raises_but_never_loops(garbage):
    try:
        found = list(batch.parse(garbage))
    except batch.CorruptBatchError:
        found = []
    assert len(found) <= len(garbage) // batch.HEADER_SIZE


@given(values, st.binary(max_size=80))
@example([(None, None)], bytes.fromhex("0c0000000000"))  # a record that says more than there is
def test_garbage_records_raise_corrupt_batch_only(pairs, garbage):
    buffer = record.batch_of(pairs, timestamp_ms=7)
    buffer[batch.HEADER_SIZE :] = garbage
    header = batch.parse_header(buffer, 0)
    try:
        got = list(record.decode(buffer, 0, header))
    except batch.CorruptBatchError:
        got = []
    assert len(got) <= len(pairs)


def test_a_record_that_is_shorter_than_its_fields_is_corrupt():
    buffer = record.batch_of([(None, b"value"), (None, b"x")], timestamp_ms=7)
    assert buffer[batch.HEADER_SIZE] == 2 * 11  # its size, as a zigzag number
    buffer[batch.HEADER_SIZE] = 2 * 9
    with pytest.raises(batch.CorruptBatchError, match="holds less than its fields say"):
        list(record.decode(buffer, 0, batch.parse_header(buffer, 0)))


def test_a_torn_batch_ends_the_walk():
    data = record.batch_of([(None, b"a")], timestamp_ms=1)
    assert [position for position, _ in batch.parse(data + data[:-1])] == [0]


def test_stamp_keeps_the_checksum_good():
    data = record.batch_of([(None, b"a")], timestamp_ms=1)
    batch.stamp(data, 0, batch.parse_header(data, 0), 99)
    header = batch.parse_header(data, 0)
    batch.check(data, 0, header)
    assert header.is_log_append_time
    assert header.max_timestamp == 99


def test_sequences_wrap():
    data = record.batch_of(
        [(None, b"a"), (None, b"b")], timestamp_ms=1, producer_id=1, producer_epoch=0, base_sequence=2**31 - 1
    )
    header = batch.parse_header(data, 0)
    assert header.last_sequence == 0
    assert batch.next_sequence(header.last_sequence) == 1


def test_a_marker_says_what_it_ends():
    data = record.marker(producer_id=5, producer_epoch=3, commit=True, coordinator_epoch=9, timestamp_ms=1)
    header = batch.parse_header(data, 0)
    assert header.is_control
    assert header.is_transactional
    assert record.control_type(data, 0, header) == (record.COMMIT, 9)
