"""Combinators of generators: pacing, time limits, phases, mixing, and several side by side.

All are pure values under the order contract of `harness.generator`: an Emit's successor counts only when the op is
invoked, a Pending's at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec.structs import replace

from harness.generator import INTERRUPT, NEVER_NS, NOTHING, SECOND_NS, Answer, Context, Emit, Generator, On, Pending
from harness.history import HARNESS, Op, Process
from harness.random import Rng


def reserve(shares: tuple[tuple[int, Generator], ...], rest: Generator) -> Generator:
    """Give the first `count` client threads to each generator in turn, the remaining ones to `rest`."""
    parts: list[Generator] = []
    low = 0
    for count, generator in shares:
        parts.append(_Threads(low, low + count, generator))
        low += count
    parts.append(_Threads(low, None, rest))
    return Together(tuple(parts))


class _Threads(msgspec.Struct, frozen=True, gc=False):
    """Restricts to client threads low <= thread < high (thread = process % concurrency)."""

    low: int
    high: int | None
    inner: Generator

    def _wants(self, p: Process, ctx: Context) -> bool:
        high = ctx.concurrency if self.high is None else self.high
        return isinstance(p, int) and self.low <= p % ctx.concurrency < high

    def op(self, ctx: Context) -> Answer:
        free = [p for p in ctx.free if self._wants(p, ctx)]
        processes = [p for p in ctx.processes if self._wants(p, ctx)]
        match self.inner.op(ctx.of(free, processes)):
            case Emit(op, successor):
                return Emit(op, replace(self, inner=successor))
            case Pending(until, successor):
                return Pending(until, replace(self, inner=successor))
            case None:
                return None

    def update(self, ctx: Context, event: Op) -> Generator:
        if event.process != HARNESS and not self._wants(event.process, ctx):
            return self
        return replace(self, inner=self.inner.update(ctx, event))


class PerThread(msgspec.Struct, frozen=True, gc=False):
    """A generator of its own for each client thread, made when the thread is first asked for."""

    make: Callable[[int], Generator]
    made: Mapping[int, Generator]

    @classmethod
    def of(cls, make: Callable[[int], Generator]) -> PerThread:
        """Return one where no thread has begun."""
        return cls(make, {})

    def op(self, ctx: Context) -> Answer:
        """Emit the soonest op among the free threads; None when every thread is done."""
        best: Emit | None = None
        until: list[int | None] = []
        made = dict(self.made)
        for p in ctx.free:
            if not isinstance(p, int):
                continue
            thread = p % ctx.concurrency
            match (made.get(thread) or self.make(thread)).op(Context(ctx.time_ns, (p,), (p,), ctx.concurrency)):
                case Emit(op, successor):
                    if best is None or op.time < best.op.time:
                        best = Emit(op, PerThread(self.make, {**self.made, thread: successor}))
                    if op.time <= ctx.time_ns:
                        break
                case Pending(at, successor):
                    made[thread] = successor
                    until.append(at)
        if best is not None:
            return best
        busy = len(ctx.free) < len(ctx.processes)
        return Pending(_soonest(until), PerThread(self.make, made)) if until or busy else None

    def update(self, ctx: Context, event: Op) -> Generator:
        """Pass a client's event to its thread; a point event to all that have begun."""
        if isinstance(event.process, int):
            thread = event.process % ctx.concurrency
            inner = self.made.get(thread) or self.make(thread)
            return PerThread(self.make, {**self.made, thread: inner.update(ctx, event)})
        return PerThread(self.make, {t: g.update(ctx, event) for t, g in self.made.items()})


def _soonest(times: list[int | None]) -> int | None:
    known = [t for t in times if t is not None]
    return min(known) if known else None


class Together(msgspec.Struct, frozen=True, gc=False):
    """Several generators side by side; the soonest op first, ties to the earlier one. Ends when all have ended."""

    parts: tuple[Generator, ...]

    def op(self, ctx: Context) -> Answer:
        """Emit the soonest op of any part."""
        best: Emit | None = None
        best_index = 0
        until: list[int | None] = []
        still = True
        parts = list(self.parts)
        for index, part in enumerate(self.parts):
            if type(part) is On and ctx.time_ns < part.quiet_ns:  # as it would say itself
                until.append(None if part.quiet_ns == NEVER_NS else part.quiet_ns)
                still = still and part.still
                continue
            answer = part.op(ctx)
            if isinstance(answer, Pending):
                parts[index] = answer.successor
                until.append(answer.until_ns)
                still = still and answer.still
            elif answer is None:
                parts[index] = NOTHING
            else:
                if best is None or answer.op.time < best.op.time:
                    best, best_index = answer, index
                if answer.op.time <= ctx.time_ns:
                    break
        if best is not None:
            parts[best_index] = best.successor
            return Emit(best.op, Together(tuple(parts)))
        return Pending(_soonest(until), self._with(parts), still) if until else None

    def _with(self, parts: list[Generator]) -> Together:
        """Return itself where nothing changed: most of the time nothing does, and a run asks often."""
        for new, old in zip(parts, self.parts, strict=True):
            if new is not old:
                return Together(tuple(parts))
        return self

    def update(self, ctx: Context, event: Op) -> Generator:
        """Pass the event to every part."""
        p = event.process
        if p == HARNESS:
            return self._with([part.update(ctx, event) for part in self.parts])
        is_client = type(p) is int
        parts = list(self.parts)
        for index, part in enumerate(self.parts):
            if type(part) is On and not (part.clients if is_client else p in part.names):
                continue  # it does not see that one
            parts[index] = part.update(ctx, event)
        return self._with(parts)


class While(msgspec.Struct, frozen=True, gc=False):
    """Runs `side` beside `main` and ends with `main`."""

    main: Generator
    side: Generator

    def op(self, ctx: Context) -> Answer:
        """Emit the sooner op of the two."""
        main = self.main.op(ctx)
        if main is None:
            return None
        side = self.side.op(ctx)
        if isinstance(main, Pending) and isinstance(side, Pending):
            until_ns = main.until_ns
            if until_ns is None or (side.until_ns is not None and side.until_ns < until_ns):
                until_ns = side.until_ns
            return Pending(until_ns, self._with(main.successor, side.successor), main.still and side.still)
        if isinstance(side, Emit) and not (isinstance(main, Emit) and main.op.time <= side.op.time):
            return Emit(side.op, While(main.successor if isinstance(main, Pending) else self.main, side.successor))
        rest = NOTHING if side is None else self.side if isinstance(side, Emit) else side.successor
        if isinstance(main, Emit):
            return Emit(main.op, While(main.successor, rest))
        return Pending(main.until_ns, self._with(main.successor, rest), main.still)

    def _with(self, main: Generator, side: Generator) -> While:
        return self if main is self.main and side is self.side else While(main, side)

    def update(self, ctx: Context, event: Op) -> Generator:
        """Pass the event to both."""
        return self._with(self.main.update(ctx, event), self.side.update(ctx, event))


class Mix(msgspec.Struct, frozen=True, gc=False):
    """Draws for each op which generator gives it, by weight. A part that ends drops out."""

    parts: tuple[tuple[float, Generator], ...]
    rng: Rng

    def op(self, ctx: Context) -> Answer:
        """Emit the drawn part's op."""
        parts, rng = self.parts, self.rng
        while parts:
            number, rng = rng.draw()
            index = _weighted(parts, number)
            answer = parts[index][1].op(ctx)
            if isinstance(answer, Emit):
                chosen = (parts[index][0], answer.successor)
                return Emit(answer.op, Mix((*parts[:index], chosen, *parts[index + 1 :]), rng))
            if isinstance(answer, Pending):
                waiting = (parts[index][0], answer.successor)
                return Pending(answer.until_ns, Mix((*parts[:index], waiting, *parts[index + 1 :]), self.rng))
            parts = parts[:index] + parts[index + 1 :]
        return None

    def update(self, ctx: Context, event: Op) -> Generator:
        """Pass the event to every part."""
        return Mix(tuple((weight, part.update(ctx, event)) for weight, part in self.parts), self.rng)


def _weighted(parts: tuple[tuple[float, Generator], ...], number: float) -> int:
    target = number * sum(weight for weight, _ in parts)
    for index, (weight, _) in enumerate(parts):
        target -= weight
        if target < 0:
            return index
    return len(parts) - 1


class Stagger(msgspec.Struct, frozen=True, gc=False):
    """Spaces ops out: exponentially distributed gaps of `mean_ns`, of all processes together (open loop).

    When the processes can't keep up, the schedule is not chased: the next gap counts from now. Before an op is due, the
    inner generator is not asked: what it would do then is decided then.
    """

    mean_ns: int
    inner: Generator
    rng: Rng
    next_ns: int = 0

    def op(self, ctx: Context) -> Answer:
        """Emit the inner op no sooner than the drawn time."""
        if ctx.time_ns < self.next_ns:
            return Pending(self.next_ns, self, still=True)
        match self.inner.op(ctx):
            case Emit(op, successor):
                at = max(op.time, self.next_ns)
                gap, rng = self.rng.exponential(self.mean_ns)
                op = op if at == op.time else replace_time(op, at)
                return Emit(op, Stagger(self.mean_ns, successor, rng, at + int(gap)))
            case Pending(until, successor):
                return Pending(until, self._with(successor))
            case None:
                return None

    def _with(self, inner: Generator) -> Stagger:
        return self if inner is self.inner else Stagger(self.mean_ns, inner, self.rng, self.next_ns)

    def update(self, ctx: Context, event: Op) -> Generator:
        """Pass the event on."""
        return self._with(self.inner.update(ctx, event))


def replace_time(op: Op, time_ns: int) -> Op:
    """Return the op at another time."""
    return op.at(op.index, time_ns)


class TimeLimit(msgspec.Struct, frozen=True, gc=False):
    """Ends `limit_ns` after it was first asked, or at an INTERRUPT event if `interruptible`."""

    limit_ns: int
    inner: Generator
    interruptible: bool = False
    deadline_ns: int | None = None
    over: bool = False

    def op(self, ctx: Context) -> Answer:
        """Emit the inner op unless it would come too late."""
        deadline = ctx.time_ns + self.limit_ns if self.deadline_ns is None else self.deadline_ns
        if self.over or ctx.time_ns >= deadline:
            return None
        answer = self.inner.op(ctx)
        if answer is None:
            return None
        if isinstance(answer, Pending):
            until = answer.until_ns
            soonest = deadline if until is None or until > deadline else until
            return Pending(soonest, self._with(answer.successor, deadline), answer.still)
        if answer.op.time >= deadline:
            return Pending(deadline, self._with(self.inner, deadline))
        return Emit(answer.op, self._with(answer.successor, deadline))

    def _with(self, inner: Generator, deadline_ns: int | None) -> TimeLimit:
        if inner is self.inner and deadline_ns == self.deadline_ns:
            return self
        return replace(self, inner=inner, deadline_ns=deadline_ns)

    def update(self, ctx: Context, event: Op) -> Generator:
        """Pass the event on; an interrupt ends it."""
        inner = self.inner.update(ctx, event)
        over = self.over or (self.interruptible and event.process == HARNESS and event.f == INTERRUPT)
        return replace(self, inner=inner, over=True) if over else self._with(inner, self.deadline_ns)


class Delay(msgspec.Struct, frozen=True, gc=False):
    """Nothing for `delay_ns` from when it was first asked, then ends (a step of `Phases`)."""

    delay_ns: int
    until_ns: int | None = None

    def op(self, ctx: Context) -> Answer:
        """Wait."""
        until = ctx.time_ns + self.delay_ns if self.until_ns is None else self.until_ns
        return Pending(until, Delay(self.delay_ns, until), still=True) if ctx.time_ns < until else None

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Return itself."""
        return self


class Phases(msgspec.Struct, frozen=True, gc=False):
    """One generator after the other; each begins when all processes that it sees are free.

    A process that is still busy `patience_ns` after the phase before has ended is not waited for: a client call may
    block for its whole time-out, and the run's end must not hang on it.
    """

    rest: tuple[Generator, ...]
    patience_ns: int = 30 * SECOND_NS
    ended_ns: int | None = None
    """When the phase before ended; None while a phase is running."""

    def op(self, ctx: Context) -> Answer:
        """Emit the current phase's op, or wait for its processes to come home."""
        rest, ended = self.rest, self.ended_ns
        while rest:
            if ended is not None:
                patience_over_ns = ended + self.patience_ns
                if len(ctx.free) < len(ctx.processes) and ctx.time_ns < patience_over_ns:
                    return Pending(patience_over_ns, Phases(rest, self.patience_ns, ended))
                ended = None
            answer = rest[0].op(ctx)
            if answer is None:
                rest, ended = rest[1:], ctx.time_ns
                continue
            successor = answer.successor
            if isinstance(answer, Emit):
                return Emit(answer.op, Phases((successor, *rest[1:]), self.patience_ns))
            if successor is self.rest[0] and self.ended_ns is None:
                return Pending(answer.until_ns, self, answer.still)
            return Pending(answer.until_ns, Phases((successor, *rest[1:]), self.patience_ns), answer.still)
        return None

    def update(self, ctx: Context, event: Op) -> Generator:
        """Pass the event to the current phase (the next one, while it waits for processes to come home).

        Point events go to every phase that is left: an interrupt may come before the phase that it ends.
        """
        if not self.rest:
            return self
        if event.process == HARNESS:
            return replace(self, rest=tuple(phase.update(ctx, event) for phase in self.rest))
        first = self.rest[0].update(ctx, event)
        return self if first is self.rest[0] else Phases((first, *self.rest[1:]), self.patience_ns, self.ended_ns)
