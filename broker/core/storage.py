"""What the core reads from its node's disk: logs by segment, and small files by name.

Read-only: writes leave through `Ready`. A read sees all writes of earlier steps; the caller never reads a log that the
same step has written to. Errors of the medium are the driver's to raise (OSError): they end the step and the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Storage(Protocol):
    """Reads; names are as in `broker.core.ready`."""

    def logs(self) -> Sequence[str]:
        """Return the names of all logs, sorted."""
        ...

    def segments(self, log: str) -> Sequence[tuple[int, int]]:
        """Return (base offset, size in bytes) of each segment, by base offset."""
        ...

    def read(self, log: str, base: int, position: int, size: int) -> bytes:
        """Return up to `size` bytes of a segment; fewer at its end."""
        ...

    def load(self, name: str) -> bytes | None:
        """Return a small file, None where it is missing."""
        ...

    def files(self, log: str) -> Sequence[str]:
        """Return the full names of the small files in the log's folder, sorted."""
        ...
