"""CreateTopics (19)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class CreatableReplicaAssignment(Part, frozen=True, kw_only=True, gc=False):
    """Where a partition shall lie."""

    partition_index: int = 0
    broker_ids: tuple[int, ...] = ()


class CreatableTopicConfig(Part, frozen=True, kw_only=True, gc=False):
    """A setting."""

    name: str = ""
    value: str | None = None


class CreatableTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic to make; -1 takes the cluster's default, assignments exclude both counts."""

    name: str = ""
    num_partitions: int = 0
    replication_factor: int = 0
    assignments: tuple[CreatableReplicaAssignment, ...] = ()
    configs: tuple[CreatableTopicConfig, ...] = ()


class CreateTopicsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Make topics, or only say whether it would work."""

    api: ClassVar[Api] = Api.CREATE_TOPICS
    topics: tuple[CreatableTopic, ...] = ()
    timeout_ms: int = 60000
    validate_only: bool = False


class CreatableTopicConfigs(Part, frozen=True, kw_only=True, gc=False):
    """A setting as it holds."""

    name: str = ""
    value: str | None = None
    read_only: bool = False
    config_source: int = -1
    is_sensitive: bool = False


class CreatableTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one topic."""

    name: str = ""
    topic_id: bytes = NO_UUID
    error_code: int = 0
    error_message: str | None = None
    topic_config_error_code: int = 0
    num_partitions: int = -1
    replication_factor: int = -1
    configs: tuple[CreatableTopicConfigs, ...] | None = None


class CreateTopicsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per topic."""

    api: ClassVar[Api] = Api.CREATE_TOPICS
    throttle_time_ms: int = 0
    topics: tuple[CreatableTopicResult, ...] = ()
