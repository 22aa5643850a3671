"""Walking the records of a batch without copying their values, as compaction and time look-ups do; unpacking one.

An entry is where a record lies in the (decompressed) records, its two deltas, its key, and whether it has a value.
`shifted` re-bases the timestamps of records, which is all that compaction ever changes inside one.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.wire import batch, compression
from broker.wire.batch import HEADER_SIZE, BatchHeader, Buffer, CorruptBatchError
from broker.wire.record import put_varint, take_varint


class Entry(NamedTuple):
    """One record: `start` is where its length stands, `end` where the next record begins."""

    start: int
    end: int
    timestamp_delta: int
    offset_delta: int
    key: bytes | None
    has_value: bool


def records_of(buffer: Buffer, position: int, header: BatchHeader) -> bytes:
    """Return the records of the batch at `position`, decompressed. Raise CorruptBatchError."""
    return compression.decompress(
        header.compression, memoryview(buffer)[position + HEADER_SIZE : position + header.size]
    )


def unpacked(content: Buffer, header: BatchHeader) -> tuple[Buffer, int, BatchHeader]:
    """Return one batch without its compression, as `record.decode` takes it. Raise CorruptBatchError."""
    if not header.compression:
        return content, 0, header
    body, count = records_of(content, 0, header), header.record_count
    plain = batch.rebuild(header, body, count=count, max_timestamp=header.max_timestamp, compression=compression.NONE)
    return plain, 0, batch.parse_header(plain, 0)


def entries(body: bytes, count: int) -> list[Entry]:
    """Return the entries of `count` records. Raise CorruptBatchError where they contradict themselves."""
    found = []
    at = 0
    size_of_body = len(body)
    try:
        for _ in range(count):
            start = at
            size, at = _varint(body, at)
            end = at + size
            if size <= 0 or end > size_of_body:
                raise CorruptBatchError(f"record of {size} bytes at byte {start} passes its batch")
            timestamp_delta, at = _varint(body, at + 1)
            offset_delta, at = _varint(body, at)
            key_size, at = _varint(body, at)
            key = None
            if key_size >= 0:
                if at + key_size > end:
                    raise CorruptBatchError(f"key of {key_size} bytes at byte {at} passes its record")
                key = body[at : at + key_size]
                at += key_size
            found.append(Entry(start, end, timestamp_delta, offset_delta, key, body[at] & 1 == 0))
            at = end
    except IndexError as error:
        raise CorruptBatchError(f"a record passes the end of its batch at byte {at}") from error
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Return (number, position behind it); short ones, which nearly all are, without a loop."""
    first = body[at]
    if first < 0x80:
        return (first >> 1) ^ -(first & 1), at + 1
    second = body[at + 1]
    if second < 0x80:
        zigzag = first & 0x7F | second << 7
        return (zigzag >> 1) ^ -(zigzag & 1), at + 2
    return take_varint(body, at)


def shifted(body: bytes, entry: Entry, by_ms: int) -> bytes:
    """Return the record with its timestamp delta changed by `by_ms`."""
    _, inside = _varint(body, entry.start)
    _, behind = _varint(body, inside + 1)
    record = bytearray(body[inside : inside + 1])
    put_varint(record, entry.timestamp_delta + by_ms)
    record += body[behind : entry.end]
    out = bytearray()
    put_varint(out, len(record))
    return bytes(out + record)
