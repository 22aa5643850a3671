"""One led partition of `__consumer_offsets`: the groups that belong to it, and their committed offsets.

Offsets count when they are replicated. Those of a transaction stand apart, per producer, until its marker is in the
log: then they count, or are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from broker.core.group.group import Group, State
from broker.core.group.group_records import (
    GroupKey,
    Offset,
    OffsetKey,
    decode_group,
    decode_key,
    decode_offset,
)
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
        self.offsets: dict[OffsetKey, Offset] = {}
        self.pending: dict[int, dict[OffsetKey, Offset]] = {}
        """Producer id -> offsets of its open transaction."""
        self._make = make

    def group(self, name: str) -> Group:
        """Return a group, made if it is new."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = self._make(self, name)
        return group

    def is_unstable(self, key: OffsetKey) -> bool:
        """Return whether an open transaction may change the offset."""
        return any(key in offsets for offsets in self.pending.values())

    def apply(self, header: BatchHeader, item: record.Record) -> None:
        """Take a record of the log."""
        key = decode_key(item.key or b"\xff\xff")
        if isinstance(key, OffsetKey):
            self._apply_offset(header, key, item.value)
        elif isinstance(key, GroupKey):
            self._apply_group(key.group, item)

    def _apply_offset(self, header: BatchHeader, key: OffsetKey, data: bytes | None) -> None:
        value = None if data is None else decode_offset(data)
        if value is None:
            self.offsets.pop(key, None)
        elif header.is_transactional:
            self.hold(header.producer_id, {key: value})
        else:
            self.offsets[key] = value

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
            self.offsets.update(offsets)
