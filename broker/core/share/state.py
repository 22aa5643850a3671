"""What a share group has done in one partition, as the share coordinator keeps it, and its records.

    key 0, snapshot   group, topic id, partition     value: epochs, start, times, all batches
    key 1, update     the same                       value: leader epoch, start (-1: as it was), batches that changed

An update belongs to the snapshot of its snapshot epoch and adds to the updates before it; a snapshot replaces all that
came before; a null value of key 0 deletes. Keys are plain, values compact with tags, behind a version of 2 bytes.
Kafka's schemas: ShareSnapshotKey, ShareSnapshotValue, ShareUpdateKey, ShareUpdateValue.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from broker.core.share.partition import Batch, State
from broker.wire.primitives import read_uvarint, write_uvarint

SNAPSHOT, UPDATE = 0, 1
UNKNOWN_START = -1
"""Of a state that was begun and not read yet: the group's settings say where it starts."""
_UUID_TEXT_SIZE = 22
_SNAPSHOT = struct.Struct(">hiiiqqq")
_UPDATE = struct.Struct(">hiiq")
_BATCH = struct.Struct(">qqbhb")
_DONE = (State.ACKNOWLEDGED, State.ARCHIVED)


class ShareKey(NamedTuple):
    """A group and a partition; topics by their hexadecimal ids."""

    group: str
    topic: str
    partition: int

    @property
    def coordinator_key(self) -> str:
        """What its coordinator is found by (Kafka: SharePartitionKey.asCoordinatorKey)."""
        return f"{self.group}:{uuid_text(self.topic)}:{self.partition}"


def uuid_text(topic_id: str) -> str:
    """Return a topic id as Kafka prints it: base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(bytes.fromhex(topic_id)).rstrip(b"=").decode()


def is_coordinator_key(text: str) -> bool:
    """Return whether the text is such a key: group:topic id:partition."""
    group, _, rest = text.partition(":")
    topic, _, index = rest.rpartition(":")
    return bool(group) and len(topic) == _UUID_TEXT_SIZE and index.isdecimal()


class ShareState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one key; `batches` from `start` on, in order, without overlap."""

    snapshot_epoch: int = 0
    state_epoch: int = 0
    leader_epoch: int = 0
    start: int = UNKNOWN_START
    created_ms: int = -1
    written_ms: int = -1
    batches: tuple[Batch, ...] = ()

    @property
    def done(self) -> int:
        """How many records from the start on are done with."""
        return sum(batch.last - batch.first + 1 for batch in self.batches if batch.state in _DONE)

    def updated(self, leader_epoch: int, start: int, batches: Iterable[Batch]) -> ShareState:
        """Return the state with what has changed."""
        start = self.start if start == UNKNOWN_START else start
        return msgspec.structs.replace(
            self, leader_epoch=leader_epoch, start=start, batches=combined(self.batches, batches, start)
        )


def combined(old: Iterable[Batch], new: Iterable[Batch], start: int) -> tuple[Batch, ...]:
    """Return old batches with new ones in their place, from `start` on; equal neighbours are one.

    What is done stays so, and nothing was delivered less often than before: a write that comes a second time, after
    others that followed it, changes nothing.
    """
    batches = list(old)
    for batch in new:
        batches = _placed(batches, batch)
    found: list[Batch] = []
    for batch in sorted(batches, key=lambda one: one.first):
        if batch.last < start:
            continue
        clipped = batch if batch.first >= start else msgspec.structs.replace(batch, first=start)
        last = found[-1] if found else None
        is_same = last is not None and (last.state, last.count) == (clipped.state, clipped.count)
        if last is not None and is_same and last.last + 1 == clipped.first:
            found[-1] = msgspec.structs.replace(last, last=clipped.last)
        else:
            found.append(clipped)
    return tuple(found)


def _placed(batches: list[Batch], batch: Batch) -> list[Batch]:
    """Return the batches with another one, but where it is of the past."""
    kept: list[Batch] = []
    at = batch.first  # what of the new batch lies before is placed
    for one in sorted(batches, key=lambda one: one.first):
        if one.last < batch.first or one.first > batch.last:
            kept.append(one)
            continue
        if one.first < batch.first:
            kept.append(msgspec.structs.replace(one, last=batch.first - 1))
        if one.last > batch.last:
            kept.append(msgspec.structs.replace(one, first=batch.last + 1))
        if _is_of_the_past(batch, one):
            first, last = max(one.first, batch.first), min(one.last, batch.last)
            if at < first:
                kept.append(msgspec.structs.replace(batch, first=at, last=first - 1))
            kept.append(msgspec.structs.replace(one, first=first, last=last))
            at = last + 1
    if at <= batch.last:
        kept.append(msgspec.structs.replace(batch, first=at))
    return kept


def _is_of_the_past(new: Batch, old: Batch) -> bool:
    return old.state in _DONE or (new.state not in _DONE and new.count < old.count)


# Records.


def encode_key(kind: int, key: ShareKey) -> bytes:
    """Return the key's bytes."""
    group = key.group.encode()
    head = struct.pack(">hh", kind, len(group)) + group
    return head + bytes.fromhex(key.topic) + struct.pack(">i", key.partition)


def decode_key(data: bytes) -> tuple[int, ShareKey] | None:
    """Return kind and key, None for a record of another kind."""
    kind, size = struct.unpack_from(">hh", data)
    if kind not in {SNAPSHOT, UPDATE}:
        return None
    group, topic = data[4 : 4 + size].decode(), data[4 + size : 20 + size].hex()
    return kind, ShareKey(group, topic, struct.unpack_from(">i", data, 20 + size)[0])


def encode_snapshot(state: ShareState) -> bytes:
    """Return a snapshot's value."""
    epochs = (state.snapshot_epoch, state.state_epoch, state.leader_epoch)
    return _SNAPSHOT.pack(0, *epochs, state.start, state.created_ms, state.written_ms) + _batches(state.batches)


def decode_snapshot(data: bytes) -> ShareState:
    """Return the state of a snapshot."""
    _, snapshot_epoch, state_epoch, leader_epoch, start, created_ms, written_ms = _SNAPSHOT.unpack_from(data)
    return ShareState(
        snapshot_epoch=snapshot_epoch,
        state_epoch=state_epoch,
        leader_epoch=leader_epoch,
        start=start,
        created_ms=created_ms,
        written_ms=written_ms,
        batches=_read_batches(data, _SNAPSHOT.size),
    )


def encode_update(snapshot_epoch: int, leader_epoch: int, start: int, batches: tuple[Batch, ...]) -> bytes:
    """Return an update's value."""
    return _UPDATE.pack(0, snapshot_epoch, leader_epoch, start) + _batches(batches)


def decode_update(data: bytes, state: ShareState) -> ShareState:
    """Return the state after an update; one of another snapshot changes nothing."""
    _, snapshot_epoch, leader_epoch, start = _UPDATE.unpack_from(data)
    if snapshot_epoch != state.snapshot_epoch:
        return state
    return state.updated(leader_epoch, start, _read_batches(data, _UPDATE.size))


def _batches(batches: tuple[Batch, ...]) -> bytes:
    out = bytearray()
    write_uvarint(out, len(batches) + 1)
    for batch in batches:
        out += _BATCH.pack(batch.first, batch.last, batch.state, batch.count, 0)
    out.append(0)
    return bytes(out)


def _read_batches(data: bytes, at: int) -> tuple[Batch, ...]:
    count, at = read_uvarint(data, at)
    found = []
    for _ in range(count - 1):
        first, last, state, delivered, _ = _BATCH.unpack_from(data, at)
        found.append(Batch(first, last, state, delivered))
        at += _BATCH.size
    return tuple(found)
