"""What a probe asks one node, and what it reads from the answers: pure, for probes on sockets and on the virtual clock.

A question is a generator: it yields requests, is sent the responses, and returns the fields that HISTORY.md names for
its API. `Unanswered` says why there are none. Who performs it negotiates versions, keeps time, and turns every failure
into a `fail`: a probe changes nothing.

    Metadata             leader, epoch and ISR as this node knows them, the topic's id
    ListOffsets          LSO, high watermark and log start (only the leader answers)
    DescribeQuorum       leader, epoch and high watermark of the metadata quorum (asked of its leader, whoever is asked)
    OffsetForLeaderEpoch where the epoch before its own ended, as the leader of `epoch` says (E2, E3)
    Fetch                the last offset of one answer, beside the high watermark and LSO of the same answer (R1), and
                         what the leader says `again` where the records reach it
    ReplicaLog           the batches of this node's replica, leader or not, that it knows to be committed (R3)
    TimeIndex            what the leader says of which record is the first one from a time on, for times that records
                         within its newest batches have (S4)

A follower answers a consumer's Fetch of version 11 or later from its own log, up to its own high watermark (KIP-392):
that is how a replica's log is read from outside, on any cluster. The checksum of a batch does not cover the leader
epoch, so it is the same on all replicas as long as nobody compacts. It is computed anew from what the batch holds,
packed or not: the one in its header would hide a byte that changed behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from broker.wire import batch
from broker.wire.batch import CorruptBatchError
from broker.wire.entries import entries, records_of
from broker.wire.errors import error_name
from broker.wire.message import Request
from broker.wire.messages.describe_quorum import DescribeQuorumRequest
from broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic, PartitionData
from broker.wire.messages.list_offsets import (
    EARLIEST,
    LATEST,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponsePartition
from broker.wire.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from broker.wire.primitives import NO_UUID

Fields = dict[str, Any]
Asking = Generator[Request, Any, Fields]
"""Yields requests, is sent their responses, returns the answer's fields."""

OUT_OF_RANGE: Final = 1
ANY_REPLICA: Final = -2
"""As `replica_id` of a ListOffsets: Apache Kafka answers from the node's own replica, leader or not."""
NEWEST: Final = 50
"""How far before its end a leader's log is looked at by `Fetch`."""
LOOKED_AT: Final = 5000
"""Offsets of a replica that `ReplicaLog` looks at, the newest; a line of the history stays below about 150 KB."""
TIMED: Final = 200
"""How far before its end a leader's log is looked at by `TimeIndex`."""
TIMES: Final = 5
"""Of so many records, from the first to the last there, `TimeIndex` asks for the time."""
FETCH_BYTES: Final = 1 << 20
MOST_FETCHES: Final = 200
"""Bound of one `ReplicaLog`: batches of LOOKED_AT offsets, in answers of a megabyte and of one segment each."""


class UnansweredError(Exception):
    """The node answered, but not what was asked."""


def metadata(value: Mapping[str, Any], names: Callable[[int], str]) -> Asking:
    """Ask for the partition's leader."""
    found, topic_id = yield from _partition(*_place(value))
    leader = names(found.leader_id) if found.leader_id >= 0 else None
    told = {"leader": leader, "epoch": found.leader_epoch, "isr": [*map(names, found.isr_nodes)]}
    return told | ({"topic-id": topic_id.hex()} if topic_id != NO_UUID else {})


def list_offsets(value: Mapping[str, Any], names: Callable[[int], str]) -> Asking:  # noqa: ARG001 - as all questions
    """Ask for the partition's ends: the LSO first, so that LSO <= HW whatever happens in between."""
    place = _place(value)
    lso = yield from _offset(*place, READ_COMMITTED, LATEST)
    high = yield from _offset(*place, READ_UNCOMMITTED, LATEST)
    if lso[1] != high[1]:
        raise UnansweredError(f"LIST_OFFSETS: in epoch {lso[1]}, and then in epoch {high[1]}")
    start = yield from _offset(*place, READ_UNCOMMITTED, EARLIEST)
    return {"lso": lso[0], "hw": high[0], "log-start": start[0], "epoch": high[1]}


def describe_quorum(value: Mapping[str, Any], names: Callable[[int], str]) -> Asking:
    """Ask who leads the metadata quorum."""
    del value
    answer = yield DescribeQuorumRequest()
    _refuse(answer.error_code, "DESCRIBE_QUORUM")
    for topic in answer.topics:
        for part in topic.partitions:
            _refuse(part.error_code, "DESCRIBE_QUORUM")
            leader = names(part.leader_id) if part.leader_id >= 0 else None
            return {"leader": leader, "epoch": part.leader_epoch, "hw": part.high_watermark}
    raise UnansweredError("DESCRIBE_QUORUM: an answer without the quorum's partition")


def epoch_end(value: Mapping[str, Any], names: Callable[[int], str]) -> Asking:  # noqa: ARG001 - as all questions
    """Ask the leader where the epoch before its own ended; its own epoch is proven by asking for no other."""
    topic, index = _place(value)
    found, _ = yield from _partition(topic, index)
    asked = found.leader_epoch - 1
    if asked < 0:
        raise UnansweredError(f"{topic}/{index} had no epoch before {found.leader_epoch}")
    part = OffsetForLeaderPartition(partition=index, current_leader_epoch=found.leader_epoch, leader_epoch=asked)
    answer = yield OffsetForLeaderEpochRequest(
        replica_id=-1, topics=(OffsetForLeaderTopic(topic=topic, partitions=(part,)),)
    )
    end = answer.topics[0].partitions[0]
    _refuse(end.error_code, "OFFSET_FOR_LEADER_EPOCH")
    if end.end_offset < 0:
        raise UnansweredError(f"{topic}/{index}: the leader knows no end of epoch {asked}")
    return {"asked": asked, "epoch": found.leader_epoch, "end": end.end_offset}


def fetch(value: Mapping[str, Any], names: Callable[[int], str]) -> Asking:  # noqa: ARG001 - as all questions
    """Read the newest records as a consumer; the isolation is that of `value`."""
    topic, index = _place(value)
    found, topic_id = yield from _partition(topic, index)
    high = yield from _offset(topic, index, READ_UNCOMMITTED, LATEST)
    start = yield from _offset(topic, index, READ_UNCOMMITTED, EARLIEST)
    offset = max(start[0], high[0] - NEWEST)
    level = READ_COMMITTED if value.get("isolation") == "read_committed" else READ_UNCOMMITTED
    data = yield from _read((topic, topic_id, index), offset, level, found.leader_epoch)
    _refuse(data.error_code, "FETCH")
    last = max((header.last_offset for header, _ in _batches(data)), default=None)
    fields = {"hw": data.high_watermark, "lso": data.last_stable_offset, "epoch": found.leader_epoch}
    if last is None:
        return fields
    if last < (fields["lso"] if level == READ_COMMITTED else fields["hw"]):
        return fields | {"last-offset": last}
    again = yield from _offset(topic, index, level, LATEST)
    return fields | {"last-offset": last, "again": again[0]}


def replica_log(value: Mapping[str, Any], names: Callable[[int], str]) -> Asking:
    """Read the newest batches of the node's own replica."""
    topic, index = _place(value)
    found, topic_id = yield from _partition(topic, index)
    place = topic, topic_id, index
    data = yield from _read(place, 0, READ_UNCOMMITTED)
    if data.error_code == OUT_OF_RANGE and data.log_start_offset < 0:  # Apache Kafka says no more than that
        start, _ = yield from _offset(topic, index, READ_UNCOMMITTED, EARLIEST, replica_id=ANY_REPLICA)
        data = yield from _read(place, start, READ_UNCOMMITTED)
    start = max(data.high_watermark - LOOKED_AT, data.log_start_offset, 0)
    if start > 0 or data.error_code == OUT_OF_RANGE:
        data = yield from _read(place, start, READ_UNCOMMITTED)
    batches: list[list[int]] = []
    end = start
    for _ in range(MOST_FETCHES):
        _refuse(data.error_code, "FETCH")
        new = [[one.base_offset, one.last_offset, crc] for one, crc in _batches(data) if one.last_offset >= end]
        batches += new
        if not new or new[-1][1] + 1 >= data.high_watermark:
            break
        end = new[-1][1] + 1
        data = yield from _read(place, end, READ_UNCOMMITTED)
    read_to = batches[-1][1] + 1 if batches else start
    return {
        "log-start": max(data.log_start_offset, 0),
        "from": start,
        "hw": min(read_to, data.high_watermark),
        "batches": batches,
        "isr": [*map(names, found.isr_nodes)],
    }


def time_index(value: Mapping[str, Any], names: Callable[[int], str]) -> Asking:  # noqa: ARG001 - as all questions
    """Ask the leader for the first record of times that records have, those inside of packed batches too.

    `times`: [time, the answer's offset, the time of the record there, a record of that time that is there before and
    after the answer], null where there is none.
    """
    topic, index = _place(value)
    found, topic_id = yield from _partition(topic, index)
    high = yield from _offset(topic, index, READ_UNCOMMITTED, LATEST)
    start = yield from _offset(topic, index, READ_UNCOMMITTED, EARLIEST)
    place, begin = (topic, topic_id, index), max(start[0], high[0] - TIMED)
    known = _times((yield from _read(place, begin, READ_UNCOMMITTED, found.leader_epoch)))
    offsets = sorted(offset for offset in known if begin <= offset < high[0])
    chosen = sorted({offsets[(len(offsets) - 1) * part // (TIMES - 1)] for part in range(TIMES)} if offsets else ())
    times: list[tuple[int, int | None, int | None, int]] = []
    for offset in chosen:
        told, _ = yield from _offset(topic, index, READ_UNCOMMITTED, known[offset])
        there = None
        if told >= 0:
            there = _times((yield from _read(place, told, READ_UNCOMMITTED, found.leader_epoch))).get(told)
        times.append((known[offset], told if told >= 0 else None, there, offset))
    after = _times((yield from _read(place, begin, READ_UNCOMMITTED, found.leader_epoch))) if times else {}
    return {"epoch": found.leader_epoch, "times": [[*one] for one in times if after.get(one[3]) == one[0]]}


QUESTIONS: Final[Mapping[str, Callable[[Mapping[str, Any], Callable[[int], str]], Asking]]] = {
    "Metadata": metadata,
    "ListOffsets": list_offsets,
    "DescribeQuorum": describe_quorum,
    "OffsetForLeaderEpoch": epoch_end,
    "Fetch": fetch,
    "ReplicaLog": replica_log,
    "TimeIndex": time_index,
}
"""By the name of the `api` in a probe's value."""


def _place(value: Mapping[str, Any]) -> tuple[str, int]:
    topic, _, index = value["key"].rpartition("/")
    return topic, int(index)


def _partition(topic: str, index: int) -> Generator[Request, Any, tuple[MetadataResponsePartition, bytes]]:
    """Return what the node's metadata say of the partition, and the topic's id."""
    answer = yield MetadataRequest(topics=(MetadataRequestTopic(name=topic),), allow_auto_topic_creation=False)
    for found in answer.topics:
        for part in found.partitions:
            if part.partition_index == index:
                return part, found.topic_id
    raise UnansweredError(f"METADATA: it does not know {topic}/{index}")


def _offset(
    topic: str, index: int, level: int, timestamp: int, *, replica_id: int = -1
) -> Generator[Request, Any, tuple[int, int]]:
    """Return an offset and its leader epoch."""
    asked = (ListOffsetsPartition(partition_index=index, timestamp=timestamp),)
    topics = (ListOffsetsTopic(name=topic, partitions=asked),)
    answer = yield ListOffsetsRequest(replica_id=replica_id, isolation_level=level, topics=topics)
    for one in answer.topics:
        for part in one.partitions:
            _refuse(part.error_code, "LIST_OFFSETS")
            return part.offset, part.leader_epoch
    raise UnansweredError("LIST_OFFSETS: no answer for the partition")


def _read(
    place: tuple[str, bytes, int], offset: int, level: int, epoch: int = -1
) -> Generator[Request, Any, PartitionData]:
    """Return one partition's part of a Fetch answer."""
    topic, topic_id, index = place
    part = FetchPartition(
        partition=index, current_leader_epoch=epoch, fetch_offset=offset, partition_max_bytes=FETCH_BYTES
    )
    answer = yield FetchRequest(
        max_bytes=FETCH_BYTES,
        isolation_level=level,
        topics=(FetchTopic(topic=topic, topic_id=topic_id, partitions=(part,)),),
    )
    _refuse(answer.error_code, "FETCH")
    for one in answer.responses:
        for data in one.partitions:
            assert isinstance(data, PartitionData)
            return data
    raise UnansweredError("FETCH: no answer for the partition")


def _batches(data: PartitionData) -> list[tuple[batch.BatchHeader, int]]:
    """Return header and checksum of each of the answer's whole batches."""
    if not data.records:
        return []
    records = data.records
    assert isinstance(records, bytes | bytearray | memoryview), "a region is the broker's own matter"
    try:
        return [(header, batch.checksum(records, position, header)) for position, header in batch.parse(records)]
    except CorruptBatchError as error:
        raise UnansweredError(f"FETCH: {error}") from error


def _times(data: PartitionData) -> dict[int, int]:
    """Return the times of the answer's records, by offset. Raises UnansweredError."""
    _refuse(data.error_code, "FETCH")
    records, times = data.records or b"", dict[int, int]()
    assert isinstance(records, bytes | bytearray | memoryview), "a region is the broker's own matter"
    try:
        for position, header in batch.parse(records):
            for one in entries(records_of(records, position, header), header.record_count):
                late = (
                    header.max_timestamp if header.is_log_append_time else header.base_timestamp + one.timestamp_delta
                )
                times[header.base_offset + one.offset_delta] = late
    except CorruptBatchError as error:
        raise UnansweredError(f"FETCH: {error}") from error
    return times


def _refuse(code: int, api: str) -> None:
    if code:
        raise UnansweredError(f"{api}: {error_name(code)}")
