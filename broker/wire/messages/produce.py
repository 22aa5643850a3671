"""Produce (0): batches for partitions, by topic name up to version 12, by id from 13."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.batch import Buffer
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class PartitionProduceData(Part, frozen=True, kw_only=True, gc=False):
    """A partition and its batches."""

    index: int = 0
    records: Buffer | None = None


class TopicProduceData(Part, frozen=True, kw_only=True, gc=False):
    """A topic, by name or by id."""

    name: str = ""
    topic_id: bytes = NO_UUID
    partition_data: tuple[PartitionProduceData, ...] = ()


class ProduceRequest(Request, frozen=True, kw_only=True, gc=False):
    """Append; answer when `acks` (0 never, 1 the leader, -1 all in-sync replicas) have it."""

    api: ClassVar[Api] = Api.PRODUCE
    transactional_id: str | None = None
    acks: int = 0
    timeout_ms: int = 0
    topic_data: tuple[TopicProduceData, ...] = ()


class BatchIndexAndErrorMessage(Part, frozen=True, kw_only=True, gc=False):
    """Which record was wrong."""

    batch_index: int = 0
    batch_index_error_message: str | None = None


class LeaderIdAndEpoch(Part, frozen=True, kw_only=True, gc=False):
    """Who leads instead."""

    leader_id: int = -1
    leader_epoch: int = -1


class PartitionProduceResponse(Part, frozen=True, kw_only=True, gc=False):
    """Where the batch went, or why not."""

    index: int = 0
    error_code: int = 0
    base_offset: int = -1
    log_append_time_ms: int = -1
    log_start_offset: int = -1
    record_errors: tuple[BatchIndexAndErrorMessage, ...] = ()
    error_message: str | None = None
    current_leader: LeaderIdAndEpoch = LeaderIdAndEpoch()


class TopicProduceResponse(Part, frozen=True, kw_only=True, gc=False):
    """A topic, by name or by id."""

    name: str = ""
    topic_id: bytes = NO_UUID
    partition_responses: tuple[PartitionProduceResponse, ...] = ()


class NodeEndpoint(Part, frozen=True, kw_only=True, gc=False):
    """Where the leaders listen that `current_leader` names."""

    node_id: int = 0
    host: str = ""
    port: int = 0
    rack: str | None = None


class ProduceResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per partition."""

    api: ClassVar[Api] = Api.PRODUCE
    responses: tuple[TopicProduceResponse, ...] = ()
    throttle_time_ms: int = 0
    node_endpoints: tuple[NodeEndpoint, ...] = ()
