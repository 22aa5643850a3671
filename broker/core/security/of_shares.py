"""What requests of share groups need (KIP-932): rows of `access` that are functions, named after their requests.

Rights and codes are those of Kafka's KafkaApis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from broker.core.errors import Code
from broker.core.security.acl import Operation
from broker.core.security.rules import CODES, GROUP, TOPIC, May, NameOf, Narrowed, Verdict
from broker.wire.message import Response
from broker.wire.messages import share_acknowledge, share_fetch, share_group_heartbeat, share_group_offsets
from broker.wire.primitives import NO_UUID


def heartbeat(message: share_group_heartbeat.ShareGroupHeartbeatRequest, may: May, _: NameOf) -> Verdict:
    """Need READ on the group and DESCRIBE on the topics that it names."""
    answer = share_group_heartbeat.ShareGroupHeartbeatResponse
    if not may(Operation.READ, GROUP, message.group_id):
        return answer(error_code=CODES[GROUP])
    hidden = [name for name in message.subscribed_topic_names or () if not may(Operation.DESCRIBE, TOPIC, name)]
    return answer(error_code=CODES[TOPIC], error_message=f"not allowed: {hidden}") if hidden else None


def fetch(message: share_fetch.ShareFetchRequest, may: May, name_of: NameOf) -> Verdict:
    """Need READ on the group, and on each topic: of the others nothing comes into the session."""
    if not may(Operation.READ, GROUP, message.group_id or ""):
        return share_fetch.ShareFetchResponse(error_code=CODES[GROUP])

    def deny(topic: share_fetch.FetchTopic) -> share_fetch.ShareFetchableTopicResponse:
        refused = tuple(
            share_fetch.PartitionData(
                partition_index=one.partition_index,
                error_code=CODES[TOPIC],
                acknowledge_error_code=CODES[TOPIC] if one.acknowledgement_batches else 0,
            )
            for one in topic.partitions
        )
        return share_fetch.ShareFetchableTopicResponse(topic_id=topic.topic_id, partitions=refused)

    return _narrowed(message, may, lambda topic: name_of(topic.topic_id) or None, deny)


def acknowledge(message: share_acknowledge.ShareAcknowledgeRequest, may: May, name_of: NameOf) -> Verdict:
    """Need READ on the group, and on each topic."""
    if not may(Operation.READ, GROUP, message.group_id or ""):
        return share_acknowledge.ShareAcknowledgeResponse(error_code=CODES[GROUP])

    def deny(topic: share_acknowledge.AcknowledgeTopic) -> share_acknowledge.ShareAcknowledgeTopicResponse:
        refused = tuple(
            share_acknowledge.PartitionData(partition_index=one.partition_index, error_code=CODES[TOPIC])
            for one in topic.partitions
        )
        return share_acknowledge.ShareAcknowledgeTopicResponse(topic_id=topic.topic_id, partitions=refused)

    return _narrowed(message, may, lambda topic: name_of(topic.topic_id) or None, deny)


def describe_offsets(
    message: share_group_offsets.DescribeShareGroupOffsetsRequest, may: May, name_of: NameOf
) -> Verdict:
    """Need DESCRIBE on each group; topics that may not be described are left out, or refused where they are named."""
    del name_of
    kept = tuple(one for one in message.groups if may(Operation.DESCRIBE, GROUP, one.group_id))
    denied = tuple(
        share_group_offsets.DescribedGroup(group_id=one.group_id, error_code=CODES[GROUP])
        for one in message.groups
        if one not in kept
    )
    named = {one.group_id for one in kept if one.topics is not None}

    def finish(given: share_group_offsets.DescribeShareGroupOffsetsResponse) -> Response:
        shown = tuple(_shown(group, may, named=group.group_id in named) for group in given.groups)
        return msgspec.structs.replace(given, groups=(*shown, *denied))

    return Narrowed(msgspec.structs.replace(message, groups=kept), finish)


def _shown(group: share_group_offsets.DescribedGroup, may: May, *, named: bool) -> share_group_offsets.DescribedGroup:
    topics = []
    for topic in group.topics:
        if may(Operation.DESCRIBE, TOPIC, topic.topic_name):
            topics.append(topic)
        elif named:
            refused = tuple(
                share_group_offsets.DescribedPartition(partition_index=one.partition_index, error_code=CODES[TOPIC])
                for one in topic.partitions
            )
            topics.append(msgspec.structs.replace(topic, topic_id=NO_UUID, partitions=refused))
    return msgspec.structs.replace(group, topics=tuple(topics))


def alter_offsets(message: share_group_offsets.AlterShareGroupOffsetsRequest, may: May, _: NameOf) -> Verdict:
    """Need READ on the group, and on each topic."""
    if not may(Operation.READ, GROUP, message.group_id):
        return share_group_offsets.AlterShareGroupOffsetsResponse(error_code=CODES[GROUP])

    def deny(topic: share_group_offsets.AlterTopic) -> share_group_offsets.AlteredTopic:
        refused = tuple(
            share_group_offsets.AlteredPartition(partition_index=one.partition_index, error_code=CODES[TOPIC])
            for one in topic.partitions
        )
        return share_group_offsets.AlteredTopic(topic_name=topic.topic_name, partitions=refused)

    return _narrowed(message, may, lambda topic: topic.topic_name, deny)


def delete_offsets(message: share_group_offsets.DeleteShareGroupOffsetsRequest, may: May, _: NameOf) -> Verdict:
    """Need DELETE on the group, READ on each topic."""
    if not may(Operation.DELETE, GROUP, message.group_id):
        return share_group_offsets.DeleteShareGroupOffsetsResponse(error_code=CODES[GROUP])

    def deny(topic: share_group_offsets.DeleteTopic) -> share_group_offsets.DeletedTopic:
        return share_group_offsets.DeletedTopic(topic_name=topic.topic_name, error_code=Code(CODES[TOPIC]))

    return _narrowed(message, may, lambda topic: topic.topic_name, deny)


def _narrowed(message: Any, may: May, name: Callable[[Any], str | None], deny: Callable[[Any], Any]) -> Verdict:
    """Keep the topics that may be read, and ids that no topic has (None); the others are refused in `responses`."""

    def is_kept(topic: Any) -> bool:
        named = name(topic)
        return named is None or may(Operation.READ, TOPIC, named)

    kept = tuple(topic for topic in message.topics if is_kept(topic))
    denied = tuple(deny(topic) for topic in message.topics if topic not in kept)
    if not denied:
        return None
    return Narrowed(
        msgspec.structs.replace(message, topics=kept),
        lambda given: msgspec.structs.replace(given, responses=(*given.responses, *denied)),
    )
