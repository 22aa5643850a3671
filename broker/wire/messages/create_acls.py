"""CreateAcls (30): let somebody do something, or forbid it."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class AclCreation(Part, frozen=True, kw_only=True, gc=False):
    """A rule."""

    resource_type: int = 0
    resource_name: str = ""
    resource_pattern_type: int = 3
    principal: str = ""
    host: str = ""
    operation: int = 0
    permission_type: int = 0


class CreateAclsRequest(Request, frozen=True, kw_only=True, gc=False):
    """The rules."""

    api: ClassVar[Api] = Api.CREATE_ACLS
    creations: tuple[AclCreation, ...] = ()


class AclCreationResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one."""

    error_code: int = 0
    error_message: str | None = None


class CreateAclsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per rule."""

    api: ClassVar[Api] = Api.CREATE_ACLS
    throttle_time_ms: int = 0
    results: tuple[AclCreationResult, ...] = ()
