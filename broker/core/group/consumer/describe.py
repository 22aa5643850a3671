"""ConsumerGroupDescribe: state, members, what they have and shall have. A group of another kind is not found."""

from __future__ import annotations

from broker.core.errors import Code, Refused
from broker.core.group.consumer.assignors import ASSIGNORS
from broker.core.group.consumer.group import ConsumerGroup
from broker.core.group.consumer.places import Places, by_topic
from broker.core.group.coordinator import GroupCoordinator
from broker.core.metadata.image import Image
from broker.wire.messages.consumer_group_describe import (
    Assignment,
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
    DescribedGroup,
    Member,
    TopicPartitions,
)
from broker.wire.messages.metadata import NOT_ASKED

CLASSIC, CONSUMER = 0, 1
GROUP_OPERATIONS = sum(1 << operation for operation in (3, 6, 8, 10, 11))
"""What Kafka reports as allowed where no authorizer is configured: bits of AclOperation."""


def describe(
    coordinator: GroupCoordinator, image: Image, request: ConsumerGroupDescribeRequest
) -> ConsumerGroupDescribeResponse:
    """Return the groups."""
    allowed = GROUP_OPERATIONS if request.include_authorized_operations else NOT_ASKED
    return ConsumerGroupDescribeResponse(
        groups=tuple(_describe_one(coordinator, image, name, allowed) for name in request.group_ids)
    )


def _describe_one(coordinator: GroupCoordinator, image: Image, name: str, allowed: int) -> DescribedGroup:
    try:
        shard = coordinator.shard(name)
    except Refused as refused:
        return DescribedGroup(group_id=name, error_code=refused.code, error_message=refused.message)
    group = shard.consumers.get(name)
    if group is None:
        is_another = name in shard.groups or name in shard.shares or any(key.group == name for key in shard.offsets)
        why = f"Group {name} is not a consumer group." if is_another else f"Group {name} not found."
        return DescribedGroup(group_id=name, error_code=Code.GROUP_ID_NOT_FOUND, error_message=why)
    wanted = [member.assignor for member in group.members.values() if member.assignor is not None]
    return DescribedGroup(
        group_id=name,
        group_state=group.state.value,
        group_epoch=group.epoch,
        assignment_epoch=group.target_epoch,
        assignor_name=max(wanted, key=wanted.count) if wanted else next(iter(ASSIGNORS)),
        members=tuple(_member(group, image, member_id) for member_id in group.members),
        authorized_operations=allowed,
    )


def _member(group: ConsumerGroup, image: Image, member_id: str) -> Member:
    member, now = group.members[member_id], group.member(member_id)
    return Member(
        member_id=member_id,
        instance_id=member.instance_id,
        rack_id=member.rack_id,
        member_epoch=now.epoch,
        client_id=member.client_id,
        client_host=member.host,
        subscribed_topic_names=member.topics,
        subscribed_topic_regex=member.regex or "",
        assignment=_assignment(image, now.assigned),
        target_assignment=_assignment(image, group.target.get(member_id, ())),
        member_type=CONSUMER if member.classic is None else CLASSIC,
    )


def _assignment(image: Image, places: Places) -> Assignment:
    return Assignment(
        topic_partitions=tuple(
            TopicPartitions(
                topic_id=bytes.fromhex(topic_id), topic_name=image.topics[topic_id].name, partitions=indexes
            )
            for topic_id, indexes in by_topic(places)
            if topic_id in image.topics
        )
    )
