"""Bugs of what may go from a log: compaction, retention, the log's start."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.bugs.planting import Replacement
from broker.core.cleaning.compaction import Compaction
from broker.core.cleaning.retention import Retention
from broker.core.cleaning.rewriting import Rewriter
from broker.core.config import CleanupConfig
from broker.core.errors import Refused
from broker.core.log.partition_log import PartitionLog
from broker.core.log.segment import Segment
from broker.core.replication.delete_records import Deleting
from broker.core.replication.leader import Leader
from broker.core.replication.replica import Replica
from broker.wire.batch import BatchHeader
from broker.wire.entries import entries, records_of
from broker.wire.messages.fetch import PartitionData, Region


def compaction_keeps_older_value() -> tuple[Replacement, ...]:
    """The first record of a key wins, and the later ones go."""

    def note(self: Compaction, data: bytes, position: int, header: BatchHeader) -> None:
        for entry in entries(records_of(data, position, header), header.record_count):
            if entry.key is not None:
                self._latest.setdefault(entry.key, header.base_offset + entry.offset_delta)

    def is_latest(self: Rewriter, key: bytes, offset: int) -> bool:
        return offset <= self._latest.get(key, offset)

    return Replacement(Compaction, "_note", note), Replacement(Rewriter, "is_latest", is_latest)


def compaction_drops_live_key() -> tuple[Replacement, ...]:
    """Only what is newer than a key's last record stays: the last one goes with the others."""

    def is_latest(self: Rewriter, key: bytes, offset: int) -> bool:
        return offset > self._latest.get(key, -1)

    return (Replacement(Rewriter, "is_latest", is_latest),)


def compaction_revives_tombstone() -> tuple[Replacement, ...]:
    """A replica that was away fetches on from its end, whatever deletions have been forgotten since."""

    def can_follow(_self: Leader, _replica: int, _offset: int, *, is_empty: bool) -> bool:
        del is_empty
        return True

    return (Replacement(Leader, "can_follow", can_follow),)


def retention_deletes_unexpired() -> tuple[Replacement, ...]:
    """A segment goes when its first record has expired, with all the later ones."""

    def is_too_old(_self: Retention, segment: Segment, cleanup: CleanupConfig, now_ms: int) -> bool:
        known = cleanup.retention_ms >= 0 and segment.size > 0 and segment.first_timestamp >= 0
        return known and now_ms - segment.first_timestamp > cleanup.retention_ms

    return (Replacement(Retention, "is_too_old", is_too_old),)


def log_start_goes_back() -> tuple[Replacement, ...]:
    """Followers do not take the leader's log start over, and nobody waits for them: under the next one it is back."""
    take = Replica.take

    def keeping(self: Replica, data: PartitionData) -> str:
        return take(self, msgspec.structs.replace(data, log_start_offset=-1))

    def own_start(_self: Deleting, replica: Replica) -> int:
        return replica.log.start

    return Replacement(Replica, "take", keeping), Replacement(Deleting, "low_watermark", own_start)


def out_of_range_silent() -> tuple[Replacement, ...]:
    """Who asks for what was deleted gets what is left, and is not told."""
    read = PartitionLog.read

    def silent(self: PartitionLog, offset: int, limit: int, max_bytes: int, **kwargs: Any) -> Region | None:
        try:
            return read(self, offset, limit, max_bytes, **kwargs)
        except Refused:
            return read(self, max(offset, self.start), limit, max_bytes, **kwargs) if offset < self.start else None

    return (Replacement(PartitionLog, "read", silent),)
