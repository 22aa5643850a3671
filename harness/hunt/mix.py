"""The default mix: a scenario from nothing but a seed, for hunts that are told neither workload nor fault.

What `harness.swarm` draws (sizes, time-outs, weather), and what `harness run` is told by its options: workload, faults,
client settings, lengths. Everything in the mix is lawful: no correct broker shows an anomaly in it. What permits one
(`harness.hunt.permitted`) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from harness import catalog, swarm
from harness.random import Rng
from harness.scenario import TRANSACTIONAL, Scenario, is_coordinated
from nemesis.plan import LEAST_S
from workloads.compaction import AWAY
from workloads.groups import CONSUMER, QUICK_MEMBERS

T = TypeVar("T")

WORKLOADS = ("txn", "txn", "send-poll", "send-poll", "groups", "copy", "compaction", "retention")
FAULTS = (
    "kill-leader",
    "kill-follower",
    "kill-random",
    "kill-all",
    "kill-controller",
    "pause-leader",
    "pause-followers",
    "partition-leader",
    "cut-clients",
    "slow-links",
    "lossy-links",
    "lose-power",
    "lose-power-all",
    "kill-follower+kill-leader",
    "kill-follower+kill-all",
    "kill-leader+kill-leader",
    "kill-leader+kill-random",
    "kill-controller+kill-all",
    "kill-controller+kill-all",
    "kill-random+kill-random",
    "pause-followers+kill-leader",
    "pause-leader+kill-random",
    "partition-leader+kill-random",
    "lose-power+kill-random",
    "kill-follower+lose-power",
    "kill-leaders",
    "slow-follower+kill-leaders",
    "slow-follower+kill-leaders",
    "slow-follower+kill-leaders",
)
CUT = "cut-clients"
"""Holds what clients send: an EndTxn of protocol v1 that comes after its retry ends the next one (seed 30417)."""
FORGOTTEN_MS = "120000"
"""Of compacted topics: producers are forgotten, as they are there, but no retry comes so late."""
MOST_FAULTS = 2
REPLICATION = ((3, 2), (3, 2), (3, 2), (3, 1), (2, 1), (2, 2))
"""Replicas of a topic's partitions, and how many of them must be in sync."""
TIGHT = "512"
"""A segment of so many bytes holds a few batches, or one: it is sealed, and synced, all the time."""
TOPIC: Mapping[str, tuple[str | None, ...]] = {"segment.bytes": (None, TIGHT, "2048", "16384")}
BROKER: Mapping[str, tuple[str | None, ...]] = {
    "replica.high.watermark.checkpoint.interval.ms": (None, "200", "1000"),
    "replica.fetch.max.bytes": (None, "512", "2048"),
    "harness.sim.loss.chance": (None, None, "0.002"),
}
KEPT: Mapping[str, str] = {"retention.ms": "60000"}
"""Of half of the expiring topics: nothing expires in time, so that what is gone was deleted by somebody."""
FAR: Mapping[str, tuple[str, ...]] = {
    "harness.sim.far.nodes": ("1",),
    "harness.sim.far.ms": ("50-100", "100-200"),
    "broker.session.timeout.ms": ("3000",),
    "broker.heartbeat.interval.ms": ("500",),
    "controller.quorum.election.timeout.ms": ("1000",),
    "controller.quorum.fetch.timeout.ms": ("2000",),
    "replica.lag.time.max.ms": ("3000", "10000"),
}
"""A node that is far from everybody: it lags, but it is in sync, and nobody gives it up for that."""
FAR_SHARE = 0.2
SETTLE_S = 3.0
"""What a fault takes beside its length, about: sessions end, the leader moves, ISRs are full again."""
OVERLAP_S = 5.0
"""The same of the first of two that overlap."""
DISKS = ("fill-disk", "rot-follower", "fill-disk,kill-random", "rot-follower,kill-leader")
DISKS_SHARE = 0.08
"""Drawn last, in place of the other faults; syncs are slow then, too."""
MOVES = (
    "reassign",
    "move-leader",
    "reassign,kill-random",
    "move-leader,kill-leader",
    "reassign+kill-leader",
    "reassign+kill-random",
    "reassign+partition-leader",
    "kill-random+reassign",
)
MOVES_SHARE = 0.1
"""Drawn last, in place of the other faults."""
COORDINATED = (
    "move-coordinator",
    "reassign-coordinator",
    "move-coordinator,kill-coordinator",
    "reassign-coordinator,pause-coordinator",
    "reassign-coordinator+kill-coordinator",
    "reassign-coordinator+partition-coordinator",
    "kill-random+reassign-coordinator",
    "kill-coordinator+kill-coordinator",
)
COORDINATED_SHARE = 1 / 3
"""Of MOVES, in their place, where there are coordinators."""
PARTED = (
    "mute-leader",
    "deafen-leader",
    "partition-bridge",
    "partition-minority",
    "partition-ring",
    "mute-leader,kill-leader",
    "deafen-leader,kill-controller",
    "partition-minority,pause-leader",
    "kill-random+partition-bridge",
)
PARTED_SHARE = 0.1
"""As MOVES."""
CONFIGURED = (
    "change-config",
    "change-config,kill-random",
    "change-config+kill-leader",
    "kill-leader+change-config",
    "change-config+partition-leader",
    "change-config,reassign",
    "add-partitions",
    "add-partitions,change-config",
    "add-partitions+kill-leader",
    "kill-random+add-partitions",
)
CONFIGURED_SHARE = 0.1
"""As MOVES; not where disks are slow, since one of the changes has every append synced."""
LONG = ("partition-leader", "pause-leader", "cut-clients", "partition-leader+kill-random", "reassign+partition-leader")
LONG_S = (10.0, 25.0)
LONG_SHARE = 0.08
"""As MOVES: so long that whoever was replaced and does not know it can show what it tells."""
SYNC = "harness.sim.sync.ms"
SLOW_DISKS = ("1-10", "50-400")
"""The slow one not where every append is synced, or nearly: no transaction would end in time, and nodes would lose
their sessions, and that is no bug (seeds 794, 883)."""
SESSIONS_MS = ("2000", "2000", "6000")
"""Of members by KIP-848: who is cut off for a short while may be given up, and commit before it hears of it."""
LATE: Mapping[str, str] = {
    "request.timeout.ms": "300",
    "harness.sim.stall.ms": "310-900",
    "harness.sim.stall.chance": "0.05",
    "harness.sim.loss.chance": "0",
}
"""Requests between nodes that are sent again before the first one arrives. Only with protocol v2: v1 can't tell
a marker that comes late from one of the next transaction (KIP-1228)."""
LATE_SHARE = 0.3
LATE_FIELDS: Mapping[str, Any] = {
    "nemesis": swarm.NO_FAULTS,
    "topics": 1,
    "partitions": 1,
    "rate": 60.0,
    "abort_rate": 0.5,
    "crash_interval_s": 0.0,
    "id_sharers": 1,
    "time_limit_s": 40.0,
}
"""No other fault: a producer that has many transactions in one place has the next one open when a marker comes late."""
DIRTY = 0.15
"""Share of read_uncommitted runs, of the workloads where it permits nothing."""


class _Draws:
    """A stream of choices."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng

    def number(self) -> float:
        """Return a number in [0, 1)."""
        number, self._rng = self._rng.draw()
        return number

    def one_of(self, *items: T) -> T:
        """Return one of the items, each as likely."""
        return items[int(self.number() * len(items))]

    def some_of(self, items: Sequence[T], most: int) -> list[T]:
        """Return one to `most` different items."""
        left, found = list(items), list[T]()
        for _ in range(1 + int(self.number() * most)):
            found.append(left.pop(int(self.number() * len(left))))
        return found

    def table(self, table: Mapping[str, Sequence[str | None]]) -> dict[str, str]:
        """Return one value for each name; None: as it is by default."""
        drawn = {name: self.one_of(*values) for name, values in table.items()}
        return {name: value for name, value in drawn.items() if value is not None}

    def between(self, low: float, high: float) -> float:
        """Return a number between the two, small ones as likely as large ones on a scale of factors."""
        return round(float(low * (high / low) ** self.number()), 3)


def scenario(seed: int, bug: str = "", workload: str = "") -> Scenario:
    """Return the mix's scenario for a seed; the bug, if any, has no say in it. workload: one that is not in the mix."""
    draws = _Draws(Rng.seeded(seed, "mix"))
    drawn = draws.one_of(*WORKLOADS)
    workload = workload or drawn
    nemesis = ",".join(draws.some_of(FAULTS, MOST_FAULTS))
    dirty = draws.number() < DIRTY and workload not in TRANSACTIONAL  # there it would show aborted data, lawfully
    length_s = draws.between(1.5, 5)
    interval_s = draws.between(0.2, 2)
    replication, min_isr = draws.one_of(*REPLICATION)
    if workload == "compaction" and draws.number() < 1 / 2:
        # Alone: it takes 10 s at least, longer than deletions are remembered there.
        nemesis, replication, min_isr = AWAY, 3, 2
    if "slow-follower" in nemesis:
        replication = 3  # with two, nobody is left who may lead
    asked = catalog.workload(workload)
    few = {"topics": draws.one_of(1, 1, 1, 2, 3), "partitions": draws.one_of(1, 1, 2, 3)}
    protocol = draws.one_of("classic", CONSUMER) if workload == "groups" else "classic"
    if protocol == CONSUMER:
        few = {"topics": 1, "partitions": draws.one_of(3, 6)}  # they move only where there are enough for everybody
    fields: dict[str, Any] = swarm.draw(seed, nemesis, workload) | few | dict(asked.shape)
    topic = {**fields["topic_config"], **draws.table(TOPIC), **asked.topic_config}
    if workload == "retention" and draws.number() < 1 / 2:
        topic |= KEPT
    broker = {**fields["broker_config"], **draws.table(BROKER), **asked.broker_config}
    if protocol == CONSUMER:
        broker |= QUICK_MEMBERS
    if draws.number() < FAR_SHARE:
        broker |= draws.table(FAR)
    if "lose-power" in nemesis:  # lawful only where everything is synced before it is acknowledged
        broker["log.flush.interval.messages"] = "1"
    if workload == "compaction":
        broker["producer.id.expiration.ms"] = FORGOTTEN_MS
    fields |= {
        "replication": replication,
        "min_isr": min_isr,
        "topic_config": topic,
        "broker_config": broker,
        "rate": draws.between(20, 80),
        "abort_rate": draws.one_of(0.05, 0.2, 0.5),
        "transaction_timeout_s": draws.between(3, 6),
        "crash_interval_s": draws.one_of(0.0, draws.between(2, 20)),
        "group_protocol": protocol,
        "id_sharers": draws.one_of(1, 1, 2) if workload in TRANSACTIONAL else 1,
    }
    time_limit_s = round(draws.between(1, 4) * _time_of(nemesis, length_s, interval_s), 3)
    transactions: Literal[1, 2] = draws.one_of(1, 2)
    fields |= {"workload": workload, "nemesis": nemesis, "time_limit_s": time_limit_s}
    fields |= {"fault_length_s": length_s, "fault_interval_s": interval_s}
    fields["transaction_protocol"] = transactions
    _draw_last(draws, fields, broker)
    if CUT in fields["nemesis"]:
        fields["transaction_protocol"] = 2
    return Scenario(
        cluster=swarm.SIMULATED,
        seed=seed,
        bug=bug,
        isolation="read_uncommitted" if dirty else "read_committed",
        recovery_bound_s=60.0,
        **fields,
    )


def _draw_last(draws: _Draws, fields: dict[str, Any], broker: dict[str, str]) -> None:
    """Change what some scenarios are, by draws after all others: they move nothing else."""
    if fields["nemesis"] != AWAY and draws.number() < DISKS_SHARE:
        fields["nemesis"], sync_ms = draws.one_of(*DISKS), draws.one_of(*SLOW_DISKS)
        topic = fields["topic_config"]
        often = "flush.messages" in topic or topic.get("segment.bytes") == TIGHT
        synced = often or "log.flush.interval.messages" in broker
        broker[SYNC] = SLOW_DISKS[0] if synced else sync_ms
        if "rot" in fields["nemesis"]:
            fields["min_isr"] = 2  # else the one that rots may be the last that may lead
    if fields["group_protocol"] == CONSUMER:
        broker["group.consumer.session.timeout.ms"] = draws.one_of(*SESSIONS_MS)
    told = fields["workload"], fields["transaction_protocol"]
    if told == ("txn", 2) and draws.number() < LATE_SHARE:
        fields |= LATE_FIELDS
        broker |= LATE
        broker.pop("harness.sim.far.nodes", None)
    elif fields["nemesis"] != AWAY and draws.number() < MOVES_SHARE:
        fields["nemesis"] = draws.one_of(*MOVES)
        coordinated = is_coordinated(Scenario(workload=fields["workload"], sub_via=fields["sub_via"]))
        if coordinated and draws.number() < COORDINATED_SHARE:
            fields["nemesis"] = draws.one_of(*COORDINATED)
    elif fields["nemesis"] != AWAY and draws.number() < LONG_SHARE:
        nemesis, length_s = draws.one_of(*LONG), draws.between(*LONG_S)
        time_limit_s = round(draws.between(1, 2) * _time_of(nemesis, length_s, fields["fault_interval_s"]), 3)
        fields |= {"nemesis": nemesis, "fault_length_s": length_s, "time_limit_s": time_limit_s}
    elif fields["nemesis"] != AWAY and draws.number() < PARTED_SHARE:
        fields["nemesis"] = draws.one_of(*PARTED)
    elif fields["nemesis"] != AWAY and draws.number() < CONFIGURED_SHARE and broker.get(SYNC) != SLOW_DISKS[1]:
        fields["nemesis"] = draws.one_of(*CONFIGURED)


def _time_of(nemesis: str, length_s: float, interval_s: float) -> float:
    """Return about how long it takes until each of the faults was there once."""
    one_s = interval_s + max(length_s, LEAST_S.get(nemesis, 0)) + SETTLE_S
    return sum(one_s + OVERLAP_S * ("+" in choice) for choice in nemesis.split(","))
