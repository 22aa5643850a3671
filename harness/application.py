"""The application under test: instances of a program of the user's, killed and started as nodes of the cluster are.

The command (`--app`) is split as a shell would, and started without one, in the folder where the harness was started.
Each instance is a session of its own. In the command stand, and in its environment are:

    {bootstrap}  HARNESS_BOOTSTRAP  host:port of the brokers, with commas
    {input}      HARNESS_INPUT      topics to read, with commas
    {output}     HARNESS_OUTPUT     topics to write
    {group}      HARNESS_GROUP      a name for what the instances have in common: their group, their application.id
    {instance}   HARNESS_INSTANCE   app-1, app-2, ...: e.g. for a transactional.id
    {folder}     HARNESS_FOLDER     a folder of the instance's own, which outlives its process

An instance is *wanted* from its start on until a fault ends it; one that ends by itself is started again a second
later, as an orchestrator would, and the history says so (`exited`). What it prints is in
`application/<instance>/output.log`.

`application.json` in the run's folder names the processes, so that `harness heal` finds them (`remove`).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from harness import store
from harness.cluster import pids
from harness.cluster.api import ClusterError, UsageError
from harness.cluster.jvm_node import tail
from harness.generator import INTERRUPT
from harness.history import EXITED, GIVEN_UP, HARNESS, INFO, Op
from harness.scenario import Scenario, app_group_of, app_topics

HANDLES: Final = "application.json"
FOLDER: Final = "application"
OUTPUT: Final = "output.log"
AGAIN_S: Final = 1.0
"""From the end of an instance to its next start."""
BEGINS_S: Final = 1.0
"""An instance that ends within so long of its first start is taken for a mistake in the command."""
SETTLED_S: Final = 10.0
"""An instance that has lived for so long has begun well."""
TRIES: Final = 3
"""So many ends before that, in a row, and the main phase ends early: nothing would come of it."""
STOP_S: Final = 30.0
"""For an orderly stop; then it is killed."""
_LOOK_S: Final = 0.05
_ENVIRONMENT: Final = "HARNESS_"


def command_of(scenario: Scenario) -> list[str]:
    """Return the command's words. Raises UsageError for what can't be run."""
    try:
        words = shlex.split(scenario.app)
    except ValueError as error:
        raise UsageError(f"--app {scenario.app}: {error}") from error
    if not words:
        raise UsageError("--app: there is no command")
    if shutil.which(words[0]) is None:
        raise UsageError(f"--app {scenario.app}: there is no program {words[0]!r}")
    return words


class Handle(msgspec.Struct, frozen=True):
    """An instance that was started: `harness.cluster.pids`."""

    name: str
    pid: int
    started: str


@dataclass(slots=True)
class _Instance:
    name: str
    folder: Path
    child: subprocess.Popen[bytes] | None = None
    process: pids.Running | None = None
    wanted: bool = False
    began_s: float = 0.0
    ended_s: float = 0.0
    """When it was seen to have ended by itself."""
    tries: int = 0
    """How often it ended by itself and had not settled; no matter any more once it had."""


@dataclass(slots=True)
class Application:
    """The instances of a run's program. Thread-safe; nothing runs before `running`."""

    scenario: Scenario
    folder: Path
    """The run's."""
    bootstrap: str
    _instances: dict[str, _Instance] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._words = command_of(self.scenario)
        for number in range(1, self.scenario.app_instances + 1):
            name = f"app-{number}"
            self._instances[name] = _Instance(name, self.folder / FOLDER / name)

    @property
    def names(self) -> tuple[str, ...]:
        """The instances."""
        return tuple(self._instances)

    @contextmanager
    def running(self, post: Callable[[Op], None]) -> Iterator[None]:
        """Run all instances; `post` hears of those that end by themselves.

        Raises UsageError where one ends as soon as it has begun.
        """
        over = threading.Event()
        tender = threading.Thread(target=self._tend, args=(post, over), name="application", daemon=True)
        try:
            for name in self.names:
                self.start(name)
            self._await_begun()
            tender.start()
            yield
        finally:
            over.set()
            if tender.is_alive():
                tender.join()
            for name in self.names:
                self.kill(name)

    def _await_begun(self) -> None:
        until_s = time.monotonic() + BEGINS_S
        while time.monotonic() < until_s:
            for one in self._instances.values():
                status = one.child.poll() if one.child is not None else None
                if status is not None:
                    told = self._last_words(one)
                    raise UsageError(f"--app {self.scenario.app}: it ended at once, with status {status}{told}")
            time.sleep(_LOOK_S)

    def _tend(self, post: Callable[[Op], None], over: threading.Event) -> None:
        """Start what has ended by itself again."""
        while not over.wait(_LOOK_S):
            for one in self._instances.values():
                with self._lock:
                    status = one.child.poll() if one.child is not None and one.wanted else None
                    if status is None:
                        continue
                    if not one.ended_s:
                        for event in self._ended(one, status):
                            post(event)
                    elif time.monotonic() - one.ended_s >= AGAIN_S:
                        try:
                            self.start(one.name)
                        except OSError:  # the program is not there just now
                            one.ended_s = time.monotonic()

    def _ended(self, one: _Instance, status: int) -> Iterator[Op]:
        """Take note of an end by itself; yield what the history is told."""
        one.ended_s = time.monotonic()
        _signal_group(one, signal.SIGKILL)  # what it has started itself
        one.process = None  # from now on somebody else may get its number
        yield Op(process=HARNESS, type=INFO, f=EXITED, value={"instance": one.name, "status": status})
        one.tries = TRIES + 1 if one.ended_s - one.began_s >= SETTLED_S else one.tries + 1
        if one.tries == TRIES:
            why = f"{one.name} ends as soon as it begins{self._last_words(one)}"
            yield Op(process=HARNESS, type=INFO, f=GIVEN_UP, value={"instance": one.name})
            yield Op(process=HARNESS, type=INFO, f=INTERRUPT, value={"anomaly": "the program", "why": why})

    @staticmethod
    def _last_words(one: _Instance) -> str:
        said = tail(one.folder / OUTPUT).decode(errors="replace").strip().rpartition("\n")[2]
        return f": {said}" if said else ", and it said nothing"

    # Killable, Stoppable and Pausable, as a cluster's nodes are

    def start(self, name: str) -> None:
        """Start the instance; safe when it runs."""
        with self._lock:
            one = self._instances[name]
            if self.pid(name) is not None:
                return
            one.folder.mkdir(parents=True, exist_ok=True)
            with (one.folder / OUTPUT).open("ab") as output:
                one.child = subprocess.Popen(  # noqa: S603 - what the user has asked for
                    [self._filled(word, one) for word in self._words],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=os.environ | {_ENVIRONMENT + key.upper(): value for key, value in self._told(one).items()},
                )
            one.process = pids.identify(one.child.pid)
            one.wanted, one.began_s, one.ended_s = True, time.monotonic(), 0.0
            self._write_handles()

    def kill(self, name: str) -> None:
        """SIGKILL the instance and all that it has started; returns when it is gone. Safe when it is dead."""
        with self._lock:
            one = self._instances[name]
            one.wanted = False
            self._end(one)

    def stop(self, name: str) -> None:
        """SIGTERM the instance; returns when it is gone, killed if it does not go."""
        with self._lock:
            one = self._instances[name]
            one.wanted = False
            _signal_group(one, signal.SIGTERM)
        until_s = time.monotonic() + STOP_S
        while self.pid(name) is not None and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        self.kill(name)

    def pause(self, name: str) -> None:
        """SIGSTOP the instance and all that it has started; ClusterError when it is not running."""
        with self._lock:
            one = self._instances[name]
            if one.process is None or not pids.is_alive(one.process):
                raise ClusterError(f"{name} can't be paused: it is not running")
            _signal_group(one, signal.SIGSTOP)
            pids.stop(one.process)

    def resume(self, name: str) -> None:
        """SIGCONT the instance; safe when it runs or is dead."""
        with self._lock:
            _signal_group(self._instances[name], signal.SIGCONT)

    def paused(self, name: str) -> bool:
        """Return whether the operating system says that it is stopped."""
        with self._lock:
            process = self._instances[name].process
            return process is not None and pids.is_stopped(process)

    def pid(self, name: str) -> int | None:
        """Return the process id of the instance, None when it is not running."""
        with self._lock:
            one = self._instances[name]
            if one.child is not None:
                one.child.poll()  # reaps it, if it has ended
            return one.process.pid if one.process is not None and pids.is_alive(one.process) else None

    @property
    def name(self) -> str:
        """What it is called where it can't be broken."""
        return FOLDER

    def _end(self, one: _Instance) -> None:
        _signal_group(one, signal.SIGKILL)
        if one.child is not None:
            one.child.wait(pids.GONE_TIMEOUT_S)
        one.child, one.process = None, None

    def _told(self, one: _Instance) -> dict[str, str]:
        inputs, outputs = app_topics(self.scenario)
        return {
            "bootstrap": self.bootstrap,
            "input": ",".join(inputs),
            "output": ",".join(outputs),
            "group": app_group_of(self.scenario),
            "instance": one.name,
            "folder": str(one.folder),
        }

    def _filled(self, word: str, one: _Instance) -> str:
        for name, value in self._told(one).items():
            word = word.replace(f"{{{name}}}", value)
        return word

    def _write_handles(self) -> None:
        nobody = pids.Running(0, "")
        running = {one.name: one.process or nobody for one in self._instances.values()}
        handles = [Handle(name, process.pid, process.started) for name, process in running.items()]
        store.write_json(self.folder / HANDLES, handles)


def _signal_group(one: _Instance, number: signal.Signals) -> None:
    if one.process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.process.pid, number)


def remove(folder: Path) -> tuple[str, ...]:
    """Kill the instances that a run has left, if it was killed; return the names of all that it had."""
    if not (folder / HANDLES).exists():
        return ()
    handles = store.read_as(folder / HANDLES, list[Handle])
    for handle in handles:
        process = pids.Running(handle.pid, handle.started)
        if pids.is_alive(process):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            pids.wait_gone(process)
    return tuple(handle.name for handle in handles)
