"""Records of share groups in `__consumer_offsets`, in Kafka's own format.

    key 10  group, member    value: who it is and what it subscribes to
    key 11  group            value: group epoch, hash of the subscribed topics
    key 12  group            value: epoch of the target assignment
    key 13  group, member    value: its target
    key 14  group, member    value: its epochs, and what it reads
    key 15  group            value: of which partitions the group has a state at the share coordinator

Keys are plain, values compact with tags, behind a version of 2 bytes. A null value is a tombstone. Kafka's schemas:
ShareGroupMemberMetadata, ShareGroupMetadata, ShareGroupTargetAssignmentMetadata, ShareGroupTargetAssignmentMember,
ShareGroupCurrentMemberAssignment, ShareGroupStatePartitionMetadata.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec

from broker.core.group.consumer.places import Places, by_topic, sort
from broker.core.group.consumer.records import GroupEpoch, Key, Reader, put_places, put_text
from broker.wire.primitives import write_uvarint

MEMBER, GROUP, TARGET_EPOCH, TARGET, CURRENT, STATES = 10, 11, 12, 13, 14, 15
_OF_MEMBERS = frozenset({MEMBER, TARGET, CURRENT})
KINDS = frozenset({MEMBER, GROUP, TARGET_EPOCH, TARGET, CURRENT, STATES})


class ShareMember(msgspec.Struct, frozen=True, kw_only=True):
    """A member as it presented itself; topics by name."""

    rack_id: str | None = None
    client_id: str = ""
    host: str = ""
    topics: tuple[str, ...] = ()


class ShareCurrent(msgspec.Struct, frozen=True):
    """The epoch that a member has reached, the one before, and what it reads."""

    epoch: int = 0
    previous_epoch: int = -1
    assigned: Places = ()


class ShareStates(msgspec.Struct, frozen=True):
    """The partitions of which the group has a state; `names` of their topics by id, for whoever reads the log."""

    places: Places = ()
    names: Mapping[str, str] = {}


ShareValue = ShareMember | GroupEpoch | int | Places | ShareCurrent | ShareStates
ShareChange = tuple[Key, ShareValue | None]


def encode_key(key: Key) -> bytes:
    """Return the key's bytes."""
    names = (key.group, key.member) if key.kind in _OF_MEMBERS else (key.group,)
    return struct.pack(">h", key.kind) + b"".join(
        struct.pack(">h", len(data)) + data for data in (name.encode() for name in names)
    )


def decode_key(data: bytes) -> Key | None:
    """Return the key, None for a record of another kind."""
    reader = Reader(data)
    kind = reader.number(">h")
    if kind not in KINDS:
        return None
    return Key(kind, reader.plain(), reader.plain()) if kind in _OF_MEMBERS else Key(kind, reader.plain())


def encode_value(value: ShareValue) -> bytes:
    """Return the value's bytes."""
    out = bytearray(b"\0\0")
    match value:
        case ShareMember():
            for text in (value.rack_id, value.client_id, value.host):
                put_text(out, text)
            write_uvarint(out, len(value.topics) + 1)
            for topic in value.topics:
                put_text(out, topic)
        case GroupEpoch(epoch, topics_hash):
            out += struct.pack(">iq", epoch, topics_hash)
        case ShareCurrent():
            out += struct.pack(">iib", value.epoch, value.previous_epoch, 0)
            put_places(out, value.assigned)
        case ShareStates():
            _states(out, value)
        case int():
            out += struct.pack(">i", value)
        case _:
            put_places(out, value)
    out.append(0)
    return bytes(out)


def _states(out: bytearray, value: ShareStates) -> None:
    """Write what is initialized; what is being initialized or deleted is begun again by whoever takes over."""
    write_uvarint(out, 1)
    topics = by_topic(value.places)
    write_uvarint(out, len(topics) + 1)
    for topic_id, indexes in topics:
        out += bytes.fromhex(topic_id)
        put_text(out, value.names.get(topic_id, ""))
        write_uvarint(out, len(indexes) + 1)
        out += struct.pack(f">{len(indexes)}i", *indexes)
        out.append(0)
    write_uvarint(out, 1)


def decode_value(key: Key, data: bytes) -> ShareValue:
    """Return the value of a key."""
    reader = Reader(data, 2)
    if key.kind == MEMBER:
        rack_id, client_id, host = reader.text(), reader.text(), reader.text()
        topics = tuple(reader.text() or "" for _ in range(reader.uvarint() - 1))
        return ShareMember(rack_id=rack_id, client_id=client_id or "", host=host or "", topics=topics)
    if key.kind == GROUP:
        return GroupEpoch(reader.number(">i"), reader.number(">q"))
    if key.kind == TARGET_EPOCH:
        return reader.number(">i")
    if key.kind == TARGET:
        return reader.places()
    if key.kind == CURRENT:
        epoch, previous, _ = reader.number(">i"), reader.number(">i"), reader.number(">b")
        return ShareCurrent(epoch, previous, reader.places())
    _named(reader)
    return _named(reader)


def _named(reader: Reader) -> ShareStates:
    places, names = [], {}
    for _ in range(reader.uvarint() - 1):
        topic_id = reader.take(16).hex()
        names[topic_id] = reader.text() or ""
        places += [(topic_id, reader.number(">i")) for _ in range(reader.uvarint() - 1)]
        reader.tags()
    return ShareStates(sort(places), names)
