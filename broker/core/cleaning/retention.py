"""Retention: which whole segments at a log's start are too old, or too many.

Old is a segment whose greatest timestamp (the records', or the leader's with LogAppendTime) is more than
`retention.ms` behind this node's clock; too many are those without which the log still has `retention.bytes`. Nothing
at or past the high watermark goes. A last segment that is too old itself, when all others go, is rolled and goes, too.
It is not rolled for nothing: a segment without a record leaves no file, and compaction of the one before would let the
log's end fall with the next start. The leader decides, and followers take its log start over. Kafka:
UnifiedLog.deleteOldSegments.
"""

from __future__ import annotations

from broker.core.config import CleanupConfig
from broker.core.log.partition_log import PartitionLog
from broker.core.log.segment import Segment


class Retention:
    """The decisions, and `apply`, which carries them out on one log."""

    def apply(self, log: PartitionLog, cleanup: CleanupConfig, now_ms: int) -> bool:
        """Delete what may go; return whether the log's start has moved."""
        if not cleanup.delete:
            return False
        start = log.start
        excess = log.size - cleanup.retention_bytes if cleanup.retention_bytes >= 0 else -1
        for segment, following in zip(log.segments, log.segments[1:], strict=False):
            excess -= segment.size
            if following.base > log.high_watermark:
                break
            if not (self.is_too_old(segment, cleanup, now_ms) or self.is_too_many(excess)):
                break
            start = following.base
        else:
            if self.is_too_old(log.segments[-1], cleanup, now_ms) and log.high_watermark >= log.end:
                start = log.roll().base
        return log.advance_start(start)

    def is_too_old(self, segment: Segment, cleanup: CleanupConfig, now_ms: int) -> bool:
        """Return whether all records of the segment have expired; one without timestamps never does."""
        if cleanup.retention_ms < 0 or not segment.size or segment.max_timestamp < 0:
            return False
        return now_ms - segment.max_timestamp > cleanup.retention_ms

    def is_too_many(self, excess: int) -> bool:
        """Return whether the log is large enough without the segment; `excess`: bytes beyond the limit without it."""
        return excess >= 0
