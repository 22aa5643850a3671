"""AlterConfigs (33): replace all dynamic settings of a resource; IncrementalAlterConfigs changes single ones."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class AlterableConfig(Part, frozen=True, kw_only=True, gc=False):
    """A setting."""

    name: str = ""
    value: str | None = None


class AlterConfigsResource(Part, frozen=True, kw_only=True, gc=False):
    """A topic (2), a broker (4) or a group (32), with all that shall be set."""

    resource_type: int = 0
    resource_name: str = ""
    configs: tuple[AlterableConfig, ...] = ()


class AlterConfigsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Alter, or only say whether it would work."""

    api: ClassVar[Api] = Api.ALTER_CONFIGS
    resources: tuple[AlterConfigsResource, ...] = ()
    validate_only: bool = False


class AlterConfigsResourceResponse(Part, frozen=True, kw_only=True, gc=False):
    """What came of one."""

    error_code: int = 0
    error_message: str | None = None
    resource_type: int = 0
    resource_name: str = ""


class AlterConfigsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per resource."""

    api: ClassVar[Api] = Api.ALTER_CONFIGS
    throttle_time_ms: int = 0
    responses: tuple[AlterConfigsResourceResponse, ...] = ()
