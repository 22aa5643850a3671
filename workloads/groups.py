"""Members that come and go: the workload `groups`.

Sends and polls of a consumer group's members: a poll commits what it read. Much more often than in `send-poll` a member
subscribes anew or dies, so that the group rebalances; but not all the time, since a classic group reads nothing until
all who live have joined again, and all who died have been given up: unrest and calm take turns. Now and then somebody
asks for what the group has committed. And a member stalls: for so long that a rebalance goes on without it, it does
nothing, and then commits what it polled last, not knowing that it is no member any more (G3). Judged are ownership,
positions after a rebalance, and committed offsets.

How long a rebalance waits is the client's matter (max.poll.interval.ms): 4 s on `simulated`, 5 minutes with librdkafka,
where the stalled one still is a member, and its commit is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec.structs import replace

from harness.generator import SECOND_NS, Answer, Context, Emit, Generator, Pending, invoke
from harness.history import INFO, INVOKE, OK, Op
from harness.random import Rng
from harness.scenario import Scenario, group_of
from workloads.api import Workload
from workloads.queue import QueueOps

CONSUMER = "consumer"
QUICK_MEMBERS: Mapping[str, str] = MappingProxyType(
    {"group.consumer.session.timeout.ms": "6000", "group.consumer.heartbeat.interval.ms": "1000"}
)
"""With the protocol of KIP-848 the brokers say what members of classic groups say themselves: the same times."""
QUICK_ALLOWED: Mapping[str, str] = MappingProxyType(
    {"group.consumer.min.session.timeout.ms": "6000", "group.consumer.min.heartbeat.interval.ms": "1000"}
)
"""Apache Kafka refuses shorter ones than these, which are longer by default."""
ASKS = 0.05
"""Share of questions for committed offsets."""
RETAKES = 0.03
"""Share of ops at which a member subscribes anew."""
PERIOD = 2
"""Of unrest and calm, in mean intervals between crashes of one process."""
CALM_PERIOD_S = 20.0
"""The same where nobody crashes."""
UNREST = 0.35, 0.65
"""From where to where in each period members come and go."""
STALLS = 0.05
"""Share of ops at which a member stalls instead."""
STALL_S = (4.0, 9.0)
MOST_STALLED = 2
"""Members that stall at one time: the others go on."""


class Stall(msgspec.Struct, frozen=True, gc=False):
    """A process that does nothing until a time (ns), and then commits."""

    process: int
    until_ns: int
    offsets: list[Any]


class GroupOps(msgspec.Struct, frozen=True, gc=False):
    """The generator: the ops of `send-poll`, with questions, fresh subscriptions and stalls between them."""

    inner: QueueOps
    rng: Rng
    stalls: tuple[Stall, ...] = ()
    polled: Mapping[int, list[Any]] = MappingProxyType({})
    """Per process what its last poll has committed: [[key, next offset], ...]."""

    def op(self, ctx: Context) -> Answer:
        """Emit the next op."""
        for stall in self.stalls:
            if stall.until_ns <= ctx.time_ns and stall.process in ctx.free:
                rest = tuple(other for other in self.stalls if other is not stall)
                return Emit(invoke(ctx.of([stall.process], []), "commit", stall.offsets), replace(self, stalls=rest))
        stalled = {stall.process for stall in self.stalls}
        free = [process for process in ctx.free if process not in stalled]
        if not free:
            return Pending(min((stall.until_ns for stall in self.stalls), default=None), self)
        return self._next(ctx.of(free, list(ctx.processes)))

    def _next(self, ctx: Context) -> Answer:
        number, rng = self.rng.draw()
        calm = _is_calm(ctx.time_ns, self.inner.scenario)
        here, process = replace(self, rng=rng, inner=replace(self.inner, calm=calm)), ctx.free[0]
        assert isinstance(process, int)
        if number < ASKS:
            return Emit(invoke(ctx, "committed", {"group": group_of(self.inner.scenario)}), here)
        if number < ASKS + RETAKES and not calm:
            return here._of(here.inner.retake(ctx))
        offsets = self.polled.get(process)
        if number < ASKS + RETAKES + STALLS and offsets and len(self.stalls) < MOST_STALLED:
            share, rng = rng.draw()
            until_ns = ctx.time_ns + int((STALL_S[0] + share * (STALL_S[1] - STALL_S[0])) * SECOND_NS)
            stalls = (*self.stalls, Stall(process, until_ns, offsets))
            return Pending(ctx.time_ns, replace(here, rng=rng, stalls=stalls))
        return here._of(here.inner.op(ctx))

    def _of(self, answer: Answer) -> Answer:
        if answer is None or not isinstance(answer.successor, QueueOps):
            return answer
        return replace(answer, successor=replace(self, inner=answer.successor))

    def update(self, ctx: Context, event: Op) -> Generator:
        """Let the inner ops learn; remember what a member has polled, until it is told to give it up."""
        inner, process = self.inner.update(ctx, event), event.process
        assert isinstance(inner, QueueOps)
        here = self if inner is self.inner else replace(self, inner=inner)
        if not isinstance(process, int) or event.type == INVOKE:
            return here
        if event.type == OK and event.f == "poll" and event.offsets:
            return replace(here, polled={**self.polled, process: event.offsets})
        if process in self.polled and (event.f in {"subscribe", "assign"} or event.type == INFO or event.rebalance_log):
            return replace(here, polled={other: said for other, said in self.polled.items() if other != process})
        return here


def _is_calm(time_ns: int, scenario: Scenario) -> bool:
    period_s = PERIOD * scenario.crash_interval_s or CALM_PERIOD_S
    begins, ends = UNREST
    return not begins <= time_ns / SECOND_NS / period_s % 1 < ends


def _ops(scenario: Scenario, keys: tuple[str, ...]) -> Generator:
    rng = Rng.seeded(scenario.seed, "workload")
    return GroupOps(QueueOps(scenario, keys, rng, transactional=False), Rng.seeded(scenario.seed, "groups"))


GROUPS = Workload(
    name="groups",
    summary="members of a group that poll, commit, come and go; its committed offsets are asked for",
    transactional=False,
    checker="kafka",
    kinds=lambda _: frozenset({"send", "poll", "committed"}),
    shape={"sub_via": ("subscribe",), "crash_interval_s": 10.0},
    generator=_ops,
)
