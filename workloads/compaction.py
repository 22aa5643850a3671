"""Keys that live and die on a compacted topic: the workload `compaction`.

Each partition has a few record keys alive. A key is written a number of times, by count, then it retires: its last
write is a tombstone, or a value in a transaction that is aborted. It is never written again, and a new key takes its
place. So most keys have a last word that must hold for ever, under every leader; a key that is written all the time
would forgive everything. Half of the threads write in transactions, each with one producer that lives as long as its
process; others write plainly. Scans read whole partitions: the state that they end with is what the checker judges.

Few partitions, so that each is written, rolled and compacted often. Settings: deletions are forgotten after 2 seconds,
segments roll twice a second, compaction never rests. A fault that keeps a replica away for longer than that
(`replica-away`) shows whether it brings the dead back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from harness.generator import Answer, Context, Emit, Generator, Pending, invoke
from harness.history import Op
from harness.random import Rng
from harness.scenario import Scenario
from workloads.api import Workload, added_keys

ALIVE = 8
"""Record keys alive in a partition."""
LIVES = 3
"""Writes of a key before its last one, at most; at least one."""
SCANS = 0.15
"""Share of scans among the ops: a scan takes some tenths of a second."""
MAX_SENDS = 3
ABORTED = 0.15
"""Share of the transactions of living keys that are aborted."""
DELETE_RETENTION_MS = 2000
"""A scan on a busy machine takes less."""

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(DELETE_RETENTION_MS),
        "min.cleanable.dirty.ratio": "0",
        "segment.ms": "500",
    }
)
NODES: Mapping[str, str] = MappingProxyType({"log.cleaner.backoff.ms": "200"})
AWAY = "replica-away"
FORGETFUL: Mapping[str, str] = MappingProxyType({"producer.id.expiration.ms": "3000"})
"""A producer that is silent for three seconds is forgotten; until then its last batch and marker stay.

Only for the fault that waits for that: a request that is sent again after more than three seconds, as it is when a
leader is paused or cut off, would lawfully be stored twice.
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A record key that is alive: its name, and how many writes it has left before its last."""

    name: str
    left: int


_UNBORN = (Slot("", 0),) * ALIVE


@dataclass(frozen=True, slots=True)
class CompactionOps:
    """The generator. `count` numbers the ops and with them the values, `born` the record keys."""

    scenario: Scenario
    keys: tuple[str, ...]
    rng: Rng
    slots: Mapping[str, tuple[Slot, ...]]
    count: int = 0
    born: int = 0

    def op(self, ctx: Context) -> Answer:
        """Emit the next op of the process that has been idle longest."""
        if not ctx.free:
            return Pending(None, self)
        process = ctx.free[0]
        assert isinstance(process, int)
        number, rng = self.rng.draw()
        if number < SCANS:
            key, rng = rng.choose(self.keys)
            return Emit(invoke(ctx, "scan", key), replace(self, rng=rng, count=self.count + 1))
        here = replace(self, rng=rng)
        return here._txn(ctx) if process % ctx.concurrency % 2 else here._plain(ctx)

    def _plain(self, ctx: Context) -> Answer:
        sends, later = self._sends(1, may_die=True)
        return Emit(invoke(ctx, "send", sends), later)

    def _txn(self, ctx: Context) -> Answer:
        """A transaction of living keys; or, to retire one, one that is aborted."""
        number, rng = self.rng.draw()
        size, rng = rng.below(MAX_SENDS)
        abort = number < ABORTED
        dies = number < ABORTED / 2
        sends, later = replace(self, rng=rng)._sends(size + 1, may_die=not abort, dies=dies)
        return Emit(invoke(ctx, "txn", sends, abort=abort), later)

    def _sends(self, size: int, *, may_die: bool, dies: bool = False) -> tuple[list[list[Any]], CompactionOps]:
        """Return sends to different keys. `may_die`: keys at their end get tombstones; `dies`: these retire as is."""
        here, sends, taken = self, [], set()
        for position in range(size):
            key, rng = here.rng.choose(here.keys)
            index, rng = rng.below(ALIVE)
            here = replace(here, rng=rng)
            if (key, index) in taken:
                continue
            taken.add((key, index))
            slot = here.slots[key][index]
            seen: dict[str, Any] = {"record-key": slot.name}
            ends = slot.left == 0 and may_die
            if ends:
                seen["tombstone"] = True
            sends.append(["send", key, [None, self.count * MAX_SENDS + position, seen]])
            here = here._reborn(key, index) if ends or dies else here._aged(key, index)
        return sends, replace(here, count=self.count + 1)

    def _aged(self, key: str, index: int) -> CompactionOps:
        slot = self.slots[key][index]
        return self._with(key, index, replace(slot, left=max(0, slot.left - 1)))

    def _reborn(self, key: str, index: int) -> CompactionOps:
        left, rng = self.rng.below(LIVES)
        return replace(self._with(key, index, Slot(f"k{self.born}", left + 1)), rng=rng, born=self.born + 1)

    def _with(self, key: str, index: int, slot: Slot) -> CompactionOps:
        row = list(self.slots[key])
        row[index] = slot
        return replace(self, slots={**self.slots, key: tuple(row)})

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """What came of an op changes nothing: keys age by what was asked. Learn new partitions."""
        added = added_keys(event)
        return self._filled(added) if added else self

    def _filled(self, keys: tuple[str, ...]) -> CompactionOps:
        """Return the generator with these partitions, too, each with its first keys."""
        here = replace(self, keys=(*self.keys, *keys), slots={**self.slots, **dict.fromkeys(keys, _UNBORN)})
        for key in keys:
            for index in range(ALIVE):
                here = here._reborn(key, index)
        return here


def _ops(scenario: Scenario, keys: tuple[str, ...]) -> Generator:
    return CompactionOps(scenario, (), Rng.seeded(scenario.seed, "workload"), {})._filled(keys)


COMPACTION = Workload(
    name="compaction",
    summary="keys that are written, deleted or aborted and never touched again, on a compacted topic; whole scans",
    transactional=True,
    checker="kafka",
    kinds=lambda _: frozenset({"send", "txn", "scan"}),
    topic_config=SETTINGS,
    broker_config=NODES,
    fault_config={AWAY: FORGETFUL},
    shape={"topics": 1, "partitions": 2},
    generator=_ops,
)
