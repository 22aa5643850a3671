"""DescribeGroups (15): state and members of classic groups."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class DescribeGroupsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which groups."""

    api: ClassVar[Api] = Api.DESCRIBE_GROUPS
    groups: tuple[str, ...] = ()
    include_authorized_operations: bool = False


class DescribedGroupMember(Part, frozen=True, kw_only=True, gc=False):
    """A member; metadata and assignment only while the group is stable."""

    member_id: str = ""
    group_instance_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    member_metadata: bytes = b""
    member_assignment: bytes = b""


class DescribedGroup(Part, frozen=True, kw_only=True, gc=False):
    """A group; an unknown one is Dead."""

    error_code: int = 0
    error_message: str | None = None
    group_id: str = ""
    group_state: str = ""
    protocol_type: str = ""
    protocol_data: str = ""
    members: tuple[DescribedGroupMember, ...] = ()
    authorized_operations: int = -2147483648


class DescribeGroupsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per group."""

    api: ClassVar[Api] = Api.DESCRIBE_GROUPS
    throttle_time_ms: int = 0
    groups: tuple[DescribedGroup, ...] = ()
