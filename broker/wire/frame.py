"""Framing: a message on a connection is its length, four bytes big-endian, then that many bytes.

`frame` puts the length before a payload, `Frames` takes a byte stream apart. A length that is negative or beyond the
bound is refused as soon as its four bytes are there: nothing is ever allocated for it. After a `WireError` the stream
is lost, since nobody knows where the next frame begins: close the connection.
"""

from __future__ import annotations

import struct
from typing import Final

from broker.wire.errors import WireError

LENGTH: Final = struct.Struct(">i")
MAX_FRAME_BYTES: Final = 100 * 1024 * 1024
"""Kafka's default of socket.request.max.bytes."""


def frame(payload: bytes) -> bytes:
    """Return the payload with its length before it."""
    return LENGTH.pack(len(payload)) + payload


def payload_size(header: bytes | bytearray | memoryview, limit_bytes: int = MAX_FRAME_BYTES) -> int:
    """Return the size that four bytes announce; WireError when it is negative or beyond the bound."""
    size: int = LENGTH.unpack_from(header)[0]
    if not 0 <= size <= limit_bytes:
        raise WireError(f"a frame of {size} bytes is announced, at most {limit_bytes} are allowed: not Kafka?")
    return size


class Frames:
    """Takes a byte stream apart into payloads. Between calls it holds at most one unfinished frame."""

    def __init__(self, limit_bytes: int = MAX_FRAME_BYTES) -> None:
        self._limit = limit_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take the next bytes of the stream; return the payloads that they complete, in order."""
        self._buffer += data
        payloads, start = [], 0
        while len(self._buffer) - start >= LENGTH.size:
            size = payload_size(self._buffer[start : start + LENGTH.size], self._limit)
            end = start + LENGTH.size + size
            if len(self._buffer) < end:
                break
            payloads.append(bytes(self._buffer[start + LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return payloads

    def pending(self) -> int:
        """Return how many bytes of an unfinished frame are held."""
        return len(self._buffer)
