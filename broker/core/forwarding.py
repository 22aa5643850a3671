"""Clients' requests on their way to the active controller, whichever node they came to.

While nobody is known to lead the quorum, or whoever led it is gone or leads no more, a request waits and is sent again,
as in Apache Kafka; after `request.timeout.ms` its client hears NOT_CONTROLLER. So a request may be executed twice, and
the second answer says so (TOPIC_ALREADY_EXISTS). Kafka: NodeToControllerChannelManagerImpl.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from broker.core.config import BrokerConfig
from broker.core.controller.controller import ControllerRequest, refusal
from broker.core.ready import Outbox, Reply
from broker.wire.message import Response

CHANNEL = 4
NEVER_MS = 1 << 62


class _Asked(msgspec.Struct):
    """A client's request; `retry_at_ms`: when to send it, once somebody leads."""

    request_id: object
    message: ControllerRequest
    refusal: Response
    until_ms: int
    retry_at_ms: int


class Forwarding:
    """See the module."""

    def __init__(self, config: BrokerConfig, out: Outbox, *, controller: Callable[[], int]) -> None:
        self._config, self._out, self._controller = config, out, controller
        self._sent: dict[int, _Asked] = {}
        self.waiting: list[_Asked] = []
        """Empty: `tick` has nothing to do."""

    @property
    def deadline_ms(self) -> int:
        """When `tick` wants to be called, if nobody begins to lead before."""
        if not self.waiting:
            return NEVER_MS
        is_led = self._controller() >= 0
        return min(min(one.until_ms, one.retry_at_ms) if is_led else one.until_ms for one in self.waiting)

    def ask(self, request_id: object, message: ControllerRequest, now_ms: int) -> None:
        """Take a request; its answer comes as a reply to `request_id`."""
        until_ms = now_ms + self._config.request_timeout_ms
        self.waiting.append(_Asked(request_id, message, refusal(message), until_ms, now_ms))
        self.tick(now_ms)

    def tick(self, now_ms: int) -> None:
        """Send what waits, if somebody leads; refuse what has waited for too long."""
        if not self.waiting:
            return
        waiting, self.waiting = self.waiting, []
        leader = self._controller()
        for one in waiting:
            if now_ms >= one.until_ms:
                self._out.replies.append(Reply(one.request_id, one.refusal))
            elif leader >= 0 and now_ms >= one.retry_at_ms:
                self._sent[self._out.request(leader, CHANNEL, one.message, one.until_ms - now_ms)] = one
            else:
                self.waiting.append(one)

    def owns(self, token: int) -> bool:
        """Return whether the request is one of these."""
        return token in self._sent

    def answered(self, token: int, message: Response, now_ms: int) -> None:
        """Pass the answer on, unless it is that of a node that does not lead any more."""
        asked = self._sent.pop(token)
        if message == asked.refusal:
            self._again(asked, now_ms)
        else:
            self._out.replies.append(Reply(asked.request_id, message))

    def failed(self, token: int, now_ms: int) -> None:
        """Nobody answered: there may be another controller soon."""
        self._again(self._sent.pop(token), now_ms)

    def _again(self, asked: _Asked, now_ms: int) -> None:
        asked.retry_at_ms = now_ms + self._config.retry_backoff_ms
        self.waiting.append(asked)
