"""Members that come and go: the workload `groups`.

Sends and polls of a consumer group's members: a poll commits what it read. Much more often than in `send-poll` a member
subscribes anew or dies, so that the group rebalances all the time; and now and then somebody asks for what the group
has committed. Judged are ownership, positions after a rebalance, and committed offsets.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from harness.generator import Answer, Context, Emit, Generator, Pending, invoke
from harness.history import Op
from harness.random import Rng
from harness.scenario import Scenario, group_of
from workloads.api import Workload
from workloads.queue import QueueOps

ASKS = 0.05
"""Share of questions for committed offsets."""
RETAKES = 0.03
"""Share of ops at which a member subscribes anew."""


class GroupOps(msgspec.Struct, frozen=True, gc=False):
    """The generator: the ops of `send-poll`, with questions and fresh subscriptions between them."""

    inner: QueueOps
    rng: Rng

    def op(self, ctx: Context) -> Answer:
        """Emit the next op."""
        if not ctx.free:
            return Pending(None, self)
        number, rng = self.rng.draw()
        here = replace(self, rng=rng)
        if number < ASKS:
            return Emit(invoke(ctx, "committed", {"group": group_of(self.inner.scenario)}), here)
        if number < ASKS + RETAKES:
            return here._of(self.inner.retake(ctx))
        return here._of(self.inner.op(ctx))

    def _of(self, answer: Answer) -> Answer:
        if answer is None or not isinstance(answer.successor, QueueOps):
            return answer
        return replace(answer, successor=replace(self, inner=answer.successor))

    def update(self, ctx: Context, event: Op) -> Generator:
        """Let the inner ops learn."""
        inner = self.inner.update(ctx, event)
        assert isinstance(inner, QueueOps)
        return self if inner is self.inner else replace(self, inner=inner)


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
