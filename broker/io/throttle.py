"""Holds back clients that are beyond their limits (KIP-13, KIP-219): told for how long, and not heard for so long.

A Produce counts when it comes, a Fetch when its answer goes; the answer goes at once and names the wait, and what the
connection sends meanwhile is left in the socket. A Fetch beyond the limit still carries its records: the next one
waits for them. Without any limit in the cluster nothing is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from broker.core.metadata.image import Image
from broker.core.quota.limits import CONSUMER, PRODUCER, limit
from broker.core.quota.usage import Usage
from broker.io.connection import Slot
from broker.wire.message import Request, Response
from broker.wire.messages.fetch import FetchRequest, FetchResponse, Region
from broker.wire.messages.produce import ProduceRequest


class Throttle:
    """See the module; one per node."""

    def __init__(self, image: Callable[[], Image], now_ms: Callable[[], int]) -> None:
        self._image, self._now_ms = image, now_ms
        self._usage = Usage()

    def asked(self, slot: Slot, message: Request, client: str) -> None:
        """Count a request, or see to it that its answer is counted."""
        if not self._image().quotas:
            return
        if isinstance(message, ProduceRequest):
            size = sum(len(one.records or b"") for topic in message.topic_data for one in topic.partition_data)
            wait_ms = self._used(slot, PRODUCER, client, size)
            if wait_ms:
                _finally(slot, lambda answer: msgspec.structs.replace(answer, throttle_time_ms=wait_ms))
        elif isinstance(message, FetchRequest):
            _finally(slot, lambda answer: self._fetched(slot, answer, client))

    def _fetched(self, slot: Slot, answer: FetchResponse, client: str) -> FetchResponse:
        size = sum(_size(data.records) for topic in answer.responses for data in topic.partitions)
        wait_ms = self._used(slot, CONSUMER, client, size)
        return msgspec.structs.replace(answer, throttle_time_ms=wait_ms) if wait_ms else answer

    def _used(self, slot: Slot, kind: str, client: str, size: int) -> int:
        """Count; hold the connection back if it is beyond its limit, and return for how many ms."""
        user = (slot.connection.session.principal or "").removeprefix("User:")
        holds = limit(self._image().quotas, kind, user, client)
        wait_ms = self._usage.used(holds, size, self._now_ms()) if holds is not None and size else 0
        if wait_ms:
            slot.connection.hold(wait_ms)
        return wait_ms


def _size(records: Any) -> int:
    return records.size if isinstance(records, Region) else len(records or b"")


def _finally(slot: Slot, last: Callable[[Any], Response]) -> None:
    """Let it have the last word on the answer."""
    before = slot.finish
    slot.finish = last if before is None else lambda answer: last(before(answer))
