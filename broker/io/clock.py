"""A node's clock: monotonic from its start on, and a file that says how far the clock on its wall is off.

The file (`harness.clock`) holds a `Skew`, two numbers; who breaks clocks writes it at any moment, in one piece, and the
node looks at it in every step. Without a file the clock on the wall is right.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

from broker.core.wall import Skew

FORM = struct.Struct("<qq")
"""`Skew`: offset_ms, every_ms."""


class Clock:
    """See the module."""

    def __init__(self, file: Path | None = None) -> None:
        """Begin with the machine's time; a file that is not there yet is made."""
        self.anchor_s = time.time() - time.monotonic()
        self._map: mmap.mmap | None = None
        if file is not None:
            if not file.exists():
                file.write_bytes(bytes(FORM.size))
            with file.open("rb") as opened:
                self._map = mmap.mmap(opened.fileno(), FORM.size, access=mmap.ACCESS_READ)

    def now_ms(self) -> int:
        """Return the time by which the node waits."""
        return int((self.anchor_s + time.monotonic()) * 1000)

    def skew_ms(self, now_ms: int) -> int:
        """Return how far the clock on the wall is off at that time."""
        return 0 if self._map is None else Skew(*FORM.unpack_from(self._map)).at(now_ms)

    def close(self) -> None:
        """Let go of the file."""
        if self._map is not None:
            self._map.close()
            self._map = None
