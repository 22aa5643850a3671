"""What a cluster of ours is asked to do by its own protocol: to move partitions, change settings, let topics grow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

from harness.cluster import clocks
from harness.cluster.api import Cluster, Key, Setting
from harness.cluster.observer import ClusterObserver, observer_of


class Administered:
    """The powers `Reassignable` and `Configurable`, for providers whose nodes an observer can ask."""

    def observer(self) -> ClusterObserver:
        """Return who asks the nodes."""
        return observer_of(cast("Cluster", self))

    def reassign(self, key: Key, replicas: Sequence[str]) -> None:
        """Ask for the partition to be moved to these nodes."""
        self.observer().reassign(key, replicas)

    def configure(self, topic: str, name: str, value: str | None) -> None:
        """Ask for a setting of a topic, or of all brokers ("")."""
        self.observer().configure(topic, name, value)

    def setting(self, node: str, topic: str, name: str) -> Setting | None:
        """Return what the node says of a setting."""
        return self.observer().setting(node, topic, name)

    def clock_off_ms(self, node: str) -> int | None:
        """Return how far off the node's clock is at least, by what it says itself; None: it does not say."""
        return clocks.clock_off_ms(self.observer(), node, self.now_ms)

    def now_ms(self) -> float:
        """Return what a right clock on the wall shows."""
        return time.time() * 1000

    def add_partitions(self, topic: str, count: int) -> None:
        """Ask for a topic of so many partitions."""
        self.observer().add_partitions(topic, count)
