"""The loop of our own clients in real time: what `broker.sim.loop` is for a simulation, on a thread of its own.

Coroutines, futures and timers are those of the simulation's loop; the clock is the machine's, and between timers the
thread waits for sockets. All of it belongs to that thread but `call`, which hands a coroutine over and waits for it.
"""

from __future__ import annotations

import contextlib
import heapq
import selectors
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from broker.sim.loop import MS_NS, Loop, Task, Timer

T = TypeVar("T")

LOOK_S = 1.0
"""How often a caller that waits looks whether the thread still lives."""
ReadyCall = Callable[[int], None]
"""Gets what a socket is ready for, as `selectors` says it."""


class RealLoop(Loop):
    """See the module. `now_ns` is the time since it was made."""

    def __init__(self, seed: int) -> None:
        """Begin to run."""
        self._began_ns = time.monotonic_ns()
        super().__init__(seed)
        self.selector = selectors.DefaultSelector()
        self._bell, self._rung = socket.socketpair()
        for end in (self._bell, self._rung):
            end.settimeout(0)
        self.watch(self._rung, selectors.EVENT_READ, self._answer_bell)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="native-clients", daemon=True)
        self._thread.start()

    @property
    def now_ns(self) -> int:
        """Return the time since the loop was made."""
        return time.monotonic_ns() - self._began_ns

    @now_ns.setter
    def now_ns(self, _: int) -> None:
        """The machine sets the time."""

    @property
    def wall_ms(self) -> int:
        """Return the machine's date, in ms since 1970."""
        return time.time_ns() // MS_NS

    # From other threads.

    def call(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return what it returns, or raise what it raises."""
        tasks: list[Task[T]] = []
        is_done = threading.Event()

        def begin() -> None:
            tasks.append(self.spawn(coro))
            tasks[0].when_done(is_done.set)

        self._hand_in(begin)
        while not is_done.wait(LOOK_S):
            if not self._thread.is_alive():
                raise RuntimeError("the thread of our own clients has ended")
        return tasks[0].result()

    def close(self) -> None:
        """End the thread; what still runs on it is dropped. Raises the error of a task that nobody awaited."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._bell.send(b"\0")
        self._thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # they are sockets
        self.selector.close()
        self._bell.close()
        self.check()

    def _hand_in(self, call: Callable[[], None]) -> None:
        self._ready.append(call)
        with contextlib.suppress(BlockingIOError):  # the bell rings already
            self._bell.send(b"\0")

    # On the thread.

    def watch(self, connection: socket.socket, events: int, ready: ReadyCall) -> None:
        """Call when a socket is ready for what `selectors` names; again, with other events, changes that."""
        if connection in self.selector.get_map():
            self.selector.modify(connection, events, ready)
        else:
            self.selector.register(connection, events, ready)

    def forget(self, connection: socket.socket) -> None:
        """Watch a socket no more."""
        if connection in self.selector.get_map():
            self.selector.unregister(connection)

    def _answer_bell(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._rung.recv(4096)

    def _run(self) -> None:
        while not self._is_closed:
            for _ in range(len(self._ready)):  # what becomes ready meanwhile lets the sockets go first
                self._ready.popleft()()
            self._let_timers_go_off()
            for key, events in self.selector.select(self._rest_s()):
                key.data(events)

    def _let_timers_go_off(self) -> None:
        timers, now_ns = self._timers, self.now_ns
        while timers and timers[0][0] <= now_ns:
            _, _, timer = heapq.heappop(timers)
            if isinstance(timer, Timer):
                if timer._call is not None:
                    timer._call()
            else:
                timer()

    def _rest_s(self) -> float | None:
        """Return how long nothing is to be done but for sockets, None: nobody knows."""
        if self._ready:
            return 0.0
        return max(self._timers[0][0] - self.now_ns, 0) / 1e9 if self._timers else None
