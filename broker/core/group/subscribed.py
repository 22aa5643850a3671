"""Which topics a group's members subscribe to: their offsets are in use.

A classic member says it in what it tells the assignor, which only consumers do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import Code, Refused
from broker.core.group.consumer_protocol import read_subscription
from broker.core.group.group import State
from broker.core.group.group_shard import GroupShard

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator


def subscribed(coordinator: GroupCoordinator, shard: GroupShard, name: str) -> set[str]:
    """Return all topics that members of a group subscribe to; raise Refused for a group that is no consumers'."""
    consumers, group = shard.consumers.get(name), shard.groups.get(name)
    if consumers is not None:
        topics, to_ids = coordinator.image().topics, coordinator.heartbeats.subscriptions.topics
        return {
            topics[topic_id].name
            for member in consumers.members.values()
            for topic_id in to_ids(member, consumers.resolved)
        }
    if group is None or group.state is State.EMPTY:
        return set()
    if group.protocol_type != "consumer":
        raise Refused(Code.NON_EMPTY_GROUP, f"{group.name} is a group of {group.protocol_type!r} with members")
    return {
        topic
        for member in group.members.values()
        for _, metadata in member.protocols
        for topic in read_subscription(metadata).topics
    }
