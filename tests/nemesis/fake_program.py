"""A program of the user's beside the cluster in memory: instances that run, are stopped, or are dead."""

from __future__ import annotations

from typing import Any


class FakeProgram:
    """Killable, Stoppable and Pausable, as far as faults know it.

    cluster: says whether what is done to an instance has its effect, and keeps count of it.
    """

    name = "application"

    def __init__(self, cluster: Any, *names: str) -> None:
        self._cluster = cluster
        self.pids: dict[str, int | None] = {name: 7000 + at for at, name in enumerate(names)}
        self.stopped: set[str] = set()
        self._last_pid = 7100

    def instances(self) -> dict[str, FakeProgram]:
        return dict.fromkeys(self.pids, self)

    def kill(self, name: str) -> None:
        self._end("kill", name)

    def stop(self, name: str) -> None:
        self._end("stop", name)

    def _end(self, what: str, name: str) -> None:
        if self._cluster._does(what, name):
            self.pids[name] = None
            self.stopped.discard(name)

    def start(self, name: str) -> None:
        if self._cluster._does("start", name) and self.pids[name] is None:
            self._last_pid += 1
            self.pids[name] = self._last_pid

    def pause(self, name: str) -> None:
        if self._cluster._does("pause", name):
            self.stopped.add(name)

    def resume(self, name: str) -> None:
        if self._cluster._does("resume", name):
            self.stopped.discard(name)

    def paused(self, name: str) -> bool:
        return name in self.stopped

    def pid(self, name: str) -> int | None:
        return self.pids[name]

    def whole(self) -> bool:
        return not self.stopped and None not in self.pids.values()


class Beside:
    """In front of a cluster: what is done to an instance of its program is done to that."""

    program: FakeProgram

    def _is_instance(self, name: str) -> bool:
        return name in self.program.pids

    def kill(self, node: str) -> None:
        (self.program if self._is_instance(node) else super()).kill(node)

    def stop(self, node: str) -> None:
        (self.program if self._is_instance(node) else super()).stop(node)

    def start(self, node: str) -> None:
        (self.program if self._is_instance(node) else super()).start(node)

    def pause(self, node: str) -> None:
        (self.program if self._is_instance(node) else super()).pause(node)

    def resume(self, node: str) -> None:
        (self.program if self._is_instance(node) else super()).resume(node)

    def paused(self, node: str) -> bool:
        return (self.program if self._is_instance(node) else super()).paused(node)

    def pid(self, node: str) -> int | None:
        return (self.program if self._is_instance(node) else super()).pid(node)
