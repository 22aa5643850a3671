"""TxnOffsetCommit (28): offsets that count when their transaction commits (KIP-447: from a member of the group)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class TxnOffsetCommitRequestPartition(Part, frozen=True, kw_only=True, gc=False):
    """A partition's next offset."""

    partition_index: int = 0
    committed_offset: int = 0
    committed_leader_epoch: int = -1
    committed_metadata: str | None = None


class TxnOffsetCommitRequestTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[TxnOffsetCommitRequestPartition, ...] = ()


class TxnOffsetCommitRequest(Request, frozen=True, kw_only=True, gc=False):
    """Generation -1 and no member from a producer that knows no group metadata."""

    api: ClassVar[Api] = Api.TXN_OFFSET_COMMIT
    transactional_id: str = ""
    group_id: str = ""
    producer_id: int = 0
    producer_epoch: int = 0
    generation_id: int = -1
    member_id: str = ""
    group_instance_id: str | None = None
    topics: tuple[TxnOffsetCommitRequestTopic, ...] = ()


class TxnOffsetCommitResponsePartition(Part, frozen=True, kw_only=True, gc=False):
    """What came of one."""

    partition_index: int = 0
    error_code: int = 0


class TxnOffsetCommitResponseTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[TxnOffsetCommitResponsePartition, ...] = ()


class TxnOffsetCommitResponse(Response, frozen=True, kw_only=True, gc=False):
    """When replicated."""

    api: ClassVar[Api] = Api.TXN_OFFSET_COMMIT
    throttle_time_ms: int = 0
    topics: tuple[TxnOffsetCommitResponseTopic, ...] = ()
