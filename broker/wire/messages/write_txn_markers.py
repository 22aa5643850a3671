"""WriteTxnMarkers (27): a transaction coordinator tells partition leaders how transactions end."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class WritableTxnMarkerTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partition_indexes: tuple[int, ...] = ()


class WritableTxnMarker(Part, frozen=True, kw_only=True, gc=False):
    """One transaction's end."""

    producer_id: int = 0
    producer_epoch: int = 0
    transaction_result: bool = False
    topics: tuple[WritableTxnMarkerTopic, ...] = ()
    coordinator_epoch: int = 0
    transaction_version: int = 0
    """From 2 on the epoch rose when the transaction ended: it is higher than that of all its records (KIP-1228)."""


class WriteTxnMarkersRequest(Request, frozen=True, kw_only=True, gc=False):
    """Markers for partitions that the node leads."""

    api: ClassVar[Api] = Api.WRITE_TXN_MARKERS
    markers: tuple[WritableTxnMarker, ...] = ()


class WritableTxnMarkerPartitionResult(Part, frozen=True, kw_only=True, gc=False):
    """One partition."""

    partition_index: int = 0
    error_code: int = 0


class WritableTxnMarkerTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    name: str = ""
    partitions: tuple[WritableTxnMarkerPartitionResult, ...] = ()


class WritableTxnMarkerResult(Part, frozen=True, kw_only=True, gc=False):
    """One transaction."""

    producer_id: int = 0
    topics: tuple[WritableTxnMarkerTopicResult, ...] = ()


class WriteTxnMarkersResponse(Response, frozen=True, kw_only=True, gc=False):
    """When all markers are replicated, or refused."""

    api: ClassVar[Api] = Api.WRITE_TXN_MARKERS
    markers: tuple[WritableTxnMarkerResult, ...] = ()
