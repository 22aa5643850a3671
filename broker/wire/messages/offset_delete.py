"""OffsetDelete (47): committed offsets of topics that the group does not subscribe to any more (KIP-496)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class OffsetDeleteRequestPartition(Part, frozen=True, kw_only=True, gc=False):
    """A partition."""

    partition_index: int = 0


class OffsetDeleteRequestTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[OffsetDeleteRequestPartition, ...] = ()


class OffsetDeleteRequest(Request, frozen=True, kw_only=True, gc=False):
    """Whose offsets."""

    api: ClassVar[Api] = Api.OFFSET_DELETE
    group_id: str = ""
    topics: tuple[OffsetDeleteRequestTopic, ...] = ()


class OffsetDeleteResponsePartition(Part, frozen=True, kw_only=True, gc=False):
    """What came of one."""

    partition_index: int = 0
    error_code: int = 0


class OffsetDeleteResponseTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[OffsetDeleteResponsePartition, ...] = ()


class OffsetDeleteResponse(Response, frozen=True, kw_only=True, gc=False):
    """`error_code` is about the group."""

    api: ClassVar[Api] = Api.OFFSET_DELETE
    error_code: int = 0
    throttle_time_ms: int = 0
    topics: tuple[OffsetDeleteResponseTopic, ...] = ()
