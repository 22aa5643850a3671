"""The powers `Powered` and `Disked` over nodes that are processes of this machine, with their files in its folders.

A power loss is a SIGKILL, and then the loss of what no sync has reached (`harness.cluster.unsynced`); topics that are
synced with every so many records, or milliseconds, lose nothing: which those are is asked before the node is killed. A
full disk is a limit that the operating system sets to a process's files (RLIMIT_FSIZE, of Linux): every further write
is refused, with EFBIG in place of ENOSPC, those of the node's own log among them. A node that starts has no such limit.
"""

from __future__ import annotations

import random
import resource
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.cluster import unsynced
from harness.cluster.api import ClusterError, Key
from harness.cluster.group import Grouped
from harness.cluster.observer import ClusterObserver

_NEVER = str((1 << 63) - 1)
_SYNCED_BY = ("flush.messages", "flush.ms")
FULL_DISKS = hasattr(resource, "prlimit")
"""Whether a disk can be made to look full here."""


class Disks(Grouped):
    """The disks of a group of nodes; a provider says where their files are."""

    _taken: defaultdict[str, Counter[Key]]
    _rotted: Counter[str]

    def _begin_disks(self) -> None:
        self._taken, self._rotted = defaultdict(Counter), Counter()

    @abstractmethod
    def observer(self) -> ClusterObserver:
        """Return who asks the nodes."""

    @abstractmethod
    def _data_of(self, node: str) -> Path:
        """Return the folder that holds the node's partitions."""

    @abstractmethod
    def _recovery_points(self, node: str) -> Mapping[str, int]:
        """Return what the node has checkpointed: up to where each log is synced, by the name of its folder."""

    # Powered

    def blackout(self, node: str) -> None:
        """SIGKILL the node, and lose what it had not synced."""
        rng, topics = random.Random(), lossy(self.observer(), node, unsynced.topics(self._data_of(node)))
        self.kill(node)
        for log, tail in self._tails(node, topics).items():
            self._taken[node][unsynced.key_of(log)] += tail.lose(rng)

    def bytes_lost(self, node: str) -> Mapping[Key, int]:
        """Return how many bytes of each partition power losses have taken so far, as far as this process did it."""
        return dict(self._taken[node])

    # Disked

    def fill(self, node: str) -> None:
        """Have every further write of the node refused; ClusterError where the system can't."""
        pid = self.pid(node)
        if pid is None:
            raise ClusterError(f"{node} is not running: its disk can't be filled")
        if not FULL_DISKS:
            raise ClusterError("a disk can be filled on Linux only")
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))

    def full(self, node: str) -> bool:
        """Return whether the node runs, and every further write of it is refused."""
        pid = self.pid(node)
        return pid is not None and FULL_DISKS and resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 0

    def start(self, node: str) -> None:
        """Start the node's process; one that runs has room again."""
        pid = self.pid(node)
        if pid is not None and self.full(node):
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
        super().start(node)

    def rot(self, node: str, key: Key) -> None:
        """SIGKILL the node, and change a byte of the partition behind its recovery point."""
        topic, _, partition = key.rpartition("/")
        self.kill(node)
        tail = self._tails(node, [topic]).get(f"{topic}-{partition}")
        if tail is not None:
            tail.rot(random.Random())
            self._rotted[node] += 1

    def rotten(self, node: str) -> int:
        """Return how many bytes were changed, as far as this process did it."""
        return self._rotted[node]

    def _tails(self, node: str, topics: list[str]) -> dict[str, unsynced.Tail]:
        return unsynced.tails(self._data_of(node), self._recovery_points(node), topics)


def lossy(observer: ClusterObserver, node: str, topics: Iterable[str]) -> list[str]:
    """Return the topics that are synced with their segments only: by the node's word, or others' where it is silent.

    One that nobody knows of is none.
    """
    witnesses = [node, *(other.name for other in observer.brokers() if other.name != node)]
    return [topic for topic in topics if _is_lossy(observer, witnesses, topic)]


def _is_lossy(observer: ClusterObserver, witnesses: list[str], topic: str) -> bool:
    for witness in witnesses:
        said = [setting.value for name in _SYNCED_BY if (setting := observer.setting(witness, topic, name)) is not None]
        if len(said) == len(_SYNCED_BY):
            return set(said) == {_NEVER}
    return False
