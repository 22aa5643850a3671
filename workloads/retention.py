"""Records that expire: the workload `retention`.

Plain sends to a topic whose records stay three seconds; scans of whole partitions, which must hold whatever is younger;
and reads at offsets that were acknowledged some time ago: whoever asks for what is gone has to be told (`read-at`, by a
consumer that is never moved by itself). Segments roll twice a second, and nodes look for expired ones all the time. Now
and then somebody deletes what is below a young offset (`delete-records`): it must not come back with another leader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from harness.generator import Answer, Context, Emit, Generator, Pending, invoke
from harness.history import DELETE_RECORDS, OK, Op
from harness.random import Rng
from workloads.api import Workload, added_keys

SCANS, READS = 0.1, 0.15
"""Shares of scans and of reads at an old offset."""
DELETES = 0.03
"""Share of deletions: most of what there is must go by itself, or nothing shows when it goes too early."""
YOUNG = 8
"""Deleted is below one of so many acknowledged offsets, the newest: older ones may have expired already."""
KNOWN = 64
"""Acknowledged offsets remembered per partition: old ones make room for new ones, one in `EVERY`."""
EVERY = 8

SETTINGS: Mapping[str, str] = MappingProxyType(
    {"cleanup.policy": "delete", "retention.ms": "3000", "segment.ms": "500"}
)
NODES: Mapping[str, str] = MappingProxyType({"log.retention.check.interval.ms": "300"})


@dataclass(frozen=True, slots=True)
class RetentionOps:
    """The generator. `known`: per key some acknowledged offsets, the oldest first; `young`: the last ones, all."""

    keys: tuple[str, ...]
    rng: Rng
    known: Mapping[str, tuple[int, ...]]
    count: int = 0
    young: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

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
        young = self.young.get(key, ())
        if number < SCANS + READS + DELETES and young:
            offset, rng = rng.choose(young)
            return Emit(invoke(ctx, DELETE_RECORDS, [key, offset]), replace(here, rng=rng))
        return Emit(invoke(ctx, "send", [["send", key, self.count]]), here)

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Remember acknowledged offsets: the last ones, and one now and then. Learn new keys."""
        if added := added_keys(event):
            return replace(self, keys=(*self.keys, *added), known={**self.known, **dict.fromkeys(added, ())})
        if event.type != OK or event.f != "send":
            return self
        known, young = dict(self.known), dict(self.young)
        for _, key, sent in event.value:
            if isinstance(sent, list) and sent[0] is not None:
                young[key] = (*young.get(key, ())[-YOUNG + 1 :], sent[0])
                if sent[0] % EVERY == 0:
                    known[key] = (*known[key][-KNOWN + 1 :], sent[0])
        return replace(self, known=known, young=young)


RETENTION = Workload(
    name="retention",
    summary="sends to a topic whose records stay for seconds; whole scans, deletions, and reads of what may be gone",
    transactional=False,
    checker="kafka",
    kinds=lambda _: frozenset({"send", "scan", "read-at"}),
    topic_config=SETTINGS,
    broker_config=NODES,
    shape={"topics": 1, "partitions": 3},
    generator=lambda scenario, keys: RetentionOps(keys, Rng.seeded(scenario.seed, "workload"), dict.fromkeys(keys, ())),
)
