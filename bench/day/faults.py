"""What is done to the nodes of the day's cluster, one at a time, and how long it takes until all is whole again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from harness.cluster.processes import EmbeddedCluster

HOLD_S = 1.5
WHOLE_S = 60.0
"""For every partition to have its full ISR after a fault; what takes longer is told, and counts as not got over."""


class Faults:
    """What is done to the nodes, one at a time."""

    def __init__(self, cluster: EmbeddedCluster, rng: random.Random, tell: Callable[..., None]) -> None:
        self._cluster, self._rng, self._tell = cluster, rng, tell
        self._names = [node.name for node in cluster.nodes()]
        self._admin = AdminClient({"bootstrap.servers": cluster.bootstrap(), "log_level": 0})
        self.done: Counter[str] = Counter()
        self.not_got_over = 0
        self.longest_s = 0.0

    def one(self) -> None:
        """Do one, heal it, and wait until the cluster is whole."""
        node = self._rng.choice(self._names)
        kinds: dict[str, Callable[[str], None]] = {
            "kill": self._kill,
            "stop": self._stop,
            "pause": self._pause,
            "cut": self._cut,
        }
        kind = self._rng.choice(sorted(kinds))
        began = time.monotonic()
        kinds[kind](node)
        healed = time.monotonic()
        is_whole = self._wait_until_whole()
        whole_s = time.monotonic() - healed
        self.done[kind] += 1
        self.not_got_over += not is_whole
        self.longest_s = max(self.longest_s, whole_s)
        self._tell(fault=kind, node=node, held_s=round(healed - began, 1), whole_s=round(whole_s, 1), whole=is_whole)

    def _kill(self, node: str) -> None:
        self._cluster.kill(node)
        time.sleep(HOLD_S)
        self._cluster.start(node)

    def _stop(self, node: str) -> None:
        self._cluster.stop(node)
        self._cluster.kill(node)  # one that did not go in time
        self._cluster.start(node)

    def _pause(self, node: str) -> None:
        self._cluster.pause(node)
        time.sleep(HOLD_S)
        self._cluster.resume(node)

    def _cut(self, node: str) -> None:
        pairs = [pair for other in self._names if other != node for pair in ((node, other), (other, node))]
        for source, target in pairs:
            self._cluster.cut(source, target)
        time.sleep(HOLD_S)
        for source, target in pairs:
            self._cluster.join(source, target)

    def _wait_until_whole(self) -> bool:
        deadline = time.monotonic() + WHOLE_S
        while time.monotonic() < deadline:
            if self._is_whole():
                return True
            time.sleep(0.2)
        return False

    def _is_whole(self) -> bool:
        try:
            metadata = self._admin.list_topics(timeout=3)
        except KafkaException:
            return False
        if len(metadata.brokers) < sum("broker" in node.roles for node in self._cluster.nodes()):
            return False
        partitions = [one for topic in metadata.topics.values() for one in topic.partitions.values()]
        return all(one.leader >= 0 and sorted(one.isrs) == sorted(one.replicas) for one in partitions)
