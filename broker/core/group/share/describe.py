"""ShareGroupDescribe: state, members, what they read. A group of another kind is not found."""

from __future__ import annotations

from broker.core.errors import Code, Refused
from broker.core.group.consumer.describe import GROUP_OPERATIONS
from broker.core.group.consumer.places import by_topic
from broker.core.group.coordinator import GroupCoordinator
from broker.core.group.share.assignor import NAME
from broker.core.group.share.group import ShareGroup
from broker.core.metadata.image import Image
from broker.wire.messages.metadata import NOT_ASKED
from broker.wire.messages.share_group_describe import (
    Assignment,
    DescribedGroup,
    Member,
    ShareGroupDescribeRequest,
    ShareGroupDescribeResponse,
    TopicPartitions,
)

DEAD = "Dead"


def describe(
    coordinator: GroupCoordinator, image: Image, request: ShareGroupDescribeRequest
) -> ShareGroupDescribeResponse:
    """Return the groups."""
    allowed = GROUP_OPERATIONS if request.include_authorized_operations else NOT_ASKED
    return ShareGroupDescribeResponse(
        groups=tuple(_describe_one(coordinator, image, name, allowed) for name in request.group_ids)
    )


def _describe_one(coordinator: GroupCoordinator, image: Image, name: str, allowed: int) -> DescribedGroup:
    try:
        shard = coordinator.shard(name)
        group = shard.shares.get(name)
    except Refused as refused:
        return DescribedGroup(group_id=name, error_code=refused.code, error_message=refused.message)
    if group is None:
        why = f"Group {name} is not a share group." if shard.has_group(name) else f"Group {name} not found."
        return DescribedGroup(group_id=name, error_code=Code.GROUP_ID_NOT_FOUND, error_message=why, group_state=DEAD)
    return DescribedGroup(
        group_id=name,
        group_state=group.state,
        group_epoch=group.epoch,
        assignment_epoch=group.target_epoch,
        assignor_name=NAME,
        members=tuple(_member(group, image, member_id) for member_id in group.members),
        authorized_operations=allowed,
    )


def _member(group: ShareGroup, image: Image, member_id: str) -> Member:
    member, now = group.members[member_id], group.member(member_id)
    return Member(
        member_id=member_id,
        rack_id=member.rack_id,
        member_epoch=now.epoch,
        client_id=member.client_id,
        client_host=member.host,
        subscribed_topic_names=member.topics,
        assignment=Assignment(
            topic_partitions=tuple(
                TopicPartitions(
                    topic_id=bytes.fromhex(topic_id), topic_name=image.topics[topic_id].name, partitions=indexes
                )
                for topic_id, indexes in by_topic(now.assigned)
                if topic_id in image.topics
            )
        ),
    )
