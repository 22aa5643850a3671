"""What compaction leaves of one batch. Offsets, order, sequence numbers and epochs never change.

A record stays if its key has no later committed record, and, when it is a tombstone, until its delete horizon has
passed. Records of aborted transactions go. A marker goes when nothing is left of its transaction, after its horizon. A
batch of which nothing is left stays as an empty one while it is the last committed one of a producer that this log
knows: its sequence number must not be forgotten, nor when a later one is cut off. A batch that loses nothing is copied
as it is. A batch that nobody can open (its codec, a damage) stays too; what keys it holds is unknown, and no tombstone
behind it goes. Kafka: Cleaner.cleanInto, CleanedTransactionMetadata; KIP-534 for the horizon.

Each decision is a method of its own.
"""

from __future__ import annotations

import enum

import msgspec

from broker.core.config import CleanupConfig
from broker.core.log.partition_log import PartitionLog
from broker.wire import compression
from broker.wire.batch import BatchHeader, Buffer, CorruptBatchError, rebuild
from broker.wire.entries import Entry, entries, records_of, shifted


class Fate(enum.Enum):
    """What becomes of a batch without records."""

    GONE = "gone"
    EMPTY = "empty"


class Kept(msgspec.Struct, frozen=True):
    """What is left of a batch. `data` None: nothing. `forgets`: a tombstone or marker went with it."""

    data: Buffer | None
    forgets: bool = False
    marker: bool = False
    """The batch was a marker, and is gone."""


class Rewriter:
    """Judges batch after batch of one log, in the order of the log; `latest` is each key's last committed offset.

    `forget_below`: no tombstone or marker at or past it goes, since a replica that is fetching has not got it yet.
    """

    def __init__(
        self, log: PartitionLog, cleanup: CleanupConfig, latest: dict[bytes, int], now_ms: int, forget_below: int
    ) -> None:
        self._log, self._cleanup, self._latest = log, cleanup, latest
        self._now_ms, self._forget_below = now_ms, forget_below
        self._open: dict[int, None] = {}
        """Producers of whose transaction in progress a batch was seen in this pass."""

    # Decisions.

    def is_aborted(self, header: BatchHeader) -> bool:
        """Return whether the batch belongs to an aborted transaction."""
        if not header.is_transactional:
            return False
        found = self._log.aborted.overlapping(header.base_offset, header.next_offset)
        return any(
            one.producer_id == header.producer_id and one.first_offset <= header.base_offset <= one.last_offset
            for one in found
        )

    def is_latest(self, key: bytes, offset: int) -> bool:
        """Return whether the key has no later record."""
        return offset >= self._latest.get(key, -1)

    def keeps(self, entry: Entry, offset: int, horizon_ms: int | None) -> bool:
        """Return whether the record stays; one without a key has no place in a compacted log."""
        if entry.key is None or not self.is_latest(entry.key, offset):
            return False
        return entry.has_value or not self.may_forget(offset, horizon_ms)

    def may_forget(self, offset: int, horizon_ms: int | None) -> bool:
        """Return whether a tombstone or an empty transaction's marker may go."""
        return horizon_ms is not None and self._now_ms >= horizon_ms and offset < self._forget_below

    def without_records(self, header: BatchHeader) -> Fate:
        """Return what becomes of a batch of which no record stays."""
        return Fate.EMPTY if self.is_last_of_producer(header) else Fate.GONE

    def is_last_of_producer(self, header: BatchHeader) -> bool:
        """Return whether the state of a producer that this log still knows rests on this batch, or may again.

        What is not committed yet may be cut off: then it rests on the last batch that was committed. Which one that was
        before a rise of the epoch nobody remembers: until the rise is committed, all of the earlier epochs' may be.
        """
        producer = self._log.producers.get(header.producer_id) if header.producer_id >= 0 else None
        if producer is None:
            return False
        if producer.epoch != header.producer_epoch:
            return self._log.producers.may_fall_back(header.producer_id)
        committed = [one.last_offset for one in producer.batches if one.last_offset < self._log.high_watermark]
        last = committed[-1] if committed else -1
        if header.is_control:
            return header.base_offset > last
        return bool(producer.batches) and header.last_offset >= last

    # The batches.

    def rewrite(self, buffer: Buffer, position: int, header: BatchHeader) -> Kept:
        """Return what is left of the batch at `position`."""
        whole = memoryview(buffer)[position : position + header.size]
        try:
            if header.is_control:
                return self._marker(whole, header)
            if header.is_transactional:
                self._open[header.producer_id] = None
            if self.is_aborted(header):
                return self._emptied(whole, header)
            return self._data(whole, header)
        except CorruptBatchError:
            self._forget_below = 0
            return Kept(whole)

    def _marker(self, whole: memoryview, header: BatchHeader) -> Kept:
        if header.producer_id in self._open:
            del self._open[header.producer_id]
            return Kept(whole)
        horizon_ms = header.delete_horizon_ms
        if horizon_ms is None:
            return Kept(self._with_horizon(header, records_of(whole, 0, header)))
        if not self.may_forget(header.base_offset, horizon_ms) or self.is_last_of_producer(header):
            return Kept(whole)
        return Kept(None, forgets=True, marker=True)

    def _data(self, whole: memoryview, header: BatchHeader) -> Kept:
        if not header.record_count:
            return self._emptied(whole, header)
        body = records_of(whole, 0, header)
        found = entries(body, header.record_count)
        horizon_ms = header.delete_horizon_ms
        base = header.base_offset
        kept = [entry for entry in found if self.keeps(entry, base + entry.offset_delta, horizon_ms)]
        needs_horizon = horizon_ms is None and any(not entry.has_value for entry in kept)
        if len(kept) == len(found) and not needs_horizon:
            return Kept(whole)
        forgets = any(not entry.has_value and self.may_forget(base + entry.offset_delta, horizon_ms) for entry in found)
        if not kept:
            return msgspec.structs.replace(self._emptied(whole, header), forgets=forgets)
        if needs_horizon:
            return Kept(self._with_horizon(header, body, kept))
        records = b"".join(body[entry.start : entry.end] for entry in kept)
        return Kept(self._packed(header, records, kept), forgets=forgets)

    def _emptied(self, whole: memoryview, header: BatchHeader) -> Kept:
        if self.without_records(header) is Fate.GONE:
            return Kept(None)
        if not header.record_count:
            return Kept(whole)
        return Kept(rebuild(header, b"", count=0, max_timestamp=header.max_timestamp, compression=0))

    def _with_horizon(self, header: BatchHeader, body: bytes, kept: list[Entry] | None = None) -> bytearray:
        """Return the batch with a delete horizon of now and the time that deletions stay."""
        horizon_ms = self._now_ms + self._cleanup.delete_retention_ms
        kept = entries(body, header.record_count) if kept is None else kept
        by_ms = header.base_timestamp - horizon_ms
        records = b"".join(shifted(body, entry, by_ms) for entry in kept)
        return self._packed(header, records, kept, horizon_ms)

    def _packed(
        self, header: BatchHeader, records: bytes, kept: list[Entry], horizon_ms: int | None = None
    ) -> bytearray:
        latest = header.max_timestamp
        if not header.is_log_append_time:
            latest = max(header.base_timestamp + entry.timestamp_delta for entry in kept)
        packed = compression.compress(header.compression, records)
        return rebuild(header, packed, count=len(kept), max_timestamp=latest, delete_horizon_ms=horizon_ms)
