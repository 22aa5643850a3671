"""Faults of the user's program: kill-app, kill-apps, pause-app, restart-app. They need a run of `--app`.

Whoever dies with a transaction open must not leave half of it, and whoever takes its partitions over must begin where
it had committed; whoever is stopped for longer than its session and goes on must find itself fenced. An instance that
is stopped for less is only slow: most clients' sessions are 45 s or 30 s long, `--nemesis-length` says how long it
holds. Bit: the operating system says that the process is gone, or stopped.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from harness.cluster.actions import Kill, Pause, Resume, Start, Stop
from harness.cluster.questions import Pid, Stopped
from nemesis.actions import inverses
from nemesis.aiming import ask_each, drawn, missed, per_node
from nemesis.fault import Act, Aim, Expects, Heal, Inject, Injection, Power, Step
from nemesis.kills import kill_nodes

_APPLICATION: frozenset[Power] = frozenset({"application"})


class KillApp:
    """Kills one instance, or all, or stops one in order. Bit: the process was there and is gone."""

    needs = _APPLICATION
    expects: Expects = "progress"

    def __init__(self, name: str, summary: str, end: type[Kill | Stop], *, all_of_them: bool = False) -> None:
        """Name it; `end` is what is done to an instance."""
        self.name, self.summary, self._end, self._all = name, summary, end, all_of_them

    def inject(self, aim: Aim) -> Inject:
        """End them."""
        alive = yield from _running(aim)
        if not alive:
            return missed(aim, "no instance is running")
        injection, _ = yield from kill_nodes(aim, alive if self._all else (drawn(alive, aim),), self._end)
        return injection

    def heal(self, injection: Injection) -> Heal:
        """Start again what is not running."""
        names = [action.node for action in injection.undo if isinstance(action, Start)]
        before = yield from ask_each(Pid, names)
        if dead := [name for name, pid in before.items() if pid is None]:
            yield Act(tuple(Start(name) for name in dead))
        return {"pid": per_node((yield from ask_each(Pid, names)))} if names else {}


class PauseApp:
    """Stops one instance with SIGSTOP, all that it has started with it. Bit: it is stopped."""

    name = "pause-app"
    summary = "SIGSTOP an instance of your program; lets it go on"
    needs = _APPLICATION
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Stop one."""
        alive = yield from _running(aim)
        if not alive:
            return missed(aim, "no instance is running")
        actions = (Pause(drawn(alive, aim)),)
        yield Act(actions)
        stopped = yield from ask_each(Stopped, [actions[0].node])
        bit = all(stopped.values())
        evidence: dict[str, Any] = {"stopped": per_node(stopped)}
        if not bit:
            evidence["reason"] = f"{actions[0].node} is not stopped"
        return Injection(nodes=tuple(stopped), keys=aim.keys, evidence=evidence, bit=bit, undo=inverses(actions))

    def heal(self, injection: Injection) -> Heal:
        """Let it go on."""
        names = [action.node for action in injection.undo if isinstance(action, Resume)]
        yield Act(tuple(Resume(name) for name in names))
        return {"stopped": per_node((yield from ask_each(Stopped, names)))} if names else {}


def _running(aim: Aim) -> Generator[Step, Any, tuple[str, ...]]:
    """Return the instances that run, but those that a fault which holds has hurt, or stopped."""
    free = [name for name in aim.instances if name not in aim.spare]
    pids = yield from ask_each(Pid, free)
    stopped = yield from ask_each(Stopped, free)
    return tuple(name for name in free if pids[name] is not None and not stopped[name])


OF_APPLICATIONS = (
    KillApp("kill-app", "SIGKILL an instance of your program; starts it again", Kill),
    KillApp("kill-apps", "SIGKILL all instances of your program; starts them again", Kill, all_of_them=True),
    PauseApp(),
    KillApp("restart-app", "SIGTERM an instance of your program, and wait until it has ended; starts it again", Stop),
)
"""Those that need a program of the user's."""
