"""AddPartitionsToTxn (24): from clients (one transaction, up to version 3) and from partition leaders (KIP-890)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class AddPartitionsToTxnTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[int, ...] = ()


class AddPartitionsToTxnTransaction(Part, frozen=True, kw_only=True, gc=False):
    """What a leader adds, or only verifies."""

    transactional_id: str = ""
    producer_id: int = 0
    producer_epoch: int = 0
    verify_only: bool = False
    topics: tuple[AddPartitionsToTxnTopic, ...] = ()


class AddPartitionsToTxnRequest(Request, frozen=True, kw_only=True, gc=False):
    """A client's transaction in the v3_and_below fields, leaders' in `transactions`."""

    api: ClassVar[Api] = Api.ADD_PARTITIONS_TO_TXN
    transactions: tuple[AddPartitionsToTxnTransaction, ...] = ()
    v3_and_below_transactional_id: str = ""
    v3_and_below_producer_id: int = 0
    v3_and_below_producer_epoch: int = 0
    v3_and_below_topics: tuple[AddPartitionsToTxnTopic, ...] = ()


class AddPartitionsToTxnPartitionResult(Part, frozen=True, kw_only=True, gc=False):
    """One partition."""

    partition_index: int = 0
    partition_error_code: int = 0


class AddPartitionsToTxnTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    results_by_partition: tuple[AddPartitionsToTxnPartitionResult, ...] = ()


class AddPartitionsToTxnResult(Part, frozen=True, kw_only=True, gc=False):
    """One transaction."""

    transactional_id: str = ""
    topic_results: tuple[AddPartitionsToTxnTopicResult, ...] = ()


class AddPartitionsToTxnResponse(Response, frozen=True, kw_only=True, gc=False):
    """By transaction for leaders, by topic for a client."""

    api: ClassVar[Api] = Api.ADD_PARTITIONS_TO_TXN
    throttle_time_ms: int = 0
    error_code: int = 0
    results_by_transaction: tuple[AddPartitionsToTxnResult, ...] = ()
    results_by_topic_v3_and_below: tuple[AddPartitionsToTxnTopicResult, ...] = ()
