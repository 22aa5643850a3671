"""ElectLeaders (43): make the preferred replica the leader, or any replica (unclean)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class TopicPartitions(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic: str = ""
    partitions: tuple[int, ...] = ()


class ElectLeadersRequest(Request, frozen=True, kw_only=True, gc=False):
    """`election_type` 0 preferred, 1 unclean; None: all partitions."""

    api: ClassVar[Api] = Api.ELECT_LEADERS
    election_type: int = 0
    topic_partitions: tuple[TopicPartitions, ...] | None = None
    timeout_ms: int = 60000


class PartitionResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one partition."""

    partition_id: int = 0
    error_code: int = 0
    error_message: str | None = None


class ReplicaElectionResult(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic: str = ""
    partition_result: tuple[PartitionResult, ...] = ()


class ElectLeadersResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per partition."""

    api: ClassVar[Api] = Api.ELECT_LEADERS
    throttle_time_ms: int = 0
    error_code: int = 0
    replica_election_results: tuple[ReplicaElectionResult, ...] = ()
