"""Records of consumer groups in `__consumer_offsets`, in Kafka's own format.

    key 3  group            value: group epoch; tag 0: hash of the subscribed topics
    key 5  group, member    value: who it is and what it subscribes to; tag 0: what it is by the classic protocol
    key 6  group            value: epoch of the target assignment
    key 7  group, member    value: its target
    key 8  group, member    value: its epochs, state, what it has, what it is giving up

Keys are plain, values compact with tags, behind a version of 2 bytes. A null value is a tombstone. Kafka's schemas:
ConsumerGroupMetadata, ConsumerGroupMemberMetadata, ConsumerGroupTargetAssignmentMetadata,
ConsumerGroupTargetAssignmentMember, ConsumerGroupCurrentMemberAssignment.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec

from broker.core.group.consumer.places import Places, by_topic, sort
from broker.core.group.consumer.reconcile import Current, MemberState
from broker.wire.primitives import read_uvarint, write_uvarint

GROUP, MEMBER, TARGET_EPOCH, TARGET, CURRENT = 3, 5, 6, 7, 8


class Key(msgspec.Struct, frozen=True):
    """What a record is about; `member` is empty where it is about the group."""

    kind: int
    group: str
    member: str = ""


class GroupEpoch(msgspec.Struct, frozen=True):
    """The group's epoch, and the hash of the topics that it was assigned by."""

    epoch: int
    topics_hash: int = 0


class ClassicMember(msgspec.Struct, frozen=True):
    """What a member is that speaks the classic protocol (migration): session time-out, assignors with metadata."""

    session_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A member as it presented itself."""

    instance_id: str | None = None
    rack_id: str | None = None
    client_id: str = ""
    host: str = ""
    topics: tuple[str, ...] = ()
    regex: str | None = None
    rebalance_timeout_ms: int = -1
    assignor: str | None = None
    classic: ClassicMember | None = None


Value = GroupEpoch | Subscription | int | Places | Current
Change = tuple[Key, Value | None]


class Reader:
    """Takes a key or a value apart."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at

    def number(self, layout: str) -> int:
        """Return one number."""
        (value,) = struct.unpack_from(layout, self._data, self.at)
        self.at += struct.calcsize(layout)
        return int(value)

    def uvarint(self) -> int:
        """Return an unsigned variable length number."""
        value, self.at = read_uvarint(self._data, self.at)
        return value

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        self.at += size
        return self._data[self.at - size : self.at]

    def blob(self) -> bytes:
        """Return bytes behind their compact length."""
        return self.take(self.uvarint() - 1)

    def text(self) -> str | None:
        """Return a compact string or null."""
        size = self.uvarint()
        return None if size == 0 else self.take(size - 1).decode()

    def plain(self) -> str:
        """Return a string behind 2 bytes of length."""
        return self.take(self.number(">h")).decode()

    def tags(self, known: Callable[[int, Reader], None] = lambda *_: None) -> None:
        """Read tagged fields."""
        for _ in range(self.uvarint()):
            tag, data = self.uvarint(), self.take(self.uvarint())
            known(tag, Reader(data))

    def places(self) -> Places:
        """Return partitions by topic."""
        found = []
        for _ in range(self.uvarint() - 1):
            topic_id = self.take(16).hex()
            found += [(topic_id, self.number(">i")) for _ in range(self.uvarint() - 1)]
            self.tags()
        return sort(found)


def put_text(out: bytearray, value: str | None) -> None:
    """Write a compact string or null."""
    if value is None:
        out.append(0)
    else:
        put_blob(out, value.encode())


def put_blob(out: bytearray, data: bytes) -> None:
    """Write bytes behind their compact length."""
    write_uvarint(out, len(data) + 1)
    out += data


def put_tag(out: bytearray, tag: int, data: bytes | None) -> None:
    """Write one tagged field, or none."""
    write_uvarint(out, int(data is not None))
    if data is not None:
        write_uvarint(out, tag)
        write_uvarint(out, len(data))
        out += data


def put_places(out: bytearray, places: Places) -> None:
    """Write partitions by topic."""
    topics = by_topic(places)
    write_uvarint(out, len(topics) + 1)
    for topic_id, indexes in topics:
        out += bytes.fromhex(topic_id)
        write_uvarint(out, len(indexes) + 1)
        out += struct.pack(f">{len(indexes)}i", *indexes)
        out.append(0)


def encode_key(key: Key) -> bytes:
    """Return the key's bytes."""
    names = (key.group, key.member) if key.kind in {MEMBER, TARGET, CURRENT} else (key.group,)
    return struct.pack(">h", key.kind) + b"".join(
        struct.pack(">h", len(data)) + data for data in (name.encode() for name in names)
    )


def decode_key(data: bytes) -> Key | None:
    """Return the key, None for a record of another kind."""
    reader = Reader(data)
    kind = reader.number(">h")
    if kind in {GROUP, TARGET_EPOCH}:
        return Key(kind, reader.plain())
    return Key(kind, reader.plain(), reader.plain()) if kind in {MEMBER, TARGET, CURRENT} else None


def encode_value(value: Value) -> bytes:
    """Return the value's bytes."""
    out = bytearray(b"\0\0")
    match value:
        case GroupEpoch(epoch, topics_hash):
            out += struct.pack(">i", epoch)
            put_tag(out, 0, struct.pack(">q", topics_hash) if topics_hash else None)
        case Subscription():
            _subscription(out, value)
        case Current():
            out += struct.pack(">iib", value.epoch, value.previous_epoch, value.state)
            put_places(out, value.assigned)
            put_places(out, value.revoking)
            out.append(0)
        case int():
            out += struct.pack(">i", value)
            out.append(0)
        case _:
            put_places(out, value)
            out.append(0)
    return bytes(out)


def _subscription(out: bytearray, value: Subscription) -> None:
    for text in (value.instance_id, value.rack_id, value.client_id, value.host):
        put_text(out, text)
    write_uvarint(out, len(value.topics) + 1)
    for topic in value.topics:
        put_text(out, topic)
    put_text(out, value.regex)
    out += struct.pack(">i", value.rebalance_timeout_ms)
    put_text(out, value.assignor)
    classic = None
    if value.classic is not None:
        classic = bytearray(struct.pack(">i", value.classic.session_timeout_ms))
        write_uvarint(classic, len(value.classic.protocols) + 1)
        for name, metadata in value.classic.protocols:
            put_text(classic, name)
            put_blob(classic, metadata)
            classic.append(0)
        classic.append(0)
    put_tag(out, 0, None if classic is None else bytes(classic))


def decode_value(key: Key, data: bytes) -> Value:
    """Return the value of a key."""
    reader = Reader(data, 2)
    found: list[Reader] = []
    if key.kind == GROUP:
        epoch = reader.number(">i")
        reader.tags(lambda tag, inner: found.append(inner) if tag == 0 else None)
        return GroupEpoch(epoch, found[0].number(">q") if found else 0)
    if key.kind == TARGET_EPOCH:
        return reader.number(">i")
    if key.kind == TARGET:
        return reader.places()
    if key.kind == CURRENT:
        epoch, previous, state = reader.number(">i"), reader.number(">i"), MemberState(reader.number(">b"))
        return Current(epoch, previous, state, reader.places(), reader.places())
    return _read_subscription(reader)


def _read_subscription(reader: Reader) -> Subscription:
    instance_id, rack_id, client_id, host = reader.text(), reader.text(), reader.text(), reader.text()
    topics = tuple(reader.text() or "" for _ in range(reader.uvarint() - 1))
    regex, rebalance_timeout_ms, assignor = reader.text(), reader.number(">i"), reader.text()
    found: list[ClassicMember] = []
    reader.tags(lambda tag, inner: found.append(_read_classic(inner)) if tag == 0 else None)
    return Subscription(
        instance_id=instance_id,
        rack_id=rack_id,
        client_id=client_id or "",
        host=host or "",
        topics=topics,
        regex=regex,
        rebalance_timeout_ms=rebalance_timeout_ms,
        assignor=assignor,
        classic=found[0] if found else None,
    )


def _read_classic(reader: Reader) -> ClassicMember:
    session_timeout_ms = reader.number(">i")
    protocols = []
    for _ in range(reader.uvarint() - 1):
        protocols.append((reader.text() or "", reader.blob()))
        reader.tags()
    return ClassicMember(session_timeout_ms, tuple(protocols))
