"""Which replicas a topic's `*.replication.throttled.replicas` name: "partition:node,...", or "*" for all (KIP-73)."""

from __future__ import annotations

import msgspec

from broker.core.errors import Code, Refused

LEADERS = "leader.replication.throttled.replicas"
FOLLOWERS = "follower.replication.throttled.replicas"


class Throttled(msgspec.Struct, frozen=True):
    """Which replicas of a topic are held back: (partition, node) pairs, or all."""

    pairs: frozenset[tuple[int, int]] = frozenset()
    every: bool = False

    def has(self, partition: int, node: int) -> bool:
        """Return whether this node's replica of the partition is named."""
        return self.every or (partition, node) in self.pairs


NOBODY = Throttled()
_MAX_DIGITS = 10
"""Of a partition or a node."""


def throttled(text: str) -> Throttled:
    """Return what a setting names; raises Refused(INVALID_CONFIG) where it is no list of partition:node."""
    if not text:
        return NOBODY
    if text == "*":
        return Throttled(every=True)
    pairs = set()
    for item in text.split(","):
        partition, colon, node = item.strip().partition(":")
        if not (colon and _is_id(partition) and _is_id(node)):
            message = f"Invalid value {text}: * or a list of partition:broker, not {item!r}"
            raise Refused(Code.INVALID_CONFIG, message)
        pairs.add((int(partition), int(node)))
    return Throttled(frozenset(pairs))


def _is_id(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MAX_DIGITS
