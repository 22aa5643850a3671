"""Who reads what in a classic group, and the bytes in which members say so (ConsumerProtocolSubscription, -Assignment).

`range` deals each topic out in contiguous shares, in order of member id. `cooperative-sticky` keeps what everybody has,
as far as the shares stay even; a partition that changes hands is first taken away, and given in the next generation
(KIP-429).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.sim.client.config import COOPERATIVE, RANGE
from broker.sim.client.metadata import Partition

SUBSCRIPTION_VERSION = 1
ASSIGNMENT_VERSION = 0


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a member wants, and what it has."""

    topics: tuple[str, ...]
    owned: tuple[Partition, ...] = ()


def encode_subscription(subscription: Subscription) -> bytes:
    """Return the member's metadata of a JoinGroup."""
    out = bytearray(struct.pack(">hi", SUBSCRIPTION_VERSION, len(subscription.topics)))
    for topic in subscription.topics:
        _put_text(out, topic)
    out += struct.pack(">i", -1)
    _put_partitions(out, subscription.owned)
    return bytes(out)


def decode_subscription(data: bytes) -> Subscription:
    """Return what `encode_subscription` wrote, or a client of another kind did; later fields are skipped."""
    version, count = struct.unpack_from(">hi", data, 0)
    at, topics = 6, []
    for _ in range(count):
        topic, at = _take_text(data, at)
        topics.append(topic)
    (size,) = struct.unpack_from(">i", data, at)
    at += 4 + max(size, 0)
    owned = _take_partitions(data, at) if version >= 1 else ()
    return Subscription(tuple(topics), owned)


def encode_assignment(partitions: Sequence[Partition]) -> bytes:
    """Return a member's share, as SyncGroup carries it."""
    out = bytearray(struct.pack(">h", ASSIGNMENT_VERSION))
    _put_partitions(out, partitions)
    out += struct.pack(">i", -1)
    return bytes(out)


def decode_assignment(data: bytes) -> tuple[Partition, ...]:
    """Return the share; nothing is an empty one."""
    return _take_partitions(data, 2) if data else ()


def _put_text(out: bytearray, text: str) -> None:
    encoded = text.encode()
    out += struct.pack(">h", len(encoded)) + encoded


def _take_text(data: bytes, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">h", data, at)
    return data[at + 2 : at + 2 + size].decode(), at + 2 + size


def _put_partitions(out: bytearray, partitions: Sequence[Partition]) -> None:
    by_topic: dict[str, list[int]] = {}
    for topic, index in partitions:
        by_topic.setdefault(topic, []).append(index)
    out += struct.pack(">i", len(by_topic))
    for topic, indexes in by_topic.items():
        _put_text(out, topic)
        out += struct.pack(f">i{len(indexes)}i", len(indexes), *indexes)


def _take_partitions(data: bytes, at: int) -> tuple[Partition, ...]:
    (count,) = struct.unpack_from(">i", data, at)
    at, found = at + 4, []
    for _ in range(count):
        topic, at = _take_text(data, at)
        (size,) = struct.unpack_from(">i", data, at)
        found += [(topic, index) for index in struct.unpack_from(f">{size}i", data, at + 4)]
        at += 4 + 4 * size
    return tuple(found)


Shares = dict[str, list[Partition]]
"""Member id -> partitions."""


def assign(protocol: str, members: Mapping[str, Subscription], counts: Mapping[str, int]) -> Shares:
    """Return each member's share; `counts` are the partitions of each topic. Raises ValueError for the protocol."""
    if protocol == RANGE:
        return _range(members, counts)
    if protocol == COOPERATIVE:
        return _cooperative(members, counts)
    raise ValueError(f"no assignor {protocol!r}: there are {RANGE} and {COOPERATIVE}")


def _range(members: Mapping[str, Subscription], counts: Mapping[str, int]) -> Shares:
    shares: Shares = {member: [] for member in sorted(members)}
    for topic in sorted({topic for one in members.values() for topic in one.topics}):
        readers = [member for member in shares if topic in members[member].topics]
        least, more = divmod(counts.get(topic, 0), len(readers))
        first = 0
        for position, member in enumerate(readers):
            size = least + (position < more)
            shares[member] += [(topic, index) for index in range(first, first + size)]
            first += size
    return shares


def _cooperative(members: Mapping[str, Subscription], counts: Mapping[str, int]) -> Shares:
    wanted = sorted({topic for one in members.values() for topic in one.topics})
    everything = [(topic, index) for topic in wanted for index in range(counts.get(topic, 0))]
    owners: dict[Partition, str] = {}
    for member in sorted(members):
        for key in members[member].owned:
            owners.setdefault(key, member)
    shares: Shares = {member: [] for member in sorted(members)}
    most = -(-len(everything) // len(shares))
    free = []
    for key in everything:
        owner = owners.get(key)
        if owner is not None and key[0] in members[owner].topics and len(shares[owner]) < most:
            shares[owner].append(key)
        else:
            free.append(key)
    for key in free:
        readers = [member for member in shares if key[0] in members[member].topics]
        least = min(readers, key=lambda member: (len(shares[member]), member))
        if owners.get(key, least) == least:
            shares[least].append(key)
        # else: its owner must give it up first; it is dealt out in the generation after that
    return shares
