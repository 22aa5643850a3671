"""A Fetch request in and out, and its answer in, by hand: what replication and consumers send thousands of times.

Only what is usual is read and written here: flexible versions, without the tagged fields that stand for the rare case.
Everything else, damage included, gives None, and is left to `broker.wire.codec`, which says the same of what is usual.
Nothing is allocated for a count that lies: every element takes bytes that are there.
"""

from __future__ import annotations

import struct

from broker.wire.errors import WireError
from broker.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    ForgottenTopic,
    PartitionData,
    ReplicaState,
)
from broker.wire.primitives import NO_UUID, read_uvarint, write_uvarint

FROM_VERSION = 13
"""Topics by id, tagged fields everywhere."""
_BY_STATE = 15
"""From here on the replica shows itself in a tagged field."""
_HEAD = struct.Struct(">iiibii")
_REPLICA_ID = struct.Struct(">i")
_PARTITION = struct.Struct(">iiqiqi")
_STATE = struct.Struct(">bbiqb")
_STATE_TAG, _STATE_SIZE = 1, 13
_INT32 = struct.Struct(">i")
_REQUEST_HEADER = struct.Struct(">hhih")
_ANSWER = struct.Struct(">ibihi")
_DATA = struct.Struct(">ihqqq")
_USUAL = FetchPartition()
_NOBODY = ReplicaState()


class _Unusual(Exception):  # noqa: N818 - not an error: the codec's turn
    """Not for here."""


def read_request(payload: memoryview, at: int, version: int) -> FetchRequest | None:
    """Return the request whose body begins at `at`, None when it is not usual."""
    if version < FROM_VERSION:
        return None
    try:
        return _read_request(payload, at, version)
    except (_Unusual, IndexError, struct.error, WireError, UnicodeDecodeError):
        return None


def _read_request(payload: memoryview, at: int, version: int) -> FetchRequest:
    replica_id = -1
    if version < _BY_STATE:
        replica_id = _REPLICA_ID.unpack_from(payload, at)[0]
        at += _REPLICA_ID.size
    max_wait_ms, min_bytes, max_bytes, isolation, session_id, session_epoch = _HEAD.unpack_from(payload, at)
    count, at = read_uvarint(payload, at + _HEAD.size)
    topics = []
    for _ in range(count - 1):
        topic_id = bytes(payload[at : at + 16])
        inner, at = read_uvarint(payload, at + 16)
        partitions = []
        for _ in range(inner - 1):
            index, epoch, offset, last_epoch, start, limit = _PARTITION.unpack_from(payload, at)
            at = _no_tags(payload, at + _PARTITION.size)
            partitions.append(
                FetchPartition(
                    partition=index,
                    current_leader_epoch=epoch,
                    fetch_offset=offset,
                    last_fetched_epoch=last_epoch,
                    log_start_offset=start,
                    partition_max_bytes=limit,
                )
            )
        at = _no_tags(payload, at)
        _check(count and inner)
        topics.append(FetchTopic(topic_id=topic_id, partitions=tuple(partitions)))
    forgotten_count, at = read_uvarint(payload, at)
    forgotten = []
    for _ in range(forgotten_count - 1):
        topic_id = bytes(payload[at : at + 16])
        inner, at = read_uvarint(payload, at + 16)
        _check(inner)
        indexes = []
        for _ in range(inner - 1):
            indexes.append(_INT32.unpack_from(payload, at)[0])
            at += _INT32.size
        at = _no_tags(payload, at)
        forgotten.append(ForgottenTopic(topic_id=topic_id, partitions=tuple(indexes)))
    size, at = read_uvarint(payload, at)
    _check(count and forgotten_count and size and at + size <= len(payload))
    rack = bytes(payload[at : at + size - 1]).decode()
    at += size - 1
    state = _NOBODY
    if payload[at] == 1 and version >= _BY_STATE:
        tag, length, state_id, broker_epoch, tags = _STATE.unpack_from(payload, at + 1)
        _check(tag == _STATE_TAG and length == _STATE_SIZE and not tags)
        state = ReplicaState(replica_id=state_id, replica_epoch=broker_epoch)
    else:
        _no_tags(payload, at)
    return FetchRequest(
        replica_id=replica_id,
        replica_state=state,
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        isolation_level=isolation,
        session_id=session_id,
        session_epoch=session_epoch,
        topics=tuple(topics),
        forgotten_topics_data=tuple(forgotten),
        rack_id=rack,
    )


def _no_tags(payload: memoryview, at: int) -> int:
    if payload[at]:
        raise _Unusual
    return at + 1


def _check(usual: object) -> None:
    if not usual:
        raise _Unusual


def write_request(message: FetchRequest, version: int, correlation_id: int, client_id: str) -> bytes | None:
    """Return the payload of a follower's request, None when it is not usual."""
    if version < _BY_STATE or message.cluster_id is not None or message.replica_state == _NOBODY:
        return None
    try:
        return _write_request(message, version, correlation_id, client_id)
    except (_Unusual, struct.error):
        return None


def _write_request(message: FetchRequest, version: int, correlation_id: int, client_id: str) -> bytes:
    name, rack = client_id.encode(), message.rack_id.encode()
    out = bytearray(_REQUEST_HEADER.pack(message.api, version, correlation_id, len(name)))
    out += name
    out.append(0)
    out += _HEAD.pack(
        message.max_wait_ms,
        message.min_bytes,
        message.max_bytes,
        message.isolation_level,
        message.session_id,
        message.session_epoch,
    )
    write_uvarint(out, len(message.topics) + 1)
    for topic in message.topics:
        out += topic.topic_id
        write_uvarint(out, len(topic.partitions) + 1)
        for ask in topic.partitions:
            if ask.replica_directory_id != NO_UUID or ask.high_watermark != _USUAL.high_watermark:
                raise _Unusual
            out += _PARTITION.pack(
                ask.partition,
                ask.current_leader_epoch,
                ask.fetch_offset,
                ask.last_fetched_epoch,
                ask.log_start_offset,
                ask.partition_max_bytes,
            )
            out.append(0)
        out.append(0)
    write_uvarint(out, len(message.forgotten_topics_data) + 1)
    for gone in message.forgotten_topics_data:
        out += gone.topic_id
        write_uvarint(out, len(gone.partitions) + 1)
        for index in gone.partitions:
            out += _INT32.pack(index)
        out.append(0)
    write_uvarint(out, len(rack) + 1)
    out += rack
    state = message.replica_state
    out.append(1)
    out += _STATE.pack(_STATE_TAG, _STATE_SIZE, state.replica_id, state.replica_epoch, 0)
    return bytes(out)


def read_answer(payload: memoryview, version: int) -> tuple[int, FetchResponse] | None:
    """Return correlation id and answer, None when it is not usual; records are views into the payload."""
    if version < FROM_VERSION:
        return None
    try:
        return _read_answer(payload)
    except (_Unusual, IndexError, struct.error, WireError):
        return None


def _read_answer(payload: memoryview) -> tuple[int, FetchResponse]:
    correlation_id, tags, throttle_ms, error, session_id = _ANSWER.unpack_from(payload)
    count, at = read_uvarint(payload, _ANSWER.size)
    _check(count and not tags)
    responses = []
    for _ in range(count - 1):
        topic_id = bytes(payload[at : at + 16])
        inner, at = read_uvarint(payload, at + 16)
        _check(inner)
        partitions = []
        for _ in range(inner - 1):
            index, code, high_watermark, stable, start = _DATA.unpack_from(payload, at)
            at += _DATA.size
            aborted = payload[at]
            if aborted > 1:
                raise _Unusual
            preferred = _INT32.unpack_from(payload, at + 1)[0]
            size, at = read_uvarint(payload, at + 1 + _INT32.size)
            records = None
            if size:
                records = payload[at : at + size - 1]
                at += size - 1
            at = _no_tags(payload, at)
            partitions.append(
                PartitionData(
                    partition_index=index,
                    error_code=code,
                    high_watermark=high_watermark,
                    last_stable_offset=stable,
                    log_start_offset=start,
                    aborted_transactions=() if aborted else None,
                    preferred_read_replica=preferred,
                    records=records,
                )
            )
        at = _no_tags(payload, at)
        responses.append(FetchableTopicResponse(topic_id=topic_id, partitions=tuple(partitions)))
    if _no_tags(payload, at) != len(payload):
        raise _Unusual
    answer = FetchResponse(
        throttle_time_ms=throttle_ms, error_code=error, session_id=session_id, responses=tuple(responses)
    )
    return correlation_id, answer
