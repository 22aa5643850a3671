"""DeleteAcls (31): take rules away."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class DeleteAclsFilter(Part, frozen=True, kw_only=True, gc=False):
    """Which of them; null and 1 mean any."""

    resource_type_filter: int = 0
    resource_name_filter: str | None = None
    pattern_type_filter: int = 3
    principal_filter: str | None = None
    host_filter: str | None = None
    operation: int = 0
    permission_type: int = 0


class DeleteAclsRequest(Request, frozen=True, kw_only=True, gc=False):
    """The filters."""

    api: ClassVar[Api] = Api.DELETE_ACLS
    filters: tuple[DeleteAclsFilter, ...] = ()


class DeleteAclsMatchingAcl(Part, frozen=True, kw_only=True, gc=False):
    """A rule that was taken away."""

    error_code: int = 0
    error_message: str | None = None
    resource_type: int = 0
    resource_name: str = ""
    pattern_type: int = 3
    principal: str = ""
    host: str = ""
    operation: int = 0
    permission_type: int = 0


class DeleteAclsFilterResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one filter."""

    error_code: int = 0
    error_message: str | None = None
    matching_acls: tuple[DeleteAclsMatchingAcl, ...] = ()


class DeleteAclsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per filter."""

    api: ClassVar[Api] = Api.DELETE_ACLS
    throttle_time_ms: int = 0
    filter_results: tuple[DeleteAclsFilterResult, ...] = ()
