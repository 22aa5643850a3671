"""Which topics a group's members subscribe to: their offsets are in use.

A classic member says it in what it tells the assignor, which only consumers do (ConsumerProtocolSubscription).
"""

from __future__ import annotations

import struct

from broker.core.errors import Code, Refused
from broker.core.group.coordinator import GroupCoordinator
from broker.core.group.group import State
from broker.core.group.group_shard import GroupShard


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


def subscribed(coordinator: GroupCoordinator, shard: GroupShard, name: str) -> set[str]:
    """Return all topics that members of a group subscribe to; raise Refused for a group that is no consumers'."""
    consumers, group = shard.consumers.get(name), shard.groups.get(name)
    if consumers is not None:
        topics, to_ids = coordinator.image().topics, coordinator.heartbeats.subscriptions.topics
        return {topics[topic_id].name for member in consumers.members.values() for topic_id in to_ids(member)}
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
