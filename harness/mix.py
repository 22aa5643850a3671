"""The default mix: a scenario from nothing but a seed, for hunts that are told neither workload nor fault.

Swarm testing (Groce et al. 2012): every seed switches on a random part of what there is (a workload, a few faults,
sizes, time-outs, weather, client settings), since what is on in every run hides what needs it off. Everything in the
mix is lawful: no correct broker shows an anomaly in it. What a setting or a fault would permit (acks below all, no
idempotence, unclean elections, unsynced writes that a power loss takes) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from harness.clients.settings import TRANSACTIONAL
from harness.random import Rng
from harness.scenario import Scenario

T = TypeVar("T")

CLUSTER = "simulated"
WORKLOADS = ("txn", "txn", "send-poll")
FAULTS = (
    "kill-leader",
    "kill-follower",
    "kill-random",
    "kill-all",
    "pause-leader",
    "pause-followers",
    "partition-leader",
    "kill-follower+kill-leader",
    "kill-follower+kill-all",
    "pause-followers+kill-leader",
    "kill-leader+kill-random",
    "kill-random+kill-random",
    "pause-leader+kill-random",
    "partition-leader+kill-random",
)
ALONE = ("kill-all", "kill-random")
"""The faults that mean something on one node."""


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
            if left:
                found.append(left.pop(int(self.number() * len(left))))
        return found

    def between(self, low: float, high: float) -> float:
        """Return a number between the two, small ones as likely as large ones on a scale of factors."""
        return round(float(low * (high / low) ** self.number()), 3)


def scenario(seed: int, bug: str = "") -> Scenario:
    """Return the mix's scenario for a seed; the bug, if any, has no say in it."""
    draws = _Draws(Rng.seeded(seed, "mix"))
    nodes = draws.one_of(3, 3, 3, 3, 3, 5, 5, 1)
    copies = min(nodes, 3)
    faults = draws.some_of(FAULTS if nodes > 1 else ALONE, 3)
    crashes_s = draws.one_of(0.0, draws.between(2, 20))
    workload = draws.one_of(*WORKLOADS)
    dirty = draws.number() < 0.15 and workload not in TRANSACTIONAL  # there it would show aborted data, lawfully
    return Scenario(
        workload=workload,
        cluster=CLUSTER,
        nemesis=",".join(faults),
        seed=seed,
        bug=bug,
        time_limit_s=draws.between(10, 30),
        concurrency=draws.one_of(3, 5, 8),
        rate=draws.between(20, 150),
        isolation="read_uncommitted" if dirty else "read_committed",
        sub_via=draws.one_of(("assign",), ("assign",), ("subscribe",), ("assign", "subscribe")),
        topics=draws.one_of(1, 2),
        partitions=draws.one_of(1, 2, 3),
        nodes=nodes,
        replication=copies,
        min_isr=min(copies, 2),
        topic_config=_topic(draws),
        broker_config=_broker(draws),
        abort_rate=draws.one_of(0.05, 0.2, 0.5),
        crash_interval_s=crashes_s,
        transaction_timeout_s=draws.between(3, 8),
        transaction_protocol=draws.one_of(1, 2),
        fault_length_s=draws.between(0.2, 4),
        fault_interval_s=draws.between(0.3, 4),
        recovery_bound_s=60.0,
    )


def _topic(draws: _Draws) -> dict[str, str]:
    found = {}
    if draws.number() < 0.5:
        found["segment.bytes"] = str(int(draws.between(500, 20_000)))
    if draws.number() < 0.2:
        found["flush.messages"] = "1"
    return found


def _broker(draws: _Draws) -> dict[str, str]:
    found = {}
    if draws.number() < 0.5:
        found["replica.high.watermark.checkpoint.interval.ms"] = str(int(draws.between(100, 5000)))
    if draws.number() < 0.3:
        found["replica.fetch.max.bytes"] = str(int(draws.between(200, 5000)))
    if draws.number() < 0.3:
        found["replica.lag.time.max.ms"] = str(int(draws.between(300, 3000)))
    if draws.number() < 0.3:
        low = draws.between(0.05, 5)
        found["harness.sim.latency.ms"] = f"{low:g}-{low * draws.between(1, 20):g}"
    if draws.number() < 0.3:
        found["harness.sim.stall.chance"] = f"{draws.between(0.001, 0.1):g}"
    if draws.number() < 0.3:
        found["harness.sim.loss.chance"] = f"{draws.between(0.00001, 0.001):g}"
    if draws.number() < 0.2:
        found["harness.sim.clock.drift"] = f"{draws.between(0.0001, 0.05):g}"
    return found
