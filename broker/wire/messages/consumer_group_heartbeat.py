"""ConsumerGroupHeartbeat (68): membership of a consumer group by the protocol of KIP-848."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class TopicPartitions(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic_id: bytes = NO_UUID
    partitions: tuple[int, ...] = ()


class ConsumerGroupHeartbeatRequest(Request, frozen=True, kw_only=True, gc=False):
    """Epoch 0 joins, -1 leaves, -2 leaves for a while (static); null means unchanged."""

    api: ClassVar[Api] = Api.CONSUMER_GROUP_HEARTBEAT
    group_id: str = ""
    member_id: str = ""
    member_epoch: int = 0
    instance_id: str | None = None
    rack_id: str | None = None
    rebalance_timeout_ms: int = -1
    subscribed_topic_names: tuple[str, ...] | None = None
    subscribed_topic_regex: str | None = None
    server_assignor: str | None = None
    topic_partitions: tuple[TopicPartitions, ...] | None = None


class Assignment(Part, frozen=True, kw_only=True, gc=False):
    """What the member shall have."""

    topic_partitions: tuple[TopicPartitions, ...] = ()


class ConsumerGroupHeartbeatResponse(Response, frozen=True, kw_only=True, gc=False):
    """`assignment` null: unchanged."""

    api: ClassVar[Api] = Api.CONSUMER_GROUP_HEARTBEAT
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    member_id: str | None = None
    member_epoch: int = 0
    heartbeat_interval_ms: int = 0
    assignment: Assignment | None = None
