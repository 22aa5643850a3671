"""Metadata (3): brokers, topics, leaders and in-sync replicas."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID

NOT_ASKED = -2147483648
"""The authorized operations of a request that did not ask for them."""


class MetadataRequestTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic to ask about, by name or by id."""

    topic_id: bytes = NO_UUID
    name: str | None = None


class MetadataRequest(Request, frozen=True, kw_only=True, gc=False):
    """Ask about topics; None asks about all (version 1 and later)."""

    api: ClassVar[Api] = Api.METADATA
    topics: tuple[MetadataRequestTopic, ...] | None = None
    allow_auto_topic_creation: bool = True
    include_cluster_authorized_operations: bool = False
    include_topic_authorized_operations: bool = False


class MetadataResponseBroker(Part, frozen=True, kw_only=True, gc=False):
    """A live broker."""

    node_id: int = 0
    host: str = ""
    port: int = 0
    rack: str | None = None


class MetadataResponsePartition(Part, frozen=True, kw_only=True, gc=False):
    """Leader, epoch, replicas and ISR of a partition, as node ids; leader_id is -1 while there is none."""

    error_code: int = 0
    partition_index: int = 0
    leader_id: int = 0
    leader_epoch: int = -1
    replica_nodes: tuple[int, ...] = ()
    isr_nodes: tuple[int, ...] = ()
    offline_replicas: tuple[int, ...] = ()


class MetadataResponseTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic and its partitions."""

    error_code: int = 0
    name: str | None = ""
    topic_id: bytes = NO_UUID
    is_internal: bool = False
    partitions: tuple[MetadataResponsePartition, ...] = ()
    topic_authorized_operations: int = NOT_ASKED


class MetadataResponse(Response, frozen=True, kw_only=True, gc=False):
    """What a broker knows of the cluster. In KRaft, controller_id is a random live broker: never use it as one."""

    api: ClassVar[Api] = Api.METADATA
    throttle_time_ms: int = 0
    brokers: tuple[MetadataResponseBroker, ...] = ()
    cluster_id: str | None = None
    controller_id: int = -1
    topics: tuple[MetadataResponseTopic, ...] = ()
    cluster_authorized_operations: int = NOT_ASKED
    error_code: int = 0
