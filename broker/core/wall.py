"""Two clocks: the one by which a node waits, and the one on its wall, which may be wrong.

A step is told the first (`now_ms`): sessions, elections, the age of replicas, locks and time-outs of requests go by it.
It never jumps. The clock on the wall is that much ahead of it or behind (`Replicas.skew_ms`, which the driver sets
before a step). What is written down for later, or was, goes by the wall: the times of records and markers, retention
and the lags of compaction, when a silent producer is forgotten, when a transaction has timed out. Kafka has the same
two, and leaves more to the wall: the age of replicas, and the time-outs of its quorum and of requests between nodes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skew:
    """How far a clock on the wall is off: for good, or to and fro."""

    offset_ms: int = 0
    every_ms: int = 0
    """How often it jumps between wrong and right; 0: never."""

    def at(self, now_ms: int) -> int:
        """Return how far it is off at that time of the clock that is right."""
        return self.offset_ms if not self.every_ms or now_ms // self.every_ms % 2 == 0 else 0


RIGHT = Skew()
