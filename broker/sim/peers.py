"""Requests to other nodes on the simulated network: one connection per (peer, channel), as in `broker.io.peers`.

Every token is answered once: a `PeerReply`, or a `PeerFailed` when there is no connection, when it breaks, or when a
request on it has passed its time-out; then all that wait on that connection fail with it, since answers come in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from broker.core.ready import Event, PeerFailed, PeerReply, PeerRequest
from broker.sim.connections import ConnectionLostError
from broker.sim.loop import MS_NS, Loop, Timer
from broker.sim.network import Connection, Network


class Peers:
    """All outgoing connections of a process. `deliver` takes the events; never from within `send`."""

    def __init__(self, loop: Loop, network: Network, name: str, deliver: Callable[[Event], None]) -> None:
        self._loop, self._network, self._name, self._deliver = loop, network, name, deliver
        self._channels: dict[tuple[int, int], _Channel] = {}

    def send(self, request: PeerRequest) -> None:
        """Send a request."""
        key = (request.peer, request.channel)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel(self._loop, self._network, self._name, request.peer, self._deliver)
        channel.send(request)

    def close(self) -> None:
        """Close the connections; what waits is not answered any more."""
        for channel in self._channels.values():
            channel.close()


class _Channel:
    """The way to one peer for one kind of request; it outlives its connections."""

    def __init__(self, loop: Loop, network: Network, name: str, peer: int, deliver: Callable[[Event], None]) -> None:
        self._loop, self._network, self._name, self._peer, self._deliver = loop, network, name, peer, deliver
        self._attempt: object | None = None
        """What the connection under way or standing is known by; None: there is none."""
        self._connection: Connection | None = None
        self._waiting: deque[tuple[PeerRequest, int]] = deque()
        self._timer: Timer | None = None
        self._is_closed = False

    def send(self, request: PeerRequest) -> None:
        deadline_ns = self._loop.now_ns + request.timeout_ms * MS_NS
        self._waiting.append((request, deadline_ns))
        if self._connection is not None:
            self._write(request)
        elif self._attempt is None:
            self._connect()
        if self._timer is None:
            self._timer = self._loop.at(deadline_ns, self._expire)

    def _connect(self) -> None:
        attempt = self._attempt = object()

        def connected(connection: Connection) -> None:
            if self._attempt is not attempt:
                connection.close()
                return
            self._connection = connection
            for request, _ in self._waiting:
                self._write(request)

        def refused(_: ConnectionLostError) -> None:
            if self._attempt is attempt:
                self._fail(gone=True)

        self._network.open(self._name, self._peer, connected, refused, internal=True)

    def _write(self, request: PeerRequest) -> None:
        attempt, connection = self._attempt, self._connection
        assert connection is not None

        def replied(message: Any | None) -> None:
            if self._attempt is not attempt:
                return
            if message is None:
                self._fail()
            else:
                first, _ = self._waiting.popleft()
                assert first is request
                self._deliver(PeerReply(request.token, message))

        connection.send(request.message, 0, replied)

    def _expire(self) -> None:
        """Look whether a request has waited too long."""
        self._timer = None
        if not self._waiting:
            return
        first_ns = min(deadline_ns for _, deadline_ns in self._waiting)
        if self._loop.now_ns >= first_ns:
            self._fail()
        else:
            self._timer = self._loop.at(first_ns, self._expire)

    def _fail(self, *, gone: bool = False) -> None:
        connection, self._connection, self._attempt = self._connection, None, None
        if connection is not None:
            connection.close()
        waiting, self._waiting = self._waiting, deque()
        if not self._is_closed:
            for request, _ in waiting:
                self._deliver(PeerFailed(request.token, self._peer if gone else -1))

    def close(self) -> None:
        """Close; nothing is delivered any more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.close()
        self._connection, self._attempt = None, None
