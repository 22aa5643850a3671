"""A program of the user's beside the cluster in memory: instances that run, are stopped, or are dead."""

from __future__ import annotations


class FakeProgram:
    """Killable, Stoppable and Pausable, as far as faults know it."""

    name = "application"

    def __init__(self, *names: str) -> None:
        self.pids: dict[str, int | None] = {name: 7000 + at for at, name in enumerate(names)}
        self.stopped: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.immortal = False
        """Nothing ends an instance, nor stops it."""

    def instances(self) -> dict[str, FakeProgram]:
        return dict.fromkeys(self.pids, self)

    def kill(self, name: str) -> None:
        self.calls.append(("kill", name))
        if not self.immortal:
            self.pids[name] = None
            self.stopped.discard(name)

    def stop(self, name: str) -> None:
        self.calls.append(("stop", name))
        self.pids[name] = None

    def start(self, name: str) -> None:
        self.calls.append(("start", name))
        self.pids[name] = self.pids[name] or 7100 + len(self.calls)

    def pause(self, name: str) -> None:
        self.calls.append(("pause", name))
        if not self.immortal:
            self.stopped.add(name)

    def resume(self, name: str) -> None:
        self.calls.append(("resume", name))
        self.stopped.discard(name)

    def paused(self, name: str) -> bool:
        return name in self.stopped

    def pid(self, name: str) -> int | None:
        return self.pids[name]

    def whole(self) -> bool:
        return not self.stopped and None not in self.pids.values()
