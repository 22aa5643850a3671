"""The log of one replica: what is in it, where it lies, up to where it counts.

    start <= recovery point, high watermark <= end;   start <= last stable offset <= high watermark

`append` takes a leader's batches (offsets and epoch are patched into the buffer), `append_fetched` a follower's (they
have both). Bytes go to the outbox; the state here changes at once, and the driver's order contract makes both one.
Segments roll by size, by time, or when their index is full; a sealed segment is synced, and its index, its aborted
transactions and the producer state behind it are saved beside it, so that recovery looks only at what follows.
Truncation rebuilds the producer state from the last snapshot before it (Kafka: UnifiedLog, LocalLog).

A compacted log has holes, and it forgets: the `horizon` is the offset below which a tombstone or a transaction marker
may have been here and is gone. A replica whose log ends below it can't be brought up to date from this log, since what
it lacks may be a deletion that nobody has any more; it starts anew (`broker.core.replication.fetch`). The horizon is
durable before anything is forgotten.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from broker.core.errors import Code, Refused
from broker.core.log import sealed as sealed_file
from broker.core.log.aborted import AbortedIndex, AbortedTransaction
from broker.core.log.epochs import Epochs
from broker.core.log.producers import Producers
from broker.core.log.segment import BATCH_BYTES, Segment
from broker.core.ready import Append, DropSegment, Outbox, Remove, Save, Swap, Truncate
from broker.core.storage import Storage
from broker.wire import batch, record
from broker.wire.batch import BatchHeader, Buffer, CorruptBatchError
from broker.wire.messages.fetch import Region

SEALED = "sealed"
"""The small file of a sealed segment: see `sealed.py`."""
SCAN_BYTES = 1 << 20
"""How much of a segment is read at a time when it must be scanned."""


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Topic settings that the log itself obeys, with Kafka's defaults."""

    segment_bytes: int = 1 << 30
    segment_ms: int = 7 * 24 * 3600 * 1000
    index_bytes: int = 10 << 20
    """Of the batch index of a segment: it bounds memory, and how much a start after a kill has to look at."""
    flush_messages: int = (1 << 63) - 1
    max_message_bytes: int = 1048588
    append_time: bool = False


def segment_file(log: str, base: int, suffix: str) -> str:
    """Return the name of a small file beside a segment."""
    return f"{log}/{base:020d}.{suffix}"


def epochs_file(log: str) -> str:
    """Return the name of the log's leader epoch checkpoint."""
    return f"{log}/leader-epoch-checkpoint"


def start_file(log: str) -> str:
    """Return the name of the file that holds the log's start."""
    return f"{log}/log-start"


def saved_start(storage: Storage, log: str) -> int:
    """Return the start that the log has saved, 0 when it has never moved or the file is damaged."""
    text = storage.load(start_file(log)) or b""
    return int(text) if text.isdigit() else 0


def cleaning_file(log: str) -> str:
    """Return the name of the file that says what compaction has done to the log."""
    return f"{log}/cleaning"


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """What compaction has done to a log. `compacted_to`: below it each key has one value at most."""

    compacted_to: int = 0
    horizon: int = 0


class PartitionLog:
    """See the module. Recovery (`broker.core.log.recovery`) makes it from what is on the disk."""

    def __init__(self, name: str, config: LogConfig, storage: Storage, out: Outbox, start: int = 0) -> None:
        self.name = name
        self.config = config
        self.start = start
        self.high_watermark = start
        self.recovery_point = start
        self.segments = [Segment(start)]
        self.end = start
        """Offset of the next record: the last segment's, kept here since it is asked for so often."""
        self.epochs = Epochs()
        self._has_unsaved_epoch = False
        self.producers = Producers()
        self.aborted = AbortedIndex()
        self.cleaned = Cleaned()
        self.dropped: list[tuple[int, int]] = []
        """(base, generation) of segments that went and are still held for readers; who releases them takes them."""
        self._generation = 0
        self._storage = storage
        self._out = out

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def last_stable(self) -> int:
        """Up to where a read_committed consumer may read."""
        unstable = self.producers.first_unstable
        return self.high_watermark if unstable is None else max(self.start, min(unstable, self.high_watermark))

    # Appending.

    def append(self, buffer: bytearray | memoryview, headers: list[BatchHeader], epoch: int, now_ms: int) -> int:
        """Append checked batches as leader of `epoch`; return the first offset. The buffer is patched in place."""
        first = offset = self.end
        position = 0
        for header in headers:
            batch.patch(buffer, position, offset, epoch)
            if self.config.append_time and not header.is_control:
                batch.stamp(buffer, position, header, now_ms)
            placed = batch.parse_header(buffer, position)
            self._place(buffer, position, placed)
            offset = self.end
            position += placed.size
        self._flush_if_due()
        return first

    def append_fetched(self, buffer: Buffer, max_bytes: int = 1 << 62) -> int:
        """Append the whole batches of a leader's answer; return how many bytes were taken. Raise CorruptBatchError."""
        taken = 0
        for position, header in batch.parse(buffer):
            if taken and position + header.size > max_bytes:
                break
            batch.check(buffer, position, header)
            if header.next_offset <= self.end:
                raise CorruptBatchError(
                    f"{self.name}: fetched offset {header.base_offset}, but the log ends at {self.end}"
                )
            if header.leader_epoch < self.epochs.latest:
                raise CorruptBatchError(f"{self.name}: epoch falls to {header.leader_epoch} at {header.base_offset}")
            if header.base_offset < self.end:
                raise CorruptBatchError(f"{self.name}: batch at {header.base_offset} overlaps the log's end {self.end}")
            self._place(buffer, position, header)
            taken = position + header.size
        self._flush_if_due()
        return taken

    def _place(self, buffer: Buffer, position: int, header: BatchHeader) -> None:
        segment, size = self.segments[-1], header.size
        if segment.size and self._must_roll(segment, header, size):
            segment = self.roll()
        is_new = header.leader_epoch != self.epochs.latest and self.epochs.assign(
            header.leader_epoch, header.base_offset
        )
        if is_new or self._has_unsaved_epoch:
            self._save_epochs()
        view = memoryview(buffer)[position : position + size]
        self._out.writes.append(Append(self.name, segment.base, segment.size, view))
        segment.append(header)
        self.end = segment.next_offset
        self.note(buffer, position, header)

    def note(self, buffer: Buffer, position: int, header: BatchHeader) -> None:
        """Let the batch change the producer state; recovery and truncation replay through here."""
        if header.producer_id < 0:
            return
        if not header.is_control:
            self.producers.append(header, header.base_offset)
            return
        kind, coordinator_epoch = record.control_type(buffer, position, header)
        commit = kind == record.COMMIT
        entry = self.producers.end(header, header.base_offset, coordinator_epoch, commit=commit)
        if entry is not None:
            self.aborted.add(entry)

    def _must_roll(self, segment: Segment, header: BatchHeader, size: int) -> bool:
        config = self.config
        if segment.size + size > config.segment_bytes or not segment.fits(header):
            return True
        if len(segment) * BATCH_BYTES >= config.index_bytes:
            return True
        return segment.first_timestamp >= 0 and header.max_timestamp - segment.first_timestamp > config.segment_ms

    def roll(self) -> Segment:
        """Seal the last segment and start a new one."""
        sealed = self.segments[-1]
        self.sync()
        self.save_segment(sealed)
        self.segments.append(Segment(sealed.next_offset))
        self.save_snapshot()
        return self.segments[-1]

    def save_segment(self, sealed: Segment) -> None:
        """Save what spares the next start a look at the segment; nothing is appended to it any more."""
        entries = self.aborted.between(sealed.base, sealed.next_offset)
        name = segment_file(self.name, sealed.base, SEALED)
        self._out.writes.append(Save(name, sealed_file.dump(sealed, entries)))

    def stop(self) -> None:
        """Leave all so that the next start need not look at it: synced, with index and producer state."""
        self.sync()
        self.save_segment(self.segments[-1])
        self.save_snapshot()

    def save_snapshot(self) -> None:
        """Save the producer state at the log's end."""
        self._out.writes.append(
            Save(segment_file(self.name, self.end, "producers"), self.producers.dump(self._epoch_before(self.end)))
        )

    def _epoch_before(self, offset: int) -> int:
        return self.epochs.epoch_at(offset - 1)

    def _save_epochs(self) -> None:
        self._has_unsaved_epoch = False
        self._out.writes.append(Save(epochs_file(self.name), self.epochs.dump()))

    def sync(self) -> None:
        """Ask that all of the log is durable before anything is sent."""
        self._out.sync[self.name] = None
        self.recovery_point = self.end

    def _flush_if_due(self) -> None:
        if self.end - self.recovery_point >= self.config.flush_messages:
            self.sync()

    def start_epoch(self, epoch: int) -> None:
        """Note that this replica leads `epoch` from the log's end on; saved with its first record.

        Replacing a file costs milliseconds on some file systems, and a node that takes a thousand partitions over must
        not stand still. An epoch without a record says nothing that a crash may not forget (see `end_leadership`).
        """
        if self.epochs.assign(epoch, self.end):
            self._has_unsaved_epoch = True

    def end_leadership(self) -> None:
        """Forget an epoch that was led without a record: the next leader may have records of an earlier one here."""
        if self.epochs.truncate_end(self.end) and not self._has_unsaved_epoch:
            self._save_epochs()
        self._has_unsaved_epoch = False

    # Reading.

    def segment_at(self, offset: int) -> Segment:
        """Return the segment that holds `offset`, or the next one that holds anything if it ends before."""
        index = max(bisect_right(self.segments, offset, key=lambda segment: segment.base) - 1, 0)
        last = len(self.segments) - 1
        while index < last and (offset >= self.segments[index].next_offset or not self.segments[index].size):
            index += 1
        return self.segments[index]

    def read(self, offset: int, limit: int, max_bytes: int, *, at_least_one: bool = True) -> Region | None:
        """Return the batches from `offset` to those that start before `limit`, of one segment; None for none.

        Raise Refused(OFFSET_OUT_OF_RANGE) outside of [start, end]. A batch larger than `max_bytes` comes whole if
        `at_least_one`.
        """
        if offset < self.start or offset > self.end:
            raise Refused(Code.OFFSET_OUT_OF_RANGE, f"{self.name}: {offset} is outside of [{self.start}, {self.end}]")
        if offset >= limit:
            return None
        segment = self.segment_at(offset)
        start = segment.position_of(offset)
        end = segment.position_from(limit)
        if start >= end:
            return None
        cut = segment.cut(start, end, max_bytes)
        if cut - start > max_bytes and not at_least_one:
            return None
        return Region(self.name, segment.base, start, cut - start, segment.generation)

    def end_of(self, region: Region) -> int:
        """Return the offset after a region that `read` returned."""
        segment = self.segment_at(region.base)
        return segment.offset_at(region.position + region.size)

    def batches_of(self, region: Region) -> list[tuple[int, int]]:
        """Return first and last offset of each batch of a region that `read` returned."""
        return self.segment_at(region.base).batches_in(region.position, region.position + region.size)

    def aborted_in(self, offset: int, region: Region) -> list[AbortedTransaction]:
        """Return the aborted transactions that a consumer must filter from the region, read from `offset`."""
        return self.aborted.overlapping(offset, self.end_of(region))

    # What counts, and what goes.

    def advance_high_watermark(self, offset: int) -> bool:
        """Raise the high watermark (never past the end); return whether it moved."""
        offset = min(offset, self.end)
        if offset <= self.high_watermark:
            return False
        self.high_watermark = offset
        self.producers.replicated(offset)
        return True

    def advance_start(self, offset: int) -> bool:
        """Raise the log start, durably; whole segments before it are deleted."""
        if offset <= self.start:
            return False
        assert offset <= self.end, (offset, self.end)
        self.start = offset
        self.high_watermark = max(self.high_watermark, offset)
        while len(self.segments) > 1 and self.segments[1].base <= offset:
            self._drop(self.segments.pop(0))
        self.aborted.truncate_start(offset)
        if self.epochs.truncate_start(offset):
            self._save_epochs()
        self._save_start()
        return True

    def _save_start(self) -> None:
        """Make the start durable before anybody hears of it: what was deleted stays deleted."""
        self._out.writes.append(Save(start_file(self.name), str(self.start).encode()))
        self.sync()

    def truncate(self, offset: int) -> None:
        """Drop everything at or after `offset` (and a batch that reaches past it)."""
        if offset >= self.end:
            return
        offset = max(offset, self.start)
        while len(self.segments) > 1 and self.segments[-1].base >= offset:
            self._drop(self.segments.pop())
        last = self.segments[-1]
        size = last.size
        last.truncate(offset)
        self.end = last.next_offset
        if last.size != size:
            self._out.writes.append(Truncate(self.name, last.base, last.size))
        self._out.writes.append(Remove(segment_file(self.name, last.base, SEALED)))
        if self.epochs.truncate_end(self.end):
            self._save_epochs()
        self.aborted.truncate_end(self.end)
        self.high_watermark = min(self.high_watermark, self.end)
        self.recovery_point = min(self.recovery_point, self.end)
        self.cut_cleaned()
        self.cut_horizon()
        self.rebuild_producers()

    def restart_at(self, offset: int, horizon: int = 0) -> None:
        """Drop everything and begin anew at `offset`, from a log that may have forgotten all below `horizon`."""
        for segment in self.segments:
            self._drop(segment)
        self.segments = [Segment(offset)]
        self.start = self.end = self.high_watermark = self.recovery_point = offset
        self.epochs, self.producers, self.aborted = Epochs(), Producers(), AbortedIndex()
        snapshots = [name for name in self._storage.files(self.name) if name.endswith(".producers")]
        first = segment_file(self.name, offset, "producers")  # those below are never looked at
        self._out.writes += [Remove(name) for name in snapshots if name >= first]
        self._save_epochs()
        self._save_start()
        self.note_cleaned(Cleaned(compacted_to=offset, horizon=max(self.cleaned.horizon, horizon)))

    def _drop(self, segment: Segment) -> None:
        self._out.writes.append(DropSegment(self.name, segment.base))
        self.dropped.append((segment.base, segment.generation))

    # Compaction.

    def draft(self, base: int) -> Segment:
        """Return an empty segment that may take the place of the one at `base`."""
        self._generation += 1
        return Segment(base, self._generation)

    def swap(self, segment: Segment, replaced: list[Segment], forgotten: int, markers: list[int]) -> None:
        """Put a drafted segment in the place of sealed ones that follow one another.

        `forgotten`: the offset after the last tombstone or marker that is no more (0: none); `markers`: those of them
        that are markers.
        """
        index = self.segments.index(replaced[0])
        assert self.segments[index : index + len(replaced)] == replaced, "segments changed under a compaction"
        if forgotten > self.cleaned.horizon:
            self.note_cleaned(msgspec.structs.replace(self.cleaned, horizon=forgotten))
        self._out.writes.append(Swap(self.name, segment.base, replaced[-1].base, segment.generation))
        self.segments[index : index + len(replaced)] = [segment]
        self.dropped += [(old.base, old.generation) for old in replaced]
        for marker in markers:
            self.aborted.forget(marker)
        self.save_segment(segment)

    def take_horizon(self, high_watermark: int) -> None:
        """Begin an empty log from a leader whose log may have been compacted: it may have forgotten all that counts."""
        if high_watermark > max(self.end, self.cleaned.horizon):
            self.note_cleaned(msgspec.structs.replace(self.cleaned, horizon=high_watermark))

    def note_cleaned(self, cleaned: Cleaned) -> None:
        """Remember, durably before anything that follows, what compaction did."""
        if cleaned != self.cleaned:
            sync = cleaned.horizon != self.cleaned.horizon
            self.cleaned = cleaned
            self._out.writes.append(Save(cleaning_file(self.name), msgspec.json.encode(cleaned), sync=sync))

    def cut_horizon(self) -> None:
        """Of what comes from the log's end on nothing was forgotten, whatever stood there before.

        Not where the log is a copy that has not come so far: then what is still to come lacks what its source forgot.
        """
        if self.cleaned.horizon > self.end:
            self.note_cleaned(msgspec.structs.replace(self.cleaned, horizon=self.end))

    def cut_cleaned(self) -> None:
        """What comes from the log's end on was never compacted, whatever stood there before."""
        if self.cleaned.compacted_to > self.end:
            self.note_cleaned(msgspec.structs.replace(self.cleaned, compacted_to=self.end))

    def rebuild_producers(self, before: int | None = None) -> None:
        """Make the producer state that of the log's present end: the last good snapshot, then the headers behind it.

        before: take none behind that offset, since aborted transactions are to be found from there on, too.
        """
        self.producers = Producers()
        offset = self.segments[0].base  # what lies below the start is deleted, and still says who has written
        for name in reversed(self._storage.files(self.name)):
            stem, _, suffix = name.rpartition("/")[2].partition(".")
            if suffix != "producers":
                continue
            if int(stem) > self.end:
                self._out.writes.append(Remove(name))
                continue
            if before is not None and int(stem) > before:
                continue
            try:
                epoch, producers = Producers.load(self._storage.load(name) or b"")
            except msgspec.MsgspecError:
                continue
            if not self._is_ours(int(stem), epoch):
                continue
            offset, self.producers = int(stem), producers
            break
        self._replay(offset)
        self.producers.replicated(self.high_watermark)

    def _is_ours(self, offset: int, epoch: int) -> bool:
        """Return whether a snapshot at the offset is of this log, not of one that was truncated since.

        Equal epochs at one offset mean equal prefixes. What is at or below the log's start is committed: there only an
        epoch of the future tells of another log, since epochs that ended before the start are not known any more.
        """
        if offset > self.start:
            return epoch == self._epoch_before(offset)
        entries = self.epochs.entries()
        return offset >= self.segments[0].base and (not entries or epoch <= entries[0][0])

    def _replay(self, offset: int) -> None:
        for segment in self.segments:
            if segment.next_offset <= offset:
                continue
            position = segment.position_of(max(offset, segment.base))
            while position < segment.size:
                size = min(SCAN_BYTES, segment.size - position)
                data = self._storage.read(self.name, segment.base, position, size)
                step = 0
                for at, header in batch.parse(data):
                    self.note(data, at, header)
                    step = at + header.size
                if not step:  # one batch is larger than a slice
                    header = batch.parse_header(data, 0)
                    data = self._storage.read(self.name, segment.base, position, header.size)
                    self.note(data, 0, header)
                    step = header.size
                position += step
