"""Committed offsets of a deleted topic are forgotten: one of the same name that is made later is another topic.

What was written before the deletion belongs to the topic that is gone; how far the shard's log reached then says so. It
is forgotten when all of that is replicated, but for what is being written anew at that moment: the deletion would come
after it. What a deletion left that came while no coordinator was here is found when the log has been read: offsets of
topics that are not there. Kafka: GroupCoordinatorService.onPartitionsDeleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import Code, Refused
from broker.core.group.group_records import OffsetKey, encode_key
from broker.core.group.group_shard import GroupShard

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator

NEVER_MS = 1 << 62
RETRY_MS = 100
"""When something could not be forgotten: a write was on its way, or the ISR is too small."""
MAX_RECORDS = 1000
"""Deletions in one batch."""


class DeletedTopics:
    """See the module."""

    def __init__(self, coordinator: GroupCoordinator) -> None:
        self._coordinator = coordinator
        self.deadline_ms = NEVER_MS

    def note(self, name: str) -> None:
        """A topic of this name was deleted."""
        for shard in self._coordinator.shards():
            shard.deleted[name] = shard.log.replica.log.end
            self.deadline_ms = 0

    def loaded(self, shard: GroupShard) -> None:
        """The shard has been read; the image is newer than all that stands in it."""
        there = self._coordinator.image().topic_ids
        for key, _ in shard.all_offsets():
            if key.topic not in there:
                shard.deleted.setdefault(key.topic, shard.log.replica.log.end)
                self.deadline_ms = 0

    def tick(self, now_ms: int) -> None:
        """Forget what can be forgotten now."""
        if now_ms < self.deadline_ms:
            return
        self.deadline_ms = NEVER_MS
        for shard in self._coordinator.shards():
            if shard.deleted and not self._forget(shard):
                self.deadline_ms = now_ms + RETRY_MS

    def _forget(self, shard: GroupShard) -> bool:
        """Forget offsets of deleted topics in one shard; return whether that was all."""
        if not shard.log.is_loaded:
            return False
        watermark, busy = shard.log.replica.log.high_watermark, shard.being_written()
        found: dict[str, list[tuple[OffsetKey, bool]]] = {
            name: [] for name, end in shard.deleted.items() if watermark >= end
        }
        for key, value in shard.all_offsets() if found else ():  # once, however many topics went
            if key.topic in found:
                found[key.topic].append((key, value.at < shard.deleted[key.topic]))
        for name, mine in found.items():
            fresh = busy | {key for key, is_old in mine if not is_old}
            old = dict.fromkeys(key for key, is_old in mine if is_old)
            try:
                self._write(shard, [key for key in old if key not in fresh])
            except Refused:
                continue
            if not old.keys() & fresh:
                del shard.deleted[name]
        return not shard.deleted

    def _write(self, shard: GroupShard, keys: list[OffsetKey]) -> None:
        for at in range(0, len(keys), MAX_RECORDS):
            part = keys[at : at + MAX_RECORDS]

            def done(code: Code, part: list[OffsetKey] = part) -> None:
                for key in part if not code else ():
                    shard.forget(key)

            self._coordinator.write(shard, [(encode_key(key), None) for key in part], done)
