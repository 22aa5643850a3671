"""What consumers of the classic protocol tell each other through the coordinator (ConsumerProtocol).

    subscription   version, topics, user data; from version 1 on what the member owns
    assignment     version, partitions by topic, user data

The coordinator looks into them only where it must: for groups whose members speak both protocols, and to know which
offsets are in use. Data that is no such thing reads as nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import msgspec

ASSIGNMENT_VERSION = 1
OWNED_FROM = 1
"""Version of a subscription that says what the member owns; before, members give everything up first."""


class Told(msgspec.Struct, frozen=True):
    """A subscription: topics, and (topic, partition) pairs that are owned."""

    topics: tuple[str, ...] = ()
    owned: tuple[tuple[str, int], ...] = ()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, layout: str) -> int:
        """Return one number."""
        (value,) = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return int(value)

    def count(self) -> int:
        """Return an array's length, which can't be more than the bytes that are left."""
        size = self.number(">i")
        if size > len(self._data) - self._at:
            raise struct.error(f"{size} items where {len(self._data) - self._at} bytes are left")
        return size

    def text(self) -> str:
        """Return a string."""
        size = self.number(">h")
        if not 0 <= size <= len(self._data) - self._at:
            raise struct.error(f"a string of {size} bytes")
        self._at += size
        return self._data[self._at - size : self._at].decode()

    def skip_blob(self) -> None:
        """Pass over user data."""
        size = self.number(">i")
        self._at += max(0, size)

    def places(self) -> tuple[tuple[str, int], ...]:
        """Return partitions by topic."""
        found = []
        for _ in range(self.count()):
            topic = self.text()
            found += [(topic, self.number(">i")) for _ in range(self.count())]
        return tuple(found)


def read_subscription(data: bytes) -> Told:
    """Return what a member told its assignor."""
    reader = _Reader(data)
    try:
        version = reader.number(">h")
        topics = tuple(reader.text() for _ in range(reader.count()))
        reader.skip_blob()
        return Told(topics, reader.places() if version >= OWNED_FROM else ())
    except (struct.error, UnicodeDecodeError):
        return Told()


def read_assignment(data: bytes) -> tuple[tuple[str, int], ...]:
    """Return the (topic, partition) pairs of an assignment."""
    reader = _Reader(data)
    try:
        reader.number(">h")
        return reader.places()
    except (struct.error, UnicodeDecodeError):
        return ()


def write_assignment(places: Mapping[str, Iterable[int]]) -> bytes:
    """Return the assignment that gives a member these partitions."""
    out = bytearray(struct.pack(">hi", ASSIGNMENT_VERSION, len(places)))
    for topic, indexes in places.items():
        name, numbers = topic.encode(), list(indexes)
        out += struct.pack(">h", len(name)) + name + struct.pack(f">i{len(numbers)}i", len(numbers), *numbers)
    return bytes(out + struct.pack(">i", -1))
