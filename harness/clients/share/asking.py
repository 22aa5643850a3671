"""How a member says what it wants done: it yields steps, and is sent what came of them.

Who performs the steps (`harness.clients.share.wire` on sockets, `harness.clients.simulated.share` on the virtual clock)
sends each request once: a second try may be executed a second time, and whether the first one was is what a history has
to say.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from broker.wire.message import Request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to a node (None: any), and how long to wait for its answer."""

    node: int | None
    request: Request
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause."""

    ms: int


Steps = Generator[Ask | Wait, Any, T]
"""Yields steps, is sent the answer to a request, returns a result. A request without one raises LostError in it."""


class LostError(Exception):
    """Nobody answered. `sent`: the request may have been executed, or may be yet."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent
