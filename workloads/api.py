"""What a workload is: a vocabulary, a generator and what its history is judged by. No client code, no sleep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.generator import Generator
from harness.history import HARNESS, PARTITIONS, Op
from harness.scenario import Scenario

CATCH_UP = "catch-up"
"""The phase from which on a workload that settles sends nothing new."""

CRASH_OPEN = 1 / 2
"""Share of the crashes that leave a transaction open, its offsets sent."""
UNPACED = 0.005
"""Share of crashes where the rate is not given."""


def share_of_crashes(scenario: Scenario) -> float:
    """Return which share of a process's ops are crashes, so that they come as often as the scenario says."""
    if not scenario.crash_interval_s:
        return 0.0
    each_s = scenario.concurrency / scenario.rate if scenario.rate else UNPACED * scenario.crash_interval_s
    return min(each_s / scenario.crash_interval_s, 1 / 4)


def added_keys(event: Op) -> tuple[str, ...]:
    """Return the keys that the run has from this event on beside those that it had: a topic has grown."""
    return tuple(event.value) if event.process == HARNESS and event.f == PARTITIONS else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One kind of work that the harness can drive."""

    name: str
    summary: str
    transactional: bool
    checker: str
    """The name that `harness check --workload` knows its checkers by."""
    kinds: Callable[[Scenario], frozenset[str]]
    """The operation kinds (f) that a run of the scenario generates and that must be seen ok, else it is vacuous."""
    topic_config: Mapping[str, str] = field(default_factory=dict)
    """Topic settings that the workload is about; the caller's own go over them."""
    broker_config: Mapping[str, str] = field(default_factory=dict)
    kafka_config: Mapping[str, str] = field(default_factory=dict)
    """Settings of brokers beside those, which Apache Kafka needs and our own broker does not have."""
    fault_config: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Settings of brokers beside those, by the fault that comes to nothing without them."""
    shape: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a scenario (`topics`, `partitions`, ...) that the workload chooses where the caller doesn't."""
    generator: Callable[[Scenario, tuple[str, ...]], Generator]
    """(scenario, keys) -> an endless main phase for the client processes, unpaced: the run paces and ends it.

    It takes up `added_keys`.
    """
    settles: Callable[[Scenario], Generator] | None = None
    """What is waited for before the final reads, in a phase of its own, while the ops go on. None: nothing."""
    after: Callable[[Scenario], Generator] | None = None
    """What the client processes do after the final reads, bounded; None: nothing."""
