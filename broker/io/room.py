"""Room on the disk for segments that grow, taken ahead of the writes.

A file system that looks for free blocks at every write behind a file's end takes twice as long over large writes as one
that has the blocks already (ext4; docs/performance.md). So a segment that has grown past `LEAST_BYTES` gets room behind
its end for as much again, at most `STEP_BYTES`. Its size, and with it what a recovery reads, is as without. What is
left of the room goes back when the log begins its next segment, when the segment is cut, and when the node stops.

Only Linux takes room without making the file longer (fallocate(2), FALLOC_FL_KEEP_SIZE). Elsewhere, and where a file
system refuses or has nothing left, writes go on as they are.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

LEAST_BYTES = 1024 * 1024
STEP_BYTES = 16 * 1024 * 1024
_KEEP_SIZE = 1


class Room:
    """Which segments of a node have room, by log: a log grows at its last segment alone."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[int, int]] = {}  # base of the segment, where its room ends
        self._take = _fallocate()

    def needs(self, log: str, base: int, end: int) -> bool:
        """Return whether a write up to `end` (bytes) leaves the room of its segment."""
        held = self._ends.get(log)
        return end > LEAST_BYTES and self._take is not None and (held is None or held[0] != base or held[1] < end)

    def take(self, log: str, base: int, position: int, end: int, descriptor: int) -> None:
        """Make room for a write from `position` to `end`, and for what follows it."""
        room_end = end + min(end, STEP_BYTES)
        self._ends[log] = (base, room_end)
        if self._take is not None and self._take(descriptor, _KEEP_SIZE, position, room_end - position):
            self._take = None

    def logs(self) -> list[str]:
        """Return the logs that have room."""
        return list(self._ends)

    def forget(self, log: str) -> int:
        """A log's room is gone, or shall go: return the base of the segment that had it, -1 where none had."""
        return self._ends.pop(log, (-1, 0))[0]


def give_back(descriptor: int) -> None:
    """Free the blocks behind a file's end."""
    os.ftruncate(descriptor, os.fstat(descriptor).st_size)


def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """Return the C library's call with 64-bit offsets, None where it has none."""
    library = ctypes.CDLL(None)
    for name in ("fallocate64", "fallocate"):
        if hasattr(library, name):
            call = library[name]
            call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
            return call
    return None
