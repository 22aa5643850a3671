"""OffsetDelete: a group forgets offsets of topics that none of its members subscribes to (KIP-496).

A topic that is subscribed to is refused: its members would start anew without knowing it. Whether a member of a classic
group subscribes is read from what it told the assignor, which only consumers do; a group of another kind must be empty.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from broker.core.errors import Code, Refused
from broker.core.group.coordinator import GroupCoordinator
from broker.core.group.group import Group, State
from broker.core.group.group_records import OffsetKey, encode_key
from broker.core.group.group_shard import GroupShard
from broker.core.metadata.image import Image
from broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)

Place = tuple[str, int]
"""Topic and partition."""


def subscribed_topics(metadata: bytes) -> set[str]:
    """Return the topics that a consumer's subscription names (ConsumerProtocolSubscription, any version)."""
    names = set()
    try:
        (count,) = struct.unpack_from(">i", metadata, 2)
        at = 6
        for _ in range(count):
            (size,) = struct.unpack_from(">h", metadata, at)
            names.add(metadata[at + 2 : at + 2 + size].decode())
            at += 2 + size
    except (struct.error, UnicodeDecodeError):
        return names
    return names


def subscriptions(group: Group | None) -> set[str]:
    """Return all topics that members of a group subscribe to; raise Refused for a group that is no consumers'."""
    if group is None or group.state is State.EMPTY:
        return set()
    if group.protocol_type != "consumer":
        raise Refused(Code.NON_EMPTY_GROUP, f"{group.name} is a group of {group.protocol_type!r} with members")
    return {
        topic
        for member in group.members.values()
        for _, metadata in member.protocols
        for topic in subscribed_topics(metadata)
    }


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
        doomed = _doomed(shard, image, request, codes)

        def done(code: Code) -> None:
            for key in doomed if not code else ():
                shard.offsets.pop(key, None)
            answer(OffsetDeleteResponse(topics=_results(request, codes, code)))

        if doomed:
            coordinator.write(shard, [(encode_key(key), None) for key in doomed], done)
        else:
            done(Code.NONE)
    except Refused as refused:
        answer(OffsetDeleteResponse(error_code=refused.code))


def _doomed(shard: GroupShard, image: Image, request: OffsetDeleteRequest, codes: dict[Place, Code]) -> list[OffsetKey]:
    """Return the offsets that may go; what stands against the others goes into `codes`. Raise Refused."""
    name = request.group_id
    group = shard.groups.get(name)
    if group is None and not any(key.group == name for key in shard.offsets):
        raise Refused(Code.GROUP_ID_NOT_FOUND, f"no group {name!r}")
    taken, doomed = subscriptions(group), []
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
