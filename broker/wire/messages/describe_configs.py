"""DescribeConfigs (32): settings of topics, brokers and groups, with where each value comes from."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class DescribeConfigsResource(Part, frozen=True, kw_only=True, gc=False):
    """A topic (2), a broker (4) or a group (32); keys None: all settings."""

    resource_type: int = 0
    resource_name: str = ""
    configuration_keys: tuple[str, ...] | None = None


class DescribeConfigsRequest(Request, frozen=True, kw_only=True, gc=False):
    """What to describe; synonyms are the values that were overridden."""

    api: ClassVar[Api] = Api.DESCRIBE_CONFIGS
    resources: tuple[DescribeConfigsResource, ...] = ()
    include_synonyms: bool = False
    include_documentation: bool = False


class DescribeConfigsSynonym(Part, frozen=True, kw_only=True, gc=False):
    """A value that holds, or would hold if those before it were taken away."""

    name: str = ""
    value: str | None = None
    source: int = 0


class DescribeConfigsResourceResult(Part, frozen=True, kw_only=True, gc=False):
    """A setting; `config_source`: 1 topic, 2 this broker, 3 all brokers, 4 properties, 5 default, 8 group."""

    name: str = ""
    value: str | None = None
    read_only: bool = False
    config_source: int = -1
    is_sensitive: bool = False
    synonyms: tuple[DescribeConfigsSynonym, ...] = ()
    config_type: int = 0
    documentation: str | None = None


class DescribeConfigsResult(Part, frozen=True, kw_only=True, gc=False):
    """The settings of one resource."""

    error_code: int = 0
    error_message: str | None = None
    resource_type: int = 0
    resource_name: str = ""
    configs: tuple[DescribeConfigsResourceResult, ...] = ()


class DescribeConfigsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per resource."""

    api: ClassVar[Api] = Api.DESCRIBE_CONFIGS
    throttle_time_ms: int = 0
    results: tuple[DescribeConfigsResult, ...] = ()
