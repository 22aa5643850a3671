"""From a stream of bytes to frames, in one buffer: what an asyncio BufferedProtocol receives into.

`space` gives the free end of the buffer, `take` says how much came and yields the payloads that are now whole, as views
into the buffer: they are good until the next `space`. Between calls at most one unfinished frame is held, and the
buffer grows with the bytes that have really come, at most doubling: a length that lies costs nothing. Once empty, a
large buffer is given back. A length that is negative or beyond the bound is a `WireError` as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.wire.frame import LENGTH, payload_size

START_BYTES = 64 * 1024
KEEP_BYTES = 4 * 1024 * 1024
"""A buffer up to this size stays with its connection: batches come again, and memory that is new costs a page fault for
every 4 KiB, up to 8 CPU seconds a GB on a virtual machine."""


class Inbox:
    """See the module."""

    __slots__ = ("_buffer", "_end", "_limit_bytes", "_start", "_view")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._renew(START_BYTES)

    def _renew(self, size: int, keep: memoryview | bytes = b"") -> None:
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._start, self._end = 0, len(keep)
        self._view[: self._end] = keep

    @property
    def capacity(self) -> int:
        """Bytes that the buffer takes."""
        return len(self._buffer)

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame."""
        return self._end - self._start

    @property
    def wanted(self) -> int:
        """Size of the frame that has begun, with its length; 0 while nobody knows."""
        if self._end - self._start < LENGTH.size:
            return 0
        size: int = LENGTH.unpack_from(self._buffer, self._start)[0]
        return LENGTH.size + size

    @property
    def missing(self) -> int:
        """Bytes that the frame that has begun still lacks; 0 while nobody knows."""
        if self._start == self._end:
            return 0
        return max(0, self.wanted - self.pending)

    def space(self) -> memoryview:
        """Return where the next bytes go; never empty."""
        capacity = len(self._buffer)
        if self._start == self._end:
            if capacity > KEEP_BYTES:
                self._renew(START_BYTES)
            self._start = self._end = 0
            return self._view
        pending, wanted = self.pending, self.wanted
        if wanted > capacity and pending * 2 > capacity:
            self._renew(min(wanted, capacity * 2), self._view[self._start : self._end])
        elif self._start + wanted > capacity or self._end == capacity:
            self._compact()
        return self._view[self._end :]

    def _compact(self) -> None:
        """Move the unfinished frame to the front."""
        pending = self.pending
        self._view[:pending] = self._view[self._start : self._end]
        self._start, self._end = 0, pending

    def take(self, count: int) -> Iterator[memoryview]:
        """Note `count` new bytes; yield the payloads that are whole now, in order. Raise WireError."""
        self.came(count)
        return iter(self.frame, None)

    def came(self, count: int) -> None:
        """Note `count` new bytes."""
        self._end += count

    def frame(self) -> memoryview | None:
        """Return the next payload that is whole, None when there is none. Raise WireError."""
        begin = self._start + LENGTH.size
        if begin > self._end:
            return None
        end = begin + payload_size(self._view[self._start : begin], self._limit_bytes)
        if end > self._end:
            return None
        self._start = end
        return self._view[begin:end]
