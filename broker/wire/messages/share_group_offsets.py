"""Where a share group begins to read (90 to 92, KIP-932): described, set, and forgotten by administrators."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class DescribeTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic_name: str = ""
    partitions: tuple[int, ...] = ()


class DescribeGroup(Part, frozen=True, kw_only=True, gc=False):
    """A group; topics null: all."""

    group_id: str = ""
    topics: tuple[DescribeTopic, ...] | None = None


class DescribeShareGroupOffsetsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which groups."""

    api: ClassVar[Api] = Api.DESCRIBE_SHARE_GROUP_OFFSETS
    groups: tuple[DescribeGroup, ...] = ()


class DescribedPartition(Part, frozen=True, kw_only=True, gc=False):
    """Where the group begins; -1: it has no state yet."""

    partition_index: int = 0
    start_offset: int = 0
    leader_epoch: int = 0
    lag: int = -1
    error_code: int = 0
    error_message: str | None = None


class DescribedTopic(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one topic."""

    topic_name: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[DescribedPartition, ...] = ()


class DescribedGroup(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one group."""

    group_id: str = ""
    topics: tuple[DescribedTopic, ...] = ()
    error_code: int = 0
    error_message: str | None = None


class DescribeShareGroupOffsetsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per group."""

    api: ClassVar[Api] = Api.DESCRIBE_SHARE_GROUP_OFFSETS
    throttle_time_ms: int = 0
    groups: tuple[DescribedGroup, ...] = ()


class AlterPartition(Part, frozen=True, kw_only=True, gc=False):
    """Where to begin."""

    partition_index: int = 0
    start_offset: int = 0


class AlterTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    topic_name: str = ""
    partitions: tuple[AlterPartition, ...] = ()


class AlterShareGroupOffsetsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Of an empty group."""

    api: ClassVar[Api] = Api.ALTER_SHARE_GROUP_OFFSETS
    group_id: str = ""
    topics: tuple[AlterTopic, ...] = ()


class AlteredPartition(Part, frozen=True, kw_only=True, gc=False):
    """Whether it is set."""

    partition_index: int = 0
    error_code: int = 0
    error_message: str | None = None


class AlteredTopic(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one topic."""

    topic_name: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[AlteredPartition, ...] = ()


class AlterShareGroupOffsetsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per topic."""

    api: ClassVar[Api] = Api.ALTER_SHARE_GROUP_OFFSETS
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    responses: tuple[AlteredTopic, ...] = ()


class DeleteTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    topic_name: str = ""


class DeleteShareGroupOffsetsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Of an empty group."""

    api: ClassVar[Api] = Api.DELETE_SHARE_GROUP_OFFSETS
    group_id: str = ""
    topics: tuple[DeleteTopic, ...] = ()


class DeletedTopic(Part, frozen=True, kw_only=True, gc=False):
    """Whether it is forgotten."""

    topic_name: str = ""
    topic_id: bytes = NO_UUID
    error_code: int = 0
    error_message: str | None = None


class DeleteShareGroupOffsetsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per topic."""

    api: ClassVar[Api] = Api.DELETE_SHARE_GROUP_OFFSETS
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    responses: tuple[DeletedTopic, ...] = ()
