"""Sends and polls of unique values over topic-partitions: the workloads `txn` and `send-poll`.

Modelled on jepsen.tests.kafka: an op is one to four micro-ops; now and then it is replaced by an `assign` or
`subscribe`, a `crash` of the client, a question for the group's `committed` offsets, or a transaction that is dropped
open. Each new process first takes keys to read.
Values are integers that no other send of the run has. Of the reading ops, some are aimed at keys whose acknowledged
records nobody has read yet (Jepsen's poll-unseen), so that nothing stays unread by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from harness.generator import SECOND_NS, Answer, Context, Emit, Generator, Pending, invoke
from harness.history import OK, Op
from harness.random import Rng
from harness.scenario import Scenario, group_of
from workloads.api import Workload, added_keys

MAX_MICRO_OPS = 4
RETAKE = 1 / 64
"""Share of ops replaced by assign or subscribe (Jepsen's sub-p)."""
ASK = 1 / 24
"""Share of ops replaced by a question for the group's committed offsets, where processes subscribe."""
CRASH_OPEN = 1 / 8
"""Share of client crashes that leave a transaction open: the coordinator must time it out."""
_VALUES_PER_OP = MAX_MICRO_OPS


class Offsets(msgspec.Struct, frozen=True, gc=False):
    """Per key the highest offset acknowledged to a sender and the highest one polled, from ok ops."""

    sent: Mapping[str, int]
    polled: Mapping[str, int]

    def lagging(self) -> list[str]:
        """Return the keys with acknowledged records beyond what was ever polled, in key order."""
        return [key for key in sorted(self.sent) if self.sent[key] > self.polled.get(key, -1)]

    def seen(self, event: Op) -> Offsets:
        """Return the offsets that know of an ok completion."""
        if event.type != OK or event.f not in {"send", "poll", "txn"}:
            return self
        sent, polled = dict(self.sent), dict(self.polled)
        for micro_op in event.value or ():
            if micro_op[0] == "send" and isinstance(micro_op[2], list) and micro_op[2][0] is not None:
                sent[micro_op[1]] = max(sent.get(micro_op[1], -1), micro_op[2][0])
            elif micro_op[0] == "poll" and len(micro_op) > 1:
                for key, records in micro_op[1]:
                    if records:
                        polled[key] = max(polled.get(key, -1), records[-1][0])
        return Offsets(sent, polled)


class QueueOps(msgspec.Struct, frozen=True, gc=False):
    """The generator of both workloads. `count` numbers the ops, and with them the values."""

    scenario: Scenario
    keys: tuple[str, ...]
    rng: Rng
    transactional: bool
    count: int = 0
    readers: frozenset[int] = frozenset()
    """Threads whose current process holds keys."""
    crashed_ns: Mapping[int, int] | None = None
    """When each thread's client is to crash next."""
    offsets: Offsets = Offsets({}, {})
    calm: bool = False
    """Nobody crashes, or takes keys anew: what is due waits."""

    def op(self, ctx: Context) -> Answer:
        """Emit the next op of the process that has been idle longest."""
        if not ctx.free:
            return Pending(None, self)
        process = ctx.free[0]
        assert isinstance(process, int)
        thread = process % ctx.concurrency
        crash_at = (self.crashed_ns or {}).get(thread)
        if crash_at is None and self.scenario.crash_interval_s:
            return self._arm(ctx, thread).op(ctx)
        if crash_at is not None and ctx.time_ns >= crash_at and not self.calm:
            return self._crash(ctx, thread)
        if thread not in self.readers:
            return self._take(ctx, thread)
        number, rng = self.rng.draw()
        if number < RETAKE and not self.calm:
            return replace(self, rng=rng)._take(ctx, thread)
        if number < RETAKE + ASK and "subscribe" in self.scenario.sub_via:
            return Emit(invoke(ctx, "committed", {"group": group_of(self.scenario)}), self._next(rng))
        return replace(self, rng=rng)._micro_ops(ctx)

    def _next(self, rng: Rng, **changes: Any) -> QueueOps:
        return replace(self, rng=rng, count=self.count + 1, **changes)

    def _arm(self, ctx: Context, thread: int) -> QueueOps:
        gap_s, rng = self.rng.exponential(self.scenario.crash_interval_s)
        at = ctx.time_ns + int(gap_s * SECOND_NS)
        return replace(self, rng=rng, crashed_ns={**(self.crashed_ns or {}), thread: at})

    def _crash(self, ctx: Context, thread: int) -> Answer:
        later = self._arm(ctx, thread)
        number, rng = later.rng.draw()
        if self.transactional and number < CRASH_OPEN:
            key, rng = rng.choose(self.keys)
            op = invoke(ctx, "txn", [["send", key, self._value(0)]], crash=True)
        else:
            op = invoke(ctx, "crash")
        return Emit(op, later._next(rng, readers=self.readers - {thread}))

    def retake(self, ctx: Context) -> Answer:
        """Let the process that has been idle longest take keys anew."""
        process = ctx.free[0]
        assert isinstance(process, int)
        return self._take(ctx, process % ctx.concurrency)

    def _take(self, ctx: Context, thread: int) -> Answer:
        """Take keys to read: about half of them, and in a third of the cases those that lag as well."""
        via, rng = self.rng.choose(self.scenario.sub_via)
        wanted: set[str] = set()
        for key in self.keys:
            number, rng = rng.draw()
            if number < 1 / 2:
                wanted.add(key)
        number, rng = rng.draw()
        if number < 1 / 3:
            wanted.update(self.offsets.lagging())
        if not wanted:
            key, rng = rng.choose(self.keys)
            wanted.add(key)
        return Emit(invoke(ctx, via, sorted(wanted)), self._next(rng, readers=self.readers | {thread}))

    def _value(self, position: int) -> int:
        return self.count * _VALUES_PER_OP + position

    def _micro_ops(self, ctx: Context) -> Answer:
        size, rng = self.rng.below(MAX_MICRO_OPS) if self.transactional else (0, self.rng)
        micro_ops: list[list[Any]] = []
        for position in range(size + 1):
            number, rng = rng.draw()
            if number < 1 / 2:
                micro_ops.append(["poll"])
            else:
                key, rng = rng.choose(self.keys)
                micro_ops.append(["send", key, self._value(position)])
        if all(m[0] == "poll" for m in micro_ops):
            return Emit(invoke(ctx, "poll", micro_ops[:1]), self._next(rng))
        if not self.transactional:
            return Emit(invoke(ctx, "send", micro_ops), self._next(rng))
        number, rng = rng.draw()
        op = invoke(ctx, "txn", micro_ops, abort=number < self.scenario.abort_rate)
        return Emit(op, self._next(rng))

    def update(self, ctx: Context, event: Op) -> Generator:
        """Learn offsets from ok ops, new keys, and that a process which ended `info` holds none any more."""
        if added := added_keys(event):
            return replace(self, keys=(*self.keys, *added))
        offsets = self.offsets.seen(event)
        if isinstance(event.process, int) and event.type == "info":
            readers = self.readers - {event.process % ctx.concurrency}
            return replace(self, offsets=offsets, readers=readers)
        return self if offsets is self.offsets else replace(self, offsets=offsets)


def _queue_ops(scenario: Scenario, keys: tuple[str, ...], *, transactional: bool) -> Generator:
    return QueueOps(scenario, keys, Rng.seeded(scenario.seed, "workload"), transactional)


TXN = Workload(
    name="txn",
    summary="transactions of 1-4 sends and polls over several partitions, some aborted, some dropped open (default)",
    transactional=True,
    checker="kafka",
    kinds=lambda _: frozenset({"txn", "poll"}),
    generator=lambda scenario, keys: _queue_ops(scenario, keys, transactional=True),
)

SEND_POLL = Workload(
    name="send-poll",
    summary="single sends and polls without transactions; the only one that takes --acks 0|1 and --no-idempotence",
    transactional=False,
    checker="kafka",
    kinds=lambda _: frozenset({"send", "poll"}),
    generator=lambda scenario, keys: _queue_ops(scenario, keys, transactional=False),
)
