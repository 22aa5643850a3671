"""Swarm testing: a simulated run's configuration is drawn from its seed, where the caller has not fixed it.

A configuration that is always the same hides what only another one shows (Groce et al. 2012, Swarm Testing): each seed
gets its own number of nodes and partitions, its own time-outs, segment sizes, flush policy, network, disks and clocks.
What is drawn are the fields of a scenario, under the names that options have, so a stored run says it all.

Nothing is drawn that makes an anomaly legal: acks stays `all`, idempotence on, elections clean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from harness.random import Rng
from harness.scenario import Scenario

T = TypeVar("T")

SIMULATED = "simulated"
NO_FAULTS = "none"

_NODES = (3, 3, 3, 3, 5, 1)
_NODES_WITH_FAULTS = (3, 3, 3, 3, 5, 5)
"""One node alone can't go on while it is down: that would only be vacuous."""
_SUB_VIA = (("assign",), ("assign",), ("subscribe",), ("assign", "subscribe"))
_TOPIC: Mapping[str, tuple[str | None, ...]] = {
    "segment.bytes": (None, None, "1024", "16384"),
    "flush.messages": (None, None, "1"),
}
_SESSIONS = (("600", "100"), ("600", "100"), ("1500", "250"), ("3000", "500"))
"""(broker.session.timeout.ms, broker.heartbeat.interval.ms)"""
_BROKER: Mapping[str, tuple[str | None, ...]] = {
    "controller.quorum.election.timeout.ms": (None, None, "300", "1000"),
    "controller.quorum.fetch.timeout.ms": ("500", "500", "1000", "2000"),
    "metadata.log.max.record.bytes.between.snapshots": (None, None, "4096"),
    "replica.fetch.max.bytes": (None, None, "2048"),
    "replica.fetch.wait.max.ms": (None, None, "50", "500"),
    "replica.high.watermark.checkpoint.interval.ms": (None, "500"),
    "replica.lag.time.max.ms": (None, None, "600", "3000"),
    "harness.sim.latency.ms": (None, None, "0.1-10", "1-40"),
    "harness.sim.stall.chance": (None, None, "0.01", "0.05"),
    "harness.sim.loss.chance": (None, None, None, "0.001"),
    "harness.sim.sync.ms": (None, None, "1-10", "5-60"),
    "harness.sim.clock.drift": (None, None, "0.001", "0.02"),
    "harness.sim.clock.offset.ms": (None, None, "500"),
}
"""None: as it is by default, which is drawn more often than not."""
_COMPRESSION = ("none", "mixed")
_VALUE_SIZE = ("0", "0", "0", "0-2000")
_PACKED: Mapping[str, tuple[str | None, ...]] = {
    "compression.type": (None, None, None, None, "uncompressed", "gzip", "snappy", "lz4", "zstd"),
    "message.timestamp.type": (None, None, None, "LogAppendTime"),
}
"""What leaders make of a batch that is sent; None: they leave it as it is."""
CLOCKS = ("harness.sim.clock.drift", "harness.sim.clock.offset.ms")
LAST_REPLICA, SYNCED = "last-replica", ("flush.messages",)
"""Where each batch is on the disk at once, the power of the last replica takes nothing: `last-replica` never bites."""
TIMED = frozenset({"compaction", "retention", "share"})
"""Workloads that say when records may go, or how long they are somebody's: by wrong clocks it is less."""


class _Draws:
    """Draws one after another, so that a new line at the end changes no earlier one."""

    def __init__(self, seed: int, *path: str) -> None:
        self._rng = Rng.seeded(seed, "swarm", *path)

    def choose(self, items: tuple[T, ...]) -> T:
        chosen, self._rng = self._rng.choose(items)
        return chosen

    def table(self, table: Mapping[str, tuple[str | None, ...]]) -> dict[str, str]:
        drawn = {name: self.choose(values) for name, values in table.items()}
        return {name: value for name, value in drawn.items() if value is not None}


def draw(seed: int, nemesis: str = NO_FAULTS, workload: str = "") -> dict[str, Any]:
    """Return the fields of a scenario that the seed draws."""
    draws, packing = _Draws(seed), _Draws(seed, "packing")
    nodes = draws.choose(_NODES if nemesis == NO_FAULTS else _NODES_WITH_FAULTS)
    session, heartbeat = draws.choose(_SESSIONS)
    wrong = CLOCKS if workload in TIMED else ()
    futile = SYNCED if LAST_REPLICA in nemesis else ()
    return {
        "nodes": nodes,
        "replication": min(3, nodes),
        "min_isr": min(2, nodes),
        "topics": draws.choose((1, 2, 3)),
        "partitions": draws.choose((1, 2, 3)),
        "concurrency": draws.choose((3, 5, 8)),
        "rate": draws.choose((10.0, 20.0, 40.0)),
        "sub_via": draws.choose(_SUB_VIA),
        "transaction_timeout_s": draws.choose((5.0, 10.0)),
        "crash_interval_s": draws.choose((10.0, 30.0)),
        "compression": packing.choose(_COMPRESSION),
        "value_size": packing.choose(_VALUE_SIZE),
        "topic_config": {
            **{name: value for name, value in draws.table(_TOPIC).items() if name not in futile},
            **packing.table(_PACKED),
        },
        "broker_config": {
            "broker.session.timeout.ms": session,
            "broker.heartbeat.interval.ms": heartbeat,
            **{name: value for name, value in draws.table(_BROKER).items() if name not in wrong},
        },
    }


def applied(scenario: Scenario, given: frozenset[str]) -> dict[str, Any]:
    """Return the fields to draw for a scenario in which the fields `given` are fixed; settings of both are merged."""
    drawn = draw(scenario.seed, scenario.nemesis, scenario.workload)
    changes = {name: value for name, value in drawn.items() if name not in given}
    for name in ("topic_config", "broker_config"):
        changes[name] = {**drawn[name], **getattr(scenario, name)}
    nodes = changes.get("nodes", scenario.nodes)
    least = max([getattr(scenario, name) for name in ("replication", "min_isr") if name in given], default=1)
    if "nodes" not in given:
        changes["nodes"] = nodes = max(nodes, least)
    replication = changes.get("replication", scenario.replication)
    if "replication" not in given:
        replication = max(replication, least)
    replication = changes["replication"] = min(replication, nodes)
    if "min_isr" not in given:
        changes["min_isr"] = min(changes["min_isr"], replication)
    return changes


def is_drawn(scenario: Scenario) -> bool:
    """Return whether the scenario is what its seed draws: its command need not repeat it."""
    drawn = draw(scenario.seed, scenario.nemesis, scenario.workload)
    return all(getattr(scenario, name) == value for name, value in drawn.items())
