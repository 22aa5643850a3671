"""Records inside an uncompressed v2 batch: encode and decode, for the logs that the broker itself reads and writes.

Internal topics, the metadata log and transaction markers go through here, and what simulated clients send and read;
the broker never opens clients' records here. A record is
length, attributes, timestamp delta, offset delta, key, value and headers, with zigzag varints. A control record's key
is (version:2, type:2); a transaction marker's value is (version:2, coordinator epoch:4). Kafka: DefaultRecord,
ControlRecordType, EndTransactionMarker.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

from broker.wire.batch import HEADER_SIZE, BatchHeader, Buffer, CorruptBatchError, build

ABORT = 0
COMMIT = 1
LEADER_CHANGE = 2
_VARINT_MAX_BYTES = 5
_VARLONG_MAX_BYTES = 10
_CONTROL_KEY = struct.Struct(">hh")
_MARKER_VALUE = struct.Struct(">hi")
_MARKER = struct.Struct(">5shhchib")
"""A whole marker: its record's length, attributes, deltas and key length; key; value length; value; no headers."""
_MARKER_HEAD, _MARKER_VALUE_SIZE = b"\x20\0\0\0\x08", b"\x0c"

Headers = tuple[tuple[str, bytes | None], ...]


class Record(msgspec.Struct, frozen=True):
    """One record with its absolute offset and timestamp."""

    key: bytes | None
    value: bytes | None
    offset: int = 0
    timestamp_ms: int = 0
    headers: Headers = ()


def put_varint(out: bytearray, number: int) -> None:
    """Append a zigzag varint."""
    zigzag = (number << 1) ^ (number >> 63)
    while zigzag > 0x7F:
        out.append((zigzag & 0x7F) | 0x80)
        zigzag >>= 7
    out.append(zigzag)


def take_varint(buffer: Buffer, position: int, limit: int = _VARLONG_MAX_BYTES) -> tuple[int, int]:
    """Return (number, position behind it). Raise CorruptBatchError where there is none."""
    if position < len(buffer) and (zigzag := buffer[position]) < 0x80:  # most are small
        return (zigzag >> 1) ^ -(zigzag & 1), position + 1
    zigzag = 0
    for index in range(limit):
        if position >= len(buffer):
            break
        byte = buffer[position]
        position += 1
        zigzag |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return (zigzag >> 1) ^ -(zigzag & 1), position
    raise CorruptBatchError(f"bad varint before byte {position}")


def _varint(number: int) -> bytes:
    out = bytearray()
    put_varint(out, number)
    return bytes(out)


_SMALL = tuple(_varint(number) for number in range(2048))
_NULL = _varint(-1)


def _sized(data: bytes | None) -> tuple[bytes, bytes]:
    """Return length and bytes."""
    if data is None:
        return _NULL, b""
    size = len(data)
    return (_SMALL[size] if size < len(_SMALL) else _varint(size)), data


def _put_bytes(out: bytearray, data: bytes | None) -> None:
    if data is None:
        put_varint(out, -1)
    else:
        put_varint(out, len(data))
        out += data


def _take_bytes(buffer: Buffer, position: int) -> tuple[bytes | None, int]:
    size, position = take_varint(buffer, position, _VARINT_MAX_BYTES)
    if size < 0:
        return None, position
    if position + size > len(buffer):
        raise CorruptBatchError(f"field of {size} bytes at byte {position} passes the end")
    return bytes(buffer[position : position + size]), position + size


def encode(records: Iterable[tuple[bytes | None, bytes | None]], timestamp_delta: int = 0) -> tuple[bytes, int]:
    """Return the encoded (key, value) records without headers, and their count."""
    out = bytearray()
    count = 0
    delta = _varint(timestamp_delta) if timestamp_delta else b"\0"
    for key, value in records:
        offset = _SMALL[count] if count < len(_SMALL) else _varint(count)
        body = b"".join((b"\0", delta, offset, *_sized(key), *_sized(value), b"\0"))
        put_varint(out, len(body))
        out += body
        count += 1
    return bytes(out), count


def encode_with_headers(
    records: Iterable[tuple[bytes | None, bytes | None, Headers]], timestamp_delta: int = 0
) -> tuple[bytes, int]:
    """Return the encoded (key, value, headers) records and their count."""
    out = bytearray()
    count = 0
    for key, value, headers in records:
        body = bytearray(b"\x00")
        put_varint(body, timestamp_delta)
        put_varint(body, count)
        _put_bytes(body, key)
        _put_bytes(body, value)
        put_varint(body, len(headers))
        for name, data in headers:
            _put_bytes(body, name.encode())
            _put_bytes(body, data)
        put_varint(out, len(body))
        out += body
        count += 1
    return bytes(out), count


def decode(buffer: Buffer, position: int, header: BatchHeader) -> Iterator[Record]:
    """Yield the records of the uncompressed batch at `position`. Raise CorruptBatchError where they contradict it."""
    if header.compression:
        raise CorruptBatchError(f"batch at offset {header.base_offset} is compressed: internal logs never are")
    end = position + header.size
    if end > len(buffer):
        raise CorruptBatchError(f"batch of {header.size} bytes at byte {position} passes the end")
    position += HEADER_SIZE
    for _ in range(header.record_count):
        size, start = take_varint(buffer, position, _VARINT_MAX_BYTES)
        position = start + size
        if size <= 0 or position > end:
            raise CorruptBatchError(f"record of {size} bytes at byte {start} passes its batch")
        timestamp_delta, at = take_varint(buffer, start + 1)
        offset_delta, at = take_varint(buffer, at, _VARINT_MAX_BYTES)
        key, at = _take_bytes(buffer, at)
        value, at = _take_bytes(buffer, at)
        if at > position:
            raise CorruptBatchError(f"record of {size} bytes at byte {start} holds less than its fields say")
        headers = _take_headers(buffer, at) if at < position and buffer[at] else ()
        offset, timestamp_ms = header.base_offset + offset_delta, header.base_timestamp + timestamp_delta
        yield Record(key, value, offset, timestamp_ms, headers)


def _take_headers(buffer: Buffer, position: int) -> Headers:
    count, position = take_varint(buffer, position, _VARINT_MAX_BYTES)
    found = []
    for _ in range(count):
        name, position = _take_bytes(buffer, position)
        data, position = _take_bytes(buffer, position)
        found.append(((name or b"").decode("utf-8", "replace"), data))
    return tuple(found)


def batch_of(
    records: Iterable[tuple[bytes | None, bytes | None]],
    *,
    timestamp_ms: int,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    transactional: bool = False,
    control: bool = False,
) -> bytearray:
    """Return one batch of (key, value) records that share a timestamp."""
    body, count = encode(records)
    return build(
        body,
        count=count,
        base_timestamp=timestamp_ms,
        max_timestamp=timestamp_ms,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        transactional=transactional,
        control=control,
    )


def marker(
    *, producer_id: int, producer_epoch: int, commit: bool, coordinator_epoch: int, timestamp_ms: int
) -> bytearray:
    """Return the control batch that ends a transaction."""
    return build(
        _MARKER.pack(_MARKER_HEAD, 0, COMMIT if commit else ABORT, _MARKER_VALUE_SIZE, 0, coordinator_epoch, 0),
        count=1,
        base_timestamp=timestamp_ms,
        max_timestamp=timestamp_ms,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        transactional=True,
        control=True,
    )


def leader_change(leader_id: int, timestamp_ms: int) -> bytearray:
    """Return the control batch with which a quorum leader opens its epoch."""
    record = (_CONTROL_KEY.pack(0, LEADER_CHANGE), struct.pack(">hi", 0, leader_id))
    return batch_of([record], timestamp_ms=timestamp_ms, control=True)


def control_type(buffer: Buffer, position: int, header: BatchHeader) -> tuple[int, int]:
    """Return (type, coordinator epoch) of a control batch's first record; the epoch is -1 where the type has none."""
    if header.size == HEADER_SIZE + _MARKER.size and not header.compression:  # as we and Kafka write it
        head, _, kind, middle, _, epoch, _ = _MARKER.unpack_from(buffer, position + HEADER_SIZE)
        if head == _MARKER_HEAD and middle == _MARKER_VALUE_SIZE and kind in {ABORT, COMMIT}:
            return kind, epoch
    record = next(decode(buffer, position, header), None)
    if record is None or record.key is None or len(record.key) < _CONTROL_KEY.size:
        raise CorruptBatchError(f"control batch at offset {header.base_offset} has no control record")
    kind = _CONTROL_KEY.unpack_from(record.key)[1]
    if kind in {ABORT, COMMIT} and record.value is not None and len(record.value) >= _MARKER_VALUE.size:
        return kind, _MARKER_VALUE.unpack_from(record.value)[1]
    return kind, -1
