"""OffsetFetch: what a group has committed, in either shape of the request.

An unknown group has committed nothing; that is an answer, not an error. With `require_stable` an offset that an open
transaction may still change is refused (KIP-447): its reader must wait for the marker, as `stable_offsets` does.

So are all offsets while this node may be deposed without knowing it, cut off from the controller for as long as a
session: its successor may have newer ones, and whoever copied exactly once would go back and do it twice. Apache Kafka
answers with what was committed before the cut (docs/findings.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import Code, Refused
from broker.core.group.group_records import OffsetKey
from broker.core.group.group_shard import GroupShard
from broker.core.metadata.image import Image
from broker.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)
from broker.wire.primitives import NO_UUID

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator


def fetch(
    coordinator: GroupCoordinator, image: Image, request: OffsetFetchRequest
) -> tuple[OffsetFetchResponse, frozenset[int]]:
    """Return the offsets of one group (old shape) or of several, and whose transactions stand before some of them.

    These are ids of producers.
    """
    holders = set[int]() if request.require_stable else None
    answer = _fetch(coordinator, image, request, holders)
    return answer, frozenset(holders or ())


def _fetch(
    coordinator: GroupCoordinator, image: Image, request: OffsetFetchRequest, holders: set[int] | None
) -> OffsetFetchResponse:
    if request.groups:
        return OffsetFetchResponse(groups=tuple(_group(coordinator, image, ask, holders) for ask in request.groups))
    wanted = request.topics
    topics = None
    if wanted is not None:
        topics = tuple(OffsetFetchRequestTopics(name=t.name, partition_indexes=t.partition_indexes) for t in wanted)
    ask = OffsetFetchRequestGroup(group_id=request.group_id, topics=topics)
    group = _group(coordinator, image, ask, holders)
    return OffsetFetchResponse(
        error_code=group.error_code,
        topics=tuple(
            OffsetFetchResponseTopic(
                name=topic.name,
                partitions=tuple(
                    OffsetFetchResponsePartition(
                        partition_index=item.partition_index,
                        committed_offset=item.committed_offset,
                        committed_leader_epoch=item.committed_leader_epoch,
                        metadata=item.metadata,
                        error_code=item.error_code,
                    )
                    for item in topic.partitions
                ),
            )
            for topic in group.topics
        ),
    )


def _group(
    coordinator: GroupCoordinator, image: Image, ask: OffsetFetchRequestGroup, holders: set[int] | None
) -> OffsetFetchResponseGroup:
    try:
        shard = coordinator.shard(ask.group_id, may_be_empty=True)
        consumers = shard.consumers.get(ask.group_id)
        if consumers is not None and ask.member_id is not None and ask.member_epoch >= 0:
            consumers.check_commit(ask.member_id, ask.member_epoch)
    except Refused as refused:
        return OffsetFetchResponseGroup(group_id=ask.group_id, error_code=refused.code)
    wanted = ask.topics
    if wanted is None:
        found: dict[str, list[int]] = {}
        for key in shard.offsets:
            if key.group == ask.group_id:
                found.setdefault(key.topic, []).append(key.partition)
        wanted = tuple(OffsetFetchRequestTopics(name=name, partition_indexes=tuple(p)) for name, p in found.items())
    is_unsure = holders is not None and coordinator.may_be_deposed
    topics = []
    for topic in wanted:
        name, topic_id = topic.name, topic.topic_id
        if topic_id != NO_UUID:
            known = image.topics.get(topic_id.hex())
            name = "" if known is None else known.name
        elif (known_id := image.topic_ids.get(name)) is not None:
            topic_id = bytes.fromhex(known_id)
        unknown = topic.topic_id != NO_UUID and not name
        partitions = tuple(
            OffsetFetchResponsePartitions(partition_index=index, error_code=Code.UNKNOWN_TOPIC_ID)
            if unknown
            else _unstable(index)
            if is_unsure
            else _offset(shard, OffsetKey(ask.group_id, name, index), holders)
            for index in topic.partition_indexes
        )
        topics.append(OffsetFetchResponseTopics(name=name, topic_id=topic_id, partitions=partitions))
    return OffsetFetchResponseGroup(group_id=ask.group_id, topics=tuple(topics))


def _unstable(index: int) -> OffsetFetchResponsePartitions:
    return OffsetFetchResponsePartitions(partition_index=index, error_code=Code.UNSTABLE_OFFSET_COMMIT)


def _offset(shard: GroupShard, key: OffsetKey, holders: set[int] | None) -> OffsetFetchResponsePartitions:
    """Return a committed offset; with `holders`, only if no open transaction may change it."""
    if holders is not None and (found := shard.holders(key)):
        holders.update(found)
        return _unstable(key.partition)
    value = shard.offsets.get(key)
    if value is None:
        return OffsetFetchResponsePartitions(partition_index=key.partition, metadata="")
    return OffsetFetchResponsePartitions(
        partition_index=key.partition,
        committed_offset=value.offset,
        committed_leader_epoch=value.leader_epoch,
        metadata=value.metadata,
    )
