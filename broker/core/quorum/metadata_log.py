"""The metadata log and its snapshots: what the quorum agrees on, seen by one node.

A `PartitionLog` without producers, in which every append is synced, plus the records that are not yet committed, kept
decoded so that a commit needs no read. A snapshot replaces everything below its end offset; it is saved whole and
synced before the log below it goes (KIP-630).
"""

from __future__ import annotations

from collections import deque

import msgspec

from broker.core.log.partition_log import LogConfig
from broker.core.log.recovery import Checkpoint, recover
from broker.core.ready import Outbox, Remove, Save
from broker.core.storage import Storage
from broker.wire import batch, record
from broker.wire.batch import Buffer, CorruptBatchError

LOG = "__cluster_metadata-0"
_READ_BYTES = 1 << 20


class Entry(msgspec.Struct, frozen=True):
    """One batch: its records' values; empty for control batches."""

    offset: int
    next_offset: int
    epoch: int
    values: tuple[bytes, ...]


class Snapshot(msgspec.Struct, frozen=True):
    """The state of everything below `end_offset`."""

    end_offset: int
    epoch: int
    data: bytes


class MetadataLog:
    """See the module."""

    def __init__(self, storage: Storage, out: Outbox) -> None:
        self._storage, self._out = storage, out
        self.snapshot = self._load_snapshot()
        start = self.snapshot.end_offset if self.snapshot else 0
        config = LogConfig(segment_bytes=64 * 1024 * 1024)
        checkpoint = Checkpoint(start=start, recovery_point=start)
        self.log, self.recovery = recover(LOG, config, storage, out, checkpoint)
        if self.snapshot is not None and not self._continues(self.snapshot):
            self._restart(start)
        self.pending: deque[Entry] = deque()
        self.applied = start
        self._read_pending()

    @property
    def end(self) -> int:
        """Offset of the next record."""
        return self.log.end

    @property
    def last_epoch(self) -> int:
        """Epoch of the last record, 0 for an empty log."""
        return max(self.log.epochs.latest, self.snapshot.epoch if self.snapshot else 0)

    def end_of(self, epoch: int) -> tuple[int, int]:
        """Return the largest epoch up to `epoch`, the snapshot's too, and its end; (-1, -1) if older than all."""
        found = self.log.epochs.end_of(epoch, self.end)
        if found[0] < 0 and self.snapshot is not None and epoch >= self.snapshot.epoch:
            return self.snapshot.epoch, self.snapshot.end_offset
        return found

    def _continues(self, snapshot: Snapshot) -> bool:
        """Return whether the log goes on from the snapshot; not if the node died while it installed it."""
        epoch = self.log.epochs.epoch_at(snapshot.end_offset - 1)
        return self.log.end >= snapshot.end_offset and epoch in {-1, snapshot.epoch}

    def _load_snapshot(self) -> Snapshot | None:
        for name in reversed(self._storage.files(LOG)):
            if name.endswith(".checkpoint"):
                end_offset, epoch = name.rpartition("/")[2].removesuffix(".checkpoint").split("-")
                return Snapshot(int(end_offset), int(epoch), self._storage.load(name) or b"")
        return None

    def _read_pending(self) -> None:
        for segment in self.log.segments:
            position = 0
            while position < segment.size:
                data = self._storage.read(LOG, segment.base, position, min(_READ_BYTES, segment.size - position))
                header = batch.parse_header(data, 0)
                if header.size > len(data):
                    data = self._storage.read(LOG, segment.base, position, header.size)
                position += self._note(data)

    def _note(self, data: Buffer, end: int = 1 << 62) -> int:
        """Keep the batches below `end` until they are committed; return how many bytes they take."""
        taken = 0
        for at, header in batch.parse(data):
            taken = at + header.size
            if header.base_offset < self.applied:
                continue
            records = () if header.is_control else tuple(record.decode(data, at, header))
            values = tuple(r.value for r in records if r.value is not None)
            self.pending.append(Entry(header.base_offset, header.next_offset, header.leader_epoch, values))
            if header.next_offset >= end:
                break
        return taken

    def append(self, data: bytearray, epoch: int, now_ms: int) -> int:
        """Append one batch as leader, synced; return the log's end."""
        self.log.append(data, [batch.parse_header(data, 0)], epoch, now_ms)
        self.log.sync()
        self._note(data)
        return self.log.end

    def append_values(self, values: list[bytes], epoch: int, now_ms: int) -> int:
        """Append records as one batch: all of them are committed, or none."""
        return self.append(record.batch_of([(None, value) for value in values], timestamp_ms=now_ms), epoch, now_ms)

    def append_fetched(self, data: Buffer) -> None:
        """Append the leader's batches, synced. Raise CorruptBatchError; what came before the bad one is kept."""
        known = self.end
        try:
            taken = self.log.append_fetched(data)
        finally:
            if self.end > known:
                self.log.sync()
                self._note(data, self.end)
        if len(data) and not taken:
            raise CorruptBatchError(f"{LOG}: {len(data)} bytes at offset {self.end} hold no whole batch")

    def truncate(self, offset: int) -> None:
        """Drop what a new leader does not have."""
        assert offset >= self.log.high_watermark, (
            f"truncation to {offset} below the committed {self.log.high_watermark}"
        )
        self.log.truncate(offset)
        self.log.sync()
        while self.pending and self.pending[-1].next_offset > offset:
            self.pending.pop()

    def take_committed(self) -> list[Entry]:
        """Return what became committed since the last call."""
        out = []
        while self.pending and self.pending[0].next_offset <= self.log.high_watermark:
            entry = self.pending.popleft()
            self.applied = entry.next_offset
            out.append(entry)
        return out

    def save_snapshot(self, data: bytes) -> None:
        """Save the state of everything applied, then drop the log below it."""
        snapshot = Snapshot(self.applied, self.log.epochs.epoch_at(self.applied - 1), data)
        self._keep(snapshot)
        if len(self.log.segments[-1]) and self.log.segments[-1].next_offset <= snapshot.end_offset:
            self.log.roll()
        self.log.advance_start(snapshot.end_offset)

    def install_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the whole log by a leader's snapshot."""
        assert snapshot.end_offset > self.log.high_watermark, (snapshot.end_offset, self.log.high_watermark)
        self._keep(snapshot)
        self._restart(snapshot.end_offset)
        self.pending.clear()
        self.applied = snapshot.end_offset

    def _keep(self, snapshot: Snapshot) -> None:
        old, self.snapshot = self.snapshot, snapshot
        name = f"{LOG}/{snapshot.end_offset:020d}-{snapshot.epoch:010d}.checkpoint"
        self._out.writes.append(Save(name, snapshot.data, sync=True))
        if old is not None:
            self._out.writes.append(Remove(f"{LOG}/{old.end_offset:020d}-{old.epoch:010d}.checkpoint"))

    def _restart(self, offset: int) -> None:
        assert self.snapshot is not None
        self.log.restart_at(offset)
        self.log.start_epoch(self.snapshot.epoch)
        self.log.sync()
