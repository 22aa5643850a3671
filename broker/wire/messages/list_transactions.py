"""ListTransactions (66): the transactional ids that this node coordinates (KIP-664, KIP-994)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class ListTransactionsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Filters: none lets all pass; `duration_filter`: open for longer than that many ms."""

    api: ClassVar[Api] = Api.LIST_TRANSACTIONS
    state_filters: tuple[str, ...] = ()
    producer_id_filters: tuple[int, ...] = ()
    duration_filter: int = -1
    transactional_id_pattern: str | None = None


class TransactionState(Part, frozen=True, kw_only=True, gc=False):
    """An id."""

    transactional_id: str = ""
    producer_id: int = 0
    transaction_state: str = ""


class ListTransactionsResponse(Response, frozen=True, kw_only=True, gc=False):
    """The ids that pass all filters."""

    api: ClassVar[Api] = Api.LIST_TRANSACTIONS
    throttle_time_ms: int = 0
    error_code: int = 0
    unknown_state_filters: tuple[str, ...] = ()
    transaction_states: tuple[TransactionState, ...] = ()
