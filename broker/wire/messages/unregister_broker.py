"""UnregisterBroker (64): a node that will not come back is forgotten."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Request, Response


class UnregisterBrokerRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which node."""

    api: ClassVar[Api] = Api.UNREGISTER_BROKER
    broker_id: int = 0


class UnregisterBrokerResponse(Response, frozen=True, kw_only=True, gc=False):
    """Whether it is forgotten."""

    api: ClassVar[Api] = Api.UNREGISTER_BROKER
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
