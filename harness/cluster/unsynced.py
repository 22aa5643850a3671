"""What of a node's log segments no sync has reached: a power loss may take it, and the node checks it when it starts.

Apache Kafka and our broker sync a segment when it is rolled, and all of them when they stop in order; what stands in
the newest segment behind the recovery point that was checkpointed last is in the page cache alone, unless the topic
asks for more (`flush.messages`, `flush.ms`). The checkpoint may be older than the last sync, so that such a topic must
not be cut by it at all. Older segments are taken for synced, although Kafka syncs them in the background: less is lost
than might be.

    <data>/<topic>-<partition>/<base offset>.log        batches, of which this reads offsets and sizes alone
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.cluster.api import Key

QUORUM: Final = "__cluster_metadata"
"""The log of the metadata quorum: synced with every append."""
_SEGMENT: Final = ".log"
_PLACE: Final = struct.Struct(">qi")
"""Base offset, and the size of what follows these two."""
_LAST_DELTA: Final = struct.Struct(">i")
_LAST_DELTA_AT: Final = 23
_HEADER_BYTES: Final = 61
_CRC_COVERS: Final = 21
"""A batch's checksum covers what lies behind itself; the leader epoch before it is not covered."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a partition's newest segment. batches: (position, size in bytes) of those that no sync has reached."""

    segment: Path
    batches: tuple[tuple[int, int], ...]

    @property
    def begin(self) -> int:
        """Return the position of the first of them."""
        return self.batches[0][0]

    def lose(self, rng: random.Random) -> int:
        """Cut them off: all, or from anywhere among them, the middle of a batch too; return how many bytes went."""
        size = self.segment.stat().st_size
        kept = self.begin if rng.random() < 1 / 2 else rng.randrange(self.begin, size)
        os.truncate(self.segment, kept)
        return size - kept

    def rot(self, rng: random.Random) -> None:
        """Change a byte of one of them that its checksum covers."""
        position, size = rng.choice(self.batches)
        with self.segment.open("r+b") as file:
            at = rng.randrange(position + _CRC_COVERS, position + size)
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 0xFF]))


def key_of(log: str) -> Key:
    """Return the partition that a log of this name is of: t0/3 of t0-3."""
    topic, _, index = log.rpartition("-")
    return f"{topic}/{index}"


def topics(data: Path) -> list[str]:
    """Return the topics of which the folder holds partitions, the quorum's log left out."""
    return sorted({name.rpartition("-")[0] for name in _logs(data)} - {QUORUM})


def tails(data: Path, points: Mapping[str, int], only: Iterable[str]) -> dict[str, Tail]:
    """Return what a power loss may take of the partitions of these topics, by the names of their folders.

    points: the recovery points that were checkpointed. A log that has nothing unsynced is left out.
    """
    chosen = set(only) - {QUORUM}
    found = {}
    for name in _logs(data):
        if name.rpartition("-")[0] in chosen and (tail := _tail(data / name, points.get(name, 0))) is not None:
            found[name] = tail
    return found


def _logs(data: Path) -> list[str]:
    if not data.is_dir():
        return []
    return sorted(path.name for path in data.iterdir() if path.is_dir() and path.name.rpartition("-")[2].isdecimal())


def _tail(folder: Path, point: int) -> Tail | None:
    bases = [path for path in folder.glob(f"*{_SEGMENT}") if path.stem.isdecimal()]
    if not bases:
        return None
    newest = max(bases, key=lambda path: int(path.stem))
    batches = tuple((position, size) for position, size, end in _batches(newest.read_bytes()) if end > point)
    return Tail(newest, batches) if batches else None


def _batches(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (position, size in bytes, next offset) of the whole batches."""
    position = 0
    while position + _HEADER_BYTES <= len(data):
        base, length = _PLACE.unpack_from(data, position)
        size = _PLACE.size + length
        if size < _HEADER_BYTES or position + size > len(data):
            return
        (delta,) = _LAST_DELTA.unpack_from(data, position + _LAST_DELTA_AT)
        yield position, size, base + delta + 1
        position += size
