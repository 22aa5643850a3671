"""Records of `__consumer_offsets`, in Kafka's own format: offsets (key version 1) and classic groups (key version 2).

    offset  key 1: group, topic, partition     value 3: offset, leader epoch, metadata, commit time
    group   key 2: group                       value 3: protocol type, generation, protocol, leader, time, members

Strings have a 2 byte length, bytes and arrays a 4 byte one; -1 is null. A null value is a tombstone. Unknown versions
(newer groups' records) are skipped. Kafka: OffsetCommitKey, OffsetCommitValue, GroupMetadataKey, GroupMetadataValue.
"""

from __future__ import annotations

import struct

import msgspec

from broker.core.group.group import Group, State
from broker.core.group.members import Member

_OFFSET_KEY, _GROUP_KEY, _VALUE = 1, 2, 3


class Offset(msgspec.Struct, frozen=True):
    """A committed offset. `at`: where its batch stands in the log, so that the later of two can be told."""

    offset: int
    leader_epoch: int
    metadata: str
    timestamp_ms: int
    at: int = -1


class OffsetKey(msgspec.Struct, frozen=True):
    """Whose offset, in what."""

    group: str
    topic: str
    partition: int


class GroupKey(msgspec.Struct, frozen=True):
    """Which group."""

    group: str


class GroupValue(msgspec.Struct, frozen=True):
    """A group after a completed rebalance."""

    protocol_type: str
    generation: int
    protocol: str | None
    leader: str | None
    members: tuple[Member, ...]
    timestamp_ms: int = 0


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, layout: str) -> int:
        """Return one number."""
        (value,) = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return int(value)

    def blob(self, layout: str) -> bytes | None:
        """Return bytes behind their length."""
        size = self.take(layout)
        if size < 0:
            return None
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        """Return a string, empty for null."""
        return (self.blob(">h") or b"").decode()

    def text_or_none(self) -> str | None:
        """Return a string or null."""
        data = self.blob(">h")
        return None if data is None else data.decode()


def _text(value: str | None) -> bytes:
    if value is None:
        return b"\xff\xff"
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def _blob(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def encode_key(key: OffsetKey | GroupKey) -> bytes:
    """Return the key's bytes."""
    if isinstance(key, GroupKey):
        return struct.pack(">h", _GROUP_KEY) + _text(key.group)
    return struct.pack(">h", _OFFSET_KEY) + _text(key.group) + _text(key.topic) + struct.pack(">i", key.partition)


def decode_key(data: bytes) -> OffsetKey | GroupKey | None:
    """Return the key, None for kinds that are not ours to read."""
    reader = _Reader(data)
    version = reader.take(">h")
    if version in {0, _OFFSET_KEY}:
        return OffsetKey(reader.text(), reader.text(), reader.take(">i"))
    return GroupKey(reader.text()) if version == _GROUP_KEY else None


def encode_offset(value: Offset) -> bytes:
    """Return the value's bytes."""
    head = struct.pack(">hqi", _VALUE, value.offset, value.leader_epoch)
    return head + _text(value.metadata) + struct.pack(">q", value.timestamp_ms)


def decode_offset(data: bytes, at: int = -1) -> Offset | None:
    """Return the value, None of an unknown version."""
    reader = _Reader(data)
    if reader.take(">h") != _VALUE:
        return None
    return Offset(reader.take(">q"), reader.take(">i"), reader.text(), reader.take(">q"), at)


def encode_group(group: Group, now_ms: int) -> bytes:
    """Return the group's value."""
    out = struct.pack(">h", _VALUE) + _text(group.protocol_type or "") + struct.pack(">i", group.generation)
    out += _text(group.protocol) + _text(group.leader) + struct.pack(">q", now_ms)
    members = [] if group.state is State.EMPTY else list(group.members.values())
    out += struct.pack(">i", len(members))
    for member in members:
        out += _text(member.id) + _text(member.instance_id) + _text(member.client_id) + _text(member.host)
        out += struct.pack(">ii", member.rebalance_timeout_ms, member.session_timeout_ms)
        out += _blob(member.metadata_for(group.protocol or "")) + _blob(member.assignment)
    return out


def decode_group(data: bytes) -> GroupValue | None:
    """Return the group, None of an unknown version."""
    reader = _Reader(data)
    if reader.take(">h") != _VALUE:
        return None
    protocol_type, generation = reader.text(), reader.take(">i")
    protocol, leader = reader.text_or_none(), reader.text_or_none()
    timestamp_ms = reader.take(">q")
    members = tuple(_member(reader, protocol or "") for _ in range(reader.take(">i")))
    return GroupValue(protocol_type, generation, protocol, leader, members, timestamp_ms)


def _member(reader: _Reader, protocol: str) -> Member:
    member_id, instance_id, client_id, host = reader.text(), reader.text_or_none(), reader.text(), reader.text()
    rebalance_timeout_ms, session_timeout_ms = reader.take(">i"), reader.take(">i")
    metadata, assignment = reader.blob(">i") or b"", reader.blob(">i") or b""
    return Member(
        id=member_id,
        instance_id=instance_id,
        client_id=client_id,
        host=host,
        rebalance_timeout_ms=rebalance_timeout_ms,
        session_timeout_ms=session_timeout_ms,
        protocols=((protocol, metadata),),
        assignment=assignment,
    )
