"""DescribeTopicPartitions (75): partitions with their eligible leaders, page by page (KIP-966)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class TopicRequest(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    name: str = ""


class Cursor(Part, frozen=True, kw_only=True, gc=False):
    """The first partition of the next page."""

    topic_name: str = ""
    partition_index: int = 0


class DescribeTopicPartitionsRequest(Request, frozen=True, kw_only=True, gc=False):
    """No topics: all."""

    api: ClassVar[Api] = Api.DESCRIBE_TOPIC_PARTITIONS
    topics: tuple[TopicRequest, ...] = ()
    response_partition_limit: int = 2000
    cursor: Cursor | None = None


class DescribeTopicPartitionsResponsePartition(Part, frozen=True, kw_only=True, gc=False):
    """A partition."""

    error_code: int = 0
    partition_index: int = 0
    leader_id: int = 0
    leader_epoch: int = -1
    replica_nodes: tuple[int, ...] = ()
    isr_nodes: tuple[int, ...] = ()
    eligible_leader_replicas: tuple[int, ...] | None = None
    last_known_elr: tuple[int, ...] | None = None
    offline_replicas: tuple[int, ...] = ()


class DescribeTopicPartitionsResponseTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic, or the part of it that fits."""

    error_code: int = 0
    name: str | None = None
    topic_id: bytes = NO_UUID
    is_internal: bool = False
    partitions: tuple[DescribeTopicPartitionsResponsePartition, ...] = ()
    topic_authorized_operations: int = -2147483648


class DescribeTopicPartitionsResponse(Response, frozen=True, kw_only=True, gc=False):
    """`next_cursor` is null on the last page."""

    api: ClassVar[Api] = Api.DESCRIBE_TOPIC_PARTITIONS
    throttle_time_ms: int = 0
    topics: tuple[DescribeTopicPartitionsResponseTopic, ...] = ()
    next_cursor: Cursor | None = None
