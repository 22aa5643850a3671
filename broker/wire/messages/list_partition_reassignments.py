"""ListPartitionReassignments (46): moves of replicas that are under way (KIP-455)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class ListPartitionReassignmentsTopics(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partition_indexes: tuple[int, ...] = ()


class ListPartitionReassignmentsRequest(Request, frozen=True, kw_only=True, gc=False):
    """`topics` None: all."""

    api: ClassVar[Api] = Api.LIST_PARTITION_REASSIGNMENTS
    timeout_ms: int = 0
    topics: tuple[ListPartitionReassignmentsTopics, ...] | None = None


class OngoingPartitionReassignment(Part, frozen=True, kw_only=True, gc=False):
    """A partition that is being moved."""

    partition_index: int = 0
    replicas: tuple[int, ...] = ()
    adding_replicas: tuple[int, ...] = ()
    removing_replicas: tuple[int, ...] = ()


class OngoingTopicReassignment(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[OngoingPartitionReassignment, ...] = ()


class ListPartitionReassignmentsResponse(Response, frozen=True, kw_only=True, gc=False):
    """The moves."""

    api: ClassVar[Api] = Api.LIST_PARTITION_REASSIGNMENTS
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    topics: tuple[OngoingTopicReassignment, ...] = ()
