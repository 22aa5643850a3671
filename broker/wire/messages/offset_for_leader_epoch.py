"""OffsetForLeaderEpoch (23): where a leader epoch ends (KIP-101, KIP-320)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class OffsetForLeaderPartition(Part, frozen=True, kw_only=True, gc=False):
    """Which epoch; the current one fences a stale asker."""

    partition: int = 0
    current_leader_epoch: int = -1
    leader_epoch: int = 0


class OffsetForLeaderTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic: str = ""
    partitions: tuple[OffsetForLeaderPartition, ...] = ()


class OffsetForLeaderEpochRequest(Request, frozen=True, kw_only=True, gc=False):
    """`replica_id` -1: a consumer; -2: whoever looks on."""

    api: ClassVar[Api] = Api.OFFSET_FOR_LEADER_EPOCH
    replica_id: int = -2
    topics: tuple[OffsetForLeaderTopic, ...] = ()


class EpochEndOffset(Part, frozen=True, kw_only=True, gc=False):
    """The largest epoch up to the one asked for, and the offset after its last record."""

    error_code: int = 0
    partition: int = 0
    leader_epoch: int = -1
    end_offset: int = -1


class OffsetForLeaderTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic: str = ""
    partitions: tuple[EpochEndOffset, ...] = ()


class OffsetForLeaderEpochResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per partition."""

    api: ClassVar[Api] = Api.OFFSET_FOR_LEADER_EPOCH
    throttle_time_ms: int = 0
    topics: tuple[OffsetForLeaderTopicResult, ...] = ()
