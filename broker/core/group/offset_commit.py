"""OffsetCommit: offsets of a group that no transaction holds; they count when they are replicated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import Code
from broker.core.group.group_records import Offset, OffsetKey, encode_key, encode_offset
from broker.core.group.group_shard import GroupShard
from broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from broker.wire.primitives import NO_UUID

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator


def commit(coordinator: GroupCoordinator, request_id: object, message: OffsetCommitRequest, shard: GroupShard) -> None:
    """Write the offsets, answer when they are replicated. Raise Refused."""
    generation = message.generation_id_or_member_epoch
    coordinator.check_commit(shard, message.group_id, (message.member_id, message.group_instance_id, generation))
    image, answers, offsets = coordinator.image(), [], dict[OffsetKey, Offset]()
    for topic in message.topics:
        known = image.topics.get(topic.topic_id.hex()) if topic.topic_id != NO_UUID else image.topic(topic.name)
        results = []
        for partition in topic.partitions:
            code = Code.NONE
            if known is None or partition.partition_index not in known.partitions:
                by_id = topic.topic_id != NO_UUID
                code = Code.UNKNOWN_TOPIC_ID if by_id else Code.UNKNOWN_TOPIC_OR_PARTITION
            elif len(partition.committed_metadata or "") > coordinator.config.offset_metadata_max_bytes:
                code = Code.OFFSET_METADATA_TOO_LARGE
            else:
                key = OffsetKey(message.group_id, known.name, partition.partition_index)
                offsets[key] = Offset(
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                    partition.committed_metadata or "",
                    coordinator.now_ms,
                    shard.log.replica.log.end,
                )
            results.append((partition.partition_index, code))
        answers.append((topic, results))

    def done(code: Code) -> None:
        if not code:
            shard.commit(offsets)
        topics = tuple(
            OffsetCommitResponseTopic(
                name=topic.name,
                topic_id=topic.topic_id,
                partitions=tuple(
                    OffsetCommitResponsePartition(partition_index=index, error_code=own or code)
                    for index, own in results
                ),
            )
            for topic, results in answers
        )
        coordinator.answer(request_id, OffsetCommitResponse(topics=topics))

    if offsets:
        at = shard.log.replica.log.end
        coordinator.write(shard, [(encode_key(key), encode_offset(value)) for key, value in offsets.items()], done)
        shard.note_write(offsets, at)
    else:
        done(Code.NONE)


def refused(message: OffsetCommitRequest, code: Code) -> OffsetCommitResponse:
    """Return the answer that refuses all of it."""
    topics = tuple(
        OffsetCommitResponseTopic(
            name=topic.name,
            topic_id=topic.topic_id,
            partitions=tuple(
                OffsetCommitResponsePartition(partition_index=partition.partition_index, error_code=code)
                for partition in topic.partitions
            ),
        )
        for topic in message.topics
    )
    return OffsetCommitResponse(topics=topics)
