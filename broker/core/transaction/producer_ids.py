"""Producer ids: every node gets blocks of them from the controller, and hands them out one by one."""

from __future__ import annotations

from collections.abc import Callable

from broker.core.config import BrokerConfig
from broker.core.ready import Outbox
from broker.wire.messages.allocate_producer_ids import AllocateProducerIdsRequest, AllocateProducerIdsResponse

CHANNEL = 2
"""Requests to the controller."""


class ProducerIds:
    """Whoever wants an id gets it by a call, at once or when a block has come."""

    def __init__(
        self, config: BrokerConfig, out: Outbox, *, controller: Callable[[], int], epoch: Callable[[], int]
    ) -> None:
        self._config, self._out, self._controller, self._epoch = config, out, controller, epoch
        self._next, self._end = 0, 0
        self.waiting: list[Callable[[int, int], None]] = []
        """Empty: `tick` has nothing to do."""
        self._flight: int | None = None
        self._retry_at_ms = 0

    @property
    def deadline_ms(self) -> int:
        """When to ask (again) for a block, while somebody waits."""
        return self._retry_at_ms if self._flight is None else 1 << 62

    def take(self, then: Callable[[int, int], None], now_ms: int) -> None:
        """Call `then` with a new id and the time."""
        if self._next < self._end:
            self._next += 1
            then(self._next - 1, now_ms)
        else:
            self.waiting.append(then)
            self.tick(now_ms)

    def give_back(self, producer_id: int) -> None:
        """Take back the id that was just handed out: nobody has seen it."""
        if producer_id == self._next - 1:
            self._next = producer_id

    def owns(self, token: int) -> bool:
        """Return whether the request is ours."""
        return token == self._flight

    def tick(self, now_ms: int) -> None:
        """Ask for a block if somebody waits and nobody has asked."""
        if not self.waiting or self._flight is not None or now_ms < self._retry_at_ms:
            return
        self._retry_at_ms = now_ms + self._config.retry_backoff_ms
        if self._controller() >= 0:
            message = AllocateProducerIdsRequest(broker_id=self._config.node_id, broker_epoch=self._epoch())
            self._flight = self._out.request(self._controller(), CHANNEL, message, self._config.request_timeout_ms)

    def answered(self, token: int, response: AllocateProducerIdsResponse, now_ms: int) -> None:
        """Hand out what has come."""
        assert token == self._flight
        self._flight = None
        if response.error_code:
            self._retry_at_ms = now_ms + self._config.retry_backoff_ms
            return
        self._next, self._end = response.producer_id_start, response.producer_id_start + response.producer_id_len
        waiting, self.waiting = self.waiting, []
        for then in waiting:
            self.take(then, now_ms)

    def failed(self, token: int, now_ms: int) -> None:
        """Nobody answered."""
        assert token == self._flight
        self._flight = None
        self._retry_at_ms = now_ms + self._config.retry_backoff_ms
