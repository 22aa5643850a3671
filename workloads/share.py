"""A share group: the workload `share`.

Plain sends and transactions of sends, some of them aborted; and members of one share group (KIP-932), which fetch, and
acknowledge what they were given, by itself or with the next fetch: most records they accept, some they release or
reject, of some they say nothing, so that their locks run out. Now and then a member sleeps over what it has, for
longer than a lock or the group's patience, and speaks of it when it is too late; or it renews its locks (KIP-1222) and
takes its time. Some records nobody can do anything with: they are released whenever they are given, until the delivery
limit ends that. Members die, or leave and join anew.

After the final reads nothing is sent any more: members accept whatever comes, until nothing has come for longer than a
lock lasts and a leader may look for a state (`checkers.share.rest`). What is left then, nobody will ever be given.

Locks last three seconds here, and a record may be given ten times, the most that Kafka allows: so few requests whose
answers are lost can't use up a record's deliveries.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec.structs import replace

from harness.generator import SECOND_NS, Answer, Context, Emit, Generator, Pending, invoke
from harness.history import INFO, INVOKE, OK, SHARE_ACKNOWLEDGE, SHARE_FETCH, SHARE_LEAVE, Op, Process
from harness.random import Rng
from harness.scenario import Scenario
from workloads.api import Workload, added_keys

SENDS = 0.4
"""Share of ops that send; half of them are transactions."""
MAX_SENDS = 4
"""Of one transaction."""
LEAVES = 0.02
LATER = 0.15
"""Share of batches that are put off."""
RIDES = 0.3
"""Share of acknowledgements that go with a fetch."""
SLEEPS = 0.01
"""How often a member that has something sleeps: so long, in locks."""
SLEEP_LOCKS = 0.3, 2.5
RENEWS, AGAIN = 0.015, 0.6
"""How often locks are renewed, for the first time and for one more. So long, in locks, is taken until the next word."""
RENEWED_LOCKS = 0.4, 0.7
RENEWING = (4, 2)
"""The first version of Apache Kafka that does it."""
POISON = 16
"""Of so many sends one has a record that is released whenever it is given."""
FORGETS, RELEASES, REJECTS = 0.04, 0.12, 0.04
"""Shares of records that nothing is said of, that are released, and rejected; the others are accepted."""
MOST = 20
"""Records that one fetch asks for, at most."""
READERS = 3
"""Client threads that ask at the end."""
PATIENT_MS = 500
"""How long their fetches wait."""
LOCK_S, SETTLED_S, ASKED_S = 3.0, 12.0, 7.0
"""How long members ask in vain at the end: for a lock, for a leader that looks for a state, and some to ask in."""
READ_BOUND_S = 120.0

NODES: Mapping[str, str] = MappingProxyType(
    {
        "group.share.record.lock.duration.ms": str(int(LOCK_S * 1000)),
        "group.share.delivery.count.limit": "10",
        "group.share.session.timeout.ms": "6000",
        "group.share.heartbeat.interval.ms": "1000",
        "group.share.max.size": "1000",
    }
)
ALLOWED: Mapping[str, str] = MappingProxyType(
    {
        "group.share.min.record.lock.duration.ms": "1000",
        "group.share.min.session.timeout.ms": "6000",
        "group.share.min.heartbeat.interval.ms": "1000",
    }
)
"""Apache Kafka refuses shorter times than these, which are longer by default."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Records of one key that a member was given in one fetch: offset and value of each."""

    key: str
    records: tuple[tuple[int, Any], ...]
    node: str | None = None
    """Who gave it."""
    renewed: bool = False


def batches_of(event: Op) -> tuple[Batch, ...]:
    """Return what a completed fetch gave."""
    told = event.value if isinstance(event.value, dict) else {}
    return tuple(
        Batch(key, tuple((offset, value) for offset, value, _ in shown), told.get("node"))
        for key, shown in told.get("records", ())
        if shown
    )


def is_poison(value: Any) -> bool:
    """Return whether nobody can do anything with a record."""
    return isinstance(value, int) and value % (POISON * MAX_SENDS) == 0


def renews(scenario: Scenario) -> bool:
    """Return whether the cluster renews locks; of one that somebody else runs that is not known."""
    if scenario.cluster in {"embedded", "simulated"}:
        return True
    if scenario.cluster == "existing":
        return False
    return tuple(int(part) for part in scenario.kafka_version.split(".")[:2]) >= RENEWING


Held = Mapping[int, tuple[Batch, ...]]
"""Process -> what it was given and has said nothing of."""


def held_after(held: Held, event: Op) -> Held:
    """Return what processes have after an event: a member that died or left has nothing any more."""
    process = event.process
    if not isinstance(process, int) or event.type == INVOKE:
        return held
    if event.type == OK and event.f == SHARE_FETCH:
        return {**held, process: (*held.get(process, ()), *batches_of(event))}
    if process in held and (event.type == INFO or event.f == SHARE_LEAVE):
        return {other: batches for other, batches in held.items() if other != process}
    return held


class ShareOps(msgspec.Struct, frozen=True, gc=False):
    """The generator. `count` numbers the ops, and with them the values."""

    scenario: Scenario
    keys: tuple[str, ...]
    rng: Rng
    count: int = 0
    held: Held = MappingProxyType({})
    crashed_ns: Mapping[int, int] = MappingProxyType({})
    """When each thread's client is to crash next."""
    asleep_ns: Mapping[int, int] = MappingProxyType({})
    """Until when processes say nothing."""

    def op(self, ctx: Context) -> Answer:
        """Emit the next op of the process that has been idle longest, and is awake."""
        awake = [process for process in ctx.free if self._wakes_ns(process) <= ctx.time_ns]
        if not awake:
            return Pending(min((self._wakes_ns(process) for process in ctx.free), default=None), self)
        ctx = ctx.of(awake, list(ctx.processes))
        process = awake[0]
        assert isinstance(process, int)
        thread = process % ctx.concurrency
        if self.scenario.crash_interval_s:
            crash_at = self.crashed_ns.get(thread)
            if crash_at is None:
                return self._armed(ctx, thread).op(ctx)
            if ctx.time_ns >= crash_at:
                return Emit(invoke(ctx, "crash"), self._armed(ctx, thread)._next())
        number, rng = self.rng.draw()
        here = replace(self, rng=rng)
        if number < SENDS / 2:
            key, rng = rng.choose(self.keys)
            return Emit(invoke(ctx, "send", [["send", key, self._value(0)]]), replace(here, rng=rng)._next())
        if number < SENDS:
            return here._transaction(ctx)
        if number < SENDS + LEAVES:
            return Emit(invoke(ctx, SHARE_LEAVE, {}), here._next())
        if self.held.get(process):
            return here._speak(ctx, process)
        return here._fetch(ctx)

    def _wakes_ns(self, process: Process) -> int:
        return self.asleep_ns.get(process, 0) if isinstance(process, int) else 0

    def _asleep(self, ctx: Context, process: int, locks: tuple[float, float]) -> ShareOps:
        """Return the generator in which a process sleeps, for so many locks."""
        number, rng = self.rng.draw()
        until_ns = ctx.time_ns + int((locks[0] + number * (locks[1] - locks[0])) * LOCK_S * SECOND_NS)
        others = {other: wakes_ns for other, wakes_ns in self.asleep_ns.items() if wakes_ns > ctx.time_ns}
        return replace(self, rng=rng, asleep_ns={**others, process: until_ns})

    def _next(self) -> ShareOps:
        return replace(self, count=self.count + 1)

    def _armed(self, ctx: Context, thread: int) -> ShareOps:
        gap_s, rng = self.rng.exponential(self.scenario.crash_interval_s)
        at = ctx.time_ns + int(gap_s * SECOND_NS)
        return replace(self, rng=rng, crashed_ns={**self.crashed_ns, thread: at})

    def _value(self, position: int) -> int:
        return self.count * MAX_SENDS + position

    def _transaction(self, ctx: Context) -> Answer:
        size, rng = self.rng.below(MAX_SENDS)
        sends: list[list[Any]] = []
        for position in range(size + 1):
            key, rng = rng.choose(self.keys)
            sends.append(["send", key, self._value(position)])
        number, rng = rng.draw()
        op = invoke(ctx, "txn", sends, abort=number < self.scenario.abort_rate)
        return Emit(op, replace(self, rng=rng)._next())

    def _fetch(self, ctx: Context, **more: Any) -> Answer:
        most, rng = self.rng.below(MOST)
        op = invoke(ctx, SHARE_FETCH, {"records-max": most + 1, **more})
        return Emit(op, replace(self, rng=rng)._next())

    def _speak(self, ctx: Context, process: int) -> Answer:
        """Say what became of the first batch, put it off, sleep over it, renew its locks, or say nothing of it."""
        batch, *others = self.held[process]
        number, rng = self.rng.draw()
        here = replace(self, rng=rng)
        if number < SLEEPS:
            return here._asleep(ctx, process, SLEEP_LOCKS).op(ctx)
        number, rng = rng.draw()
        if renews(self.scenario) and number < (AGAIN if batch.renewed else RENEWS):
            batch = replace(batch, renewed=True)
            op = invoke(
                ctx, SHARE_ACKNOWLEDGE, {"key": batch.key, "records": [[at, "renew"] for at, _ in batch.records]}
            )
            return Emit(
                op, replace(here, rng=rng)._with(process, batch, *others)._asleep(ctx, process, RENEWED_LOCKS)._next()
            )
        number, rng = rng.draw()
        if number < LATER:
            return replace(here, rng=rng)._with(process, *others, batch)._fetch(ctx)
        number, rng = rng.draw()
        here = replace(here, rng=rng)
        if number < RIDES:
            return here._ride(ctx, process)
        records, rng = self._kinds(batch, rng)
        here = replace(here, rng=rng)._with(process, *others)
        if not records:
            return here.op(ctx)
        return Emit(invoke(ctx, SHARE_ACKNOWLEDGE, {"key": batch.key, "records": records}), here._next())

    def _ride(self, ctx: Context, process: int) -> Answer:
        """Say what became of the first batch, and of one of each other key from the same node, with a fetch."""
        spoken, left = dict[str, Batch](), list[Batch]()
        node, rng = self.held[process][0].node, self.rng
        for batch in self.held[process]:
            if batch.node == node and batch.key not in spoken:
                spoken[batch.key] = batch
            else:
                left.append(batch)
        said = []
        for key, batch in spoken.items():
            records, rng = self._kinds(batch, rng)
            if records:
                said.append([key, records])
        here = replace(self, rng=rng)._with(process, *left)
        return here._fetch(ctx, acknowledge=said) if said else here._fetch(ctx)

    @staticmethod
    def _kinds(batch: Batch, rng: Rng) -> tuple[list[list[Any]], Rng]:
        """Return what is said of records of a batch."""
        said: list[list[Any]] = []
        for offset, value in batch.records:
            number, rng = rng.draw()
            if number >= FORGETS:
                number -= FORGETS
                kind = "release" if number < RELEASES else "reject" if number < RELEASES + REJECTS else "accept"
                said.append([offset, "release" if is_poison(value) else kind])
        return said, rng

    def _with(self, process: int, *batches: Batch) -> ShareOps:
        """Return the generator in which a process has these batches."""
        return replace(self, held={**self.held, process: batches})

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Remember what members have. Learn new keys."""
        if added := added_keys(event):
            return replace(self, keys=(*self.keys, *added))
        held = held_after(self.held, event)
        return self if held is self.held else replace(self, held=held)


class ShareDrain(msgspec.Struct, frozen=True, gc=False):
    """What is left is accepted, until nothing comes for long."""

    held: Held = MappingProxyType({})
    last_ns: int | None = None
    """When something of the group changed last, as far as anybody knows."""
    until_ns: int | None = None
    lock_s: float = LOCK_S

    def op(self, ctx: Context) -> Answer:
        """Emit the next fetch or acknowledgement of a member."""
        if self.last_ns is None or self.until_ns is None:
            until_ns = ctx.time_ns + int(READ_BOUND_S * SECOND_NS)
            return replace(self, last_ns=ctx.time_ns, until_ns=until_ns).op(ctx)
        quiet_ns = self.last_ns + int((self.lock_s + SETTLED_S + ASKED_S) * SECOND_NS)
        if ctx.time_ns >= min(quiet_ns, self.until_ns):
            return None
        for process in ctx.free:
            if not isinstance(process, int) or process % ctx.concurrency >= READERS:
                continue
            alone = ctx.of([process], [process])
            if not self.held.get(process):
                return Emit(invoke(alone, SHARE_FETCH, {"records-max": MOST, "wait-ms": PATIENT_MS}), self)
            batch, *others = self.held[process]
            records = [[offset, "accept"] for offset, _ in batch.records]
            op = invoke(alone, SHARE_ACKNOWLEDGE, {"key": batch.key, "records": records})
            return Emit(op, replace(self, held={**self.held, process: tuple(others)}))
        return Pending(min(quiet_ns, self.until_ns), self)

    def update(self, ctx: Context, event: Op) -> Generator:
        """Note what members have, and when something may have changed."""
        if not isinstance(event.process, int) or event.type == INVOKE:
            return self
        told = event.value if isinstance(event.value, dict) else {}
        lock_s = max(self.lock_s, told.get("lock-ms", 0) / 1000)
        here = replace(self, held=held_after(self.held, event), lock_s=lock_s)
        is_quiet = event.f == SHARE_FETCH and event.type != INFO and not batches_of(event)
        return here if is_quiet else replace(here, last_ns=ctx.time_ns)


SHARE = Workload(
    name="share",
    summary="a share group: members accept, release, reject or forget records, die and leave; sends, transactions",
    transactional=True,
    checker="kafka",
    kinds=lambda _: frozenset({"send", "txn", SHARE_FETCH, SHARE_ACKNOWLEDGE}),
    broker_config=NODES,
    kafka_config=ALLOWED,
    shape={"sub_via": ("assign",), "concurrency": 8},
    generator=lambda scenario, keys: ShareOps(scenario, keys, Rng.seeded(scenario.seed, "workload")),
    after=lambda _: ShareDrain(),
)
