"""Committed offsets are forgotten when nobody has used them for `offsets.retention.minutes`, and then their groups.

    classic group of consumers, empty   counted from when it became empty
    classic group, working              offsets of topics that nobody subscribes to, from their commit
    consumer group                      the same
    offsets without a group             from their commit

An empty group without offsets goes at the next look. Nothing goes while a transaction may change it, and nothing while
a commit is on its way to the replicas: the deletion would come after it, and undo what was acknowledged. Kafka:
OffsetMetadataManager.cleanupExpiredOffsets, OffsetExpirationConditionImpl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.config import BrokerConfig
from broker.core.errors import Refused
from broker.core.group.consumer.records import Key
from broker.core.group.consumer.records import encode_key as consumer_key
from broker.core.group.group import State
from broker.core.group.group_records import GroupKey, Offset, OffsetKey, encode_key
from broker.core.group.group_shard import GroupShard
from broker.core.group.subscribed import subscribed

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator

RETRY_MS = 100
"""When a shard could not be looked at: a write was on its way."""
MAX_RECORDS = 1000
"""Deletions in one batch; the rest goes with the next look."""


class Expiry:
    """See the module."""

    def __init__(self, config: BrokerConfig, coordinator: GroupCoordinator) -> None:
        self._coordinator = coordinator
        self._retention_ms = config.offsets_retention_minutes * 60_000
        self._interval_ms = config.offsets_check_interval_ms
        self.deadline_ms = -1

    def tick(self, now_ms: int) -> None:
        """Look at all groups, now and then."""
        if self.deadline_ms < 0:
            self.deadline_ms = now_ms + self._interval_ms
        if now_ms < self.deadline_ms:
            return
        self.deadline_ms = now_ms + self._interval_ms
        for shard in self._coordinator.shards():
            log = shard.log.replica.log
            if not shard.log.is_loaded or log.end > log.high_watermark or self._expire(shard, now_ms):
                self.deadline_ms = now_ms + min(RETRY_MS, self._interval_ms)

    def _expire(self, shard: GroupShard, now_ms: int) -> bool:
        """Delete what is due in one shard; return whether there may be more."""
        offsets = [key for key, value in shard.offsets.items() if self.is_expired(shard, key, value, now_ms)]
        offsets = offsets[:MAX_RECORDS]
        left = {key.group for key in shard.offsets.keys() - set(offsets)} | {
            key.group for pending in shard.pending.values() for key in pending
        }
        groups = [name for name, group in shard.groups.items() if group.is_forgettable and name not in left]
        empty = [group for name, group in shard.consumers.items() if not group.members and name not in left]
        gone: list[Key] = [key for group in empty for key, _ in group.tombstones()]
        keys: list[OffsetKey | GroupKey] = [*offsets, *(GroupKey(name) for name in groups)]
        records: list[tuple[bytes, bytes | None]] = [(encode_key(key), None) for key in keys]
        records += [(consumer_key(key), None) for key in gone]
        if not records:
            return False
        try:
            self._coordinator.write(shard, records, lambda _: None)
        except Refused:
            return True
        for offset in offsets:
            del shard.offsets[offset]
        for name in groups:
            del shard.groups[name]
        for key in gone:
            shard.apply_consumer(key, None)
        return len(offsets) == MAX_RECORDS

    def is_expired(self, shard: GroupShard, key: OffsetKey, value: Offset, now_ms: int) -> bool:
        """Return whether a committed offset may be forgotten."""
        if shard.holders(key):
            return False
        group = shard.groups.get(key.group)
        since_ms = value.timestamp_ms
        if group is not None and group.state is State.EMPTY:
            since_ms = max(since_ms, group.empty_since_ms)
        elif (group is not None or key.group in shard.consumers) and self._is_used(shard, key):
            return False
        return now_ms - since_ms >= self._retention_ms

    def _is_used(self, shard: GroupShard, key: OffsetKey) -> bool:
        """Return whether members may read the topic; of groups that are no consumers', nobody knows."""
        try:
            group = shard.groups.get(key.group)
            if group is not None and group.state is not State.STABLE:
                return True
            return key.topic in subscribed(self._coordinator, shard, key.group)
        except Refused:
            return True
