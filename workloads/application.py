"""A program of the user's between topics, exactly once or at least once: the workload `app`.

Some of the topics are inputs, the others outputs. The program (`harness.application`) copies every record that it sees
in an input to some output, its value in it, whatever it does besides; it is killed, stopped and started as the nodes
are. The clients feed the inputs, half of the sends in transactions of which some are aborted. A third of the threads
read the outputs as well, so that the run knows what the program has not got to yet.

Then, after the faults, nothing is sent any more but one record to each input, the last one, and the run waits until all
that was acknowledged has come out, as long as anything comes. What is missing by then is told by
`checkers.application`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from harness.generator import SECOND_NS, Answer, Context, Emit, Generator, Pending, invoke
from harness.history import GIVEN_UP, HARNESS, INFO, INVOKE, OK, Op
from harness.random import Rng
from harness.scenario import APP, Scenario, app_topics
from workloads.api import CATCH_UP, CRASH_OPEN, Workload, added_keys, share_of_crashes

APPLICATION = "application"
"""The point event that says which keys the program copies from and to, and what it promises."""
CAUGHT_UP = "caught-up"
"""The point event that says that all that was acknowledged has come out."""
READERS = 3
"""One thread in so many reads the outputs."""
LOOKS = 1 / 2
"""Share of a reader's ops that look at the outputs."""
IN_TRANSACTIONS = 1 / 2
"""Share of the sends."""
GRACE_S = 5.0
"""What is missing when the last records have come out has so long to come, too: not everybody goes by the order."""
STALLED_S = 120.0
"""So long nothing comes out before the program is given up: a member of a group that was killed is missed for 45 s by
default, and an open transaction of its for 60."""


class AppOps(msgspec.Struct, frozen=True, gc=False):
    """The generator. `count` numbers the ops and with them the values."""

    scenario: Scenario
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rng: Rng
    crashes: float
    """Share of a feeder's ops that are crashes."""
    count: int = 0
    readers: frozenset[int] = frozenset()
    """Threads whose current process holds the outputs."""
    is_told: bool = False
    under_way: frozenset[int] = frozenset()
    """Values that were sent and are not answered yet."""
    early: frozenset[int] = frozenset()
    """Those of them that have come out."""
    left: frozenset[int] = frozenset()
    """Values that were acknowledged and have not come out yet."""
    is_catching_up: bool = False
    ends: frozenset[int] = frozenset()
    """The last values, one for each input, while they are under way or acknowledged."""
    ends_by: int | None = None
    """The process that sends them."""
    ended_ns: int | None = None
    """When all of them had come out."""
    has_caught_up: bool = False

    def op(self, ctx: Context) -> Answer:
        """Emit the next op of the process that has been idle longest."""
        if not self.is_told:
            promise = self.scenario.app_guarantee
            value = {"inputs": list(self.inputs), "outputs": list(self.outputs), "guarantee": promise}
            return Emit(_told(ctx, APPLICATION, value), replace(self, is_told=True))
        if self.is_catching_up:
            return self._catch_up(ctx)
        if not ctx.free:
            return Pending(None, self)
        thread = _thread(ctx)
        number, rng = self.rng.draw()
        here = replace(self, rng=rng, count=self.count + 1)
        if thread % READERS == 0:
            if thread not in self.readers:
                return here._assign(ctx)
            if number < LOOKS:
                return Emit(invoke(ctx, "poll", [["poll"]]), here)
        return here._feed(ctx, thread)

    def _assign(self, ctx: Context) -> Answer:
        return Emit(invoke(ctx, "assign", list(self.outputs)), replace(self, readers=self.readers | {_thread(ctx)}))

    def _feed(self, ctx: Context, thread: int) -> Answer:
        key, rng = self.rng.choose(self.inputs)
        number, rng = rng.draw()
        here = replace(self, rng=rng)
        crashes = 0.0 if thread % READERS == 0 else self.crashes
        if number < crashes * (1 - CRASH_OPEN):
            return Emit(invoke(ctx, "crash"), here)
        sends = [["send", key, self.count * len(self.inputs)]]
        if number < crashes:
            return Emit(invoke(ctx, "txn", sends, crash=True), here)
        number, rng = rng.draw()
        if number >= IN_TRANSACTIONS:
            return Emit(invoke(ctx, "send", sends), replace(here, rng=rng))
        number, rng = rng.draw()
        op = invoke(ctx, "txn", sends, abort=number < self.scenario.abort_rate)
        return Emit(op, replace(here, rng=rng))

    def _catch_up(self, ctx: Context) -> Answer:
        """Send the last records once everybody is home, then only look."""
        if self.has_caught_up:
            return Pending(None, self)
        if self.ended_ns is not None and (not self.left or ctx.time_ns >= self.ended_ns + int(GRACE_S * SECOND_NS)):
            return Emit(_told(ctx, CAUGHT_UP, {"missing": len(self.left)}), replace(self, has_caught_up=True))
        if not ctx.free:
            return Pending(None, self)
        if not self.ends and len(ctx.free) == len(ctx.processes):
            count = self.count + 1
            values = range(count * len(self.inputs), (count + 1) * len(self.inputs))
            op = invoke(ctx, "send", [["send", key, value] for key, value in zip(self.inputs, values, strict=True)])
            process = ctx.free[0]
            assert isinstance(process, int)
            return Emit(op, replace(self, count=count, ends=frozenset(values), ends_by=process))
        looking = [process for process in ctx.free if isinstance(process, int) and _reads(process, ctx)]
        if not self.ends or not looking:
            return Pending(None, self)
        alone = ctx.of([looking[0]], [looking[0]])
        if _thread(alone) not in self.readers:
            return self._assign(alone)
        return Emit(invoke(alone, "poll", [["poll"]]), self)

    def update(self, ctx: Context, event: Op) -> Generator:
        """Learn what is under way, what was acknowledged and what has come out."""
        if added := added_keys(event):
            mine = {key.rpartition("/")[0] for key in self.inputs}
            more = tuple(key for key in added if key.rpartition("/")[0] in mine)
            others = tuple(key for key in added if key not in more)
            inputs, outputs = (*self.inputs, *more), (*self.outputs, *others)
            return replace(self, inputs=inputs, outputs=outputs, readers=frozenset(), is_told=False)
        if event.process == HARNESS:
            begins = event.f == "phase" and event.value == CATCH_UP
            return replace(self, is_catching_up=True) if begins else self
        if not isinstance(event.process, int):
            return self
        sent = frozenset(_sent(event))
        if event.type == INVOKE:
            return replace(self, under_way=self.under_way | sent) if sent else self
        here = self
        if event.type == INFO:
            here = replace(here, readers=self.readers - {event.process % ctx.concurrency})
        if event.process == self.ends_by:
            here = replace(here, ends=self.ends if event.type == OK else frozenset(), ends_by=None)
        if sent:
            new = sent - self.early if event.type == OK else frozenset[int]()
            here = replace(here, under_way=self.under_way - sent, early=self.early - sent, left=self.left | new)
        if seen := frozenset(_seen(event)):
            here = replace(here, left=here.left - seen, early=here.early | (seen & here.under_way))
        if here.ends and here.ends_by is None and here.ended_ns is None and not here.ends & here.left:
            return replace(here, ended_ns=ctx.time_ns)
        return here


class CaughtUp(msgspec.Struct, frozen=True, gc=False):
    """Ends when all has come out, when nothing more has come for STALLED_S, or when the program never got going."""

    highest: tuple[tuple[str, int], ...] = ()
    """By output, the highest offset that was seen."""
    since_ns: int | None = None
    """When one was seen last."""
    is_over: bool = False

    def op(self, ctx: Context) -> Answer:
        """Wait."""
        since_ns = ctx.time_ns if self.since_ns is None else self.since_ns
        end_ns = since_ns + int(STALLED_S * SECOND_NS)
        if self.is_over or ctx.time_ns >= end_ns:
            return None
        return Pending(end_ns, replace(self, since_ns=since_ns))

    def update(self, ctx: Context, event: Op) -> Generator:
        """See whether anything new has come out."""
        if event.process == HARNESS:
            return replace(self, is_over=True) if event.f in {CAUGHT_UP, GIVEN_UP} else self
        if event.type != OK or event.f != "poll":
            return self
        highest = dict(self.highest)
        before = dict(highest)
        for key, records in _polled(event):
            for record in records:
                highest[key] = max(highest.get(key, -1), record[0])
        if highest == before:
            return self
        return replace(self, highest=tuple(highest.items()), since_ns=ctx.time_ns)


def _told(ctx: Context, f: str, value: Any) -> Op:
    return Op(process=HARNESS, type=INFO, f=f, value=value, time=ctx.time_ns)


def _thread(ctx: Context) -> int:
    process = ctx.free[0]
    assert isinstance(process, int)
    return process % ctx.concurrency


def _reads(process: int, ctx: Context) -> bool:
    return process % ctx.concurrency % READERS == 0


def _sent(event: Op) -> Iterator[int]:
    for micro_op in event.value if isinstance(event.value, list) and event.f in {"send", "txn"} else ():
        if micro_op[0] == "send":
            value = micro_op[2]
            yield value[1] if isinstance(value, list) else value


def _polled(event: Op) -> Iterator[tuple[str, list[list[Any]]]]:
    for micro_op in event.value if isinstance(event.value, list) and event.f == "poll" else ():
        if micro_op[0] == "poll" and len(micro_op) > 1:
            yield from micro_op[1]


def _seen(event: Op) -> Iterator[int]:
    for _, records in _polled(event):
        for record in records:
            if len(record) > 2 and "origin" in record[2]:
                yield record[2]["origin"][1]


def _ops(scenario: Scenario, keys: tuple[str, ...]) -> Generator:
    inputs, outputs = (tuple(key for key in keys if key.rpartition("/")[0] in half) for half in app_topics(scenario))
    return AppOps(scenario, inputs, outputs, Rng.seeded(scenario.seed, "workload"), share_of_crashes(scenario))


APPLICATIONS = Workload(
    name=APP,
    summary="a program of yours (--app) that copies input topics to output topics, while it is killed, too",
    transactional=True,
    checker="kafka",
    kinds=lambda _: frozenset({"send", "txn", "poll"}),
    shape={"topics": 2, "abort_rate": 0.1, "value_size": "0", "rate": 300.0},
    generator=_ops,
    settles=lambda _: CaughtUp(),
)
