"""JoinGroup (11): a member enters a classic group, or its next generation."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class JoinGroupRequestProtocol(Part, frozen=True, kw_only=True, gc=False):
    """An assignor and what the member tells it."""

    name: str = ""
    metadata: bytes = b""


class JoinGroupRequest(Request, frozen=True, kw_only=True, gc=False):
    """Answered when the generation is complete."""

    api: ClassVar[Api] = Api.JOIN_GROUP
    group_id: str = ""
    session_timeout_ms: int = 0
    rebalance_timeout_ms: int = -1
    member_id: str = ""
    group_instance_id: str | None = None
    protocol_type: str = ""
    protocols: tuple[JoinGroupRequestProtocol, ...] = ()
    reason: str | None = None


class JoinGroupResponseMember(Part, frozen=True, kw_only=True, gc=False):
    """A member, for the leader."""

    member_id: str = ""
    group_instance_id: str | None = None
    metadata: bytes = b""


class JoinGroupResponse(Response, frozen=True, kw_only=True, gc=False):
    """The generation; the leader gets all members."""

    api: ClassVar[Api] = Api.JOIN_GROUP
    throttle_time_ms: int = 0
    error_code: int = 0
    generation_id: int = -1
    protocol_type: str | None = None
    protocol_name: str | None = ""
    leader: str = ""
    skip_assignment: bool = False
    member_id: str = ""
    members: tuple[JoinGroupResponseMember, ...] = ()
