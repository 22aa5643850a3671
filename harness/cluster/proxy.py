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


@dataclass(slots=True)
class Interception:
    """What happens to requests to some APIs, each with a chance. `late_s` is None where answers are lost."""

    apis: frozenset[int]
    chance: float
    late_s: float | None
    counts: Counter[int] = field(default_factory=Counter)
    """Requests that were answered in vain, or held, by API."""

    def strikes(self, head: bytes, rng: random.Random) -> bool:
        """Return whether this request is one that it is done to."""
        return api_of(head) in self.apis and rng.random() < self.chance


def api_of(head: bytes) -> int:
    """Return the key of a request's API."""
    return int.from_bytes(head[4:6], "big")


@dataclass(slots=True, eq=False)
class Traffic:
    """The requests and answers of one connection, and the one of them that an interception has struck."""

    rng: random.Random
    catch: Callable[[], None]
    """Called when a late request is whole: the client's end is to be reset, the node's end stays."""
    reset: Callable[[], None]
    """Called when an answer has come that the client must not see: both ends are to be reset."""
    requests: Frames = field(default_factory=lambda: Frames(REQUEST_HEAD_BYTES))
    answers: Frames = field(default_factory=lambda: Frames(ANSWER_HEAD_BYTES))
    by: Interception | None = None
    late: bytearray = field(default_factory=bytearray)
    _api: int = -1
    _id: bytes = b""
    _missing: int = 0

    @property
    def is_caught(self) -> bool:
        """A request of it is held, or becoming so: nothing else of it passes."""
        return self.by is not None and self.by.late_s is not None

    def forth(self, data: bytes, interception: Interception | None) -> bytes:
        """Return what is to be passed on of what a client sends."""
        if self.is_caught:
            self._collect(data)
            return b""
        data, heads = self.requests.feed(data)
        if interception is None or self.by is not None:
            return data
        for at, head in heads:
            if not interception.strikes(head, self.rng):
                continue
            self.by, self._api, self._id = interception, api_of(head), head[8:12]
            if interception.late_s is None:
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
                self.by.counts[self._api] += 1
                self.catch()

    def back(self, data: bytes) -> bytes:
        """Return what is to be passed on of what a node sends."""
        data, heads = self.answers.feed(data)
        if self.by is None:
            return data
        for _, head in heads:
            if head[4:8] == self._id:
                if self.by.late_s is None:
                    self.by.counts[self._api] += 1
                self.reset()
                return b""
        return b"" if self.is_caught else data
