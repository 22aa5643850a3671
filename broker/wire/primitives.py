"""Kafka's primitive types: readers and writers, bounds-checked.

A reader takes the buffer and a position and returns the value and the next position. A writer appends to a bytearray.
Readers refuse with `WireError` what is truncated, negative, too long or not UTF-8; a fixed-size type that runs past the
end raises `struct.error`, which `broker.wire.schema` turns into `WireError` once per message. No reader allocates more
than the bytes that are really there.

Values: integers are int, float64 is float, a string is str, bytes and uuid are bytes (a uuid has 16, all zero is
"none"); a time or a duration is int, milliseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from broker.wire.errors import WireError

Buffer = bytes | bytearray | memoryview
Reader = Callable[[Buffer, int], tuple[Any, int]]
Writer = Callable[[bytearray, Any], None]

NO_UUID: Final = bytes(16)
MAX_VARINT_BYTES: Final = 5
MAX_TEXT_BYTES: Final = 0x7FFF
"""Of a string, as in Kafka: a compact one, too, so that whoever takes it can write it in the other form."""
"""An unsigned varint of the protocol holds 32 bits."""
_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")


def fixed(layout: str) -> tuple[Reader, Writer]:
    """Return reader and writer of a fixed-size number in `struct` notation."""
    packed = struct.Struct(layout)
    size, unpack_from, pack = packed.size, packed.unpack_from, packed.pack

    def read(data: Buffer, at: int) -> tuple[Any, int]:
        return unpack_from(data, at)[0], at + size

    def write(out: bytearray, value: Any) -> None:
        out += pack(value)

    return read, write


def read_uuid(data: Buffer, at: int) -> tuple[bytes, int]:
    """Read 16 bytes."""
    return _take(data, at, 16), at + 16


def write_uuid(out: bytearray, value: bytes) -> None:
    """Write 16 bytes."""
    if len(value) != 16:
        raise WireError(f"a uuid has 16 bytes, not {len(value)}")
    out += value


def read_uvarint(data: Buffer, at: int) -> tuple[int, int]:
    """Read an unsigned varint of at most 32 bits."""
    if at < len(data) and data[at] < 0x80:  # nearly always
        return data[at], at + 1
    value = shift = 0
    for position in range(at, at + MAX_VARINT_BYTES):
        if position >= len(data):
            raise WireError(f"truncated: a varint runs past the end at byte {position}")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 32:
                break
            return value, position + 1
        shift += 7
    raise WireError(f"a varint at byte {at} does not fit 32 bits")


def write_uvarint(out: bytearray, value: int) -> None:
    """Write an unsigned varint."""
    if 0 <= value < 0x80:  # nearly always
        out.append(value)
        return
    if not 0 <= value < 1 << 32:
        raise WireError(f"{value} does not fit an unsigned varint of 32 bits")
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


# Lengths. Legacy types carry int16 or int32, -1 for null; compact types an unsigned varint of length + 1, 0 for null.


def read_compact_length(data: Buffer, at: int) -> tuple[int, int]:
    """Read the length of a compact string, bytes or array; -1 for null."""
    length, at = read_uvarint(data, at)
    return length - 1, at


def write_compact_length(out: bytearray, length: int) -> None:
    """Write the length of a compact string, bytes or array; -1 for null."""
    write_uvarint(out, length + 1)


def read_int16_length(data: Buffer, at: int) -> tuple[int, int]:
    """Read the length of a legacy string; -1 for null."""
    return _INT16.unpack_from(data, at)[0], at + 2


def write_int16_length(out: bytearray, length: int) -> None:
    """Write the length of a legacy string; -1 for null."""
    out += _INT16.pack(length)


def read_int32_length(data: Buffer, at: int) -> tuple[int, int]:
    """Read the length of legacy bytes or of a legacy array; -1 for null."""
    return _INT32.unpack_from(data, at)[0], at + 4


def write_int32_length(out: bytearray, length: int) -> None:
    """Write the length of legacy bytes or of a legacy array; -1 for null."""
    out += _INT32.pack(length)


LengthReader = Callable[[Buffer, int], tuple[int, int]]
LengthWriter = Callable[[bytearray, int], None]


def sized(
    read_length: LengthReader, write_length: LengthWriter, *, text: bool, nullable: bool
) -> tuple[Reader, Writer]:
    """Return reader and writer of a string (`text`) or of bytes behind a length."""

    def read(data: Buffer, at: int) -> tuple[str | bytes | None, int]:
        length, at = read_length(data, at)
        if length < 0:
            if length < -1 or not nullable:
                raise WireError(f"length {length} before byte {at} where a value must stand")
            return None, at
        raw = _take(data, at, length)
        if not text:
            return raw, at + length
        if length > MAX_TEXT_BYTES:
            raise WireError(f"a string of {length} bytes before byte {at}")
        try:
            return raw.decode(), at + length
        except UnicodeDecodeError as error:
            raise WireError(f"the string at byte {at} is not UTF-8: {error.reason}") from error

    def write(out: bytearray, value: str | bytes | None) -> None:
        if value is None:
            if not nullable:
                raise WireError("null where a string or bytes must stand")
            write_length(out, -1)
            return
        raw = value.encode() if isinstance(value, str) else value
        write_length(out, len(raw))
        out += raw

    return read, write


def array(
    item: tuple[Reader, Writer], read_length: LengthReader, write_length: LengthWriter, *, nullable: bool
) -> tuple[Reader, Writer]:
    """Return reader and writer of an array; it is read as a tuple, and written from any sequence."""
    read_item, write_item = item

    def read(data: Buffer, at: int) -> tuple[tuple[Any, ...] | None, int]:
        count, at = read_length(data, at)
        if count < 0:
            if count < -1 or not nullable:
                raise WireError(f"an array of {count} elements before byte {at}")
            return None, at
        if count > len(data) - at:  # every element takes a byte or more: a count beyond that is a lie
            raise WireError(f"truncated: {count} elements are announced where {len(data) - at} bytes are left")
        items = []
        for _ in range(count):
            value, at = read_item(data, at)
            items.append(value)
        return tuple(items), at

    def write(out: bytearray, value: Any) -> None:
        if value is None:
            if not nullable:
                raise WireError("null where an array must stand")
            write_length(out, -1)
            return
        write_length(out, len(value))
        for one in value:
            write_item(out, one)

    return read, write


def _take(data: Buffer, at: int, size: int) -> bytes:
    if size > len(data) - at:
        raise WireError(f"truncated: {size} bytes are announced where {len(data) - at} are left")
    return bytes(data[at : at + size])
