"""OffsetFetch waits a while for transactions that hold what it asks for.

With `require_stable` an offset that an open transaction may still change must not be told (KIP-447). Kafka answers
UNSTABLE_OFFSET_COMMIT at once, and its clients ask again, up to a second later. Here the answer waits for the markers,
as whoever begins the next transaction does, and only says so after `PATIENCE_MS`: a consumer that takes over goes on
the moment that the transaction ends.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from broker.core.group import offset_fetch
from broker.wire.messages.offset_fetch import OffsetFetchRequest

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator

NEVER_MS = 1 << 62
PATIENCE_MS = 2000
"""Below what clients wait for an answer; on a connection answers keep their order, so that its heartbeats wait, too."""


class _Waiting(NamedTuple):
    until_ms: int
    request_id: object
    message: OffsetFetchRequest
    holders: frozenset[int]
    """Ids of the producers whose transactions hold an offset that was asked for."""


class StableOffsets:
    """See the module."""

    def __init__(self, coordinator: GroupCoordinator) -> None:
        self._coordinator = coordinator
        self._waiting: deque[_Waiting] = deque()  # by `until_ms`

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        return self._waiting[0].until_ms if self._waiting else NEVER_MS

    def handle(self, request_id: object, message: OffsetFetchRequest, now_ms: int) -> None:
        """Answer now, or when what holds the offsets has ended."""
        self._try(request_id, message, now_ms + PATIENCE_MS)

    def ended(self, producer_id: int) -> None:
        """A transaction of this producer has ended."""
        if self._waiting:
            self._again([waiting for waiting in self._waiting if producer_id in waiting.holders])

    def moved(self) -> None:
        """Another node has some of the groups now."""
        self._again(list(self._waiting))

    def tick(self, now_ms: int) -> None:
        """Answer whoever has waited long enough."""
        while self.deadline_ms <= now_ms:
            waiting = self._waiting.popleft()
            answer, _ = offset_fetch.fetch(self._coordinator, self._coordinator.image(), waiting.message)
            self._coordinator.answer(waiting.request_id, answer)

    def _again(self, those: list[_Waiting]) -> None:
        for waiting in those:
            self._waiting.remove(waiting)
            self._try(waiting.request_id, waiting.message, waiting.until_ms)

    def _try(self, request_id: object, message: OffsetFetchRequest, until_ms: int) -> None:
        answer, holders = offset_fetch.fetch(self._coordinator, self._coordinator.image(), message)
        if holders:
            at = bisect_right(self._waiting, until_ms, key=lambda waiting: waiting.until_ms)
            self._waiting.insert(at, _Waiting(until_ms, request_id, message, holders))
        else:
            self._coordinator.answer(request_id, answer)
