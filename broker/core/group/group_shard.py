"""One led partition of `__consumer_offsets`: the groups that belong to it, and their committed offsets.

Offsets count when they are replicated. Those of a transaction stand apart, per producer, until its marker is in the
log: then they count, or are gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping

from broker.core.group.consumer import records as consumer_records
from broker.core.group.consumer.group import ConsumerGroup
from broker.core.group.consumer.records import Key, Value
from broker.core.group.group import Group, State
from broker.core.group.group_records import (
    GroupKey,
    Offset,
    OffsetKey,
    decode_group,
    decode_key,
    decode_offset,
)
from broker.core.group.share import records as share_records
from broker.core.group.share.group import ShareGroup
from broker.core.replication.replica import Replica
from broker.core.replication.state_log import StateLog
from broker.core.storage import Storage
from broker.wire import record
from broker.wire.batch import BatchHeader


class GroupShard:
    """See the module. `make` makes an empty group of a name."""

    def __init__(self, replica: Replica, storage: Storage, make: Callable[[GroupShard, str], Group]) -> None:
        self.log = StateLog(replica, storage)
        self.groups: dict[str, Group] = {}
        self.consumers: dict[str, ConsumerGroup] = {}
        """Groups of the KIP-848 protocol; a name is in one of the three."""
        self.shares: dict[str, ShareGroup] = {}
        self.offsets: dict[OffsetKey, Offset] = {}
        self.pending: dict[int, dict[OffsetKey, Offset]] = {}
        """Producer id -> offsets of its open transaction."""
        self.deleted: dict[str, int] = {}
        """Names of topics that were deleted: what was written below this offset belongs to them."""
        self._writes: deque[tuple[int, tuple[OffsetKey, ...]]] = deque()
        """Offset in the log, and what was committed there; the newest ones may not be replicated yet."""
        self._make = make

    def group(self, name: str) -> Group:
        """Return a group, made if it is new."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = self._make(self, name)
        return group

    def has_group(self, name: str) -> bool:
        """Return whether there is anything of a group of this name."""
        known = name in self.groups or name in self.consumers or name in self.shares
        return known or any(key.group == name for key in self.offsets)

    def holders(self, key: OffsetKey) -> list[int]:
        """Return the ids of the producers whose open transactions may change the offset."""
        return [producer_id for producer_id, offsets in self.pending.items() if key in offsets]

    def apply(self, header: BatchHeader, item: record.Record) -> None:
        """Take a record of the log."""
        data = item.key or b"\xff\xff"
        key = decode_key(data)
        if isinstance(key, OffsetKey):
            self._apply_offset(header, key, item.value)
        elif isinstance(key, GroupKey):
            self._apply_group(key.group, item)
        elif (other := consumer_records.decode_key(data)) is not None:
            value = item.value
            self.apply_consumer(other, None if value is None else consumer_records.decode_value(other, value))
        elif (share := share_records.decode_key(data)) is not None:
            value = item.value
            self.apply_share(share, None if value is None else share_records.decode_value(share, value))

    def apply_consumer(self, key: Key, value: Value | None) -> None:
        """Take a record of a consumer group; one without its epoch is gone."""
        if key.kind == consumer_records.GROUP and value is None:
            self.consumers.pop(key.group, None)
            return
        group = self.consumers.get(key.group)
        if group is None and value is not None:
            group = self.consumers[key.group] = ConsumerGroup(key.group)
        if group is not None:
            group.apply(key, value)

    def apply_share(self, key: Key, value: share_records.ShareValue | None) -> None:
        """Take a record of a share group; one without its epoch is gone."""
        if key.kind == share_records.GROUP and value is None:
            self.shares.pop(key.group, None)
            return
        group = self.shares.get(key.group)
        if group is None and value is not None:
            group = self.shares[key.group] = ShareGroup(key.group)
        if group is not None:
            group.apply(key, value)

    def _apply_offset(self, header: BatchHeader, key: OffsetKey, data: bytes | None) -> None:
        value = None if data is None else decode_offset(data, header.base_offset)
        if value is None:
            self.forget(key)
        elif header.is_transactional:
            self.hold(header.producer_id, {key: value})
        else:
            self.commit({key: value})

    def _apply_group(self, name: str, item: record.Record) -> None:
        self.groups.pop(name, None)
        value = None if item.value is None else decode_group(item.value)
        if value is None:
            return
        group = self.group(name)
        group.protocol_type, group.generation = value.protocol_type, value.generation
        group.protocol, group.leader = value.protocol, value.leader
        group.members = {member.id: member for member in value.members}
        group.statics = {m.instance_id: m.id for m in value.members if m.instance_id is not None}
        group.state = State.STABLE if value.members else State.EMPTY
        group.empty_since_ms = value.timestamp_ms

    def end(self, header: BatchHeader, *, commit: bool) -> None:
        """Take a transaction's marker."""
        self.ended(header.producer_id, commit=commit)

    def hold(self, producer_id: int, offsets: Mapping[OffsetKey, Offset]) -> None:
        """Keep the offsets of an open transaction apart until its marker comes."""
        self.pending.setdefault(producer_id, {}).update(offsets)

    def ended(self, producer_id: int, *, commit: bool) -> None:
        """A transaction has ended: its offsets count, or are gone."""
        offsets = self.pending.pop(producer_id, {})
        if commit:
            self.commit(offsets)

    def forget(self, key: OffsetKey) -> None:
        """An offset was deleted, also where an open transaction holds it: the log has the deletion after it.

        Kafka: OffsetMetadataManager.replay.
        """
        self.offsets.pop(key, None)
        for pending in self.pending.values():
            pending.pop(key, None)

    def all_offsets(self) -> Iterator[tuple[OffsetKey, Offset]]:
        """Yield all offsets, those of open transactions too."""
        yield from self.offsets.items()
        for pending in self.pending.values():
            yield from pending.items()

    def note_write(self, offsets: Mapping[OffsetKey, Offset], at: int) -> None:
        """Offsets have been written there, not refused."""
        log = self.log.replica.log
        while self._writes and self._writes[0][0] < log.high_watermark:
            self._writes.popleft()
        self._writes.append((at, tuple(offsets)))

    def being_written(self) -> set[OffsetKey]:
        """Return the offsets of which a commit is on its way to the replicas."""
        watermark = self.log.replica.log.high_watermark
        return {key for at, keys in self._writes if at >= watermark for key in keys}

    def commit(self, offsets: Mapping[OffsetKey, Offset]) -> None:
        """Let offsets count, unless the log holds later ones: a transaction's marker comes long after its offsets.

        Kafka: OffsetMetadataManager.replayEndTransactionMarker.
        """
        for key, offset in offsets.items():
            known = self.offsets.get(key)
            if known is None or known.at < offset.at:
                self.offsets[key] = offset
