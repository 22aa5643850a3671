"""LeaveGroup (13): members go, one up to version 2, several from 3 on."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class MemberIdentity(Part, frozen=True, kw_only=True, gc=False):
    """Who goes; a static member by its instance id."""

    member_id: str = ""
    group_instance_id: str | None = None
    reason: str | None = None


class LeaveGroupRequest(Request, frozen=True, kw_only=True, gc=False):
    """Who goes."""

    api: ClassVar[Api] = Api.LEAVE_GROUP
    group_id: str = ""
    member_id: str = ""
    members: tuple[MemberIdentity, ...] = ()


class MemberResponse(Part, frozen=True, kw_only=True, gc=False):
    """What came of one."""

    member_id: str = ""
    group_instance_id: str | None = None
    error_code: int = 0


class LeaveGroupResponse(Response, frozen=True, kw_only=True, gc=False):
    """What came of it."""

    api: ClassVar[Api] = Api.LEAVE_GROUP
    throttle_time_ms: int = 0
    error_code: int = 0
    members: tuple[MemberResponse, ...] = ()
