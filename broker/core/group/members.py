"""A member of a classic group, and who sends a member's request."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

MayDescribe = Callable[[str], bool] | None
"""Whether whoever asks may describe the topic of that name; None: everybody may."""


class Sender(NamedTuple):
    """Whose request it is."""

    client_id: str
    host: str
    may_describe: MayDescribe = None


class Member(msgspec.Struct, kw_only=True):
    """Who it is, what it can, what it was assigned; `joining` and `syncing` hold the ids of requests that wait."""

    id: str
    instance_id: str | None
    client_id: str
    host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]
    assignment: bytes = b""
    heard_ms: int = 0
    joining: object | None = None
    syncing: object | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a request of it waits here: then it is alive."""
        return self.joining is not None or self.syncing is not None

    @property
    def protocol_names(self) -> list[str]:
        """The assignors that it can do, in its order of preference."""
        return [name for name, _ in self.protocols]

    def metadata_for(self, protocol: str) -> bytes:
        """Return what it tells the assignor."""
        return next((metadata for name, metadata in self.protocols if name == protocol), b"")
