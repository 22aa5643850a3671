"""A whole run as one generator: main, heal, drain, with the faults and probes beside.

main   the workload's ops, paced; faults by the schedule; ends by time limit or interrupt
heal   the workload goes on while the nemesis heals what is left and waits for full ISRs, and until each operation kind
       was seen ok again, within the recovery bound: this is where recovery after the last fault is measured
catch-up  only of workloads that have to wait for something before they are read (`Workload.settles`)
drain  the final reads (workloads.drain), and what else the workload does at its end
Each begins with a `phase` point event. Probes ask every node all the time; at the end, once more, for its replicas and
its index of times.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from harness.combinators import Delay, Phases, Stagger, TimeLimit, Together, While
from harness.generator import (
    SECOND_NS,
    Answer,
    Context,
    Emit,
    Generator,
    Log,
    On,
    Once,
    Pending,
    clients,
    invoke,
    process,
)
from harness.history import NEMESIS, OK, Op
from harness.random import Rng
from harness.scenario import Scenario, clock_jump_s, group_of
from workloads.api import CATCH_UP, Workload, added_keys
from workloads.drain import UNCOMMITTED, Drain, stable_bound_s

PROBE_INTERVAL_S = 0.2
"""Mean time between two questions to one node: with six partitions each is seen about once a second."""
OFTEN = 3
"""Questions about leaders and ends between two of the rarer ones."""
ISOLATIONS = ("read_uncommitted", "read_committed")
PROBED_S = 5
"""How long the end waits for probes that are still out: a question has a second."""
MIN_SETTLE_S = 2.0
"""The heal phase lasts at least so long after everything is healed, so that recovery shows."""


class UntilProgress(msgspec.Struct, frozen=True, gc=False):
    """Ends when each kind of op was seen ok since it was first asked (and MIN_SETTLE_S are over), or at its bound."""

    kinds: frozenset[str]
    bound_ns: int
    began_ns: int | None = None

    def op(self, ctx: Context) -> Answer:
        """Wait."""
        began = ctx.time_ns if self.began_ns is None else self.began_ns
        settled = began + int(MIN_SETTLE_S * SECOND_NS)
        end = settled if not self.kinds else max(settled, began + self.bound_ns)
        return None if ctx.time_ns >= end else Pending(end, replace(self, began_ns=began))

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Strike the kind of an ok op out."""
        if self.began_ns is None or event.type != OK or event.f not in self.kinds:
            return self
        return replace(self, kinds=self.kinds - {event.f})


class Questions(msgspec.Struct, frozen=True, gc=False):
    """The endless stream of what one node is asked."""

    keys: tuple[str, ...]
    count: int = 0

    def op(self, ctx: Context) -> Answer:
        """Emit question number `count`."""
        if not ctx.free:
            return Pending(None, self)
        return Emit(invoke(ctx, "probe", self._about()), replace(self, count=self.count + 1))

    def _about(self) -> dict[str, str]:
        keys = self.keys
        turn, place = divmod(self.count, OFTEN + 1)
        if place < OFTEN:
            key, api = divmod((turn * OFTEN + place) % (2 * len(keys)), 2)
            return {"api": ("Metadata", "ListOffsets")[api], "key": keys[key]}
        if turn % 2:  # every other time: it changes hands within less than a round
            return {"api": "DescribeQuorum"}
        number = turn // 2 % (3 * len(keys))
        if number < len(keys):
            return {"api": "OffsetForLeaderEpoch", "key": keys[number]}
        key, level = divmod(number - len(keys), 2)
        return {"api": "Fetch", "key": keys[key], "isolation": ISOLATIONS[level]}

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Learn new keys."""
        added = added_keys(event)
        return replace(self, keys=(*self.keys, *added)) if added else self


def probes(nodes: tuple[str, ...], keys: tuple[str, ...], seed: int) -> Generator:
    """Ask each node in turn for each key: who leads, where the log ends, and every few keys one of the rarer things."""
    parts: list[Generator] = []
    for node in nodes:
        rng = Rng.seeded(seed, "probe", node)
        stream = Stagger(int(PROBE_INTERVAL_S * SECOND_NS), Questions(keys), rng)
        parts.append(process(f"probe/{node}", stream))
    return On(Together(tuple(parts)), names=frozenset(f"probe/{node}" for node in nodes))


LAST_APIS = ("ReplicaLog", "TimeIndex")


class LastQuestions(msgspec.Struct, frozen=True, gc=False):
    """Asks one node for its replica of each key, and for its index of times, once."""

    keys: tuple[str, ...]
    asked: int = 0

    def op(self, ctx: Context) -> Answer:
        """Emit the next question."""
        if self.asked == len(LAST_APIS) * len(self.keys):
            return None
        if not ctx.free:
            return Pending(None, self)
        key, api = divmod(self.asked, len(LAST_APIS))
        op = invoke(ctx, "probe", {"api": LAST_APIS[api], "key": self.keys[key]})
        return Emit(op, replace(self, asked=self.asked + 1))

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Learn new keys."""
        added = added_keys(event)
        return replace(self, keys=(*self.keys, *added)) if added else self


def last_questions(nodes: tuple[str, ...], keys: tuple[str, ...]) -> Generator:
    """Ask each node for its replica of each key, and for its index of times, once."""
    return Together(tuple(process(f"probe/{node}", LastQuestions(keys)) for node in nodes))


def forgets(scenario: Scenario) -> bool:
    """Return whether the topics drop records by themselves: two readings of them differ, lawfully."""
    config = scenario.topic_config
    return "compact" in config.get("cleanup.policy", "") or "retention.ms" in config


def whole_run(
    scenario: Scenario, workload: Workload, keys: tuple[str, ...], faults: Generator, nodes: tuple[str, ...]
) -> Generator:
    """Return the run's generator. `faults` is the schedule of the process "nemesis"; it may end early."""
    ops = workload.generator(scenario, keys)
    if scenario.rate > 0:
        ops = Stagger(int(SECOND_NS / scenario.rate), ops, Rng.seeded(scenario.seed, "rate"))
    limit_ns = int(scenario.time_limit_s * SECOND_NS)
    recovery_ns = int(scenario.recovery_bound_s * SECOND_NS)
    nemesis = Phases(
        (
            Log("phase", "main"),
            TimeLimit(limit_ns, Together((faults, Delay(limit_ns))), interruptible=True),
            Log("phase", "heal"),
            Once("heal"),
            Once("recover", {"bound-s": scenario.recovery_bound_s}),
        ),
        patience_ns=recovery_ns,
    )
    progress = UntilProgress(workload.kinds(scenario), recovery_ns)
    settles = () if workload.settles is None else (Log("phase", CATCH_UP), workload.settles(scenario))
    # The clients never pause for the nemesis's phases: no patience between its end and the wait for progress.
    settled = Phases((process(NEMESIS, nemesis), progress, *settles), patience_ns=0)
    main_and_heal = While(main=settled, side=clients(ops))
    groups = (group_of(scenario),) if "subscribe" in scenario.sub_via else ()
    again = workload.transactional and scenario.isolation != UNCOMMITTED and not forgets(scenario)
    final = Drain(keys, stable_bound_s(scenario.transaction_timeout_s, clock_jump_s(scenario)), groups, again)
    after = () if workload.after is None else (clients(workload.after(scenario)),)
    road = Phases((main_and_heal, Log("phase", "drain"), final, *after))
    asked = While(
        main=On(road, clients=True, names=frozenset((NEMESIS,))),
        side=probes(nodes, keys, scenario.seed),
    )
    if "compact" in scenario.topic_config.get("cleanup.policy", ""):
        return asked  # replicas compact independently: their batches differ, lawfully
    return Phases((asked, last_questions(nodes, keys)), patience_ns=PROBED_S * SECOND_NS)
