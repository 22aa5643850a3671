"""ListConfigResources (74): which resources have settings of their own (KIP-1142)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class ListConfigResourcesRequest(Request, frozen=True, kw_only=True, gc=False):
    """Of which types; none: all."""

    api: ClassVar[Api] = Api.LIST_CONFIG_RESOURCES
    resource_types: tuple[int, ...] = ()


class ConfigResource(Part, frozen=True, kw_only=True, gc=False):
    """A resource."""

    resource_name: str = ""
    resource_type: int = 16


class ListConfigResourcesResponse(Response, frozen=True, kw_only=True, gc=False):
    """The resources."""

    api: ClassVar[Api] = Api.LIST_CONFIG_RESOURCES
    throttle_time_ms: int = 0
    error_code: int = 0
    config_resources: tuple[ConfigResource, ...] = ()
