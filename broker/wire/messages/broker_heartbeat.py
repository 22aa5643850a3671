"""BrokerHeartbeat (63): a node is alive, and what it wants."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Request, Response


class BrokerHeartbeatRequest(Request, frozen=True, kw_only=True, gc=False):
    """The node has applied the metadata up to this offset."""

    api: ClassVar[Api] = Api.BROKER_HEARTBEAT
    broker_id: int = 0
    broker_epoch: int = -1
    current_metadata_offset: int = 0
    want_fence: bool = False
    want_shut_down: bool = False
    offline_log_dirs: tuple[bytes, ...] = ()


class BrokerHeartbeatResponse(Response, frozen=True, kw_only=True, gc=False):
    """What it may do."""

    api: ClassVar[Api] = Api.BROKER_HEARTBEAT
    throttle_time_ms: int = 0
    error_code: int = 0
    is_caught_up: bool = False
    is_fenced: bool = True
    should_shut_down: bool = False
