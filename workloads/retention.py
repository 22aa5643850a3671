"""Records that expire: the workload `retention`.

Plain sends to a topic whose records stay three seconds; scans of whole partitions, which must hold whatever is younger;
and reads at offsets that were acknowledged some time ago: whoever asks for what is gone has to be told (`read-at`, by a
consumer that is never moved by itself). Segments roll twice a second, and nodes look for expired ones all the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness.generator import Answer, Context, Emit, Generator, Pending, invoke
from harness.history import OK, Op
from harness.random import Rng
from workloads.api import Workload

SCANS, READS = 0.1, 0.15
"""Shares of scans and of reads at an old offset."""
KNOWN = 64
"""Acknowledged offsets remembered per partition: old ones make room for new ones, one in `EVERY`."""
EVERY = 8

SETTINGS: Mapping[str, str] = MappingProxyType(
    {"cleanup.policy": "delete", "retention.ms": "3000", "segment.ms": "500"}
)
NODES: Mapping[str, str] = MappingProxyType({"log.retention.check.interval.ms": "300"})


@dataclass(frozen=True, slots=True)
class RetentionOps:
    """The generator. `known`: per key some acknowledged offsets, the oldest first."""

    keys: tuple[str, ...]
    rng: Rng
    known: Mapping[str, tuple[int, ...]]
    count: int = 0

    def op(self, ctx: Context) -> Answer:
        """Emit the next op of the process that has been idle longest."""
        if not ctx.free:
            return Pending(None, self)
        number, rng = self.rng.draw()
        key, rng = rng.choose(self.keys)
        offsets = self.known[key]
        here = replace(self, rng=rng, count=self.count + 1)
        if number < SCANS:
            return Emit(invoke(ctx, "scan", key), here)
        if number < SCANS + READS and offsets:
            index, rng = rng.below(len(offsets))
            return Emit(invoke(ctx, "read-at", [key, offsets[index]]), replace(here, rng=rng))
        return Emit(invoke(ctx, "send", [["send", key, self.count]]), here)

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Remember an acknowledged offset now and then."""
        if event.type != OK or event.f != "send":
            return self
        known = dict(self.known)
        for _, key, sent in event.value:
            if isinstance(sent, list) and sent[0] is not None and sent[0] % EVERY == 0:
                known[key] = (*known[key][-KNOWN + 1 :], sent[0])
        return replace(self, known=known)


RETENTION = Workload(
    name="retention",
    summary="sends to a topic whose records stay for seconds; whole scans, and reads of what may be gone",
    transactional=False,
    checker="kafka",
    kinds=lambda _: frozenset({"send", "scan", "read-at"}),
    topic_config=SETTINGS,
    broker_config=NODES,
    shape={"topics": 1, "partitions": 3},
    generator=lambda scenario, keys: RetentionOps(keys, Rng.seeded(scenario.seed, "workload"), dict.fromkeys(keys, ())),
)
