"""OffsetDelete: a group forgets offsets of topics that none of its members subscribes to (KIP-496).

A topic that is subscribed to is refused: its members would start anew without knowing it. A group of another kind than
consumers must be empty.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.errors import Code, Refused
from broker.core.group.coordinator import GroupCoordinator
from broker.core.group.group_records import OffsetKey, encode_key
from broker.core.group.group_shard import GroupShard
from broker.core.group.subscribed import subscribed
from broker.core.metadata.image import Image
from broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)

Place = tuple[str, int]
"""Topic and partition."""


def delete(
    coordinator: GroupCoordinator,
    image: Image,
    answer: Callable[[OffsetDeleteResponse], None],
    request: OffsetDeleteRequest,
) -> None:
    """Delete offsets; answer when that is replicated."""
    codes: dict[Place, Code] = {}
    try:
        shard = coordinator.shard(request.group_id)
        taken = subscribed(coordinator, shard, request.group_id)
        doomed = _doomed(shard, image, request, codes, taken)

        def done(code: Code) -> None:
            for key in doomed if not code else ():
                shard.forget(key)
            answer(OffsetDeleteResponse(topics=_results(request, codes, code)))

        if doomed:
            coordinator.write(shard, [(encode_key(key), None) for key in doomed], done)
        else:
            done(Code.NONE)
    except Refused as refused:
        answer(OffsetDeleteResponse(error_code=refused.code))


def _doomed(
    shard: GroupShard, image: Image, request: OffsetDeleteRequest, codes: dict[Place, Code], taken: set[str]
) -> list[OffsetKey]:
    """Return the offsets that may go; what stands against the others goes into `codes`. Raise Refused."""
    name, doomed = request.group_id, []
    if not shard.has_group(name):
        raise Refused(Code.GROUP_ID_NOT_FOUND, f"no group {name!r}")
    for topic in request.topics:
        known = image.topic(topic.name)
        for partition in topic.partitions:
            at = (topic.name, partition.partition_index)
            if known is None or partition.partition_index not in known.partitions:
                codes[at] = Code.UNKNOWN_TOPIC_OR_PARTITION
            elif topic.name in taken:
                codes[at] = Code.GROUP_SUBSCRIBED_TO_TOPIC
            elif OffsetKey(name, *at) in shard.offsets:
                doomed.append(OffsetKey(name, *at))
    return doomed


def _results(
    request: OffsetDeleteRequest, codes: dict[Place, Code], code: Code
) -> tuple[OffsetDeleteResponseTopic, ...]:
    return tuple(
        OffsetDeleteResponseTopic(
            name=topic.name,
            partitions=tuple(
                OffsetDeleteResponsePartition(
                    partition_index=partition.partition_index,
                    error_code=codes.get((topic.name, partition.partition_index), code),
                )
                for partition in topic.partitions
            ),
        )
        for topic in request.topics
    )
