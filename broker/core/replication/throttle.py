"""How fast a node that moves partitions may do it (KIP-73): who catches up leaves room for those that are in sync.

    leader.replication.throttled.rate      bytes a second that this node sends, of the partitions named by the topic's
    leader.replication.throttled.replicas  "partition:node,..." or "*"
    follower.replication.throttled.rate, follower.replication.throttled.replicas
                                           the same for what this node fetches

Only a replica that is behind is held back, so that a limit that is too low can't take anybody out of an ISR. What is
sent or fetched of a named partition counts, whoever it is for. A bucket that runs out at the rate, with room for
`BURST_S`: it is asked before each read and filled after it, so one read may go beyond, and what follows waits for it.
Kafka: ReplicationQuotaManager, ReplicaManager.shouldLeaderThrottle, ReplicaFetcherThread.shouldFollowerThrottle.
"""

from __future__ import annotations

from broker.core import dynamic_settings
from broker.core.metadata.image import Image

BURST_S = 1.0
MIN_WAIT_MS, MAX_WAIT_MS = 10, 1000
"""A follower that is held back asks again no later than this: the rate may have been changed meanwhile."""
_NO_LIMIT = 0


class Bucket:
    """One direction of one node."""

    __slots__ = ("_at_ms", "_level", "_name", "bytes_per_s")

    def __init__(self, name: str) -> None:
        self._name = name
        self.bytes_per_s = _NO_LIMIT
        self._level, self._at_ms = 0.0, 0

    def configure(self, image: Image, node_id: int) -> None:
        """Take over this node's rate, else that of all nodes."""
        self.bytes_per_s = dynamic_settings.number(image, node_id, self._name, _NO_LIMIT)

    def use(self, size: int, now_ms: int) -> None:
        """Note what was sent or fetched of a named partition."""
        if self.bytes_per_s:
            self._level = self._drained(now_ms) + size
            self._at_ms = now_ms

    def wait_ms(self, now_ms: int) -> int:
        """Return how long whoever is behind has to wait; 0: it may go on."""
        if not self.bytes_per_s:
            return 0
        over = self._drained(now_ms) - self.bytes_per_s * BURST_S
        return 0 if over <= 0 else min(MAX_WAIT_MS, max(MIN_WAIT_MS, int(over * 1000 / self.bytes_per_s)))

    def _drained(self, now_ms: int) -> float:
        return max(0.0, self._level - (now_ms - self._at_ms) * self.bytes_per_s / 1000)
