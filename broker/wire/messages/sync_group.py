"""SyncGroup (14): the leader brings the assignment, every member fetches its own."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class SyncGroupRequestAssignment(Part, frozen=True, kw_only=True, gc=False):
    """What a member gets."""

    member_id: str = ""
    assignment: bytes = b""


class SyncGroupRequest(Request, frozen=True, kw_only=True, gc=False):
    """Assignments from the leader only."""

    api: ClassVar[Api] = Api.SYNC_GROUP
    group_id: str = ""
    generation_id: int = 0
    member_id: str = ""
    group_instance_id: str | None = None
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignments: tuple[SyncGroupRequestAssignment, ...] = ()


class SyncGroupResponse(Response, frozen=True, kw_only=True, gc=False):
    """The member's assignment."""

    api: ClassVar[Api] = Api.SYNC_GROUP
    throttle_time_ms: int = 0
    error_code: int = 0
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""
