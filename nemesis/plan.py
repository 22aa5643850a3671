"""The fault plan: which faults, aimed where, when and for how long, drawn up front from the run's seed, as pure data.

`parse` reads the text of `--nemesis`, `draw` makes the plan; a plan can be stored, repeated and shrunk. It is carried
out reactively by `nemesis.schedule`: times are earliest times, since how long an injection or a recovery takes is the
cluster's answer. Kinds are dealt from a shuffled hand, one of each before any comes again, so that a short run tries
every kind that was asked for.

Overlaps, `a+b`. a is injected; after `gap_s` of writes b is; after `both_s` a is healed; then the schedule waits,
within a bound, for a leader that b does not hold; `length_s` later b is healed. Both aim at the roles of one partition.
The gap and the time that both hold decide what an overlap can show:
* pause-followers+b: b must come while the stopped followers still count as in sync, or nobody who missed the writes can
  be elected afterwards. They are given up after 3 s without a heartbeat or a fetch (session time-out and replica lag
  time, 3 s both), so b comes 1.0-1.5 s after the pause. What the leader acknowledged alone (acks=1) in that time is
  then lost: the leader dies, the followers go on at once (both_s = 0: while they are stopped nobody can elect), elect
  one of themselves, and the old leader must follow when it starts again. With acks=all nothing was acknowledged.
* kill-follower+b: the injection of kill-follower itself waits until the ISR has lost it, since only from then on does
  the leader acknowledge alone; then 2-4 s of writes. b kills the leader; the follower starts at once (both_s = 0: with
  combined roles and three nodes the quorum is gone until then) and, if unclean election is allowed, leads without those
  writes. The old leader stays down until that was seen, or the bound has passed.
* kill-leader+kill-leader, kill-coordinator+kill-coordinator, kill-controller+b: b comes at once, while the successor of
  the first is new: what it has taken over or decided nobody else may have yet.
* reassign+b, reassign-coordinator+b: b comes at once, while the new replica still reads the log, or the old one is just
  being deleted.
* any other a has done its work when its injection completes (the leader has moved); b then aims at the roles as they
  are now. Both hold for up to half a length.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

import msgspec

from harness.cluster.api import UsageError
from harness.random import Rng
from harness.scenario import CLOCK_FAULTS, NATIVE, POLLING, Scenario, groups_of, is_coordinated
from nemesis.away import AWAY_S, ReplicaAway
from nemesis.clocks import DATED
from nemesis.configuration import ChangeConfig
from nemesis.fault import Power
from nemesis.faults import ALL, APART, COORDINATORS, FAULTS, NONE
from nemesis.growth import AddPartitions
from nemesis.power import LAST_REPLICAS, WRITTEN_S, LosePower, LosePowerAll

Choices = tuple[tuple[str, ...], ...]
"""What may be drawn: ("kill-leader",) a single fault, ("pause-followers", "kill-leader") an overlap."""

MAX_ENTRIES = 10_000
"""Bound of a plan: eight hours of faults three seconds apart. A run that outlasts it goes on without faults."""

FIRST = (0.1, 0.2)
"""The first fault, as parts of the interval: early, so that a run of three minutes fits five kills and recoveries."""

JITTER = (0.75, 1.25)
"""Lengths and intervals vary by this much: time-outs of the system must not beat in step with the faults."""

GAP_S = (2.0, 4.0)
"""Writes while the first of two faults holds alone."""

PAUSED_GAP_S = (1.0, 1.5)
"""The same after pause-followers: see the module's text."""

AT_ONCE_S = (0.0, 0.3)
"""The same where b aims at a successor that has only begun: a replica is caught up, a vote told, within less."""

ELECTED_S = (0.0, 0.03)
"""The same where b comes at the moment of the quorum's election: its leader has not told anybody yet."""

SUCCESSORS = {("kill-leader", "kill-leader"), ("kill-coordinator", "kill-coordinator")}
"""The overlaps whose second fault aims at whom the first one has made leader."""

LAST = frozenset(fault.name for fault in LAST_REPLICAS)
"""Those that leave no other node to a partition."""

LEAST_S = {ReplicaAway.name: AWAY_S, **dict.fromkeys(sorted(LAST), WRITTEN_S)}
"""Faults that mean nothing when they are shorter, nor before something has been written for as long."""

MIN_STEP_S = 0.1
"""Between two entries, whatever the interval."""


class FaultEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault, or two that overlap. Times in seconds."""

    at_s: float
    """Earliest injection, counted from the beginning of the main phase."""
    faults: tuple[str, ...]
    keys: tuple[str, ...]
    """The partitions aimed at; the first one's roles count."""
    draws: tuple[float, ...]
    """One number in [0, 1) for each fault, for the choices left at injection."""
    length_s: float
    """From when the (last) injection is complete, with its evidence, to its heal."""
    gap_s: float = 0.0
    both_s: float = 0.0


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The faults of a run, in order."""

    entries: tuple[FaultEntry, ...] = ()


def supported(powers: frozenset[Power]) -> tuple[str, ...]:
    """Return the names of the faults that a cluster with these powers supports."""
    return tuple(fault.name for fault in FAULTS.values() if fault.needs <= powers)


def parse(text: str, powers: frozenset[Power], cluster: str) -> Choices:
    """Return what `--nemesis` asks for; () for none.

    Raises UsageError for a name that doesn't exist, a fault that the cluster has no power for, or a senseless overlap.
    """
    names = [part.strip() for part in text.split(",")]
    if names == [NONE]:
        return ()
    if names == [ALL]:
        if not supported(powers):
            raise UsageError(f"--nemesis {ALL}: cluster {cluster} supports no fault; use --nemesis {NONE}")
        return tuple((name,) for name in supported(powers) if name not in APART)
    choices = tuple(tuple(half.strip() for half in name.split("+")) for name in names)
    for choice in choices:
        for name in choice:
            _refuse_unknown(name, powers, cluster)
        _refuse_overlap(choice)
    return choices


def asked_for(scenario: Scenario, powers: frozenset[Power]) -> Choices:
    """Return what the scenario's faults are drawn from, on a cluster with these powers. Raises UsageError as `parse`.

    A run that nobody coordinates has no fault that aims at coordinators: `all` goes without. And without topics that
    grow where librdkafka's members of a classic group don't stand it, whatever the cluster does (docs/findings.md), and
    without losses of power that may lawfully take what was acknowledged.
    """
    found = parse(scenario.nemesis, powers, scenario.cluster)
    for name in (name for choice in found for name in choice if name in LAST):
        _refuse_without_quorum(scenario, name)
    if scenario.nemesis.strip() == ALL:
        deadly = _of_power(scenario)
        found = tuple(choice for choice in found if not deadly.intersection(choice))
    dated = sorted(CLOCK_FAULTS.intersection(name for choice in found for name in choice))
    if dated and scenario.workload in DATED:
        raise UsageError(
            f"--nemesis {dated[0]} proves nothing with --workload {scenario.workload}: when its records may go is up "
            "to the clocks that the fault makes wrong"
        )
    if scenario.nemesis.strip() == ALL and (_has_members_of_librdkafka(scenario) or scenario.app):
        found = tuple(choice for choice in found if AddPartitions.name not in choice)
    if scenario.app and any(AddPartitions.name in choice for choice in found):
        raise UsageError(
            f"--nemesis {AddPartitions.name} does not go with --app: when a program hears of new partitions is its "
            "own affair (metadata.max.age.ms)"
        )
    if is_coordinated(scenario):
        return found
    aimed = {fault.name for fault in COORDINATORS}
    if scenario.nemesis.strip() == ALL:
        return tuple(choice for choice in found if not aimed.intersection(choice))
    for name in (name for choice in found for name in choice if name in aimed):
        raise UsageError(
            f"--nemesis {name} needs a group or a transactional id: --workload {scenario.workload} has none, or none "
            "without --sub-via subscribe"
        )
    return found


def _of_power(scenario: Scenario) -> set[str]:
    """Return the faults of power after which records that were acknowledged may be gone, lawfully."""
    if scenario.broker_config.get("log.flush.interval.messages") == "1":
        return set()
    return {LosePowerAll.name} if scenario.min_isr > 1 else {LosePowerAll.name, LosePower.name}


def _refuse_without_quorum(scenario: Scenario, name: str) -> None:
    """Refuse to end all followers where the quorum would not outlive it: the ISR could not shrink."""
    left = scenario.nodes - (scenario.replication - 1)
    if not scenario.controllers and 2 * left <= scenario.nodes:
        ended = scenario.replication - 1
        raise UsageError(
            f"--nemesis {name} ends {ended} of {scenario.nodes} nodes, and the quorum with them: it "
            "takes --controllers 3, or more --nodes"
        )


def _has_members_of_librdkafka(scenario: Scenario) -> bool:
    """Return whether the run's processes join a group by the classic protocol, and not with clients of our own."""
    members = scenario.workload in POLLING and bool(groups_of(scenario))
    is_theirs = scenario.client != NATIVE and scenario.cluster != "simulated"
    return members and is_theirs and scenario.group_protocol == "classic"


def _refuse_unknown(name: str, powers: frozenset[Power], cluster: str) -> None:
    known = ", ".join(supported(powers)) or NONE
    if name in {NONE, ALL}:
        raise UsageError(f"--nemesis {name} stands alone; cluster {cluster} supports: {known}")
    if name not in FAULTS:
        close = difflib.get_close_matches(name, FAULTS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"--nemesis: no fault is named {name!r}{hint}; cluster {cluster} supports: {known}")
    lacking = FAULTS[name].needs - powers
    if "application" in lacking:
        raise UsageError(f"--nemesis {name} needs a program of yours: --app COMMAND")
    if lacking:
        what = ", ".join(sorted(lacking))
        raise UsageError(f"--nemesis {name} needs the power to {what}, not on cluster {cluster}; it supports: {known}")


def _refuse_overlap(choice: tuple[str, ...]) -> None:
    if len(choice) > 2:
        raise UsageError(f"--nemesis {'+'.join(choice)}: at most two faults overlap")
    if len(choice) == 2:
        first, second = choice
        if {first, second} <= CLOCK_FAULTS:
            raise UsageError(f"--nemesis {first}+{second}: a clock is wrong in one way at a time")
        if first == second == ChangeConfig.name:
            raise UsageError(f"--nemesis {first}+{second}: what the one gives back may be what the other has changed")
        for last in LAST.intersection(choice):
            raise UsageError(f"--nemesis {first}+{second}: {last} leaves no room for another fault")
        if first in {"kill-all", LosePowerAll.name} or (
            first == "pause-followers" and second in {"pause-followers", "kill-follower"}
        ):
            raise UsageError(f"--nemesis {first}+{second}: {first} leaves no node for {second} to aim at")


def draw(scenario: Scenario, choices: Choices, keys: Sequence[str]) -> FaultPlan:
    """Return the plan for a run over these partitions; the same for the same scenario, choices and keys."""
    if not choices:
        return FaultPlan()
    assert keys, "faults aim at partitions by role"
    rng = Rng.seeded(scenario.seed, "nemesis")
    entries: list[FaultEntry] = []
    hand: tuple[tuple[str, ...], ...] = ()
    at_s, rng = _between(FIRST, rng)
    at_s *= scenario.fault_interval_s
    least_s = max(LEAST_S.get(name, 0.0) for choice in choices for name in choice)
    at_s = max(at_s, min(least_s, scenario.time_limit_s / 4))
    while at_s < scenario.time_limit_s and len(entries) < MAX_ENTRIES:
        if not hand:
            hand, rng = _shuffled(choices, rng)
        entry, rng = _entry(at_s, hand[0], keys, scenario.fault_length_s, rng)
        hand = hand[1:]
        entries.append(entry)
        step, rng = _between(JITTER, rng)
        at_s += max(step * scenario.fault_interval_s, entry.length_s, MIN_STEP_S)
    return FaultPlan(entries=tuple(entries))


def _entry(
    at_s: float, faults: tuple[str, ...], keys: Sequence[str], length_s: float, rng: Rng
) -> tuple[FaultEntry, Rng]:
    key, rng = rng.choose(keys)
    stretch, rng = _between(JITTER, rng)
    length_s = round(max(length_s * stretch, *(LEAST_S.get(fault, 0.0) for fault in faults), 0.0), 3)
    draws: list[float] = []
    for _ in faults:
        number, rng = rng.draw()
        draws.append(number)
    gap_s = both_s = 0.0
    if len(faults) == 2:
        gap_s, rng = _between(_gap(faults), rng)
        if faults[0] not in {"pause-followers", "kill-follower"}:
            both_s, rng = _between((0.0, length_s / 2), rng)
    entry = FaultEntry(
        at_s=math.floor(at_s * 1000) / 1000,  # never past the time limit, as rounding up would be
        faults=faults,
        keys=(key,),
        draws=tuple(draws),
        length_s=length_s,
        gap_s=round(gap_s, 3),
        both_s=round(both_s, 3),
    )
    return entry, rng


def _gap(faults: tuple[str, ...]) -> tuple[float, float]:
    if faults[0] == "pause-followers":
        return PAUSED_GAP_S
    if faults[0] == "kill-controller":
        return ELECTED_S
    return AT_ONCE_S if faults[0].startswith("reassign") or faults in SUCCESSORS else GAP_S


def _between(span: tuple[float, float], rng: Rng) -> tuple[float, Rng]:
    number, rng = rng.draw()
    return span[0] + number * (span[1] - span[0]), rng


def _shuffled(choices: Choices, rng: Rng) -> tuple[Choices, Rng]:
    left, order = list(choices), []
    while left:
        index, rng = rng.below(len(left))
        order.append(left.pop(index))
    return tuple(order), rng
