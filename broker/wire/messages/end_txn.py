"""EndTxn (26): commit or abort; from version 5 on the epoch rises with every transaction (KIP-890)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Request, Response


class EndTxnRequest(Request, frozen=True, kw_only=True, gc=False):
    """Whose transaction, and how it ends."""

    api: ClassVar[Api] = Api.END_TXN
    transactional_id: str = ""
    producer_id: int = 0
    producer_epoch: int = 0
    committed: bool = False


class EndTxnResponse(Response, frozen=True, kw_only=True, gc=False):
    """The identity for the next transaction (version 5)."""

    api: ClassVar[Api] = Api.END_TXN
    throttle_time_ms: int = 0
    error_code: int = 0
    producer_id: int = -1
    producer_epoch: int = -1
