"""AllocateProducerIds (67): a node gets a block of producer ids from the controller."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Request, Response


class AllocateProducerIdsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Who asks."""

    api: ClassVar[Api] = Api.ALLOCATE_PRODUCER_IDS
    broker_id: int = 0
    broker_epoch: int = -1


class AllocateProducerIdsResponse(Response, frozen=True, kw_only=True, gc=False):
    """The block."""

    api: ClassVar[Api] = Api.ALLOCATE_PRODUCER_IDS
    throttle_time_ms: int = 0
    error_code: int = 0
    producer_id_start: int = 0
    producer_id_len: int = 0
