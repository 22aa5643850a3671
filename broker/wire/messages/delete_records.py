"""DeleteRecords (21): raise the log start of partitions."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class DeleteRecordsPartition(Part, frozen=True, kw_only=True, gc=False):
    """Delete what is before `offset`; -1: all below the high watermark."""

    partition_index: int = 0
    offset: int = 0


class DeleteRecordsTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[DeleteRecordsPartition, ...] = ()


class DeleteRecordsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Wait up to `timeout_ms` until all live replicas have done it."""

    api: ClassVar[Api] = Api.DELETE_RECORDS
    topics: tuple[DeleteRecordsTopic, ...] = ()
    timeout_ms: int = 0


class DeleteRecordsPartitionResult(Part, frozen=True, kw_only=True, gc=False):
    """The lowest log start of the live replicas."""

    partition_index: int = 0
    low_watermark: int = 0
    error_code: int = 0


class DeleteRecordsTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[DeleteRecordsPartitionResult, ...] = ()


class DeleteRecordsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per partition."""

    api: ClassVar[Api] = Api.DELETE_RECORDS
    throttle_time_ms: int = 0
    topics: tuple[DeleteRecordsTopicResult, ...] = ()
