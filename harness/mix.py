"""The default mix: a scenario from nothing but a seed, for hunts that are told neither workload nor fault.

What `harness.swarm` draws (sizes, time-outs, weather), and what `harness run` is told by its options: workload, faults,
client settings, lengths. Everything in the mix is lawful: no correct broker shows an anomaly in it. What permits one
(`harness.permitted`) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from harness import swarm
from harness.clients.settings import TRANSACTIONAL
from harness.random import Rng
from harness.scenario import Scenario

T = TypeVar("T")

WORKLOADS = ("txn", "txn", "send-poll", "groups")
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
    "lose-power",
    "lose-power+kill-random",
    "kill-follower+lose-power",
)
MOST_FAULTS = 3
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

    def between(self, low: float, high: float) -> float:
        """Return a number between the two, small ones as likely as large ones on a scale of factors."""
        return round(float(low * (high / low) ** self.number()), 3)


def scenario(seed: int, bug: str = "") -> Scenario:
    """Return the mix's scenario for a seed; the bug, if any, has no say in it."""
    draws = _Draws(Rng.seeded(seed, "mix"))
    workload = draws.one_of(*WORKLOADS)
    nemesis = ",".join(draws.some_of(FAULTS, MOST_FAULTS))
    dirty = draws.number() < DIRTY and workload not in TRANSACTIONAL  # there it would show aborted data, lawfully
    fields: dict[str, Any] = swarm.draw(seed, nemesis)
    fields |= {
        "rate": draws.between(20, 80),
        "transaction_timeout_s": draws.between(3, 6),
        "crash_interval_s": draws.one_of(0.0, draws.between(2, 20)),
    }
    if "lose-power" in nemesis:  # lawful only where everything is synced before it is acknowledged
        fields["broker_config"] = {**fields["broker_config"], "log.flush.interval.messages": "1"}
    if workload == "groups":  # by assignment nobody rebalances
        fields["sub_via"] = ("subscribe",)
    return Scenario(
        workload=workload,
        cluster=swarm.SIMULATED,
        nemesis=nemesis,
        seed=seed,
        bug=bug,
        time_limit_s=draws.between(6, 20),
        isolation="read_uncommitted" if dirty else "read_committed",
        abort_rate=draws.one_of(0.05, 0.2, 0.5),
        transaction_protocol=draws.one_of(1, 2),
        fault_length_s=draws.between(0.2, 3),
        fault_interval_s=draws.between(0.2, 2),
        recovery_bound_s=60.0,
        **fields,
    )
