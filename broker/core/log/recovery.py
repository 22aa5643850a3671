"""From what lies on the disk to a log: which bytes are good, and what to say when some are not.

A sealed segment below the recovery point is taken from its saved index, after an orderly stop the last one too.
Everything else is scanned batch by batch; at or past the recovery point checksums are verified too. The first bad batch
ends the log: if nothing but a torn tail follows, that is what a crash leaves (`torn`); if good batches follow it, or it
lies below the recovery point or the high watermark, or all that an orderly stop left is not there, acknowledged records
may be lost, and the report says so (`lossy`): the node must then not claim a clean past, and leaves the ISR and the
eligible replicas.

Aborted transactions are taken from the files of segments that are not scanned, where they stand beside the index. In
those that are scanned they are found anew, from the producer state at the first one's base on: what an orderly stop
saved may be gone since, with a truncation, or be of a longer log. What was scanned of a sealed segment is saved, so
that the next start need not do it again. Kafka: LogLoader.
"""

from __future__ import annotations

import msgspec

from broker.core.log import sealed
from broker.core.log.aborted import AbortedTransaction
from broker.core.log.epochs import Epochs
from broker.core.log.partition_log import (
    SCAN_BYTES,
    SEALED,
    Cleaned,
    LogConfig,
    PartitionLog,
    cleaning_file,
    epochs_file,
    segment_file,
)
from broker.core.log.segment import Segment
from broker.core.ready import DropSegment, Outbox, Save, Truncate
from broker.core.storage import Storage
from broker.wire import batch
from broker.wire.batch import HEADER_SIZE, BatchHeader, CorruptBatchError


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What the node had saved about the log: all may be older than the log, never newer."""

    start: int = 0
    recovery_point: int = 0
    high_watermark: int = 0
    clean: bool = False
    """The node stopped in order: all was synced."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What recovery cut off; `reason` is empty when nothing."""

    removed_bytes: int = 0
    reason: str = ""
    lossy: bool = False


def recover(
    name: str, config: LogConfig, storage: Storage, out: Outbox, checkpoint: Checkpoint
) -> tuple[PartitionLog, Report]:
    """Return the log of the folder `name`, with what had to be cut already in the outbox."""
    return _Recovery(name, config, storage, out, checkpoint).run()


class _Recovery:
    def __init__(self, name: str, config: LogConfig, storage: Storage, out: Outbox, checkpoint: Checkpoint) -> None:
        self._name, self._storage, self._out, self._checkpoint = name, storage, out, checkpoint
        self._log = PartitionLog(name, config, storage, out, checkpoint.start)
        self._epochs_seen: list[tuple[int, int]] = []
        self._scanned: list[Segment] = []
        self._saved: list[AbortedTransaction] = []  # of the segments before it

    def run(self) -> tuple[PartitionLog, Report]:
        """Recover; see the module."""
        log, checkpoint = self._log, self._checkpoint
        found = list(self._storage.segments(self._name))
        segments: list[Segment] = []
        report = Report()
        for index, (base, size) in enumerate(found):
            last = index + 1 == len(found)
            if segments and base < segments[-1].next_offset:
                report = self._drop(found[index:], f"segment {base} overlaps the one before")
                break
            segment = self._load(base, size) if not last or checkpoint.clean else None
            reason = ""
            if segment is None:
                segment, reason = self._scan(base, size)
                self._scanned.append(segment)
            segments.append(segment)
            if reason:
                report = self._cut(segment, size, found[index + 1 :], reason)
                break
        log.segments = segments or [Segment(checkpoint.start)]
        log.end = log.segments[-1].next_offset
        log.start = min(max(checkpoint.start, log.segments[0].base), log.end)
        log.high_watermark = max(log.start, min(checkpoint.high_watermark, log.end))
        log.recovery_point = max(log.start, log.end if checkpoint.clean else min(checkpoint.recovery_point, log.end))
        if not report.reason:
            report = self._missing()
        self._load_cleaned()
        self._load_epochs()
        for entry in self._saved:
            log.aborted.add(entry)
        log.rebuild_producers(self._scanned[0].base if self._scanned else None)
        for segment in self._scanned:
            if segment is not log.segments[-1]:
                log.save_segment(segment)
        return log, report

    def _load(self, base: int, size: int) -> Segment | None:
        """Return the index that was saved of a segment, None where it must be scanned."""
        saved = sealed.load(base, size, self._storage.load(segment_file(self._name, base, SEALED)))
        if saved is None:
            return None
        segment, entries = saved
        if not self._checkpoint.clean and segment.next_offset > self._checkpoint.recovery_point:
            return None
        if not self._scanned:
            self._saved += entries
        return segment

    def _missing(self) -> Report:
        """Look whether all is there that an orderly stop left: a file may be shorter than it was, at a batch's end.

        After another stop the checkpoint may be older than a truncation: then it proves nothing.
        """
        known = self._checkpoint.recovery_point
        if not self._checkpoint.clean or known <= self._log.end:
            return Report()
        return Report(reason=f"the log ends at {self._log.end}, it had reached {known}", lossy=True)

    def _scan(self, base: int, size: int) -> tuple[Segment, str]:
        """Return the index of the segment's good batches, and why the scan stopped early."""
        segment = Segment(base)
        position = 0
        while position < size:
            data = self._storage.read(self._name, base, position, SCAN_BYTES)
            if len(data) >= HEADER_SIZE:
                header = batch.parse_header(data, 0)
                if SCAN_BYTES < header.size <= size - position:
                    data = self._storage.read(self._name, base, position, header.size)
            step = 0
            try:
                for at, header in batch.parse(data):
                    self._check(segment, data, at, header)
                    segment.append(header)
                    step = at + header.size
            except CorruptBatchError as error:
                return segment, str(error)
            if not step:
                return segment, "torn batch"
            position += step
        return segment, ""

    def _check(self, segment: Segment, data: bytes, at: int, header: BatchHeader) -> None:
        if not self._checkpoint.clean and header.next_offset > self._checkpoint.recovery_point:
            batch.check(data, at, header)
        if header.base_offset < segment.next_offset or header.last_offset_delta < 0:
            raise CorruptBatchError(f"offset {header.base_offset} after {segment.next_offset}")
        if not segment.fits(header):
            raise CorruptBatchError(f"offset {header.base_offset} does not belong to segment {segment.base}")
        if not self._epochs_seen or header.leader_epoch > self._epochs_seen[-1][0]:
            self._epochs_seen.append((header.leader_epoch, header.base_offset))
        elif header.leader_epoch < self._epochs_seen[-1][0]:
            raise CorruptBatchError(f"leader epoch falls to {header.leader_epoch} at offset {header.base_offset}")

    def _cut(self, segment: Segment, size: int, later: list[tuple[int, int]], reason: str) -> Report:
        """Cut the segment behind its last good batch and drop the later ones."""
        good_behind = self._good_batch_behind(segment, size) or any(size for _, size in later)
        known = max(self._checkpoint.high_watermark, self._checkpoint.recovery_point)
        lossy = good_behind or segment.next_offset < known or self._checkpoint.clean
        self._out.writes.append(Truncate(self._name, segment.base, segment.size))
        dropped = self._drop(later, reason)
        return Report(removed_bytes=size - segment.size + dropped.removed_bytes, reason=reason, lossy=lossy)

    def _good_batch_behind(self, segment: Segment, size: int) -> bool:
        """Return whether a whole good batch follows the bad one, where its length says that it ends."""
        data = self._storage.read(self._name, segment.base, segment.size, HEADER_SIZE)
        if len(data) < HEADER_SIZE:
            return False
        bad = batch.parse_header(data, 0)
        behind = segment.size + bad.size
        if bad.size < HEADER_SIZE or behind + HEADER_SIZE > size:
            return False
        data = self._storage.read(self._name, segment.base, behind, size - behind)
        try:
            for at, header in batch.parse(data):
                batch.check(data, at, header)
                return True
        except CorruptBatchError:
            return False
        return False

    def _drop(self, segments: list[tuple[int, int]], reason: str) -> Report:
        for base, _ in segments:
            self._out.writes.append(DropSegment(self._name, base))
        return Report(removed_bytes=sum(size for _, size in segments), reason=reason, lossy=bool(segments))

    def _load_cleaned(self) -> None:
        """Take what compaction has noted; a damaged note may hide that something was forgotten: then all may be."""
        data = self._storage.load(cleaning_file(self._name))
        if data is None:
            return
        try:
            self._log.cleaned = msgspec.json.decode(data, type=Cleaned)
        except msgspec.MsgspecError:
            self._log.cleaned = Cleaned(horizon=self._log.end)
        self._log.cut_cleaned()

    def _load_epochs(self) -> None:
        """Take the saved epochs, but where batches were scanned, what these show; drop those past the end.

        A power loss may leave batches without the epochs that were saved with them, and the other way round.
        """
        log, seen = self._log, self._epochs_seen
        saved = self._storage.load(epochs_file(self._name)) or b""
        known = Epochs.load(saved)
        known.truncate_end(log.end + 1)
        entries = known.entries()
        if seen:
            before = [(epoch, start) for epoch, start in entries if start < seen[0][1] and epoch <= seen[0][0]]
            behind = [(epoch, start) for epoch, start in entries if start >= log.end and epoch > seen[-1][0]]
            entries = [*before, *seen, *behind]
        log.epochs = Epochs()
        for epoch, start in entries:
            if epoch > log.epochs.latest:
                log.epochs.assign(epoch, start)
        if log.epochs.entries() and log.epochs.dump() != saved:
            self._out.writes.append(Save(epochs_file(self._name), log.epochs.dump()))
