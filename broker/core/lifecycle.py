"""This node's life as the controller sees it: register, beat, be unfenced, stop in order.

    starting -> registered (fenced) -> running -> stopping -> stopped

One request to the active controller is on its way at a time; without an answer it is repeated after a back-off, perhaps
to another controller. A heartbeat goes out at once when there is news (registered, own record applied, stop wanted).
A node that is a controller only has nothing to register, and stops at once. Kafka: BrokerLifecycleManager.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.ready import Outbox
from broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from broker.wire.messages.broker_registration import BrokerRegistrationRequest, BrokerRegistrationResponse, Listener

CHANNEL = 3
"""Heartbeats must not wait behind anything."""
NEVER_MS = 1 << 62


class Life(enum.Enum):
    """See the module."""

    STARTING = "starting"
    REGISTERED = "registered"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Lifecycle:
    """See the module. `controller` says where to send, `applied` how far the metadata are applied."""

    def __init__(
        self,
        config: BrokerConfig,
        out: Outbox,
        *,
        incarnation: bytes,
        previous_epoch: int,
        controller: Callable[[], int],
        applied: Callable[[], int],
    ) -> None:
        self.life = Life.STARTING
        self.epoch = -1
        self._config, self._out = config, out
        self._incarnation, self._previous_epoch = incarnation, previous_epoch
        self._controller, self._applied = controller, applied
        self._flight: int | None = None
        self._asked_ms = 0
        self._known_ms = -NEVER_MS  # when the last beat was sent that the controller answered: not fenced
        self.deadline_ms = 0

    def may_be_fenced(self, now_ms: int) -> bool:
        """Return whether the controller may have given this node up: it says so, or the session is over, or nearly.

        The controller counts from when it hears a beat, which is never before it was sent; the rest is for clocks of
        different speed.
        """
        return now_ms - self._known_ms >= self._config.session_timeout_ms * 9 // 10

    def owns(self, token: int) -> bool:
        """Return whether the request is ours."""
        return token == self._flight

    def poke(self) -> None:
        """There is news: do not wait for the next beat."""
        self.deadline_ms = 0

    def stop(self) -> None:
        """Ask the controller to be let go."""
        if self.life is not Life.STOPPED:
            self.life = Life.STOPPED if self.epoch < 0 else Life.STOPPING
        self.poke()

    def tick(self, now_ms: int) -> None:
        """Send what is due."""
        if now_ms < self.deadline_ms or self._flight is not None or self.life is Life.STOPPED:
            return
        if not self._config.is_broker:
            self.deadline_ms = NEVER_MS
            return
        target = self._controller()
        if target < 0:
            self.deadline_ms = now_ms + self._config.retry_backoff_ms
            return
        self.deadline_ms = now_ms + self._config.heartbeat_interval_ms
        self._asked_ms = now_ms
        message: BrokerRegistrationRequest | BrokerHeartbeatRequest
        if self.epoch < 0:
            message = BrokerRegistrationRequest(
                broker_id=self._config.node_id,
                cluster_id=self._config.cluster_id,
                incarnation_id=self._incarnation,
                listeners=tuple(
                    Listener(name=item.name, host=item.host, port=item.port) for item in self._config.endpoints
                ),
                rack=self._config.rack,
                previous_broker_epoch=self._previous_epoch,
            )
        else:
            message = BrokerHeartbeatRequest(
                broker_id=self._config.node_id,
                broker_epoch=self.epoch,
                current_metadata_offset=self._applied(),
                want_shut_down=self.life is Life.STOPPING,
            )
        self._flight = self._out.request(target, CHANNEL, message, self._config.heartbeat_interval_ms)

    def answered(self, token: int, message: BrokerRegistrationResponse | BrokerHeartbeatResponse, now_ms: int) -> None:
        """Take the controller's answer."""
        assert token == self._flight
        self._flight = None
        if message.error_code:
            if message.error_code == Code.BROKER_ID_NOT_REGISTERED:
                self.epoch = -1
            self.deadline_ms = now_ms + self._config.retry_backoff_ms
            return
        if isinstance(message, BrokerRegistrationResponse):
            self.epoch = message.broker_epoch
            self.life = Life.REGISTERED if self.life is Life.STARTING else self.life
            self.poke()
            return
        self._known_ms = -NEVER_MS if message.is_fenced else self._asked_ms
        if message.should_shut_down:
            self.life = Life.STOPPED
        elif self.life is Life.REGISTERED and not message.is_fenced:
            self.life = Life.RUNNING
        elif self.life is Life.RUNNING and message.is_fenced:
            self.life = Life.REGISTERED
        if self.life in {Life.REGISTERED, Life.STOPPING}:
            self.deadline_ms = now_ms + self._config.retry_backoff_ms

    def failed(self, token: int, now_ms: int) -> None:
        """Nobody answered."""
        assert token == self._flight
        self._flight = None
        self.deadline_ms = now_ms + self._config.retry_backoff_ms
