"""Drafts of compacted segments: written in slices, written back on another thread meanwhile, then swapped in.

    <folder>/<log>/<base>.cleaned        a draft
    <folder>/<log>/<base>-<last>.swap    a whole draft that replaces the segments from base to last, not all gone yet

The renaming from the first to the second is the moment when the swap has happened. A node that starts deletes drafts
and finishes swaps, so a crash leaves the old segments or the new one, never both.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from broker.wire.batch import Buffer

CLEANED = ".cleaned"
SWAP = ".swap"
SYNC_BYTES = 4 << 20
"""So much of a draft is written back at a time: the swap itself then waits for little."""


class _Draft:
    """An open draft, and its write-backs that are on their way."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.unsynced_bytes = 0
        self.syncs: list[Future[None]] = []


class Drafts:
    """The drafts of one node. Not thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[tuple[str, int], _Draft] = {}
        self._thread: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Leave unfinished drafts behind: the next start deletes them."""
        if self._thread is not None:
            self._thread.shutdown()
        for draft in self._open.values():
            os.close(draft.descriptor)
        self._open.clear()

    def path(self, log: str, base: int) -> Path:
        """Return where the draft lies."""
        return self._root / log / f"{base:020d}{CLEANED}"

    def write(self, log: str, base: int, position: int, data: Buffer) -> None:
        """Write at the draft's end; position 0 begins it anew. Raises OSError, also of an earlier write-back."""
        draft = self._open.get((log, base))
        if draft is None:
            flags = os.O_CREAT | os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC
            draft = self._open[log, base] = _Draft(os.open(self.path(log, base), flags, 0o644))
        elif not position:
            os.ftruncate(draft.descriptor, 0)
        view = memoryview(data)
        while view:
            written = os.pwrite(draft.descriptor, view, position)
            view, position = view[written:], position + written
        draft.unsynced_bytes += len(data)
        if draft.unsynced_bytes >= SYNC_BYTES:
            self._write_back(draft)

    def _write_back(self, draft: _Draft) -> None:
        while draft.syncs and draft.syncs[0].done():
            draft.syncs.pop(0).result()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="drafts")
        draft.syncs.append(self._thread.submit(_sync_copy, os.dup(draft.descriptor)))
        draft.unsynced_bytes = 0

    def drop(self, log: str, base: int) -> None:
        """Delete the draft, if there is one."""
        draft = self._open.pop((log, base), None)
        if draft is not None:
            os.close(draft.descriptor)
        self.path(log, base).unlink(missing_ok=True)

    def forget(self, log: str) -> None:
        """The log's folder goes: close its drafts."""
        for key in [key for key in self._open if key[0] == log]:
            os.close(self._open.pop(key).descriptor)

    def finish(self, log: str, base: int, last: int) -> Path:
        """Make the draft durable and let it count in the place of the segments from base to last; return its file."""
        draft = self._open.pop((log, base))
        try:
            for sync in draft.syncs:
                sync.result()
            os.fsync(draft.descriptor)
        finally:
            os.close(draft.descriptor)
        path = self.path(log, base)
        swap = path.with_name(f"{base:020d}-{last:020d}{SWAP}")
        path.rename(swap)
        return swap


def _sync_copy(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replaced_by(swap: Path) -> tuple[int, int]:
    """Return (base, last) of a swap's file."""
    base, _, last = swap.stem.partition("-")
    return int(base), int(last)
