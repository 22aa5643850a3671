"""A disk in memory: what was written, and what of it would survive a power loss.

Executes a Ready's writes and is the core's Storage. Per segment it knows how much is durable: `synced` bytes of what is
there, and the durable content that was cut away or dropped since (a truncation that was not synced may be undone by a
power loss). After one, a file holds its durable content and a random prefix of what came after it; a small file is old
or new, never half. `full` and `damage` are the faults of the medium; how long a sync takes is the node's matter.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from errno import ENOSPC
from typing import assert_never

from broker.core.ready import (
    Append,
    Draft,
    DropDraft,
    DropLog,
    DropSegment,
    Ready,
    Release,
    Remove,
    Save,
    Swap,
    SyncAll,
    Truncate,
    Write,
)
from broker.wire.batch import Buffer
from broker.wire.messages.fetch import Region


class _Segment:
    """One file: its bytes, how many of them are durable, and the durable bytes that were replaced since."""

    __slots__ = ("data", "old", "synced")

    def __init__(self, data: bytes = b"", synced: int = 0) -> None:
        self.data = bytearray(data)
        self.synced = synced
        self.old: bytes | None = None

    def truncate(self, size: int) -> None:
        assert size <= len(self.data)
        if size < self.synced:
            if self.old is None:
                self.old = bytes(self.data[: self.synced])
            self.synced = size
        del self.data[size:]

    def sync(self) -> None:
        self.synced, self.old = len(self.data), None

    def durable(self) -> bytes:
        return bytes(self.data[: self.synced]) if self.old is None else self.old

    def survivor(self, rng: random.Random) -> bytes:
        """Return what a power loss leaves: the durable bytes, and perhaps some of what followed."""
        if self.old is not None and rng.random() < 0.5:
            return self.old
        return bytes(self.data[: rng.randint(self.synced, len(self.data))])


class Disk:
    """See the module."""

    def __init__(self) -> None:
        self.full = False
        """Whether every further byte is refused."""
        self.rotten = 0
        """How many bytes `damage` has changed."""
        self.power_losses = 0
        self.lost: Counter[str] = Counter()
        """How many bytes they have taken, by log."""
        self._segments: dict[str, dict[int, _Segment]] = {}
        self._dropped: dict[str, dict[int, bytes]] = {}
        """Durable content of segments that were deleted, until their log is synced."""
        self._drafts: dict[tuple[str, int], bytearray] = {}
        self._generations: dict[tuple[str, int], int] = {}
        self._held: dict[tuple[str, int, int], bytes] = {}
        """Segments that went, (log, base, generation): whoever points into one still reads it."""
        self._files: dict[str, bytes] = {}
        self._durable_files: dict[str, bytes] = {}

    # Writing.

    def perform(self, ready: Ready) -> None:
        """Write and sync at once."""
        self.write_all(ready.writes)
        self.sync(ready.sync)

    def write_all(self, writes: Iterable[Write]) -> None:
        """Perform the writes in their order. Raises OSError when the disk is full."""
        for write in writes:
            self.write(write)

    def write(self, write: Write) -> None:  # noqa: C901, PLR0912 - one case per kind of write
        """Perform one write. Raises OSError when the disk is full."""
        match write:
            case Append(log, base, position, data):
                self._append(log, base, position, data)
            case Truncate(log, base, size):
                self._segments[log][base].truncate(size)
            case DropSegment(log, base):
                self._drop_segment(log, base)
            case Draft(log, base, position, data):
                self._refuse_if_full(log)
                draft = self._drafts.setdefault((log, base), bytearray())
                del draft[position:]
                assert len(draft) == position, (log, base, len(draft), position)
                draft += data
            case DropDraft(log, base):
                self._drafts.pop((log, base), None)
            case Swap(log, base, last, generation):
                self._swap(log, base, last, generation)
            case Release(log, base, generation):
                self._held.pop((log, base, generation), None)
            case DropLog(log):
                self._drop_log(log)
            case Save(name, data, sync):
                self._refuse_if_full(name)
                self._files[name] = bytes(data)
                if sync:
                    self._durable_files[name] = bytes(data)
            case Remove(name):
                self._files.pop(name, None)
            case SyncAll():
                self.sync(sorted({*self._segments, *self._dropped, *self.logs()}))
            case _:
                assert_never(write)

    def _append(self, log: str, base: int, position: int, data: Buffer) -> None:
        self._refuse_if_full(log)
        segments = self._segments.get(log)
        if segments is None:
            segments = self._segments[log] = {}
        segment = segments.get(base)
        if segment is None:
            segment = segments[base] = _Segment()
        assert len(segment.data) == position, (log, base, len(segment.data), position)
        segment.data += data

    def _refuse_if_full(self, name: str) -> None:
        if self.full:
            raise OSError(ENOSPC, "no space left on the simulated disk", name)

    def _swap(self, log: str, base: int, last: int, generation: int) -> None:
        """Replace segments for good: not even a power loss brings one of them back, or a small file of theirs."""
        data = bytes(self._drafts.pop((log, base)))
        for one in [one for one in self._segments.get(log, {}) if base <= one <= last]:
            self._hold(log, one)
            del self._segments[log][one]
            self._dropped.get(log, {}).pop(one, None)
            for files in (self._files, self._durable_files):
                for name in [name for name in files if name.startswith(f"{log}/{one:020d}.")]:
                    del files[name]
        self._segments[log][base] = _Segment(data, len(data))
        self._generations[log, base] = generation

    def _hold(self, log: str, base: int) -> None:
        segment = self._segments.get(log, {}).get(base)
        if segment is not None:
            self._held[log, base, self._generations.pop((log, base), 0)] = bytes(segment.data)

    def _drop_segment(self, log: str, base: int) -> None:
        self._hold(log, base)
        self._drop(log, base)
        for name in self.files(log):
            if name.startswith(f"{log}/{base:020d}."):
                del self._files[name]

    def _drop_log(self, log: str) -> None:
        for base in list(self._segments.get(log, {})):
            self._drop(log, base)
        self._segments.pop(log, None)
        self._drafts = {key: draft for key, draft in self._drafts.items() if key[0] != log}
        self._generations = {key: number for key, number in self._generations.items() if key[0] != log}
        self._held = {key: data for key, data in self._held.items() if key[0] != log}
        for name in self.files(log):
            del self._files[name]

    def _drop(self, log: str, base: int) -> None:
        segment = self._segments.get(log, {}).pop(base, None)
        if segment is not None and (durable := segment.durable()):
            self._dropped.setdefault(log, {})[base] = durable

    def sync(self, logs: Iterable[str]) -> None:
        """Make these logs durable as they are, with their small files."""
        for log in logs:
            for segment in self._segments.get(log, {}).values():
                segment.sync()
            self._dropped.pop(log, None)
            for name in [name for name in self._durable_files if _is_in(name, log) and name not in self._files]:
                del self._durable_files[name]
            self._durable_files.update({name: data for name, data in self._files.items() if _is_in(name, log)})

    def close(self) -> None:
        """The process has ended, however it did: nobody points into segments that went, and drafts are nobody's."""
        self._drafts, self._generations, self._held = {}, {}, {}

    # Faults.

    def crash(self, rng: random.Random | None = None, *, power: bool = True) -> None:
        """Lose what was not synced; with `rng`, a random prefix of it survives. Without power loss, nothing is lost."""
        self.close()
        if not power:
            return
        self.power_losses += 1
        kept: dict[str, dict[int, _Segment]] = {}
        for log in sorted({*self._segments, *self._dropped}):
            segments = {base: _Segment(data, len(data)) for base, data in self._dropped.get(log, {}).items()}
            for base, segment in self._segments.get(log, {}).items():
                data = segment.survivor(rng) if rng is not None else segment.durable()
                if data or base not in segments:
                    segments[base] = _Segment(data, len(data))
            kept[log] = {base: segments[base] for base in sorted(segments) if segments[base].data}
            for base, segment in self._segments.get(log, {}).items():
                self.lost[log] += _missing(segment.data, kept[log][base].data if base in kept[log] else b"")
        self._segments, self._dropped = kept, {}
        files = dict(self._durable_files)
        if rng is not None:
            files.update({name: data for name, data in sorted(self._files.items()) if rng.random() < 0.5})
        self._files, self._durable_files = files, dict(files)

    def damage(self, log: str, base: int, position: int) -> None:
        """Flip the bits of one byte."""
        self._segments[log][base].data[position] ^= 0xFF
        self.rotten += 1

    # Storage: what the core reads.

    def logs(self) -> list[str]:
        """Return the names of all logs."""
        return sorted({*self._segments, *(name.partition("/")[0] for name in self._files if "/" in name)})

    def segments(self, log: str) -> list[tuple[int, int]]:
        """Return (base offset, size in bytes) of each segment."""
        return sorted((base, len(segment.data)) for base, segment in self._segments.get(log, {}).items())

    def read(self, log: str, base: int, position: int, size: int) -> bytes:
        """Return up to `size` bytes of a segment."""
        segment = self._segments.get(log, {}).get(base)
        return b"" if segment is None else bytes(segment.data[position : position + size])

    def load(self, name: str) -> bytes | None:
        """Return a small file."""
        return self._files.get(name)

    def files(self, log: str) -> list[str]:
        """Return the full names of the small files in the log's folder."""
        return sorted(name for name in self._files if _is_in(name, log))

    def fetch(self, region: Region) -> bytes:
        """Return a region's bytes; fewer where the log was cut since."""
        segment = self._segments.get(region.log, {}).get(region.base)
        data: bytes | bytearray = self._held.get((region.log, region.base, region.generation), b"")
        if segment is not None and self._generations.get((region.log, region.base), 0) == region.generation:
            data = segment.data
        return bytes(data[region.position : region.position + region.size])

    def dump(self, log: str) -> bytes:
        """Return all bytes of a log."""
        return b"".join(bytes(segment.data) for _, segment in sorted(self._segments.get(log, {}).items()))


def _missing(had: Buffer, left: Buffer) -> int:
    """Return how many bytes are gone; all of them where others have come back."""
    return len(had) - len(left) if had[: len(left)] == left else len(had)


def _is_in(name: str, log: str) -> bool:
    return name.startswith(f"{log}/")
