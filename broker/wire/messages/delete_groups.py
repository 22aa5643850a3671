"""DeleteGroups (42): empty groups go, with their offsets."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class DeleteGroupsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which groups."""

    api: ClassVar[Api] = Api.DELETE_GROUPS
    groups_names: tuple[str, ...] = ()


class DeletableGroupResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one."""

    group_id: str = ""
    error_code: int = 0


class DeleteGroupsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per group."""

    api: ClassVar[Api] = Api.DELETE_GROUPS
    throttle_time_ms: int = 0
    results: tuple[DeletableGroupResult, ...] = ()
