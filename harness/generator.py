"""Generators say what to do next. They are pure values: asking one changes nothing.

A generator answers `op(ctx)` with
* `Emit(op, successor)`: invoke this op at `op.time` (ns; at once if that has passed). The op names a free process, or
  "harness" for a point event, which is recorded and goes to nobody. Its index is not yet assigned;
* `Pending(until_ns, successor)`: nothing now; ask the successor again when something happens, or at `until_ns`;
* `None`: nothing, ever again.
Order contract: the scheduler adopts an Emit's `successor` only when it really invokes the op; until then it may ask the
same generator again after an `update`, and must get the same answer for the same context. A Pending's successor it
adopts at once: there a generator keeps what it learned from the clock (that a phase has begun, or ended). Each
invocation, completion and point event is passed to `update(ctx, event)`, which returns the generator to go on with;
there the context is the whole one, not restricted.

The algebra is Jepsen's (jepsen.generator.pure), on values instead of protocols over maps. The values are structs, not
dataclasses: every step of a run makes a few, and a frozen dataclass takes five times as long to make. A value refers to
older ones only, never in a cycle, so the collector need not know them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from harness.history import HARNESS, INFO, INVOKE, Op, Process
from harness.random import Rng

SECOND_NS = 1_000_000_000
NEVER_NS = 1 << 62
"""After the end of every run."""
INTERRUPT = "interrupt"
"""The point event that ends the main phase early (Ctrl-C, fail-fast)."""


class Context(msgspec.Struct, frozen=True, gc=False):
    """What a generator may know: the time in ns, the processes, and which of them are free (longest idle first)."""

    time_ns: int
    free: tuple[Process, ...]
    processes: tuple[Process, ...]
    concurrency: int
    """Number of client threads; thread = process % concurrency."""

    def of(self, free: list[Process], processes: list[Process]) -> Context:
        """Return the context restricted to some processes."""
        return Context(self.time_ns, tuple(free), tuple(processes), self.concurrency)


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Invoke `op` at op.time, then go on with `successor`."""

    op: Op
    successor: Generator


class Pending(msgspec.Struct, frozen=True, gc=False):
    """Nothing to do before `until_ns` (None: before something happens); then ask `successor`.

    `still`: not even when an op of its own processes ends before that; only a point event may change it. A generator
    that says so stays so through the updates: whoever asks need not ask again (see `harness.scheduler.Wait`).
    """

    until_ns: int | None
    successor: Generator
    still: bool = False


Answer = Emit | Pending | None


class Generator(Protocol):
    """A pure value that says what to do next; see the module's order contract."""

    def op(self, ctx: Context) -> Answer:
        """Return what to do next."""
        ...

    def update(self, ctx: Context, event: Op) -> Generator:
        """Return the generator that knows of the event."""
        ...


def invoke(ctx: Context, f: str, value: Any = None, **fields: Any) -> Op:
    """Return an invocation by the first free process of the context, now."""
    return Op(process=ctx.free[0], type=INVOKE, f=f, value=value, time=ctx.time_ns, **fields)


class Nothing(msgspec.Struct, frozen=True, gc=False):
    """Never an op."""

    def op(self, ctx: Context) -> Answer:  # noqa: ARG002
        """Return None."""
        return None

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Return itself."""
        return self


NOTHING = Nothing()


class Once(msgspec.Struct, frozen=True, gc=False):
    """One op, by the first free process."""

    f: str
    value: Any = None
    fields: Mapping[str, Any] | None = None

    def op(self, ctx: Context) -> Answer:
        """Emit the op as soon as a process is free."""
        if not ctx.free:
            return Pending(None, self)
        return Emit(invoke(ctx, self.f, self.value, **(self.fields or {})), NOTHING)

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Return itself."""
        return self


class Log(msgspec.Struct, frozen=True, gc=False):
    """One point event of the harness, e.g. a phase."""

    f: str
    value: Any = None

    def op(self, ctx: Context) -> Answer:
        """Emit the event now."""
        return Emit(Op(process=HARNESS, type=INFO, f=self.f, value=self.value, time=ctx.time_ns), NOTHING)

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Return itself."""
        return self


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """An endless stream: op number i is what `make(i, rng, ctx)` says (pure: (f, value, fields) and the next Rng)."""

    make: Callable[[int, Rng, Context], tuple[Op, Rng]]
    rng: Rng
    count: int = 0
    limit: int | None = None

    def op(self, ctx: Context) -> Answer:
        """Emit op number `count`."""
        if self.limit is not None and self.count >= self.limit:
            return None
        if not ctx.free:
            return Pending(None, self)
        op, rng = self.make(self.count, self.rng, ctx)
        return Emit(op, Repeat(self.make, rng, self.count + 1, self.limit))

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Return itself."""
        return self


@lru_cache(64)
def _of(processes: tuple[Process, ...], with_clients: bool, names: frozenset[str]) -> tuple[Process, ...]:  # noqa: FBT001
    """Return those of the processes that are clients or have one of the names: they change with an `info` only."""
    return tuple(p for p in processes if (with_clients if type(p) is int else p in names))


class On(msgspec.Struct, frozen=True, gc=False):
    """Restricts a generator to the clients (integers), or the processes of some names, or both.

    It sees only them when asked, and only their events, and the harness's point events. Hence, once it is Pending, it
    need not be asked again before its time or the next event that it sees (that counts): `quiet_ns` is that time.
    """

    inner: Generator
    clients: bool = False
    names: frozenset[str] = frozenset()
    quiet_ns: int = 0
    still: bool = False

    def op(self, ctx: Context) -> Answer:
        """Ask in the restricted context."""
        quiet_ns = self.quiet_ns
        if ctx.time_ns < quiet_ns:
            return Pending(None if quiet_ns == NEVER_NS else quiet_ns, self, self.still)
        with_clients, names = self.clients, self.names
        free = [p for p in ctx.free if (with_clients if type(p) is int else p in names)]
        processes = _of(ctx.processes, with_clients, names)
        answer = self.inner.op(Context(ctx.time_ns, tuple(free), processes, ctx.concurrency))
        if isinstance(answer, Pending):
            until_ns = answer.until_ns
            quiet_ns = NEVER_NS if until_ns is None else until_ns
            on = On(answer.successor, with_clients, names, quiet_ns, answer.still)
            return Pending(until_ns, on, answer.still)
        if answer is None:
            return None
        return Emit(answer.op, On(answer.successor, with_clients, names))

    def update(self, ctx: Context, event: Op) -> Generator:
        """Pass on events of those processes, and the harness's point events."""
        p = event.process
        if p != HARNESS and not (self.clients if type(p) is int else p in self.names):
            return self
        inner = self.inner.update(ctx, event)
        if self.still and p != HARNESS:
            return self if inner is self.inner else On(inner, self.clients, self.names, self.quiet_ns, still=True)
        return self if inner is self.inner and not self.quiet_ns else On(inner, self.clients, self.names)


def clients(inner: Generator) -> Generator:
    """Restrict to client processes."""
    return On(inner, clients=True)


def process(name: str, inner: Generator) -> Generator:
    """Restrict to one named process, e.g. the nemesis."""
    return On(inner, names=frozenset((name,)))
