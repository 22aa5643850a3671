"""GetReplicaLogInfo (93, KIP-966): the controller asks a node how far its logs reach."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class TopicPartitions(Part, frozen=True, kw_only=True, gc=False):
    """Partitions of a topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[int, ...] = ()


class GetReplicaLogInfoRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which partitions."""

    api: ClassVar[Api] = Api.GET_REPLICA_LOG_INFO
    topic_partitions: tuple[TopicPartitions, ...] | None = ()


class PartitionLogInfo(Part, frozen=True, kw_only=True, gc=False):
    """The epoch of the last record and the log's end; the leader epoch that the node knows of the partition."""

    partition: int = 0
    last_written_leader_epoch: int = -1
    current_leader_epoch: int = -1
    log_end_offset: int = -1
    error_code: int = 0


class TopicPartitionLogInfo(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    topic_id: bytes = NO_UUID
    partition_log_info: tuple[PartitionLogInfo, ...] = ()


class GetReplicaLogInfoResponse(Response, frozen=True, kw_only=True, gc=False):
    """The logs, and the node's registration."""

    api: ClassVar[Api] = Api.GET_REPLICA_LOG_INFO
    broker_epoch: int = -1
    truncated: bool = False
    topic_partition_log_info_list: tuple[TopicPartitionLogInfo, ...] = ()
