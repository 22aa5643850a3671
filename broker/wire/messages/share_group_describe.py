"""ShareGroupDescribe (77): state and members of share groups (KIP-932)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class ShareGroupDescribeRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which groups."""

    api: ClassVar[Api] = Api.SHARE_GROUP_DESCRIBE
    group_ids: tuple[str, ...] = ()
    include_authorized_operations: bool = False


class TopicPartitions(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic_id: bytes = NO_UUID
    topic_name: str = ""
    partitions: tuple[int, ...] = ()


class Assignment(Part, frozen=True, kw_only=True, gc=False):
    """What a member has."""

    topic_partitions: tuple[TopicPartitions, ...] = ()


class Member(Part, frozen=True, kw_only=True, gc=False):
    """A member."""

    member_id: str = ""
    rack_id: str | None = None
    member_epoch: int = 0
    client_id: str = ""
    client_host: str = ""
    subscribed_topic_names: tuple[str, ...] = ()
    assignment: Assignment = Assignment()


class DescribedGroup(Part, frozen=True, kw_only=True, gc=False):
    """A group."""

    error_code: int = 0
    error_message: str | None = None
    group_id: str = ""
    group_state: str = ""
    group_epoch: int = 0
    assignment_epoch: int = 0
    assignor_name: str = ""
    members: tuple[Member, ...] = ()
    authorized_operations: int = -2147483648


class ShareGroupDescribeResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per group."""

    api: ClassVar[Api] = Api.SHARE_GROUP_DESCRIBE
    throttle_time_ms: int = 0
    groups: tuple[DescribedGroup, ...] = ()
