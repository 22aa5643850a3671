"""Work in processes of its own, each of which does one thing at a time: what kills one takes nothing else along.

A process is begun when none is idle, serves one call after another, and ends when nothing is asked of it for `IDLE_S`,
or when whoever began it is gone. Then work that heals is interrupted twice (the first ends a run's main phase, the
second all that is left of it but its healing), so that even `kill -9` of the parent leaves no cluster behind; other
work just ends, before it can tell anybody of half a run.

The states of a call: sent -> taken -> answered. The process says that it has taken the work once it can be interrupted;
until then it has not begun, and another may do it instead. Terminals don't reach these processes: the parent decides
who is interrupted.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeVar

from harness.process.signals import count_as_interrupts

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parents[2]
IDLE_S: Final = 10.0
"""Longer than between two runs; so soon nothing is left on a machine that others use."""
BEAT_S: Final = 0.5
"""Between two looks at whether an answer is still wanted."""
SECOND_PRESS_S: Final = 0.5
"""Between two interrupts: signals that come together count as one."""
LAST_S: Final = 120.0
"""How long an orphan has to heal and to take its cluster down, before it ends in the midst of it."""
HEALS: Final = "heals"
_TAKEN: Final = "taken"


class Lost(Exception):  # noqa: N818  what happened, not what went wrong
    """A process ended before it answered; the message says how."""


class Apart:
    """The processes of one parent. Any thread may call."""

    def __init__(self, *, heals: bool = True) -> None:
        """Begin with none. heals: their work may have something to undo when it is cut short."""
        self._heals = heals
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        """Those that begin, and those at work."""
        self._at_work: dict[_Process, object] = {}
        """By tag: they can be interrupted."""
        self._presses: dict[object, int] = {}
        self._is_closed = False

    def call(
        self, work: Callable[..., T], *arguments: Any, tag: object = None, wanted: Callable[[], bool] = lambda: True
    ) -> T:
        """Return work(*arguments), done in a process; its exception is raised here, Lost where the process ended.

        tag: what `interrupt` knows the call by. wanted: when it says no, the work is interrupted for good.
        """
        process = self._begun((work, arguments))
        with self._lock:
            self._at_work[process] = tag
            pressed = self._presses.get(tag, 0)
        try:
            process.interrupt(pressed)
            is_well, answer = process.answer(wanted)
        except Lost:
            self._forget(process)
            raise
        self._forget(process, is_idle=True)
        if not is_well:
            raise answer
        return answer  # type: ignore[no-any-return]  # it came through a pipe

    def _begun(self, job: tuple[Callable[..., Any], tuple[Any, ...]]) -> _Process:
        """Return a process that has begun the job: an idle one, if it has not ended meanwhile."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise Lost("no work is begun any more")
                was_idle = bool(self._idle)
                process = self._idle.pop() if was_idle else _Process(heals=self._heals)
                self._busy.add(process)
            try:
                process.begin(job)
            except Lost:
                self._forget(process)
                if not was_idle:
                    raise
            else:
                return process

    def _forget(self, process: _Process, *, is_idle: bool = False) -> None:
        with self._lock:
            self._busy.remove(process)
            self._at_work.pop(process, None)
            if is_idle:
                self._idle.append(process)

    def interrupt(self, tag: object = None) -> None:
        """Interrupt every call of that tag, also those to come."""
        with self._lock:
            self._presses[tag] = self._presses.get(tag, 0) + 1
            at_work = [process for process, its in self._at_work.items() if its == tag]
        for process in at_work:
            process.interrupt(1)

    def close(self) -> None:
        """Let go of all processes: the idle ones have ended when this returns, the others end as orphans do."""
        with self._lock:
            idle, busy, self._idle, self._is_closed = self._idle, [*self._busy], [], True
        for process in (*idle, *busy):
            process.let_go()
        for process in idle:
            process.end()


class _Process:
    """One process, as its parent sees it."""

    def __init__(self, *, heals: bool) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
                [sys.executable, "-m", "harness.process.apart", str(theirs.fileno()), *([HEALS] if heals else [])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd=ROOT,
            )
        self._socket, self._pipe = ours, Connection(os.dup(ours.fileno()))

    def begin(self, job: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        """Return once the job has begun; Lost where the process ends before."""
        with self._lost_when_it_ends():
            self._pipe.send(job)
            taken = self._pipe.recv()
            assert taken == _TAKEN, taken

    def answer(self, wanted: Callable[[], bool]) -> tuple[bool, Any]:
        """Return whether the work was done, and its result or its exception."""
        is_wanted = True
        with self._lost_when_it_ends():
            while not self._pipe.poll(BEAT_S):
                if is_wanted and not wanted():
                    is_wanted = False
                    self.interrupt(2)
            is_well, answer = self._pipe.recv()
            return is_well, answer

    def interrupt(self, times: int) -> None:
        """Interrupt what it works on, as Ctrl-C does."""
        for press in range(times):
            if press:
                time.sleep(SECOND_PRESS_S)
            self._process.send_signal(signal.SIGINT)

    def let_go(self) -> None:
        """Hang up, so that it ends; whoever waits for its answer, in another thread, learns that there is none."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> int:
        """Hang up and wait for its end; return its exit status."""
        self.let_go()
        status = self._process.wait()
        self._pipe.close()
        self._socket.close()
        return status

    @contextlib.contextmanager
    def _lost_when_it_ends(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            status = self.end()
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            raise Lost(f"the process {self._process.pid} of this run {how}") from error


def main() -> None:
    """Serve one call after another."""
    pipe = Connection(int(sys.argv[1]))
    os.set_inheritable(pipe.fileno(), False)  # noqa: FBT003  clusters outlive this process, and must not hold it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    count_as_interrupts()
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, jobs), daemon=True).start()
    while True:
        try:
            job = jobs.get(timeout=IDLE_S)
        except queue.Empty:
            return
        if job is None:
            return
        with contextlib.suppress(OSError):  # nobody wants the answer any more
            _serve(pipe, *job)


def _serve(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    answer: tuple[bool, Any]
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pipe.send(_TAKEN)
        answer = True, work(*arguments)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except BaseException as error:  # noqa: BLE001 - a door: whatever it was is raised again by whoever asked
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        answer = False, error
    pipe.send(answer)


def _listen(pipe: Connection, jobs: queue.SimpleQueue[Any]) -> None:
    """Take jobs; when the parent is gone, end what is being worked on, and the process."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            jobs.put(pipe.recv())
    jobs.put(None)
    if HEALS not in sys.argv:
        os._exit(1)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(SECOND_PRESS_S)
    time.sleep(LAST_S)
    os._exit(1)


if __name__ == "__main__":
    main()
