"""What a client needs of a network: connections to nodes, by their ids. `broker.sim.network` has some, TCP others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from broker.sim.loop import Future, Loop


class ConnectionLostError(Exception):
    """The connection was refused, reset or closed by the other end. What was asked on it may have been executed."""


class Connection(ABC):
    """The client's end. Requests may be pipelined; answers come in their order."""

    __slots__ = ("is_open", "loop", "node_id")

    def __init__(self, loop: Loop, node_id: int, *, is_open: bool) -> None:
        self.loop, self.node_id, self.is_open = loop, node_id, is_open

    async def call(self, message: Any, *, version: int = 0, timeout_ms: float = 30_000) -> Any:
        """Send a request and return its answer.

        Raises ConnectionLostError, and TimedOutError: then the connection still stands, and the answer, if it comes,
        is dropped; close it where answers must not be waited for.
        """
        answer: Future[Any] = self.loop.future()

        def replied(message: Any | None) -> None:
            if message is None:
                answer.fail(ConnectionLostError(f"the connection to node {self.node_id} was lost"))
            else:
                answer.set(message)

        self.send(message, version, replied)
        return await self.loop.within(answer, timeout_ms)

    @abstractmethod
    def send(self, message: Any, version: int, on_reply: Callable[[Any | None], None] | None) -> None:
        """Send a request; `on_reply` gets the answer, or None once the connection is lost. None: it has no answer."""

    @abstractmethod
    def close(self) -> None:
        """Close: what was sent still arrives, no answer does; calls that wait fail."""


class Network(Protocol):
    """Where nodes are reached."""

    async def connect(self, client: str, node_id: int, *, timeout_ms: float = ...) -> Connection:
        """Return a connection to a node. Raises ConnectionLostError when it is refused or nobody answers."""
        ...
