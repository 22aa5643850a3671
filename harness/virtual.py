"""The scheduler's driver on a virtual clock that it shares with the cluster: coroutines instead of threads.

It runs inside the clock's own loop: `_pump` asks the scheduler what is due, dispatches it, and sets a timer for the
next look; a completion makes the next look due at once. So ops overlap as they do on threads, time jumps from event to
event, and nothing waits.

The nemesis is one synchronous client (`Synchronous`): while it waits, it lets the loop run on (a nested run of it).
There is one nemesis and it does one op at a time, so runs nest once at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from harness.client import AsyncClient, AsyncClients, Client, Clients, Now
from harness.generator import SECOND_NS, Generator
from harness.history import INFO, Op, Process
from harness.scheduler import Dispatch, Done, Scheduler, Wait

LAST_CALLS_S: Final = 20
"""As in `harness.interpreter`: how long the end of a run waits for ops that are still out."""
CLOSE_S: Final = 10
"""How long it waits for clients to close."""
LIMIT_S: Final = 30 * 24 * 3600
"""Bound of a run in virtual time: a generator that has not ended in a month waits for ever."""


class Timer(Protocol):
    """A timer that was set."""

    def cancel(self) -> None:
        """Never go off."""
        ...


class Task(Protocol):
    """A coroutine under way."""

    def when_done(self, call: Callable[[], None]) -> None:
        """Call soon after it has ended."""
        ...

    def result(self) -> Any:
        """Return its result or raise its error."""
        ...


class Future(Protocol):
    """A value to come."""

    done: bool

    def set(self, value: Any) -> None:
        """Give the value."""
        ...


class Clock(Protocol):
    """The virtual clock and its loop; `broker.sim.loop.Loop` is one."""

    now_ns: int

    def at(self, at_ns: int, call: Callable[[], None]) -> Timer:
        """Call at a time."""
        ...

    def soon(self, call: Callable[[], None]) -> None:
        """Call now, after what is due already."""
        ...

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str = "") -> Task:
        """Begin a coroutine."""
        ...

    def future(self) -> Future:
        """Return a value to come."""
        ...

    def run_until(self, limit_ns: int, stop: Callable[[], bool] | Any = ...) -> bool:
        """Run until the condition holds or a future of this clock is done (True), or to a time."""
        ...


class Synchronous:
    """Opens synchronous clients as coroutines that never wait themselves: see the module on nested runs."""

    def __init__(self, clients: Clients) -> None:
        """Wrap what opens them."""
        self._clients = clients

    def open(self, process: Process, now: Now) -> AsyncClient:
        """Return a client for a new process."""
        return _Synchronous(self._clients.open(process, now))


class _Synchronous:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def invoke(self, op: Op) -> Op:
        return self._client.invoke(op)

    async def close(self) -> None:
        self._client.close()


class VirtualInterpreter:
    """Drives a generator to its end on a clock. `record` is called for every op, in order."""

    def __init__(  # noqa: PLR0917  as `Interpreter`, and the clock
        self,
        clock: Clock,
        generator: Generator,
        concurrency: int,
        clients: AsyncClients,
        others: Mapping[str, AsyncClients],
        record: Callable[[Op], None],
    ) -> None:
        """Prepare; `others` maps process names (nemesis, probe/n1) to what opens their clients."""
        self._clock = clock
        self._scheduler = Scheduler(generator, concurrency, tuple(others))
        self._record = record
        self._factories: dict[Process, AsyncClients] = dict.fromkeys(range(concurrency), clients) | dict(others)
        self._clients: dict[Process, AsyncClient] = {}
        self._posted: deque[Op] = deque()
        self._busy = 0
        self._end = clock.future()
        self._is_closing = self._will_pump = self._is_still = False
        self._timer: Timer | None = None
        self._began_ns = clock.now_ns

    def now(self) -> int:
        """Return ns of virtual time since the run began."""
        return self._clock.now_ns - self._began_ns

    def post(self, event: Op) -> None:
        """Hand in a point event; also from a signal handler."""
        self._posted.append(event)
        self._look_again()

    def run(self) -> None:
        """Run to the generator's end, then give ops that are still out a bounded time. Raises RuntimeError."""
        self._began_ns = self._clock.now_ns
        self._look_again()
        if not self._clock.run_until(self._began_ns + LIMIT_S * SECOND_NS, self._end):
            raise RuntimeError("the generator waits for an event, but nothing is due: it would wait for ever")
        self._clock.run_until(self._clock.now_ns + LAST_CALLS_S * SECOND_NS, lambda: not self._busy)
        self._is_closing = True
        closing = [self._clock.spawn(client.close()) for client in self._clients.values()]
        left = len(closing)

        def closed() -> None:
            nonlocal left
            left -= 1

        for task in closing:
            task.when_done(closed)
        self._clock.run_until(self._clock.now_ns + CLOSE_S * SECOND_NS, lambda: not left)

    def take_posted(self) -> None:
        """Record the events that were handed in."""
        while self._posted:
            self._record(self._scheduler.point(self.now(), self._posted.popleft()))

    def _look_again(self) -> None:
        if not self._will_pump:
            self._will_pump = True
            self._clock.soon(self._pump)

    def _pump(self) -> None:
        self._will_pump = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_closing:
            self.take_posted()
        while not self._end.done:
            due = self._scheduler.next(self._clock.now_ns - self._began_ns)
            if isinstance(due, Wait):
                self._is_still = due.still
                if due.until_ns is not None:
                    self._timer = self._clock.at(self._began_ns + due.until_ns, self._look_again)
                return
            if isinstance(due, Done):
                self._end.set(None)
                return
            self._record(due.op)
            if isinstance(due, Dispatch):
                self._busy += 1
                self._begin(due.op)

    def _begin(self, op: Op) -> None:
        task = self._clock.spawn(self._invoke(op), f"{op.process} {op.f}")
        task.when_done(lambda: self._complete(task.result()))

    async def _invoke(self, op: Op) -> Op:
        try:
            client = self._clients.get(op.process)
            if client is None:
                client = self._clients[op.process] = self._factories[op.process].open(op.process, self.now)
            return await client.invoke(op)
        except Exception as error:  # noqa: BLE001  a door: a client's bug must not end the run, and proves nothing
            return op.completed(INFO, error={"name": "CLIENT_CRASHED", "message": repr(error)})

    def _complete(self, completion: Op) -> None:
        if self._is_closing:
            return
        self._busy -= 1
        stamped, renewed = self._scheduler.complete(self.now(), completion)
        self._record(stamped)
        if renewed is not None:
            old = self._clients.pop(completion.process, None)
            if old is not None:
                self._clock.spawn(old.close(), f"close {completion.process}")
            self._factories[renewed] = self._factories.pop(completion.process)
        if not self._is_still:
            self._look_again()
