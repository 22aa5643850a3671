"""The node's folder: segments and small files; performs a Ready's writes and syncs, and is the core's Storage.

    <folder>/<log>/<base>.log        a segment, Kafka's name for it
    <folder>/<log>/<name>, <name>    small files, replaced by renaming a finished draft

Drafts of compacted segments lie beside the segments (`broker.io.drafts`). A segment that is dropped or replaced stays
open, so that answers which point into it can still be sent, until it is released or too many are held.

Appends that follow one another in a segment go out in one vectored write at their position, large ones in pieces. A
write that the disk refuses raises OSError: the node must end, since its state in memory is ahead of its files. What
`sync` must reach is noted per log when it is written (segments, small files, the folder itself), so that syncing costs
what was touched. A log whose folder is new is there after a power loss only if the folder around it was synced, too:
that goes with the log's first sync.

A draft is synced before its renaming only where the core asks for it: after a power loss a small file that was not
synced may be old or empty, never a mixture. `SyncJob` has file descriptors of its own, so it may run on
another thread while the node goes on writing, and while files that it syncs are dropped.

What is sent from a file is a `Span`; cutting a segment spoils the spans that still wait, and `cuts` counts that.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import assert_never
from weakref import WeakSet

from broker.core.ready import (
    Append,
    Draft,
    DropDraft,
    DropLog,
    DropSegment,
    Release,
    Remove,
    Save,
    Swap,
    SyncAll,
    Truncate,
    Write,
)
from broker.io.drafts import CLEANED, SWAP, Drafts, replaced_by
from broker.io.room import Room, give_back
from broker.io.stream import Buffer, Span
from broker.wire.messages.fetch import Region

MAX_OPEN_FILES = 512
"""Segments that stay open: most are read or written again at once."""
MAX_VECTORS = 512
"""Below IOV_MAX (1024) everywhere."""
PIECE_BYTES = 128 * 1024
"""Larger writes end at multiples of this: the page cache takes blocks of memory as large as a write, and a virtual
machine's host may have taken free blocks of 2 MiB back, which costs a CPU second a GB and more when they are touched.
"""
SPAN_BYTES = 32 * 1024
"""From this size on, bytes go from the file to the socket; below, a copy is cheaper than a system call of its own."""
LOCK_FILE = ".lock"
_SEGMENT = ".log"
_DRAFT = ".draft"
MAX_RETIRED = 64
"""Dropped segments that stay open for readers; past that the oldest is given up before its time."""
_FOLDER = "."
_sync = getattr(os, "fdatasync", os.fsync)
"""Data and size; the time of the last change need not survive."""


class FolderInUseError(Exception):
    """Another process has this data folder."""


class ShortReadError(Exception):
    """A region is not there (any more): the log was cut or deleted since it was looked up."""


class SyncJob:
    """File descriptors to sync; `run` syncs and closes them, on any thread."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def run(self) -> None:
        """Make all of it durable. Raises OSError."""
        try:
            for descriptor in self._descriptors:
                _sync(descriptor)
        finally:
            for descriptor in self._descriptors:
                os.close(descriptor)


class Disk:
    """See the module. Not thread-safe; one node owns one folder."""

    def __init__(self, folder: Path) -> None:
        """Take the folder for ourselves; raises FolderInUseError."""
        self._root = folder
        self._open: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._unsynced: dict[str, dict[str | int, None]] = {}  # what was written: small files, bases of segments
        self._begun: dict[str, dict[str | int, None]] = {}  # what the last job syncs, perhaps still
        self._new: set[str] = set()  # logs whose folders were made and perhaps are not durable
        self._lent: dict[tuple[str, int], WeakSet[Span]] = {}
        self._generations: dict[tuple[str, int], int] = {}
        self._retired: OrderedDict[tuple[str, int, int], int] = OrderedDict()
        self._drafts = Drafts(folder)
        self._room = Room()
        self.bytes_written = self.cuts = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise FolderInUseError(f"{folder} is in use by another process") from error

    def close(self) -> None:
        """Close everything and leave the folder to others."""
        for log in self._room.logs():
            self._give_room_back(log)
        for descriptor in (*self._open.values(), *self._retired.values()):
            os.close(descriptor)
        self._open.clear()
        self._retired.clear()
        self._drafts.close()
        os.close(self._lock)

    # Writing.

    def write(self, writes: Sequence[Write]) -> None:
        """Perform the writes in their order. Raises OSError."""
        run: list[Append] = []
        end = 0
        for item in writes:
            if isinstance(item, Append):
                if run and (item.log != run[0].log or item.base != run[0].base or item.position != end):
                    self._append(run)
                    run = []
                run.append(item)
                end = item.position + len(item.data)
                continue
            if run:
                self._append(run)
                run = []
            self._write_one(item)
        if run:
            self._append(run)

    def _write_one(  # noqa: C901, PLR0912 - one case per kind of write
        self, write: Truncate | DropSegment | Draft | DropDraft | Swap | Release | DropLog | Save | Remove | SyncAll
    ) -> None:
        match write:
            case Truncate(log, base, size):
                os.ftruncate(self._segment(log, base), size)  # and its room is gone
                self._room.forget(log)
                self.cuts += 1
                for span in self._lent.pop((log, base), ()):
                    span.spoil()
                self._note(log, base)
            case DropSegment(log, base):
                self._retire(log, base)
                for path in (self._root / log).glob(f"{base:020d}.*"):
                    path.unlink(missing_ok=True)
                self._note(log, _FOLDER)
            case Draft(log, base, position, data):
                self._drafts.write(log, base, position, data)
            case DropDraft(log, base):
                self._drafts.drop(log, base)
            case Swap(log, base, last, generation):
                self._swap(log, base, last, generation)
            case Release(log, base, generation):
                descriptor = self._retired.pop((log, base, generation), None)
                if descriptor is not None:
                    os.close(descriptor)
            case DropLog(log):
                self._drop(log)
            case Save(name, data, sync):
                self._save(name, data, sync=sync)
            case Remove(name):
                (self._root / name).unlink(missing_ok=True)
                self._note(name.rpartition("/")[0], _FOLDER)
            case SyncAll():
                self._sync_all()
            case _:
                assert_never(write)

    def _append(self, run: list[Append]) -> None:
        """Write what follows one another in one segment."""
        first = run[0]
        position = first.position
        descriptor = self._segment(first.log, first.base)
        self._note(first.log, first.base)
        if not position:
            self._note(first.log, _FOLDER)
            self._give_room_back(first.log)
        end = run[-1].position + len(run[-1].data)
        if self._room.needs(first.log, first.base, end):
            self._room.take(first.log, first.base, position, end, descriptor)
        if len(run) == 1 and len(first.data) <= PIECE_BYTES:
            self._write_vectors(descriptor, (first.data,), len(first.data), position)
            return
        for at in range(0, len(run), MAX_VECTORS):
            views = [item.data for item in run[at : at + MAX_VECTORS]]
            size = sum(map(len, views))
            if size > PIECE_BYTES:
                for piece in _pieces(views, position):
                    position = self._write_vectors(descriptor, piece, sum(map(len, piece)), position)
            else:
                position = self._write_vectors(descriptor, views, size, position)

    def _give_room_back(self, log: str) -> None:
        descriptor = self._open.get((log, self._room.forget(log)))
        if descriptor is not None:
            give_back(descriptor)

    def _write_vectors(self, descriptor: int, views: Sequence[Buffer], size: int, position: int) -> int:
        """Write; return where the next bytes go."""
        written = os.pwritev(descriptor, views, position)
        if written != size:
            self._finish(descriptor, b"".join(views)[written:], position + written)
        self.bytes_written += size
        return position + size

    def _finish(self, descriptor: int, rest: bytes, position: int) -> None:
        """Write what a short write left over; a full disk is an OSError at the latest in the next call."""
        while rest:
            written = os.pwrite(descriptor, rest, position)
            rest, position = rest[written:], position + written

    def _save(self, name: str, data: bytes, *, sync: bool) -> None:
        path = self._root / name
        folder = name.rpartition("/")[0]
        if folder:
            self._make(folder)
        draft = path.with_name(path.name + _DRAFT)
        descriptor = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            self._finish(descriptor, bytes(data), 0)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
        if sync:
            self._sync_folder(path.parent)
            if folder in self._new:
                self._new.discard(folder)
                self._sync_folder(self._root)
        else:
            self._note(folder, path.name)
            self._note(folder, _FOLDER)

    def _drop(self, log: str) -> None:
        for key in [key for key in self._open if key[0] == log]:
            os.close(self._open.pop(key))
        for key in [key for key in self._lent if key[0] == log]:
            del self._lent[key]
        for held in [held for held in self._retired if held[0] == log]:
            os.close(self._retired.pop(held))
        for key in [key for key in self._generations if key[0] == log]:
            del self._generations[key]
        self._drafts.forget(log)
        self._unsynced.pop(log, None)
        self._new.discard(log)
        self._room.forget(log)
        folder = self._root / log
        if folder.is_dir():
            doomed = self._root / f"{log}{_DRAFT}"  # renamed first: a crash in the middle leaves no half of a log
            if doomed.is_dir():
                shutil.rmtree(doomed)
            folder.rename(doomed)
            shutil.rmtree(doomed)

    def _swap(self, log: str, base: int, last: int, generation: int) -> None:
        bases = [one for one, _ in self.segments(log) if base <= one <= last]
        swap = self._drafts.finish(log, base, last)
        self._sync_folder(swap.parent)
        for one in bases:
            self._retire(log, one)
        self._finish_swap(swap)
        self._generations[log, base] = generation

    def _finish_swap(self, swap: Path) -> None:
        """Delete what a swap has replaced; repeated after a crash."""
        base, last = replaced_by(swap)
        for path in swap.parent.iterdir():
            stem = path.name.partition(".")[0]
            if stem.isdecimal() and base <= int(stem) <= last:
                path.unlink()
        swap.rename(swap.with_name(_segment_name(base)))
        self._sync_folder(swap.parent)

    def _retire(self, log: str, base: int) -> None:
        """Keep a segment that goes open for those who still point into it."""
        key = (log, base, self._generations.pop((log, base), 0))
        self._lent.pop((log, base), None)
        descriptor = self._open.pop((log, base), None)
        if descriptor is None:
            try:
                descriptor = os.open(self._root / log / _segment_name(base), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return
        older = self._retired.pop(key, None)
        if older is not None:
            os.close(older)
        self._retired[key] = descriptor
        if len(self._retired) > MAX_RETIRED:
            os.close(self._retired.popitem(last=False)[1])

    def _note(self, log: str, name: str | int) -> None:
        names = self._unsynced.get(log)
        if names is None:
            names = self._unsynced[log] = {}
        names[name] = None

    # Syncing.

    def sync(self, logs: Iterable[str]) -> SyncJob | None:
        """Return the work that makes these logs durable as they are now; None when there is none."""
        descriptors: list[int] = []
        around = False
        self._begun = {}
        for log in logs:
            names = self._unsynced.pop(log, None)
            if names is None:
                continue
            self._begun[log] = names
            if log in self._new:
                self._new.discard(log)
                around = True
            folder = self._root / log
            for name in names:
                path = folder / (name if isinstance(name, str) else _segment_name(name))
                try:
                    descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                except FileNotFoundError:
                    continue  # it was removed since
        if around:
            descriptors.append(os.open(self._root, os.O_RDONLY | os.O_CLOEXEC))
        return SyncJob(descriptors) if descriptors else None

    def _sync_all(self) -> None:
        """Sync what was written, and again what a job may be at on another thread; one log at a time."""
        for log, names in self._begun.items():
            self._unsynced[log] = names | self._unsynced.get(log, {})
        for log in list(self._unsynced):
            job = self.sync([log])
            if job is not None:
                job.run()
        self._sync_folder(self._root)

    def _sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # Storage: what the core reads.

    def logs(self) -> Sequence[str]:
        """Return the names of all logs; what was half dropped goes now, what was half swapped is finished."""
        for path in self._root.glob(f"*/*{SWAP}"):
            self._finish_swap(path)
        for path in self._root.glob(f"*/*{CLEANED}"):
            path.unlink()
        for path in self._root.glob(f"*{_DRAFT}"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return sorted(path.name for path in self._root.iterdir() if path.is_dir())

    def segments(self, log: str) -> Sequence[tuple[int, int]]:
        """Return (base offset, size in bytes) of each segment."""
        folder = self._root / log
        if not folder.is_dir():
            return []
        found = [(path.stem, path.stat().st_size) for path in folder.glob(f"*{_SEGMENT}")]
        return sorted((int(stem), size) for stem, size in found if stem.isdecimal())

    def read(self, log: str, base: int, position: int, size: int) -> bytes:
        """Return up to `size` bytes of a segment."""
        return os.pread(self._segment(log, base), size, position)

    def _descriptor_of(self, region: Region) -> int:
        """Return the file that a region lies in, of a segment that has gone meanwhile too; raises ShortReadError."""
        log, base, generation = region.log, region.base, region.generation
        is_there = (log, base) in self._open or (self._root / log / _segment_name(base)).exists()
        if is_there and self._generations.get((log, base), 0) == generation:
            return self._segment(log, base)
        descriptor = self._retired.get((log, base, generation))
        if descriptor is None:
            raise ShortReadError(f"the segment of {log} at {base} has gone")
        return descriptor

    def bytes_of(self, region: Region) -> bytes:
        """Return the region's bytes; raises ShortReadError."""
        data = os.pread(self._descriptor_of(region), region.size, region.position)
        if len(data) != region.size:
            raise ShortReadError(f"{region.log} has {len(data)} of {region.size} bytes at {region.position}")
        return data

    def chunk_of(self, region: Region) -> Buffer | Span:
        """Return the region's bytes, or a span of its file where it is large; raises ShortReadError."""
        if region.size < SPAN_BYTES:
            return self.bytes_of(region)
        span = Span(self._descriptor_of(region), region.position, region.size)
        key = (region.log, region.base)
        lent = self._lent.get(key)
        if lent is None:
            lent = self._lent[key] = WeakSet()
        lent.add(span)
        return span

    def load(self, name: str) -> bytes | None:
        """Return a small file."""
        try:
            return (self._root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def files(self, log: str) -> Sequence[str]:
        """Return the full names of the small files in the log's folder."""
        folder = self._root / log
        if not folder.is_dir():
            return []
        names = (path.name for path in folder.iterdir())
        return sorted(f"{log}/{name}" for name in names if not name.endswith((_SEGMENT, _DRAFT, CLEANED, SWAP)))

    # Open segments.

    def _make(self, log: str) -> None:
        """Make a log's folder where it is missing."""
        path = self._root / log
        if not path.is_dir():
            path.mkdir()
            self._new.add(log)

    def _segment(self, log: str, base: int) -> int:
        key = (log, base)
        descriptor = self._open.get(key)
        if descriptor is not None:
            self._open.move_to_end(key)
            return descriptor
        path = self._root / log / _segment_name(base)
        self._make(log)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        self._open[key] = descriptor
        if len(self._open) > MAX_OPEN_FILES:
            oldest, closed = self._open.popitem(last=False)
            for span in self._lent.get(oldest, ()):  # an answer is being put together
                span.keep()
            os.close(closed)
        return descriptor


def _segment_name(base: int) -> str:
    return f"{base:020d}{_SEGMENT}"


def _pieces(views: Sequence[Buffer], position: int) -> Iterator[list[Buffer]]:
    """Cut what follows one another from `position` on at multiples of PIECE_BYTES."""
    piece: list[Buffer] = []
    room = PIECE_BYTES - position % PIECE_BYTES
    for view in views:
        rest = memoryview(view)
        while len(rest) >= room:
            piece.append(rest[:room])
            yield piece
            piece, rest, room = [], rest[room:], PIECE_BYTES
        if len(rest):
            piece.append(rest)
            room -= len(rest)
    if piece:
        yield piece
