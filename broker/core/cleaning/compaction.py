"""One compaction of one log, in slices: first the last offset of each key, then the segments, rewritten one by one.

    map      the part that was never compacted is read: committed keys and their last offsets
    rewrite  all segments below `end` are read again; what stays goes to drafts; a group of small segments becomes one
    done     | given up: the log changed under it (cut, started anew, its start moved); a draft is dropped, no harm done

Only sealed segments below the last stable offset take part (no transaction in them is undecided), and none with a
record younger than `min.compaction.lag.ms`. A group is swapped in as soon as it is written; the ones before it are
then swapped already, so that an older value always goes before its tombstone can. Segments that lose nothing and stand
alone stay as they are. Kafka: LogCleaner, Cleaner.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from broker.core.cleaning.rewriting import Kept, Rewriter
from broker.core.config import CleanupConfig
from broker.core.log.partition_log import PartitionLog
from broker.core.log.segment import Segment
from broker.core.ready import Draft, DropDraft, Outbox
from broker.core.storage import Storage
from broker.wire import batch
from broker.wire.batch import BatchHeader, CorruptBatchError
from broker.wire.entries import entries, records_of

MAX_KEYS = 1 << 20
"""Keys of one pass, about 150 bytes each; what is beyond is left to the next pass."""
READ_BYTES = 256 << 10
"""How much of a segment is read at a time: some milliseconds of work at most."""


class Dirt(msgspec.Struct, frozen=True):
    """How much of a log a compaction would look at."""

    end: int
    """Offset up to where it may be compacted."""
    clean_bytes: int
    dirty_bytes: int
    oldest_ms: int
    """Timestamp of the first record that was never compacted; -1 for none."""

    @property
    def ratio(self) -> float:
        """Share of the bytes that were never compacted."""
        return self.dirty_bytes / (self.clean_bytes + self.dirty_bytes) if self.dirty_bytes else 0.0


def dirt(log: PartitionLog, cleanup: CleanupConfig, now_ms: int) -> Dirt:
    """Return what is to be compacted."""
    end, clean, dirty, oldest = log.segments[0].base, 0, 0, -1
    for segment, following in zip(log.segments, log.segments[1:], strict=False):
        too_young = cleanup.min_lag_ms > 0 and segment.max_timestamp > now_ms - cleanup.min_lag_ms
        if following.base > log.last_stable or too_young:
            break
        end = following.base
        if end <= log.cleaned.compacted_to:
            clean += segment.size
        else:
            dirty += segment.size
            oldest = segment.first_timestamp if oldest < 0 else oldest
    return Dirt(end, clean, dirty, oldest)


class Compaction:
    """See the module. `step` does a slice; `is_over` says when there is nothing left to do."""

    def __init__(
        self,
        log: PartitionLog,
        cleanup: CleanupConfig,
        storage: Storage,
        out: Outbox,
        *,
        end: int,
        now_ms: int,
        forget_below: int,
    ) -> None:
        self.log = log
        self.is_over = False
        self._storage, self._out = storage, out
        self._segments = [segment for segment in log.segments[:-1] if segment.base < end]
        self._latest: dict[bytes, int] = {}
        self._end = end
        self._rewriter = Rewriter(log, cleanup, self._latest, now_ms, forget_below)
        self._draft: Segment | None = None
        self._work = self._run()

    def step(self, budget: int) -> int:
        """Work on about `budget` records, at least a batch; return how many it were."""
        done = 0
        if not self._is_unchanged():
            self.give_up()
        while done < budget and not self.is_over:
            try:
                done += next(self._work)
            except StopIteration:
                self.is_over = True
        return done

    def give_up(self) -> None:
        """Leave the log as it is."""
        if self._draft is not None:
            self._out.writes.append(DropDraft(self.log.name, self._draft.base))
            self._draft = None
        self.is_over = True

    def _is_unchanged(self) -> bool:
        """Return whether the segments that are still to be done are the log's."""
        first = self._segments[0] if self._segments else None
        if first is None:
            return True
        own = self.log.segments
        index = next((at for at, segment in enumerate(own) if segment is first), -1)
        there = own[index : index + len(self._segments)] if index >= 0 else []
        return len(there) == len(self._segments) and there[-1] is self._segments[-1] and len(own) > index + len(there)

    def _run(self) -> Iterator[int]:
        yield from self._map()
        while self._segments:
            group = self._next_group()
            yield from self._rewrite(group)
        self.log.note_cleaned(msgspec.structs.replace(self.log.cleaned, compacted_to=self._end))

    # Keys.

    def _map(self) -> Iterator[int]:
        latest, rewriter, compacted_to = self._latest, self._rewriter, self.log.cleaned.compacted_to
        for index, segment in enumerate(self._segments):
            if segment.next_offset <= compacted_to:
                continue
            for data, position, header in self._batches(segment):
                if not header.is_control and header.next_offset > compacted_to and not rewriter.is_aborted(header):
                    self._note(data, position, header)
                yield 1 + header.record_count
            if len(latest) > MAX_KEYS:
                self._segments = self._segments[: index + 1]
                self._end = self.log.segments[self.log.segments.index(segment) + 1].base
                return

    def _note(self, data: bytes, position: int, header: BatchHeader) -> None:
        try:
            for entry in entries(records_of(data, position, header), header.record_count):
                if entry.key is not None:
                    self._latest[entry.key] = header.base_offset + entry.offset_delta
        except CorruptBatchError as error:
            self._out.warnings.append(f"{self.log.name}: a batch is left out of compaction: {error}")

    # Segments.

    def _next_group(self) -> list[Segment]:
        """Return segments that become one: together no larger than a segment may be."""
        group = self._segments[:1]
        size = group[0].size
        for segment in self._segments[1:]:
            size += segment.size
            if size > self.log.config.segment_bytes or segment.next_offset - group[0].base >= 1 << 31:
                break
            group.append(segment)
        return group

    def _rewrite(self, group: list[Segment]) -> Iterator[int]:
        draft = self._draft = self.log.draft(group[0].base)
        self._out.writes.append(Draft(self.log.name, draft.base, 0, b""))
        forgotten, markers, changed = 0, [], len(group) > 1
        for segment in group:
            for data, position, header in self._batches(segment):
                kept = self._rewriter.rewrite(data, position, header)
                changed = changed or not isinstance(kept.data, memoryview)
                if kept.forgets:
                    forgotten = header.next_offset
                if kept.marker:
                    markers.append(header.base_offset)
                self._put(draft, kept)
                yield 1 + header.record_count
        self._draft = None
        self._segments = self._segments[len(group) :]
        if changed:
            self.log.swap(draft, group, forgotten, markers)
        else:
            self._out.writes.append(DropDraft(self.log.name, draft.base))

    def _put(self, draft: Segment, kept: Kept) -> None:
        if kept.data is not None:
            self._out.writes.append(Draft(self.log.name, draft.base, draft.size, kept.data))
            draft.append(batch.parse_header(kept.data, 0))

    def _batches(self, segment: Segment) -> Iterator[tuple[bytes, int, BatchHeader]]:
        """Yield the segment's batches. A slice may end between two of them."""
        at = 0
        while at < segment.size:
            data = self._storage.read(self.log.name, segment.base, at, min(READ_BYTES, segment.size - at))
            size = batch.parse_header(data, 0).size
            if size > len(data):
                data = self._storage.read(self.log.name, segment.base, at, size)
            step = 0
            for position, header in batch.parse(data):
                yield data, position, header
                step = position + header.size
            assert step, f"{self.log.name}: no batch at byte {at} of segment {segment.base}"
            at += step
