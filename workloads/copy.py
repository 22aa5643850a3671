"""Exactly once from topic to topic: the workload `copy`.

Half of the topics are inputs, the others outputs. A third of the threads feed: they send to the inputs, some in
transactions of which some are aborted, and look at the outputs now and then. The others copy, as members of one group:
a transaction polls a few inputs, sends a copy of each, and commits the group's offsets with them (KIP-98, KIP-447). The
record that is copied is named by its copy, so that each input must have one copy, whatever became of the copiers: some
transactions are aborted on purpose, copiers die with a transaction open, and where threads share a transactional id
(`--id-sharers`) each session fences the last one, which does not know it yet.

A copier that came to nothing goes back to what it polled first; one whose transaction may have been committed is a new
process, which begins where the group committed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.generator import Answer, Context, Emit, Generator, Pending, invoke
from harness.history import Op
from harness.random import Rng
from harness.scenario import Scenario
from workloads.api import CRASH_OPEN, Workload, added_keys, share_of_crashes

COPIES = 4
"""Records that a transaction copies at most."""
FEEDERS = 3
"""One thread in so many feeds."""
LOOKS = 1 / 4
"""Share of a feeder's ops that look at the outputs."""
IN_TRANSACTIONS = 1 / 2
"""Share of the sends to inputs."""
RETAKE = 1 / 64
"""Share of a copier's ops at which it subscribes anew."""


class CopyOps(msgspec.Struct, frozen=True, gc=False):
    """The generator. `count` numbers the ops and with them the values."""

    scenario: Scenario
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rng: Rng
    crashes: float
    """Share of a copier's ops that are crashes."""
    count: int = 0
    readers: frozenset[int] = frozenset()
    """Threads whose current process holds keys, or is a member."""

    def op(self, ctx: Context) -> Answer:
        """Emit the next op of the process that has been idle longest."""
        if not ctx.free:
            return Pending(None, self)
        process = ctx.free[0]
        assert isinstance(process, int)
        thread = process % ctx.concurrency
        number, rng = self.rng.draw()
        here = msgspec.structs.replace(self, rng=rng, count=self.count + 1)
        feeds = thread % FEEDERS == 0
        if thread not in self.readers or (number < RETAKE and not feeds):
            f, keys = ("assign", self.outputs) if feeds else ("subscribe", self.inputs)
            taken = msgspec.structs.replace(here, readers=self.readers | {thread})
            return Emit(invoke(ctx, f, list(keys)), taken)
        return here._feed(ctx, number) if feeds else here._copy(ctx, thread)

    def _feed(self, ctx: Context, number: float) -> Answer:
        if number < LOOKS:
            return Emit(invoke(ctx, "poll", [["poll"]]), self)
        key, rng = self.rng.choose(self.inputs)
        sends = [["send", key, self.count * COPIES]]
        number, rng = rng.draw()
        if number >= IN_TRANSACTIONS:
            return Emit(invoke(ctx, "send", sends), msgspec.structs.replace(self, rng=rng))
        number, rng = rng.draw()
        op = invoke(ctx, "txn", sends, abort=number < self.scenario.abort_rate)
        return Emit(op, msgspec.structs.replace(self, rng=rng))

    def _copy(self, ctx: Context, thread: int) -> Answer:
        number, rng = self.rng.draw()
        gone = msgspec.structs.replace(self, rng=rng, readers=self.readers - {thread})
        if number < self.crashes * (1 - CRASH_OPEN):
            return Emit(invoke(ctx, "crash"), gone)
        micro_ops: list[Any] = [["poll"]]
        for position in range(COPIES):
            key, rng = rng.choose(self.outputs)
            micro_ops.append(["send", key, [None, self.count * COPIES + position, {"copy": True}]])
        if number < self.crashes:
            return Emit(invoke(ctx, "txn", micro_ops, crash=True), msgspec.structs.replace(gone, rng=rng))
        number, rng = rng.draw()
        op = invoke(ctx, "txn", micro_ops, abort=number < self.scenario.abort_rate)
        return Emit(op, msgspec.structs.replace(self, rng=rng))

    def update(self, ctx: Context, event: Op) -> Generator:
        """Learn new keys, and that a process which ended `info` holds none any more."""
        if added := added_keys(event):
            ours = {key.rpartition("/")[0] for key in self.inputs}
            inputs = tuple(key for key in added if key.rpartition("/")[0] in ours)
            outputs = tuple(key for key in added if key not in inputs)
            return msgspec.structs.replace(self, inputs=(*self.inputs, *inputs), outputs=(*self.outputs, *outputs))
        if isinstance(event.process, int) and event.type == "info":
            return msgspec.structs.replace(self, readers=self.readers - {event.process % ctx.concurrency})
        return self


def _ops(scenario: Scenario, keys: tuple[str, ...]) -> Generator:
    middle = (scenario.topics + 1) // 2 * scenario.partitions
    rng = Rng.seeded(scenario.seed, "workload")
    return CopyOps(scenario, keys[:middle], keys[middle:], rng, share_of_crashes(scenario))


COPY = Workload(
    name="copy",
    summary="members of a group that copy records from topic to topic, offsets and all in one transaction, some fenced",
    transactional=True,
    checker="kafka",
    kinds=lambda _: frozenset({"send", "txn", "poll"}),
    shape={"topics": 2, "sub_via": ("subscribe",), "abort_rate": 0.2, "crash_interval_s": 10.0, "id_sharers": 2},
    generator=_ops,
)
