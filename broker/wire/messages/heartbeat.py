"""Heartbeat (12): a member of a classic group is alive, and hears of rebalances."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Request, Response


class HeartbeatRequest(Request, frozen=True, kw_only=True, gc=False):
    """Who, in which generation."""

    api: ClassVar[Api] = Api.HEARTBEAT
    group_id: str = ""
    generation_id: int = 0
    member_id: str = ""
    group_instance_id: str | None = None


class HeartbeatResponse(Response, frozen=True, kw_only=True, gc=False):
    """REBALANCE_IN_PROGRESS asks it to join again."""

    api: ClassVar[Api] = Api.HEARTBEAT
    throttle_time_ms: int = 0
    error_code: int = 0
