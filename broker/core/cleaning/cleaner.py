"""One node's cleaning: retention now and then, one compaction at a time, a slice of it now and then.

Compaction must not be felt by those who produce: a slice is a few hundred records, and the pause after it is so long
that cleaning takes a tenth of the node's time or less, whatever the size of the log. The next log is the one with the
greatest share of bytes that were never compacted, if that passes its `min.cleanable.dirty.ratio`, or one with records
older than `max.compaction.lag.ms`. When no log is due, all are looked at again after `log.cleaner.backoff.ms`.

Replicas compact by themselves; retention is the leader's. Segments that went are held for readers for
`file.delete.delay.ms`.
"""

from __future__ import annotations

import heapq

from broker.core.cleaning.compaction import Compaction, Dirt, dirt
from broker.core.cleaning.retention import Retention
from broker.core.config import BrokerConfig, CleanupConfig
from broker.core.log.partition_log import PartitionLog
from broker.core.ready import Outbox, Release
from broker.core.replication.replica import Key, Replica
from broker.core.replication.replicas import Replicas
from broker.core.storage import Storage

SLICE_RECORDS = 256
"""About a millisecond of work."""
PAUSE_MS = 10
RECORDS_PER_MS = 25
"""After a large batch the pause is longer, at this rate: a record takes some microseconds."""
_NEVER = 1 << 62


class Cleaner:
    """See the module."""

    def __init__(self, config: BrokerConfig, replicas: Replicas, storage: Storage, out: Outbox, now_ms: int) -> None:
        self._config, self._replicas, self._storage, self._out = config, replicas, storage, out
        self._retention = Retention()
        self._job: tuple[Key, Compaction] | None = None
        self._retention_at_ms = now_ms + config.retention_check_ms
        self._clean_at_ms = now_ms + config.cleaner_backoff_ms
        self._held: list[tuple[int, str, int, int]] = []  # (until when, log, base, generation)

    @property
    def deadline_ms(self) -> int:
        """When something is due."""
        return min(self._retention_at_ms, self._clean_at_ms, self._held[0][0] if self._held else _NEVER)

    def tick(self, now_ms: int) -> None:
        """Do what is due."""
        if now_ms >= self._retention_at_ms:
            self._retention_at_ms = now_ms + self._config.retention_check_ms
            for replica in self._replicas:
                if replica.leader is not None:
                    self._retention.apply(replica.log, replica.config.cleanup, self._replicas.wall_ms(now_ms))
                self._release_later(replica.log, replica.config.cleanup, now_ms)
        if now_ms >= self._clean_at_ms:
            self._clean(now_ms)
        while self._held and self._held[0][0] <= now_ms:
            _, log, base, generation = heapq.heappop(self._held)
            self._out.writes.append(Release(log, base, generation))

    def _release_later(self, log: PartitionLog, cleanup: CleanupConfig, now_ms: int) -> None:
        for base, generation in log.dropped:
            heapq.heappush(self._held, (now_ms + cleanup.file_delete_delay_ms, log.name, base, generation))
        log.dropped.clear()

    # Compaction.

    def _clean(self, now_ms: int) -> None:
        """Go on with the compaction, or begin the most urgent one, or rest."""
        if self._job is None:
            self._job = self._next(now_ms)
        if self._job is None:
            self._clean_at_ms = now_ms + self._replicas.cleaner_backoff_ms
            return
        key, compaction = self._job
        replica = self._replicas.get(key)
        if replica is None or replica.log is not compaction.log or not replica.config.cleanup.compact:
            if replica is not None and replica.log is compaction.log:
                compaction.give_up()
            self._job = None
            return
        done = compaction.step(SLICE_RECORDS)
        self._release_later(replica.log, replica.config.cleanup, now_ms)
        if compaction.is_over:
            self._job = None
        self._clean_at_ms = now_ms + max(PAUSE_MS, done // RECORDS_PER_MS)

    def _next(self, now_ms: int) -> tuple[Key, Compaction] | None:
        """Return a compaction of the log that needs it most."""
        best: tuple[float, Replica, Dirt] | None = None
        wall_ms = self._replicas.wall_ms(now_ms)
        for replica in self._replicas:
            cleanup = replica.config.cleanup
            if not cleanup.compact:
                continue
            found = dirt(replica.log, cleanup, wall_ms)
            if self.is_due(found, cleanup, wall_ms) and (best is None or found.ratio > best[0]):
                best = (found.ratio, replica, found)
        if best is None:
            return None
        _, replica, found = best
        forget_below = replica.log.end
        if replica.leader is not None:
            forget_below = replica.leader.fetched_by_all(self._config.replica_lag_ms, now_ms)
        compaction = Compaction(
            replica.log,
            replica.config.cleanup,
            self._storage,
            self._out,
            end=found.end,
            now_ms=wall_ms,
            forget_below=forget_below,
        )
        return replica.key, compaction

    def is_due(self, found: Dirt, cleanup: CleanupConfig, now_ms: int) -> bool:
        """Return whether the log is dirty enough, or has a record that waited too long."""
        if not found.dirty_bytes:
            return False
        waited_too_long = found.oldest_ms >= 0 and now_ms - found.oldest_ms > cleanup.max_lag_ms
        return found.ratio > cleanup.dirty_ratio or waited_too_long
