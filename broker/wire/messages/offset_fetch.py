"""OffsetFetch (9): committed offsets, of one group up to version 7, of several from 8 on."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class OffsetFetchRequestTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions (one group)."""

    name: str = ""
    partition_indexes: tuple[int, ...] = ()


class OffsetFetchRequestTopics(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions (several groups)."""

    name: str = ""
    topic_id: bytes = NO_UUID
    partition_indexes: tuple[int, ...] = ()


class OffsetFetchRequestGroup(Part, frozen=True, kw_only=True, gc=False):
    """A group and what to tell of it; None: everything."""

    group_id: str = ""
    member_id: str | None = None
    member_epoch: int = -1
    topics: tuple[OffsetFetchRequestTopics, ...] | None = None


class OffsetFetchRequest(Request, frozen=True, kw_only=True, gc=False):
    """`topics` None: all. `require_stable`: refuse while a transaction over an offset is open."""

    api: ClassVar[Api] = Api.OFFSET_FETCH
    group_id: str = ""
    topics: tuple[OffsetFetchRequestTopic, ...] | None = ()
    groups: tuple[OffsetFetchRequestGroup, ...] = ()
    require_stable: bool = False


class OffsetFetchResponsePartition(Part, frozen=True, kw_only=True, gc=False):
    """A committed offset, -1 for none (one group)."""

    partition_index: int = 0
    committed_offset: int = -1
    committed_leader_epoch: int = -1
    metadata: str | None = None
    error_code: int = 0


class OffsetFetchResponseTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions (one group)."""

    name: str = ""
    partitions: tuple[OffsetFetchResponsePartition, ...] = ()


class OffsetFetchResponsePartitions(Part, frozen=True, kw_only=True, gc=False):
    """A committed offset, -1 for none (several groups)."""

    partition_index: int = 0
    committed_offset: int = -1
    committed_leader_epoch: int = -1
    metadata: str | None = None
    error_code: int = 0


class OffsetFetchResponseTopics(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions (several groups)."""

    name: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[OffsetFetchResponsePartitions, ...] = ()


class OffsetFetchResponseGroup(Part, frozen=True, kw_only=True, gc=False):
    """One group."""

    group_id: str = ""
    topics: tuple[OffsetFetchResponseTopics, ...] = ()
    error_code: int = 0


class OffsetFetchResponse(Response, frozen=True, kw_only=True, gc=False):
    """One group in the first fields, several in `groups`."""

    api: ClassVar[Api] = Api.OFFSET_FETCH
    throttle_time_ms: int = 0
    topics: tuple[OffsetFetchResponseTopic, ...] = ()
    error_code: int = 0
    groups: tuple[OffsetFetchResponseGroup, ...] = ()
