"""The virtual clock: a heap of timers, plain coroutines driven by it, and randomness by concern.

Nothing here waits: time jumps to the next timer, so a simulated second costs what is computed in it. Two things become
due: what was made ready (`soon`, a future that is done), in the order in which it was, and, when nothing is ready, the
earliest timer; timers of the same nanosecond go off in the order in which they were set. Hence the same seed gives the
same run, in any process.

Coroutines await `Future`s only (`Task` is one; `sleep` makes one). A task runs until it waits for something that is not
done. `Task.cancel` throws `CancelledError` into it where it waits; it ends then, unless it awaits again to clean up.
An error that leaves a task belongs to whoever awaits it; if nobody has by the end, `check` raises it: it is a bug of
the simulator or of the simulated client, never a finding.

`random(concern)` is one `random.Random` per concern, derived from the one seed, so that a draw more in one concern does
not move all others.
"""

from __future__ import annotations

import heapq
import inspect
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from functools import partial
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

MS_NS = 1_000_000
"""Nanoseconds in a millisecond."""
EPOCH_MS = 1_700_000_000_000
"""What a clock on the wall shows when a simulation begins."""


class CancelledError(BaseException):
    """The task was cancelled: whoever it stood for is gone. Not an Exception, so that no client code swallows it."""


class TimedOutError(Exception):
    """The time-out passed first."""


class Timer:
    """A timer that was set; `cancel` makes it do nothing."""

    __slots__ = ("_call", "at_ns")

    def __init__(self, at_ns: int, call: Callable[[], None]) -> None:
        self.at_ns = at_ns
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Never go off."""
        self._call = None


class Future(Generic[T]):
    """A value to come. `set` and `fail` count once: what comes later is dropped, as after a time-out."""

    __slots__ = ("_error", "_loop", "_value", "_waiters", "done")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._waiters: list[Callable[[], None]] = []

    def set(self, value: T) -> None:
        """Give the value."""
        if not self.done:
            self._value = value
            self._finish()

    def fail(self, error: BaseException) -> None:
        """Give an error instead: it is raised where the future is awaited."""
        if not self.done:
            self._error = error
            self._finish()

    def _finish(self) -> None:
        self.done = True
        if self._waiters:
            self._loop._ready.extend(self._waiters)
            self._waiters = []

    def result(self) -> T:
        """Return the value or raise the error; the future must be done."""
        assert self.done, "not done"
        if self._error is not None:
            self._loop.seen(self)
            raise self._error
        return self._value  # type: ignore[return-value]

    def when_done(self, call: Callable[[], None]) -> None:
        """Call soon after it is done."""
        if self.done:
            self._loop.soon(call)
        else:
            self._waiters.append(call)

    def __await__(self) -> Generator[Future[T], None, T]:
        if not self.done:
            yield self
        return self.result()


class Task(Future[T]):
    """A coroutine under way; awaiting it gives what the coroutine returns."""

    __slots__ = ("_coro", "_is_cancelled", "_send", "_waits_for", "name")

    def __init__(self, loop: Loop, coro: Coroutine[Any, Any, T], name: str) -> None:
        super().__init__(loop)
        self.name = name
        self._coro = coro
        self._send = coro.send
        self._waits_for: Future[Any] | None = None
        self._is_cancelled = False
        loop.soon(self._resume)

    def cancel(self) -> None:
        """Throw CancelledError into it where it waits; a task that has not begun never does."""
        if not self.done and not self._is_cancelled:
            self._is_cancelled = True
            if inspect.getcoroutinestate(self._coro) == inspect.CORO_CREATED:
                self._coro.close()  # the loop may not run again
            self._loop.soon(self._throw)

    def _resume(self) -> None:
        if self._is_cancelled:
            self._coro.close()
            self.fail(CancelledError())
        elif not self.done:
            self._step(self._send, None)

    def _wake(self, future: Future[Any]) -> None:
        if self._waits_for is future and not self.done:
            self._waits_for = None
            self._step(self._send, None)

    def _throw(self) -> None:
        if not self.done:
            self._waits_for = None
            self._step(self._coro.throw, CancelledError())

    def _step(self, call: Callable[[Any], Any], value: Any) -> None:
        try:
            future: Future[Any] = call(value)
        except StopIteration as end:
            self.set(end.value)
        except CancelledError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - the door of a task: see the module on errors
            self._loop.lost(self, error)
            self.fail(error)
        else:
            self._waits_for = future
            wake = partial(self._wake, future)
            if future.done:
                self._loop.soon(wake)
            else:
                future._waiters.append(wake)


class Loop:
    """See the module. `now_ns` is the time since the simulation began."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_ns = 0
        self._ready: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[int, int, Timer | Callable[[], None]]] = []
        self._order = 0
        self._errors: dict[Future[Any], BaseException] = {}
        self._randoms: dict[str, random.Random] = {}

    @property
    def now_ms(self) -> int:
        """Return the time in whole milliseconds."""
        return self.now_ns // MS_NS

    @property
    def wall_ms(self) -> int:
        """Return what a right clock on the wall shows, in ms since 1970: records carry it."""
        return EPOCH_MS + self.now_ns // MS_NS

    def random(self, concern: str) -> random.Random:
        """Return the concern's own source of randomness; the same object for the same name."""
        found = self._randoms.get(concern)
        if found is None:
            found = self._randoms[concern] = random.Random(f"{self.seed}/{concern}")
        return found

    # What is to be done.

    def soon(self, call: Callable[[], None]) -> None:
        """Call it now, after what is ready already."""
        self._ready.append(call)

    def at(self, at_ns: int, call: Callable[[], None]) -> Timer:
        """Call it at a time; at once (soon) if that is past."""
        at_ns = max(at_ns, self.now_ns)
        timer = Timer(at_ns, call)
        self._order += 1
        heapq.heappush(self._timers, (at_ns, self._order, timer))
        return timer

    def surely_at(self, at_ns: int, call: Callable[[], None]) -> None:
        """Call it at a time that is not past, as `at` does; it can't be cancelled, and costs less."""
        self._order += 1
        heapq.heappush(self._timers, (at_ns, self._order, call))

    def later(self, delay_ms: float, call: Callable[[], None]) -> Timer:
        """Call it after a while."""
        return self.at(self.now_ns + int(delay_ms * MS_NS), call)

    def spawn(self, coro: Coroutine[Any, Any, T], name: str = "") -> Task[T]:
        """Begin a coroutine; it runs soon."""
        return Task(self, coro, name)

    # What coroutines await.

    def future(self) -> Future[Any]:
        """Return a future of this loop."""
        return Future(self)

    def sleep(self, delay_ms: float) -> Future[None]:
        """Return what is done after a while: `await loop.sleep(5)`."""
        future: Future[None] = Future(self)
        self.later(delay_ms, partial(future.set, None))
        return future

    def sleep_until(self, at_ns: int) -> Future[None]:
        """Return what is done at a time."""
        future: Future[None] = Future(self)
        self.at(at_ns, partial(future.set, None))
        return future

    async def within(self, future: Future[T], timeout_ms: float) -> T:
        """Await a future for a bounded time; raises TimedOutError. A task is not cancelled by that."""
        if not future.done:
            either: Future[None] = Future(self)
            end = partial(either.set, None)
            timer = self.later(timeout_ms, end)
            future.when_done(end)
            await either
            timer.cancel()
            if not future.done:
                raise TimedOutError(f"nothing within {timeout_ms:g} ms")
        return future.result()

    async def all(self, awaitables: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """Run coroutines side by side; return their results in order, or raise the first error in that order."""
        tasks = [self.spawn(coro) for coro in awaitables]
        try:
            return [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()

    # Errors of tasks.

    def lost(self, task: Future[Any], error: BaseException) -> None:
        """Note an error until somebody has awaited the task."""
        self._errors[task] = error

    def seen(self, task: Future[Any]) -> None:
        """Somebody got the error."""
        self._errors.pop(task, None)

    def check(self) -> None:
        """Raise the first error of a task that nobody has awaited."""
        for error in self._errors.values():
            raise error

    # Running.

    def run_until(self, limit_ns: int, stop: Callable[[], bool] | Future[Any] = lambda: False) -> bool:
        """Run until the condition holds (or the future is done), or to a time; return whether it holds."""
        if isinstance(stop, Future):
            return self._run_to(stop, limit_ns)
        ready = self._ready
        while not stop():
            if ready:
                ready.popleft()()
            elif not self._tick(limit_ns):
                self.now_ns = max(self.now_ns, limit_ns)
                return stop()
        return True

    def _run_to(self, future: Future[Any], limit_ns: int) -> bool:
        """Run until the future is done: to look at that costs less than to ask a condition, and a run asks often."""
        ready, timers = self._ready, self._timers
        pop = heapq.heappop
        while not future.done:
            if ready:
                ready.popleft()()
            elif timers and timers[0][0] <= limit_ns:  # as `_tick`, without a call for each
                at_ns, _, timer = pop(timers)
                if type(timer) is Timer:
                    call, timer._call = timer._call, None
                    if call is None:
                        continue
                    timer = call
                self.now_ns = at_ns
                timer()  # type: ignore[operator]
            else:
                self.now_ns = max(self.now_ns, limit_ns)
                return False
        return True

    def _tick(self, limit_ns: int) -> bool:
        """Let the earliest timer go off, unless there is none up to the limit."""
        timers = self._timers
        if not timers or timers[0][0] > limit_ns:
            return False
        at_ns, _, timer = heapq.heappop(timers)
        if isinstance(timer, Timer):
            call, timer._call = timer._call, None
            if call is None:
                return True
            timer = call
        self.now_ns = at_ns
        timer()
        return True

    def run(self, coro: Awaitable[T] | Coroutine[Any, Any, T], limit_ns: int = 1 << 62) -> T:
        """Run a coroutine to its end (for tests). Raises TimedOutError when nothing is left that could end it."""
        task = coro if isinstance(coro, Task) else self.spawn(cast("Coroutine[Any, Any, T]", coro))
        if not self.run_until(limit_ns, task):
            raise TimedOutError(f"the coroutine still waits at {self.now_ns} ns")
        return cast("T", task.result())
