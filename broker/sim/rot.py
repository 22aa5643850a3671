"""Which batches on a disk are checked against their checksums when the node starts: those that no checkpoint covers."""

from __future__ import annotations

from typing import Final

import msgspec

from broker.core.replication.replicas import CHECKPOINT_FILE, Point
from broker.sim.disk import Disk
from broker.wire import batch

CRC_COVERS: Final = 21
"""A batch's checksum covers what lies behind itself; the leader epoch before it is not covered."""


def unchecked(disk: Disk, log: str) -> list[tuple[int, int, int]]:
    """Return (segment, position, size in bytes) of the log's batches at or past its recovery point."""
    points = msgspec.json.decode(disk.load(CHECKPOINT_FILE) or b"{}", type=dict[str, Point])
    point = points[log].recovery_point if log in points else 0
    return [
        (base, position, header.size)
        for base, size in disk.segments(log)
        for position, header in batch.parse(disk.read(log, base, 0, size))
        if header.next_offset > point
    ]
