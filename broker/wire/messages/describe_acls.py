"""DescribeAcls (29): who may do what."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class DescribeAclsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which of them; null and 1 mean any."""

    api: ClassVar[Api] = Api.DESCRIBE_ACLS
    resource_type_filter: int = 0
    resource_name_filter: str | None = None
    pattern_type_filter: int = 3
    principal_filter: str | None = None
    host_filter: str | None = None
    operation: int = 0
    permission_type: int = 0


class AclDescription(Part, frozen=True, kw_only=True, gc=False):
    """A rule."""

    principal: str = ""
    host: str = ""
    operation: int = 0
    permission_type: int = 0


class DescribeAclsResource(Part, frozen=True, kw_only=True, gc=False):
    """The rules of a resource."""

    resource_type: int = 0
    resource_name: str = ""
    pattern_type: int = 3
    acls: tuple[AclDescription, ...] = ()


class DescribeAclsResponse(Response, frozen=True, kw_only=True, gc=False):
    """The rules that pass the filter."""

    api: ClassVar[Api] = Api.DESCRIBE_ACLS
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    resources: tuple[DescribeAclsResource, ...] = ()
