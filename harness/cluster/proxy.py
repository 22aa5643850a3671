"""What a link has to know of Kafka's protocol to make mischief with it: where requests and answers begin, and which.

A request begins with its size, the key and version of its API, and a correlation id; its answer with its size and that
id. `Frames` finds these beginnings in a stream, at the price of holding back a beginning that is not all there yet.
An `Interception` is what a link does to some requests of clients to a node:

    lost   the request is executed, and its connection is reset in place of the answer: the client can't know
    late   the request is held, and its connection is reset; some time later the node gets it, when the client has long
           sent it again, over another connection, and may be further on

Both are what a network does (KAFKA-17754 tells of the second); what is sent is neither altered nor invented.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.cluster.api import APIS, Interception

REQUEST_HEAD_BYTES = 12
ANSWER_HEAD_BYTES = 8
MAX_FRAME_BYTES = 1 << 30
"""Kafka takes 100 MB: more is no size, and the stream not one of these (TLS)."""


class Frames:
    """Finds where frames begin in one direction of a connection that is followed from its first byte."""

    def __init__(self, head_bytes: int) -> None:
        self._head_bytes = head_bytes
        self._left = 0
        """Bytes to come of the frame that has begun."""
        self._part = b""
        self._is_opaque = False

    def feed(self, data: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
        """Return what is to be passed on, and where in it which heads begin."""
        if self._is_opaque:
            return data, []
        if self._part:
            data, self._part = self._part + data, b""
        at = self._left
        heads: list[tuple[int, bytes]] = []
        while at < len(data):
            head = data[at : at + self._head_bytes]
            if len(head) < self._head_bytes:
                self._left, self._part = 0, head
                return data[:at], heads
            size = int.from_bytes(head[:4], "big", signed=True)
            if not 0 <= size <= MAX_FRAME_BYTES:
                self._is_opaque = True
                return data, heads
            heads.append((at, head))
            at += max(4 + size, self._head_bytes)
        self._left = at - len(data)
        return data, heads


class Interceptor:
    """Strikes requests as an `Interception` says, and counts them."""

    def __init__(self, what: Interception, rng: random.Random) -> None:
        self.what = what
        self.counts: Counter[str] = Counter()
        """Requests that were answered in vain, or held, by API."""
        self._names = {APIS[name]: name for name in what.apis}
        self._rng, self._struck = rng, 0

    def strikes(self, head: bytes) -> bool:
        """Return whether it is done to this request."""
        what = self.what
        if api_of(head) not in self._names or (what.most is not None and self._struck >= what.most):
            return False
        if self._rng.random() * 1e6 >= what.chance_ppm:
            return False
        self._struck += 1
        return True

    def count(self, head: bytes) -> None:
        """It has been done to this request."""
        self.counts[self._names[api_of(head)]] += 1


def api_of(head: bytes) -> int:
    """Return the key of a request's API."""
    return int.from_bytes(head[4:6], "big")


@dataclass(slots=True, eq=False)
class Traffic:
    """The requests and answers of one connection, and the one of them that an interception has struck."""

    catch: Callable[[], None]
    """Called when a late request is whole: the client's end is to be reset, the node's end stays."""
    reset: Callable[[], None]
    """Called when an answer has come that the client must not see: both ends are to be reset."""
    requests: Frames = field(default_factory=lambda: Frames(REQUEST_HEAD_BYTES))
    answers: Frames = field(default_factory=lambda: Frames(ANSWER_HEAD_BYTES))
    by: Interceptor | None = None
    late: bytearray = field(default_factory=bytearray)
    _head: bytes = b""
    _missing: int = 0

    @property
    def is_caught(self) -> bool:
        """A request of it is held, or becoming so: nothing else of it passes."""
        return self.by is not None and self.by.what.late_ms is not None

    def forth(self, data: bytes, interceptor: Interceptor | None) -> bytes:
        """Return what is to be passed on of what a client sends."""
        if self.is_caught:
            self._collect(data)
            return b""
        data, heads = self.requests.feed(data)
        if interceptor is None or self.by is not None:
            return data
        for at, head in heads:
            if not interceptor.strikes(head):
                continue
            self.by, self._head = interceptor, head
            if interceptor.what.late_ms is None:
                return data
            self._missing = 4 + int.from_bytes(head[:4], "big")
            self._collect(data[at:])
            return data[:at]
        return data

    def _collect(self, data: bytes) -> None:
        if self._missing:
            self.late += data[: self._missing]
            self._missing -= len(data[: self._missing])
            if not self._missing and self.by is not None:
                self.by.count(self._head)
                self.catch()

    def back(self, data: bytes) -> bytes:
        """Return what is to be passed on of what a node sends."""
        data, heads = self.answers.feed(data)
        if self.by is None:
            return data
        for _, head in heads:
            if head[4:8] == self._head[8:12]:
                if self.by.what.late_ms is None:
                    self.by.count(self._head)
                self.reset()
                return b""
        return b"" if self.is_caught else data
