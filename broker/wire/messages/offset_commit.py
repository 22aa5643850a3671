"""OffsetCommit (8): how far a group has come. By topic name up to version 9, by id from 10."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class OffsetCommitRequestPartition(Part, frozen=True, kw_only=True, gc=False):
    """A partition's next offset."""

    partition_index: int = 0
    committed_offset: int = 0
    committed_leader_epoch: int = -1
    committed_metadata: str | None = None


class OffsetCommitRequestTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[OffsetCommitRequestPartition, ...] = ()


class OffsetCommitRequest(Request, frozen=True, kw_only=True, gc=False):
    """From a member, or (generation -1) from anybody while the group is empty."""

    api: ClassVar[Api] = Api.OFFSET_COMMIT
    group_id: str = ""
    generation_id_or_member_epoch: int = -1
    member_id: str = ""
    group_instance_id: str | None = None
    retention_time_ms: int = -1
    topics: tuple[OffsetCommitRequestTopic, ...] = ()


class OffsetCommitResponsePartition(Part, frozen=True, kw_only=True, gc=False):
    """What came of one."""

    partition_index: int = 0
    error_code: int = 0


class OffsetCommitResponseTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[OffsetCommitResponsePartition, ...] = ()


class OffsetCommitResponse(Response, frozen=True, kw_only=True, gc=False):
    """When replicated."""

    api: ClassVar[Api] = Api.OFFSET_COMMIT
    throttle_time_ms: int = 0
    topics: tuple[OffsetCommitResponseTopic, ...] = ()
