"""CreatePartitions (37): a topic grows to `count` partitions."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class CreatePartitionsAssignment(Part, frozen=True, kw_only=True, gc=False):
    """Where a new partition shall lie."""

    broker_ids: tuple[int, ...] = ()


class CreatePartitionsTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic and how many partitions it shall have."""

    name: str = ""
    count: int = 0
    assignments: tuple[CreatePartitionsAssignment, ...] | None = None


class CreatePartitionsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Grow topics, or only say whether it would work."""

    api: ClassVar[Api] = Api.CREATE_PARTITIONS
    topics: tuple[CreatePartitionsTopic, ...] = ()
    timeout_ms: int = 60000
    validate_only: bool = False


class CreatePartitionsTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one topic."""

    name: str = ""
    error_code: int = 0
    error_message: str | None = None


class CreatePartitionsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per topic."""

    api: ClassVar[Api] = Api.CREATE_PARTITIONS
    throttle_time_ms: int = 0
    results: tuple[CreatePartitionsTopicResult, ...] = ()
