"""ShareGroupHeartbeat (76): membership of a share group (KIP-932)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class ShareGroupHeartbeatRequest(Request, frozen=True, kw_only=True, gc=False):
    """Epoch 0 joins, -1 leaves; null means unchanged."""

    api: ClassVar[Api] = Api.SHARE_GROUP_HEARTBEAT
    group_id: str = ""
    member_id: str = ""
    member_epoch: int = 0
    rack_id: str | None = None
    subscribed_topic_names: tuple[str, ...] | None = None


class TopicPartitions(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic_id: bytes = NO_UUID
    partitions: tuple[int, ...] = ()


class Assignment(Part, frozen=True, kw_only=True, gc=False):
    """What the member shall read."""

    topic_partitions: tuple[TopicPartitions, ...] = ()


class ShareGroupHeartbeatResponse(Response, frozen=True, kw_only=True, gc=False):
    """`assignment` null: unchanged."""

    api: ClassVar[Api] = Api.SHARE_GROUP_HEARTBEAT
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    member_id: str | None = None
    member_epoch: int = 0
    heartbeat_interval_ms: int = 0
    assignment: Assignment | None = None
