"""DescribeQuorum (55): the leader of the metadata quorum, which is the active controller, and its followers' lag."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class QuorumPartition(Part, frozen=True, kw_only=True, gc=False):
    """A partition to ask about: there is only 0."""

    partition_index: int = 0


class QuorumTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic to ask about: there is only __cluster_metadata."""

    topic_name: str = "__cluster_metadata"
    partitions: tuple[QuorumPartition, ...] = (QuorumPartition(),)


class DescribeQuorumRequest(Request, frozen=True, kw_only=True, gc=False):
    """Ask any node; brokers forward it to the active controller."""

    api: ClassVar[Api] = Api.DESCRIBE_QUORUM
    topics: tuple[QuorumTopic, ...] = (QuorumTopic(),)


class ReplicaState(Part, frozen=True, kw_only=True, gc=False):
    """A voter or observer: its log end offset and, in ms, when it last fetched and was caught up (-1: unknown)."""

    replica_id: int = 0
    replica_directory_id: bytes = NO_UUID
    log_end_offset: int = 0
    last_fetch_timestamp: int = -1
    last_caught_up_timestamp: int = -1


class PartitionData(Part, frozen=True, kw_only=True, gc=False):
    """The quorum of one partition."""

    partition_index: int = 0
    error_code: int = 0
    error_message: str | None = None
    leader_id: int = 0
    leader_epoch: int = 0
    high_watermark: int = 0
    current_voters: tuple[ReplicaState, ...] = ()
    observers: tuple[ReplicaState, ...] = ()


class TopicData(Part, frozen=True, kw_only=True, gc=False):
    """The partitions of one topic."""

    topic_name: str = ""
    partitions: tuple[PartitionData, ...] = ()


class QuorumListener(Part, frozen=True, kw_only=True, gc=False):
    """Where a controller listens."""

    name: str = ""
    host: str = ""
    port: int = 0


class QuorumNode(Part, frozen=True, kw_only=True, gc=False):
    """A controller and its listeners."""

    node_id: int = 0
    listeners: tuple[QuorumListener, ...] = ()


class DescribeQuorumResponse(Response, frozen=True, kw_only=True, gc=False):
    """The quorum as the active controller sees it."""

    api: ClassVar[Api] = Api.DESCRIBE_QUORUM
    error_code: int = 0
    error_message: str | None = None
    topics: tuple[TopicData, ...] = ()
    nodes: tuple[QuorumNode, ...] = ()
