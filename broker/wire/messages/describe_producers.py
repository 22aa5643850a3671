"""DescribeProducers (61): who writes to a partition, from its leader (KIP-664)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class TopicRequest(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partition_indexes: tuple[int, ...] = ()


class DescribeProducersRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which partitions."""

    api: ClassVar[Api] = Api.DESCRIBE_PRODUCERS
    topics: tuple[TopicRequest, ...] = ()


class ProducerState(Part, frozen=True, kw_only=True, gc=False):
    """A producer id; the start offset is -1 without an open transaction."""

    producer_id: int = 0
    producer_epoch: int = 0
    last_sequence: int = -1
    last_timestamp: int = -1
    coordinator_epoch: int = 0
    current_txn_start_offset: int = -1


class PartitionResponse(Part, frozen=True, kw_only=True, gc=False):
    """The producers of one partition."""

    partition_index: int = 0
    error_code: int = 0
    error_message: str | None = None
    active_producers: tuple[ProducerState, ...] = ()


class TopicResponse(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[PartitionResponse, ...] = ()


class DescribeProducersResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per partition."""

    api: ClassVar[Api] = Api.DESCRIBE_PRODUCERS
    throttle_time_ms: int = 0
    topics: tuple[TopicResponse, ...] = ()
