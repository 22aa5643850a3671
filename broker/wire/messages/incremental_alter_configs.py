"""IncrementalAlterConfigs (44): set, delete, append to or subtract from settings."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class AlterableConfig(Part, frozen=True, kw_only=True, gc=False):
    """A setting: 0 set, 1 delete, 2 append, 3 subtract."""

    name: str = ""
    config_operation: int = 0
    value: str | None = None


class AlterConfigsResource(Part, frozen=True, kw_only=True, gc=False):
    """A topic (2) or a broker (4; an empty name: all brokers)."""

    resource_type: int = 0
    resource_name: str = ""
    configs: tuple[AlterableConfig, ...] = ()


class IncrementalAlterConfigsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Alter, or only say whether it would work."""

    api: ClassVar[Api] = Api.INCREMENTAL_ALTER_CONFIGS
    resources: tuple[AlterConfigsResource, ...] = ()
    validate_only: bool = False


class AlterConfigsResourceResponse(Part, frozen=True, kw_only=True, gc=False):
    """What came of one."""

    error_code: int = 0
    error_message: str | None = None
    resource_type: int = 0
    resource_name: str = ""


class IncrementalAlterConfigsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per resource."""

    api: ClassVar[Api] = Api.INCREMENTAL_ALTER_CONFIGS
    throttle_time_ms: int = 0
    responses: tuple[AlterConfigsResourceResponse, ...] = ()
