"""DescribeTransactions (65): the newest transaction of transactional ids, from their coordinator (KIP-664)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class DescribeTransactionsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which ids."""

    api: ClassVar[Api] = Api.DESCRIBE_TRANSACTIONS
    transactional_ids: tuple[str, ...] = ()


class TopicData(Part, frozen=True, kw_only=True, gc=False):
    """Partitions that are part of it."""

    topic: str = ""
    partitions: tuple[int, ...] = ()


class TransactionState(Part, frozen=True, kw_only=True, gc=False):
    """An id; the start time is -1 when nothing is open."""

    error_code: int = 0
    transactional_id: str = ""
    transaction_state: str = ""
    transaction_timeout_ms: int = 0
    transaction_start_time_ms: int = -1
    producer_id: int = 0
    producer_epoch: int = 0
    topics: tuple[TopicData, ...] = ()


class DescribeTransactionsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per id."""

    api: ClassVar[Api] = Api.DESCRIBE_TRANSACTIONS
    throttle_time_ms: int = 0
    transaction_states: tuple[TransactionState, ...] = ()
