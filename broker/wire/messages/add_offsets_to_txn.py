"""AddOffsetsToTxn (25): a transaction will commit offsets of a group."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Request, Response


class AddOffsetsToTxnRequest(Request, frozen=True, kw_only=True, gc=False):
    """Whose transaction, which group."""

    api: ClassVar[Api] = Api.ADD_OFFSETS_TO_TXN
    transactional_id: str = ""
    producer_id: int = 0
    producer_epoch: int = 0
    group_id: str = ""


class AddOffsetsToTxnResponse(Response, frozen=True, kw_only=True, gc=False):
    """Noted, or why not."""

    api: ClassVar[Api] = Api.ADD_OFFSETS_TO_TXN
    throttle_time_ms: int = 0
    error_code: int = 0
