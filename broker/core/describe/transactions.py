"""DescribeTransactions and ListTransactions: what this node coordinates (KIP-664, KIP-994).

An id exists once its first record is replicated. ListTransactions tells what its filters let through; a state that
there is none of is told back. A pattern is a regular expression of RE2 that must match the whole id.
Kafka: TransactionStateManager.listTransactionStates.
"""

from __future__ import annotations

from typing import Any

from broker.core.errors import Code, Refused
from broker.core.patterns import compiled
from broker.core.transaction.coordinator import TransactionCoordinator
from broker.core.transaction.state import State, Transaction
from broker.wire.messages.describe_transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    TopicData,
)
from broker.wire.messages.describe_transactions import TransactionState as Described
from broker.wire.messages.list_transactions import ListTransactionsRequest, ListTransactionsResponse
from broker.wire.messages.list_transactions import TransactionState as Listed

_STATES = {state.value for state in State} | {"Dead", "PrepareEpochFence"}
"""Those that clients may ask for; the last two are Kafka's and never seen here."""


def describe(coordinator: TransactionCoordinator, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse:
    """Return the newest transaction of each id."""
    return DescribeTransactionsResponse(
        transaction_states=tuple(_describe_one(coordinator, name) for name in request.transactional_ids)
    )


def _describe_one(coordinator: TransactionCoordinator, name: str) -> Described:
    if not name:
        return Described(transactional_id=name, error_code=Code.INVALID_REQUEST)
    try:
        value = coordinator.find(name)
    except Refused as refused:
        return Described(transactional_id=name, error_code=refused.code)
    topics: dict[str, list[int]] = {}
    for topic, index in value.partitions:
        topics.setdefault(topic, []).append(index)
    return Described(
        transactional_id=name,
        transaction_state=value.state.value,
        transaction_timeout_ms=value.timeout_ms,
        transaction_start_time_ms=value.start_ms,
        producer_id=value.producer_id,
        producer_epoch=value.epoch,
        topics=tuple(TopicData(topic=topic, partitions=tuple(sorted(found))) for topic, found in topics.items()),
    )


def list_all(
    coordinator: TransactionCoordinator, request: ListTransactionsRequest, now_ms: int
) -> ListTransactionsResponse:
    """Return the ids that pass the filters."""
    unknown = tuple(text for text in request.state_filters if text not in _STATES)
    try:
        pattern = compiled(request.transactional_id_pattern) if request.transactional_id_pattern else None
        values = coordinator.all()
    except Refused as refused:
        return ListTransactionsResponse(error_code=refused.code)
    found = [value for value in values if _passes(value, request, pattern, now_ms)]
    return ListTransactionsResponse(
        unknown_state_filters=unknown,
        transaction_states=tuple(
            Listed(transactional_id=one.id, producer_id=one.producer_id, transaction_state=one.state.value)
            for one in found
        ),
    )


def _passes(value: Transaction, request: ListTransactionsRequest, pattern: Any, now_ms: int) -> bool:
    states, ids = request.state_filters, request.producer_id_filters
    if (states and value.state.value not in states) or (ids and value.producer_id not in ids):
        return False
    if request.duration_filter >= 0 and (value.start_ms < 0 or now_ms - value.start_ms <= request.duration_filter):
        return False
    return pattern is None or pattern.fullmatch(value.id) is not None
