"""AlterReplicaLogDirs (34): move replicas to another folder of their node (KIP-113)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class AlterReplicaLogDirTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[int, ...] = ()


class AlterReplicaLogDir(Part, frozen=True, kw_only=True, gc=False):
    """A folder, and what shall lie in it."""

    path: str = ""
    topics: tuple[AlterReplicaLogDirTopic, ...] = ()


class AlterReplicaLogDirsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Move replicas of the node that is asked."""

    api: ClassVar[Api] = Api.ALTER_REPLICA_LOG_DIRS
    dirs: tuple[AlterReplicaLogDir, ...] = ()


class AlterReplicaLogDirPartitionResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one partition."""

    partition_index: int = 0
    error_code: int = 0


class AlterReplicaLogDirTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic_name: str = ""
    partitions: tuple[AlterReplicaLogDirPartitionResult, ...] = ()


class AlterReplicaLogDirsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per partition."""

    api: ClassVar[Api] = Api.ALTER_REPLICA_LOG_DIRS
    throttle_time_ms: int = 0
    results: tuple[AlterReplicaLogDirTopicResult, ...] = ()
