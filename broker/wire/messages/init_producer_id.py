"""InitProducerId (22): a producer gets its id and epoch; with a transactional id, older ones are fenced."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Request, Response


class InitProducerIdRequest(Request, frozen=True, kw_only=True, gc=False):
    """Id and epoch are given by a producer that wants its epoch bumped (KIP-360), else -1."""

    api: ClassVar[Api] = Api.INIT_PRODUCER_ID
    transactional_id: str | None = None
    transaction_timeout_ms: int = 0
    producer_id: int = -1
    producer_epoch: int = -1


class InitProducerIdResponse(Response, frozen=True, kw_only=True, gc=False):
    """The identity to write with."""

    api: ClassVar[Api] = Api.INIT_PRODUCER_ID
    throttle_time_ms: int = 0
    error_code: int = 0
    producer_id: int = -1
    producer_epoch: int = 0
