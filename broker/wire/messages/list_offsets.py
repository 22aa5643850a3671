"""ListOffsets (2): the log's start, the high watermark and the last stable offset of partitions, from their leaders."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response

LATEST, EARLIEST = -1, -2
"""Timestamps that stand for the end (HW, or LSO when read_committed) and the start of the log."""
READ_UNCOMMITTED, READ_COMMITTED = 0, 1


class ListOffsetsPartition(Part, frozen=True, kw_only=True, gc=False):
    """A partition to ask about. current_leader_epoch fences a stale asker; -1 does not."""

    partition_index: int = 0
    current_leader_epoch: int = -1
    timestamp: int = 0


class ListOffsetsTopic(Part, frozen=True, kw_only=True, gc=False):
    """The partitions of one topic."""

    name: str = ""
    partitions: tuple[ListOffsetsPartition, ...] = ()


class ListOffsetsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Ask the leader; replica_id is -1 for a consumer."""

    api: ClassVar[Api] = Api.LIST_OFFSETS
    replica_id: int = -1
    isolation_level: int = READ_UNCOMMITTED
    topics: tuple[ListOffsetsTopic, ...] = ()
    timeout_ms: int = 0


class ListOffsetsPartitionResponse(Part, frozen=True, kw_only=True, gc=False):
    """The offset found, with the leader epoch of its record (version 4 and later)."""

    partition_index: int = 0
    error_code: int = 0
    timestamp: int = -1
    offset: int = -1
    leader_epoch: int = -1


class ListOffsetsTopicResponse(Part, frozen=True, kw_only=True, gc=False):
    """The partitions of one topic."""

    name: str = ""
    partitions: tuple[ListOffsetsPartitionResponse, ...] = ()


class ListOffsetsResponse(Response, frozen=True, kw_only=True, gc=False):
    """The offsets found."""

    api: ClassVar[Api] = Api.LIST_OFFSETS
    throttle_time_ms: int = 0
    topics: tuple[ListOffsetsTopicResponse, ...] = ()
