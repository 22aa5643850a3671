"""The processes of a cluster's nodes, by node name: kill, start, pause, and what the operating system says of them.

Each process carries a mark in its command line (`harness.cluster.pids`), so that any harness finds it again. Calls may
come from any thread; one at a time is served.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from harness.cluster import pids
from harness.cluster.api import ClusterError

STOP_S: Final = 30.0
"""For an orderly stop: ours gives itself 10 s, Apache Kafka's tries three times to hand its leaderships over."""
POLL_S: Final = 0.02


class NodeGroup:
    """`mark` gives the word that only this node's command line holds; `launch` starts a node's process.

    `died` says why a process ended, from its log. All raise ClusterError for a node that does not exist.
    """

    def __init__(
        self,
        names: Sequence[str],
        mark: Callable[[str], str],
        launch: Callable[[str], subprocess.Popen[bytes]],
        died: Callable[[str], str],
    ) -> None:
        self.names: Final = tuple(names)
        self._mark, self._launch, self._died = mark, launch, died
        self._running: dict[str, pids.Running] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()

    def find(self) -> None:
        """Take over the processes that run, whoever started them."""
        names = {self._mark(name): name for name in self.names}
        with self._lock:
            for word, process in pids.marked(self._mark("")):
                if word in names:
                    self._running[names[word]] = process

    def kill(self, name: str) -> None:
        """SIGKILL the process; returns when it is gone. Safe when it is dead."""
        with self._lock:
            process = self.process(name)
            if process is not None:
                pids.send(process, signal.SIGKILL)
                child = self._children.pop(name, None)
                if child is not None:
                    child.wait(pids.GONE_TIMEOUT_S)
                pids.wait_gone(process)
            self._running.pop(name, None)

    def stop(self, name: str) -> None:
        """SIGTERM the process; returns when it is gone, or after `STOP_S` although it is not. Safe when it is dead."""
        process = self.process(name)
        if process is None:
            return
        pids.send(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S  # without the lock: others go on asking about nodes meanwhile
        while self.process(name) is not None and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def start(self, name: str) -> None:
        """Start the process; safe when it runs."""
        with self._lock:
            if self.process(name) is not None:
                return
            ended = self._children.pop(name, None)
            if ended is not None:
                ended.wait(pids.GONE_TIMEOUT_S)  # it may have ended since it was polled
            child = self._launch(name)
            self._children[name] = child
            process = pids.identify(child.pid)
            if process is None:
                raise ClusterError(f"{name} ended at once: {self._died(name)}")
            self._running[name] = process

    def pause(self, name: str) -> None:
        """SIGSTOP the process; ClusterError when it is not running."""
        with self._lock:
            process = self.process(name)
            if process is None:
                raise ClusterError(f"{name} can't be paused: it is not running")
            pids.stop(process)

    def resume(self, name: str) -> None:
        """SIGCONT the process; safe when it runs or is dead."""
        with self._lock:
            process = self.process(name)
            if process is not None:
                pids.send(process, signal.SIGCONT)

    def is_paused(self, name: str) -> bool:
        """Return whether the operating system says that it is stopped."""
        with self._lock:
            process = self.process(name)
            return process is not None and pids.is_stopped(process)

    def process(self, name: str) -> pids.Running | None:
        """Return the process, None when it is not running."""
        if name not in self.names:
            raise ClusterError(f"no node {name!r}: there are {', '.join(self.names)}")
        with self._lock:
            child = self._children.get(name)
            if child is not None:
                child.poll()  # reaps it, if it has ended
            process = self._running.get(name)
            return process if process and pids.is_alive(process) else None

    def check_alive(self) -> None:
        """Raise ClusterError naming a node that has died, and its last words."""
        for name in self.names:
            if self.process(name) is None:
                raise ClusterError(f"{name} died: {self._died(name)}")

    def reap(self) -> None:
        """Wait for the ends of the processes that somebody has killed."""
        with self._lock:
            for child in self._children.values():
                child.wait(pids.GONE_TIMEOUT_S)
            self._children.clear()
            self._running.clear()


class Grouped:
    """A cluster whose nodes are the processes of one group: what it can do to them."""

    _group: NodeGroup

    # Stoppable

    def stop(self, node: str) -> None:
        """SIGTERM the node and wait, within a bound, until it has gone in order. Safe when it is dead."""
        self._group.stop(node)

    # Killable

    def kill(self, node: str) -> None:
        """SIGKILL the node; returns when it is gone. Safe when it is dead."""
        self._group.kill(node)

    def start(self, node: str) -> None:
        """Start the node's process; safe when it runs."""
        self._group.start(node)

    def pid(self, node: str) -> int | None:
        """Return the node's process id, None when it is not running."""
        process = self._group.process(node)
        return process.pid if process else None

    # Pausable

    def pause(self, node: str) -> None:
        """SIGSTOP the node; ClusterError when it is not running."""
        self._group.pause(node)

    def resume(self, node: str) -> None:
        """SIGCONT the node; safe when it runs or is dead."""
        self._group.resume(node)

    def paused(self, node: str) -> bool:
        """Return whether the operating system says that the node is stopped."""
        return self._group.is_paused(node)
