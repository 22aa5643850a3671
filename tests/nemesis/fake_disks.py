"""The disks of a cluster in memory: what a node loses with its power, and what rots."""

from __future__ import annotations

from abc import abstractmethod

from harness.cluster.api import Key


class FakeDisks:
    """Satisfies Powered and Disked."""

    calls: list[tuple[str, ...]]

    def _begin_disks(self) -> None:
        self.unsynced = 1000
        """Bytes that a node loses with its power."""
        self.rotted: dict[str, int] = {}
        self.checkpointed: set[Key] = set()
        """Partitions of which nothing is left that a node would check."""

    @abstractmethod
    def _ended_by(self, what: str, node: str, *more: str) -> bool: ...

    def blackout(self, node: str) -> None:
        self._ended_by("blackout", node)

    def bytes_lost(self, node: str) -> dict[Key, int]:
        return {"t0/0": self.unsynced * sum(call == ("blackout", node) for call in self.calls)}

    def fill(self, node: str) -> None:
        self._ended_by("fill", node)

    def full(self, node: str) -> bool:
        return False

    def rot(self, node: str, key: Key) -> None:
        if self._ended_by("rot", node, key):
            self.rotted[node] = self.rotted.get(node, 0) + (key not in self.checkpointed)

    def rotten(self, node: str) -> int:
        return self.rotted.get(node, 0)
