"""ListGroups (16): the groups that a node coordinates."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class ListGroupsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Only groups in these states and of these types, if any are named."""

    api: ClassVar[Api] = Api.LIST_GROUPS
    states_filter: tuple[str, ...] = ()
    types_filter: tuple[str, ...] = ()


class ListedGroup(Part, frozen=True, kw_only=True, gc=False):
    """A group."""

    group_id: str = ""
    protocol_type: str = ""
    group_state: str = ""
    group_type: str = ""


class ListGroupsResponse(Response, frozen=True, kw_only=True, gc=False):
    """All of them."""

    api: ClassVar[Api] = Api.LIST_GROUPS
    throttle_time_ms: int = 0
    error_code: int = 0
    groups: tuple[ListedGroup, ...] = ()
