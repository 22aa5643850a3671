"""DescribeLogDirs (35): how large the partitions on this node are."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class DescribableLogDirTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic: str = ""
    partitions: tuple[int, ...] = ()


class DescribeLogDirsRequest(Request, frozen=True, kw_only=True, gc=False):
    """`topics` None: all."""

    api: ClassVar[Api] = Api.DESCRIBE_LOG_DIRS
    topics: tuple[DescribableLogDirTopic, ...] | None = None


class DescribeLogDirsPartition(Part, frozen=True, kw_only=True, gc=False):
    """A replica."""

    partition_index: int = 0
    partition_size: int = 0
    offset_lag: int = 0
    is_future_key: bool = False


class DescribeLogDirsTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's replicas."""

    name: str = ""
    partitions: tuple[DescribeLogDirsPartition, ...] = ()


class DescribeLogDirsResult(Part, frozen=True, kw_only=True, gc=False):
    """A folder."""

    error_code: int = 0
    log_dir: str = ""
    topics: tuple[DescribeLogDirsTopic, ...] = ()
    total_bytes: int = -1
    usable_bytes: int = -1
    is_cordoned: bool = False


class DescribeLogDirsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per folder."""

    api: ClassVar[Api] = Api.DESCRIBE_LOG_DIRS
    throttle_time_ms: int = 0
    error_code: int = 0
    results: tuple[DescribeLogDirsResult, ...] = ()
