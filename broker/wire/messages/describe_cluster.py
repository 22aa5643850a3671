"""DescribeCluster (60): the nodes (KIP-700)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class DescribeClusterRequest(Request, frozen=True, kw_only=True, gc=False):
    """`endpoint_type` 1: brokers, 2: controllers."""

    api: ClassVar[Api] = Api.DESCRIBE_CLUSTER
    include_cluster_authorized_operations: bool = False
    endpoint_type: int = 1
    include_fenced_brokers: bool = False


class DescribeClusterBroker(Part, frozen=True, kw_only=True, gc=False):
    """A node."""

    broker_id: int = 0
    host: str = ""
    port: int = 0
    rack: str | None = None
    is_fenced: bool = False


class DescribeClusterResponse(Response, frozen=True, kw_only=True, gc=False):
    """The nodes; `controller_id` takes what only a controller can decide."""

    api: ClassVar[Api] = Api.DESCRIBE_CLUSTER
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    endpoint_type: int = 1
    cluster_id: str = ""
    controller_id: int = -1
    brokers: tuple[DescribeClusterBroker, ...] = ()
    cluster_authorized_operations: int = -2147483648
