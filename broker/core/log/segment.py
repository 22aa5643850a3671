"""One segment's index: where each batch starts, and the greatest timestamp so far.

Four parallel arrays, one entry per batch: first and last offset (relative to the segment's base), position, and the
running maximum of the batches' max timestamps. The running maximum never falls, so the first batch that reaches a
timestamp is found by bisection. 20 bytes a batch. `dump` and `load` turn the index of a sealed segment into a small
file, so that a start after a clean stop does not scan. Offsets may have holes (compaction); batches never overlap.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right

from broker.wire.batch import NO_TIMESTAMP, BatchHeader

_FILE = struct.Struct(">4sqqqqI")
_FILE_MAGIC = b"seg1"
BATCH_BYTES = 20
"""What the index holds of a batch."""


class Segment:
    """Index of the segment that starts at `base`; `size` is its length in bytes, `next_offset` the offset after it.

    `generation` tells it from segments of the same base offset that it replaced in this life of the node.
    """

    __slots__ = (
        "_lasts",
        "_max_timestamps",
        "_offsets",
        "_positions",
        "base",
        "first_timestamp",
        "generation",
        "next_offset",
        "size",
    )

    def __init__(self, base: int, generation: int = 0) -> None:
        self.base = base
        self.generation = generation
        self.size = 0
        self.next_offset = base
        self.first_timestamp = NO_TIMESTAMP
        self._offsets = array("I")
        self._lasts = array("I")
        self._positions = array("I")
        self._max_timestamps = array("q")

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def max_timestamp(self) -> int:
        """Greatest max timestamp of all batches, NO_TIMESTAMP when empty."""
        return self._max_timestamps[-1] if self._max_timestamps else NO_TIMESTAMP

    def fits(self, header: BatchHeader) -> bool:
        """Return whether the index can hold the batch (relative offsets and positions are 32 bits)."""
        relative = header.base_offset - self.base + header.last_offset_delta
        return relative < 1 << 32 and self.size + header.size < 1 << 32

    def append(self, header: BatchHeader) -> None:
        """Note a batch at the end."""
        first = header.base_offset
        assert first >= self.next_offset, (first, self.next_offset)
        timestamp, known = header.max_timestamp, self._max_timestamps
        if not known:
            self.first_timestamp = timestamp
        elif timestamp < known[-1]:
            timestamp = known[-1]
        last = first + header.last_offset_delta
        self._offsets.append(first - self.base)
        self._lasts.append(last - self.base)
        self._positions.append(self.size)
        known.append(timestamp)
        self.size += header.size
        self.next_offset = last + 1

    def position_of(self, offset: int) -> int:
        """Return the position of the first batch that reaches to `offset` or past it; `size` when none does."""
        index = bisect_left(self._lasts, max(0, offset - self.base))
        return self._positions[index] if index < len(self._positions) else self.size

    def position_from(self, offset: int) -> int:
        """Return the position of the first batch that starts at or after `offset`; `size` when none does."""
        if offset >= self.next_offset:
            return self.size
        index = bisect_left(self._offsets, offset - self.base)
        return self._positions[index] if index < len(self._positions) else self.size

    def position_at_time(self, timestamp: int) -> int | None:
        """Return the position of the first batch whose max timestamp is at least `timestamp`, None when none is."""
        index = bisect_left(self._max_timestamps, timestamp)
        return self._positions[index] if index < len(self._positions) else None

    def cut(self, start: int, end: int, max_bytes: int) -> int:
        """Return a batch boundary in [start, end] at most `max_bytes` on, but at least one batch on (if end allows)."""
        if end - start <= max_bytes:
            return end
        index = bisect_right(self._positions, start + max_bytes) - 1
        if self._positions[index] > start:
            return min(self._positions[index], end)
        index = bisect_right(self._positions, start)
        return self._positions[index] if index < len(self._positions) else end

    def offset_at(self, position: int) -> int:
        """Return the base offset of the batch at `position`; `next_offset` at the end."""
        index = bisect_left(self._positions, position)
        return self.base + self._offsets[index] if index < len(self._positions) else self.next_offset

    def batches_in(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return first and last offset of each batch in the positions [start, end)."""
        lower, upper = bisect_left(self._positions, start), bisect_left(self._positions, end)
        pairs = zip(self._offsets[lower:upper], self._lasts[lower:upper], strict=True)
        return [(self.base + first, self.base + last) for first, last in pairs]

    def truncate(self, offset: int) -> None:
        """Forget every batch that reaches to `offset` or past it."""
        if offset >= self.next_offset:
            return
        count = bisect_left(self._lasts, max(0, offset - self.base))
        self.size = self._positions[count]
        self.next_offset = max(self.base, min(offset, self.base + self._offsets[count]))
        del self._offsets[count:], self._lasts[count:], self._positions[count:], self._max_timestamps[count:]

    def dump(self) -> bytes:
        """Return the index as a small file."""
        head = _FILE.pack(_FILE_MAGIC, self.base, self.size, self.next_offset, self.first_timestamp, len(self))
        arrays = (self._offsets, self._lasts, self._positions, self._max_timestamps)
        return head + b"".join(column.tobytes() for column in arrays)

    @classmethod
    def load(cls, base: int, size: int, data: bytes | None) -> Segment | None:
        """Return the segment from `dump`'s bytes, None where they are not of a segment of this base and size."""
        if data is None or len(data) < _FILE.size:
            return None
        magic, saved_base, saved_size, next_offset, first_timestamp, count = _FILE.unpack_from(data)
        if (magic, saved_base, saved_size, len(data)) != (_FILE_MAGIC, base, size, _FILE.size + count * BATCH_BYTES):
            return None
        segment = cls(base)
        segment.size, segment.next_offset, segment.first_timestamp = size, next_offset, first_timestamp
        at = _FILE.size
        columns = (segment._offsets, segment._lasts, segment._positions, segment._max_timestamps)
        for column in columns:
            column.frombytes(data[at : at + column.itemsize * count])
            at += column.itemsize * count
        return segment
