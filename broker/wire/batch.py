"""Record batches, format v2: the 61 byte header, and nothing of the records behind it.

    0 base_offset:8 | 8 batch_length:4 | 12 leader_epoch:4 | 16 magic:1 | 17 crc:4 | 21 attributes:2 | 23 last_delta:4
    27 base_timestamp:8 | 35 max_timestamp:8 | 43 producer_id:8 | 51 producer_epoch:2 | 53 base_sequence:4 | 57 count:4

`batch_length` counts from byte 12, the CRC32C covers from byte 21: base offset and leader epoch can be patched without
a new checksum. `parse` walks a buffer batch by batch and never past its end: a torn last batch ends the walk, a batch
that lies about itself raises `CorruptBatchError`. Sequence numbers wrap at 2**31. Compressed batches are not opened
here: they pass through.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from broker.wire.checksum import crc32c

Buffer = bytes | bytearray | memoryview

_HEADER = struct.Struct(">qiibIhiqqqhii")
_PLACE = struct.Struct(">qii")
_LAST = struct.Struct(">q15xi")
_CRC = struct.Struct(">I")
_MAGIC_AT = 16
HEADER_SIZE = 61
LENGTH_OVERHEAD = 12
"""Bytes before those that `batch_length` counts."""
CRC_OFFSET = 17
CRC_START = 21
MAGIC = 2
NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_SEQUENCE = -1
NO_TIMESTAMP = -1
_SEQUENCE_MODULUS = 1 << 31

_COMPRESSION = 0x07
_LOG_APPEND_TIME = 0x08
_TRANSACTIONAL = 0x10
_CONTROL = 0x20
_DELETE_HORIZON = 0x40


class CorruptBatchError(Exception):
    """A batch contradicts itself: magic, length or checksum. The message says where."""


class BatchHeader(msgspec.Struct, frozen=True, gc=False):
    """The header of one batch, in wire order."""

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return self.batch_length + LENGTH_OVERHEAD

    @property
    def last_offset(self) -> int:
        """Offset of the last record (it stays when compaction removes that record)."""
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        """Offset after the batch."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record, NO_SEQUENCE without idempotence."""
        if self.base_sequence == NO_SEQUENCE:
            return NO_SEQUENCE
        return (self.base_sequence + self.last_offset_delta) % _SEQUENCE_MODULUS

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction (markers do too)."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether the batch holds control records (transaction markers, quorum messages)."""
        return bool(self.attributes & _CONTROL)

    @property
    def is_log_append_time(self) -> bool:
        """Whether the timestamp is the broker's."""
        return bool(self.attributes & _LOG_APPEND_TIME)

    @property
    def delete_horizon_ms(self) -> int | None:
        """When tombstones and markers in the batch may go (KIP-534); it stands where the base timestamp stood."""
        return self.base_timestamp if self.attributes & _DELETE_HORIZON else None

    @property
    def compression(self) -> int:
        """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & _COMPRESSION


def next_sequence(sequence: int) -> int:
    """Return the sequence that follows (they wrap at 2**31)."""
    return (sequence + 1) % _SEQUENCE_MODULUS


def parse_header(buffer: Buffer, position: int) -> BatchHeader:
    """Return the header at `position`; the caller knows that HEADER_SIZE bytes are there."""
    return BatchHeader(*_HEADER.unpack_from(buffer, position))


def last_offset_at(buffer: Buffer, position: int) -> int:
    """Return the last offset of the batch at `position`; the caller knows that HEADER_SIZE bytes are there."""
    base, delta = _LAST.unpack_from(buffer, position)
    last: int = base + delta
    return last


def parse(buffer: Buffer, position: int = 0) -> Iterator[tuple[int, BatchHeader]]:
    """Yield (position, header) of each whole batch; stop before a torn one. Raise CorruptBatchError on a bad length."""
    end = len(buffer)
    while position + HEADER_SIZE <= end:
        header = parse_header(buffer, position)
        if header.magic != MAGIC:
            raise CorruptBatchError(f"magic {header.magic} at byte {position}: only format v2 is supported")
        size = header.batch_length + LENGTH_OVERHEAD
        if size < HEADER_SIZE:
            raise CorruptBatchError(f"batch of {size} bytes at byte {position} is shorter than its header")
        if position + size > end:
            return
        yield position, header
        position += size


def split(buffer: Buffer) -> Iterator[bytes]:
    """Yield each whole batch, as `parse` finds them, with its header unread."""
    position, end = 0, len(buffer)
    while position + HEADER_SIZE <= end:
        if buffer[position + _MAGIC_AT] != MAGIC:
            raise CorruptBatchError(f"magic {buffer[position + _MAGIC_AT]} at byte {position}: only v2 is supported")
        size = _PLACE.unpack_from(buffer, position)[1] + LENGTH_OVERHEAD
        if size < HEADER_SIZE:
            raise CorruptBatchError(f"batch of {size} bytes at byte {position} is shorter than its header")
        if position + size > end:
            return
        yield bytes(buffer[position : position + size])
        position += size


def checksum(buffer: Buffer, position: int, header: BatchHeader) -> int:
    """Return the checksum of what the batch at `position` holds, whatever its header says."""
    return crc32c(memoryview(buffer)[position + CRC_START : position + header.size])


def check(buffer: Buffer, position: int, header: BatchHeader) -> None:
    """Raise CorruptBatchError unless the checksum holds and the counts are possible."""
    if checksum(buffer, position, header) != header.crc:
        raise CorruptBatchError(f"checksum mismatch in the batch at byte {position} (base offset {header.base_offset})")
    if header.record_count < 0 or header.last_offset_delta < 0:
        raise CorruptBatchError(
            f"batch at byte {position}: {header.record_count} records, delta {header.last_offset_delta}"
        )


def patch(buffer: bytearray | memoryview, position: int, base_offset: int, leader_epoch: int) -> None:
    """Give the batch its base offset and leader epoch in place; length, magic and checksum stay."""
    length = _PLACE.unpack_from(buffer, position)[1]
    _PLACE.pack_into(buffer, position, base_offset, length, leader_epoch)


def stamp(buffer: bytearray | memoryview, position: int, header: BatchHeader, timestamp_ms: int) -> None:
    """Make the batch LogAppendTime with this timestamp, in place, with a new checksum."""
    struct.pack_into(">h", buffer, position + 21, header.attributes | _LOG_APPEND_TIME)
    struct.pack_into(">q", buffer, position + 35, timestamp_ms)
    view = memoryview(buffer)[position + CRC_START : position + header.size]
    _CRC.pack_into(buffer, position + CRC_OFFSET, crc32c(view))


def rebuild(
    header: BatchHeader,
    body: bytes,
    *,
    count: int,
    max_timestamp: int,
    delete_horizon_ms: int | None = None,
    compression: int | None = None,
) -> bytearray:
    """Return the batch around other records, as compaction leaves it: offsets, sequence, epochs and kind stay.

    A new `delete_horizon_ms` takes the place of the base timestamp, from which the records' deltas count.
    """
    attributes = header.attributes
    if compression is not None:
        attributes = attributes & ~_COMPRESSION | compression
    base_timestamp = header.base_timestamp
    if delete_horizon_ms is not None:
        attributes |= _DELETE_HORIZON
        base_timestamp = delete_horizon_ms
    out = bytearray(HEADER_SIZE + len(body))
    out[HEADER_SIZE:] = body
    identity = (header.producer_id, header.producer_epoch, header.base_sequence, count)
    _HEADER.pack_into(
        out,
        0,
        header.base_offset,
        len(out) - LENGTH_OVERHEAD,
        header.leader_epoch,
        MAGIC,
        0,
        attributes,
        header.last_offset_delta,
        base_timestamp,
        max_timestamp,
        *identity,
    )
    _CRC.pack_into(out, CRC_OFFSET, crc32c(memoryview(out)[CRC_START:]))
    return out


def build(
    body: bytes,
    *,
    count: int,
    base_offset: int = 0,
    leader_epoch: int = -1,
    base_timestamp: int = NO_TIMESTAMP,
    max_timestamp: int = NO_TIMESTAMP,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
    transactional: bool = False,
    control: bool = False,
    compression: int = 0,
) -> bytearray:
    """Return one batch around encoded records (see `broker.wire.record`), with its checksum."""
    attributes = compression | (_TRANSACTIONAL if transactional else 0) | (_CONTROL if control else 0)
    out = bytearray(HEADER_SIZE + len(body))
    out[HEADER_SIZE:] = body
    length = len(out) - LENGTH_OVERHEAD
    values = (base_timestamp, max_timestamp, producer_id, producer_epoch, base_sequence, count)
    _HEADER.pack_into(out, 0, base_offset, length, leader_epoch, MAGIC, 0, attributes, count - 1, *values)
    _CRC.pack_into(out, CRC_OFFSET, crc32c(memoryview(out)[CRC_START:]))
    return out
