"""The scheduler: the loop of a run, pure. Time is an argument; threads, clocks and files belong to its drivers.

It holds the generator, which processes are free, and what number each client thread has now. A driver does:

    match scheduler.next(now):
        case Dispatch(op):  record op, *then* hand it to the thread of op.process
        case Point(op):     record op
        case Wait(until):   wait for a completion, at most until that time
        case Done():        stop
    on a completion: op, renewed = scheduler.complete(now, completion); record op; open a new client if renewed

States of a process: free -> busy (dispatched) -> free. After `info` a client's number is never used again: its thread
goes on as process + concurrency, since nobody knows what the old session may still do.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.generator import Context, Generator, Pending
from harness.history import HARNESS, INFO, Op, Process


class Dispatch(msgspec.Struct, frozen=True, gc=False):
    """Record the stamped invocation, then give it to its process."""

    op: Op


class Point(msgspec.Struct, frozen=True, gc=False):
    """Record the stamped point event; it goes to nobody."""

    op: Op


class Wait(msgspec.Struct, frozen=True, gc=False):
    """Nothing to do until a completion arrives or the time `until_ns` comes (None: a completion only).

    `still`: a completion will not change that, only a point event: the driver need not look again when one arrives.
    """

    until_ns: int | None
    still: bool = False


class Done(msgspec.Struct, frozen=True, gc=False):
    """The generator has ended. `busy`: processes whose ops are still out; nobody needs to wait for them."""

    busy: tuple[Process, ...]


class Scheduler:
    """One run's loop. Single-threaded; every method is called by the driver with the current time in ns."""

    def __init__(self, generator: Generator, concurrency: int, others: Sequence[str] = ()) -> None:
        """Begin with client processes 0..concurrency-1 and the named ones (nemesis, probes), all free."""
        self._generator: Generator | None = generator
        self._concurrency = concurrency
        self._free: dict[Process, None] = dict.fromkeys([*range(concurrency), *others])  # ordered: longest idle first
        self._busy: dict[Process, None] = {}
        self._processes: tuple[Process, ...] = tuple(self._free)
        self._index = 0
        self._time_ns = 0

    def _context(self, time_ns: int) -> Context:
        return Context(time_ns, tuple(self._free), self._processes, self._concurrency)

    def _stamp(self, op: Op, time_ns: int) -> Op:
        # Time never runs backwards in a history, whatever the driver's clock says.
        self._time_ns = max(self._time_ns, time_ns)
        stamped = op.at(self._index, self._time_ns)
        self._index += 1
        return stamped

    def next(self, time_ns: int) -> Dispatch | Point | Wait | Done:
        """Return what to do now."""
        if self._generator is None:
            return Done(tuple(self._busy))
        answer = self._generator.op(self._context(time_ns))
        if isinstance(answer, Pending):
            self._generator = answer.successor
            return Wait(answer.until_ns, answer.still)
        if answer is None:
            self._generator = None
            return Done(tuple(self._busy))
        if answer.op.time > time_ns:
            return Wait(answer.op.time)
        op = self._stamp(answer.op, time_ns)
        if op.process == HARNESS:
            self._generator = answer.successor.update(self._context(time_ns), op)
            return Point(op)
        assert op.process in self._free, f"the generator chose {op.process!r}, which is not free: {op}"
        del self._free[op.process]
        self._busy[op.process] = None
        self._generator = answer.successor.update(self._context(time_ns), op)
        return Dispatch(op)

    def complete(self, time_ns: int, completion: Op) -> tuple[Op, Process | None]:
        """Take a completion; return it stamped, and the thread's new process number if the old one is used up."""
        assert completion.process in self._busy, f"{completion.process!r} completes an op that it was not given"
        stamped = self._stamp(completion, time_ns)
        old = completion.process
        del self._busy[old]
        renewed: Process | None = None
        if isinstance(old, int) and completion.type == INFO:
            renewed = old + self._concurrency
            self._processes = tuple(renewed if p == old else p for p in self._processes)
        self._free[old if renewed is None else renewed] = None
        if self._generator is not None:
            self._generator = self._generator.update(self._context(time_ns), stamped)
        return stamped, renewed

    def point(self, time_ns: int, event: Op) -> Op:
        """Take a point event from outside (an interrupt, a consumer's rebalance callback); return it stamped."""
        stamped = self._stamp(event, time_ns)
        if self._generator is not None:
            self._generator = self._generator.update(self._context(time_ns), stamped)
        return stamped
