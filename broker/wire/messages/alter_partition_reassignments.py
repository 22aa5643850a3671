"""AlterPartitionReassignments (45): move partitions to other nodes (KIP-455)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class ReassignablePartition(Part, frozen=True, kw_only=True, gc=False):
    """Where it shall lie; None cancels a move."""

    partition_index: int = 0
    replicas: tuple[int, ...] | None = None


class ReassignableTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[ReassignablePartition, ...] = ()


class AlterPartitionReassignmentsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Start or cancel moves."""

    api: ClassVar[Api] = Api.ALTER_PARTITION_REASSIGNMENTS
    timeout_ms: int = 60000
    allow_replication_factor_change: bool = True
    topics: tuple[ReassignableTopic, ...] = ()


class ReassignablePartitionResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one partition."""

    partition_index: int = 0
    error_code: int = 0
    error_message: str | None = None


class ReassignableTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[ReassignablePartitionResult, ...] = ()


class AlterPartitionReassignmentsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per partition."""

    api: ClassVar[Api] = Api.ALTER_PARTITION_REASSIGNMENTS
    throttle_time_ms: int = 0
    allow_replication_factor_change: bool = True
    error_code: int = 0
    error_message: str | None = None
    responses: tuple[ReassignableTopicResult, ...] = ()
