"""What a client needs of a network: connections to nodes, by their ids. `broker.sim.network` is one, TCP another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Connection(Protocol):
    """The client's end. Requests may be pipelined; answers come in their order."""

    is_open: bool

    async def call(self, message: Any, *, version: int = 0, timeout_ms: float = 30_000) -> Any:
        """Send a request and return its answer.

        Raises ConnectionLostError, and TimedOutError: then the connection still stands, and the answer, if it comes,
        is dropped; close it where answers must not be waited for.
        """
        ...

    def send(self, message: Any, version: int, on_reply: Callable[[Any | None], None] | None) -> None:
        """Send a request; `on_reply` gets the answer, or None once the connection is lost. None: it has no answer."""
        ...

    def close(self) -> None:
        """Close: what was sent still arrives, no answer does; calls that wait fail."""
        ...


class Network(Protocol):
    """Where nodes are reached."""

    async def connect(self, client: str, node_id: int, *, timeout_ms: float = ...) -> Connection:
        """Return a connection to a node. Raises ConnectionLostError when it is refused or nobody answers."""
        ...
