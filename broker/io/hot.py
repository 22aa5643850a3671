"""The record path, by hand: read a Produce request and write a Fetch response without copying records.

`read_produce` returns records as views into the received frame (the core patches them in place and the disk writes
them). `write_fetch` returns chunks: bytes around the regions, for each of which `read` gives bytes or a span of its
file. `write_produced` writes an answer to Produce in which nothing is refused. All agree with `broker.wire.codec` in
every version that is served; a Fetch response with a tagged field in a partition (an error, a divergence) is left to
the codec. No records are an empty set on the wire, never null: librdkafka takes null for an error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import cast

from broker.io.stream import Chunk
from broker.wire.errors import WireError
from broker.wire.header import skip_tags
from broker.wire.messages.fetch import (
    EpochEndOffset,
    FetchableTopicResponse,
    FetchResponse,
    LeaderIdAndEpoch,
    PartitionData,
    Region,
    SnapshotId,
)
from broker.wire.messages.produce import LeaderIdAndEpoch as CurrentLeader
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from broker.wire.primitives import (
    read_compact_length,
    read_int16_length,
    read_int32_length,
    sized,
    write_compact_length,
    write_int16_length,
    write_int32_length,
)

_PRODUCE_FLEXIBLE = 9
_PRODUCE_BY_ID = 13
_FETCH_FLEXIBLE = 12
_FETCH_BY_ID = 13
_ACKS_TIMEOUT = struct.Struct(">hi")
_INT32 = struct.Struct(">i")
_SESSION = struct.Struct(">ihi")
_PARTITION_4 = struct.Struct(">ihqq")
_PARTITION = struct.Struct(">ihqqq")
_ABORTED = struct.Struct(">qq")
_PRODUCED = struct.Struct(">ihqqqbbb")
"""A partition's answer, with no record errors, no message, and no tagged fields."""
_OLD = {
    nullable: sized(read_int16_length, write_int16_length, text=True, nullable=nullable) for nullable in (False, True)
}
_NEW = {
    nullable: sized(read_compact_length, write_compact_length, text=True, nullable=nullable)
    for nullable in (False, True)
}
_NO_NEWS = CurrentLeader()
_NO_DIVERGENCE, _NO_LEADER, _NO_SNAPSHOT = EpochEndOffset(), LeaderIdAndEpoch(), SnapshotId()


def read_produce(payload: memoryview, at: int, version: int) -> ProduceRequest:
    """Return the request whose body begins at `at`; WireError when it is none."""
    try:
        return _read_produce(payload, at, flexible=version >= _PRODUCE_FLEXIBLE, by_id=version >= _PRODUCE_BY_ID)
    except struct.error as error:
        raise WireError(f"truncated: ProduceRequest version {version}: {error}") from error


def _read_produce(payload: memoryview, at: int, *, flexible: bool, by_id: bool) -> ProduceRequest:
    read_length = read_compact_length if flexible else read_int32_length
    strings = _NEW if flexible else _OLD
    transactional_id, at = strings[True][0](payload, at)
    acks, timeout_ms = _ACKS_TIMEOUT.unpack_from(payload, at)
    count, at = _count(payload, *read_length(payload, at + _ACKS_TIMEOUT.size))
    topics = []
    for _ in range(count):
        fields: dict[str, str | bytes] = {}
        if by_id:
            fields["topic_id"] = bytes(payload[at : at + 16])
            at += 16
        else:
            fields["name"], at = strings[False][0](payload, at)
        inner, at = _count(payload, *read_length(payload, at))
        partitions = []
        for _ in range(inner):
            index: int = _INT32.unpack_from(payload, at)[0]
            size, at = read_length(payload, at + _INT32.size)
            records = None
            if size >= 0:
                if size > len(payload) - at:
                    raise WireError(f"truncated: {size} bytes of records where {len(payload) - at} are left")
                records = payload[at : at + size]
                at += size
            elif size < -1:
                raise WireError(f"records of {size} bytes before byte {at}")
            at = skip_tags(payload, at) if flexible else at
            partitions.append(PartitionProduceData(index=index, records=records))
        at = skip_tags(payload, at) if flexible else at
        topics.append(TopicProduceData(partition_data=tuple(partitions), **fields))  # type: ignore[arg-type]
    if flexible:
        skip_tags(payload, at)
    return ProduceRequest(
        transactional_id=cast("str | None", transactional_id),
        acks=acks,
        timeout_ms=timeout_ms,
        topic_data=tuple(topics),
    )


def _count(payload: memoryview, count: int, at: int) -> tuple[int, int]:
    if not 0 <= count <= len(payload) - at:
        raise WireError(f"an array of {count} elements where {len(payload) - at} bytes are left")
    return count, at


def write_produced(message: ProduceResponse, version: int, correlation_id: int) -> bytes | None:
    """Return the frame of an answer that says nothing but offsets, in the newer versions; None for any other."""
    if version < _PRODUCE_FLEXIBLE or message.node_endpoints:
        return None
    out = bytearray(_INT32.size) + _INT32.pack(correlation_id)
    out.append(0)
    write_compact_length(out, len(message.responses))
    for topic in message.responses:
        if version >= _PRODUCE_BY_ID:
            out += topic.topic_id
        else:
            _NEW[False][1](out, topic.name)
        write_compact_length(out, len(topic.partition_responses))
        for one in topic.partition_responses:
            if one.error_code or one.record_errors or one.error_message is not None or one.current_leader != _NO_NEWS:
                return None
            out += _PRODUCED.pack(one.index, 0, one.base_offset, one.log_append_time_ms, one.log_start_offset, 1, 0, 0)
        out.append(0)
    out += _INT32.pack(message.throttle_time_ms)
    out.append(0)
    _INT32.pack_into(out, 0, len(out) - _INT32.size)
    return bytes(out)


def is_plain(message: FetchResponse) -> bool:
    """Return whether `write_fetch` can write the message."""
    return not message.node_endpoints and all(
        data.diverging_epoch == _NO_DIVERGENCE
        and data.current_leader == _NO_LEADER
        and data.snapshot_id == _NO_SNAPSHOT
        for topic in message.responses
        for data in topic.partitions
    )


def write_fetch(
    message: FetchResponse, version: int, correlation_id: int, read: Callable[[Region], Chunk]
) -> list[Chunk]:
    """Return the frame, with its length, in chunks. Raises ShortReadError."""
    flexible = version >= _FETCH_FLEXIBLE
    chunks: list[Chunk] = []
    out = bytearray(_INT32.size) + _INT32.pack(correlation_id)
    out += b"\0" if flexible else b""
    if version >= 7:
        out += _SESSION.pack(message.throttle_time_ms, message.error_code, message.session_id)
    else:
        out += _INT32.pack(message.throttle_time_ms)
    write_length = write_compact_length if flexible else write_int32_length
    write_length(out, len(message.responses))
    for topic in message.responses:
        _topic(out, topic, version)
        write_length(out, len(topic.partitions))
        for data in topic.partitions:
            _head(out, data, version)
            records = data.records
            if records is None:
                write_length(out, 0)
            else:
                chunk = read(records) if isinstance(records, Region) else records
                write_length(out, len(chunk))
                chunks += [out, chunk]
                out = bytearray()
            out += b"\0" if flexible else b""
        out += b"\0" if flexible else b""
    out += b"\0" if flexible else b""
    chunks.append(out)
    first = cast("bytearray", chunks[0])
    _INT32.pack_into(first, 0, sum(map(len, chunks)) - _INT32.size)
    return chunks


def _topic(out: bytearray, topic: FetchableTopicResponse, version: int) -> None:
    if version >= _FETCH_BY_ID:
        out += topic.topic_id
    else:
        (_NEW if version >= _FETCH_FLEXIBLE else _OLD)[False][1](out, topic.topic)


def _head(out: bytearray, data: PartitionData, version: int) -> None:
    """Write a partition up to its records."""
    common = (data.partition_index, data.error_code, data.high_watermark, data.last_stable_offset)
    if version >= 5:
        out += _PARTITION.pack(*common, data.log_start_offset)
    else:
        out += _PARTITION_4.pack(*common)
    aborted = data.aborted_transactions
    write_length = write_compact_length if version >= _FETCH_FLEXIBLE else write_int32_length
    write_length(out, -1 if aborted is None else len(aborted))
    for one in aborted or ():
        out += _ABORTED.pack(one.producer_id, one.first_offset)
        out += b"\0" if version >= _FETCH_FLEXIBLE else b""
    if version >= 11:
        out += _INT32.pack(data.preferred_read_replica)
