"""What a client knows of the cluster: live nodes, topic ids, and who leads each partition since which epoch.

Answers of nodes that are behind are not believed: a leader of an older epoch never replaces a newer one (KIP-320),
until the topic itself is another (its id changed).
"""

from __future__ import annotations

from typing import NamedTuple

from broker.wire.messages.metadata import MetadataResponse

Partition = tuple[str, int]
"""Topic name and partition index."""


class Leader(NamedTuple):
    """A partition's leader; node -1: there is none."""

    node: int
    epoch: int


class Metadata:
    """The newest that any answer said."""

    def __init__(self, bootstrap: tuple[int, ...]) -> None:
        """Begin with the nodes to ask first."""
        self.nodes = bootstrap
        self.leaders: dict[Partition, Leader] = {}
        self.counts: dict[str, int] = {}
        """Partitions of each topic."""
        self.topic_ids: dict[str, bytes] = {}
        self.names: dict[bytes, str] = {}

    def merge(self, answer: MetadataResponse) -> None:
        """Take an answer in."""
        if answer.brokers:
            self.nodes = tuple(sorted(broker.node_id for broker in answer.brokers))
        for topic in answer.topics:
            name = topic.name or self.names.get(topic.topic_id, "")
            if topic.error_code or not name:
                continue
            if self.topic_ids.get(name) != topic.topic_id:
                self._forget(name)
                self.topic_ids[name], self.names[topic.topic_id] = topic.topic_id, name
            self.counts[name] = len(topic.partitions)
            for part in topic.partitions:
                key = (name, part.partition_index)
                known = self.leaders.get(key)
                if known is None or part.leader_epoch >= known.epoch:
                    self.leaders[key] = Leader(part.leader_id, part.leader_epoch)

    def _forget(self, name: str) -> None:
        for key in [key for key in self.leaders if key[0] == name]:
            del self.leaders[key]
        self.names.pop(self.topic_ids.pop(name, b""), None)

    def told(self, key: Partition, node: int, epoch: int) -> None:
        """Take what a broker that does not lead any more said about who does (KIP-951)."""
        known = self.leaders.get(key)
        if node >= 0 and (known is None or epoch > known.epoch):
            self.leaders[key] = Leader(node, epoch)

    def seen(self, key: Partition, epoch: int) -> None:
        """Somebody has read records of this epoch: an older leader leads no more, whoever it is now."""
        known = self.leaders.get(key)
        if epoch >= 0 and (known is None or epoch > known.epoch):
            self.leaders[key] = Leader(-1, epoch)
