"""Faults that end nodes: kill-leader, kill-leaders, kill-follower, kill-random, kill-all (SIGKILL).

Each aims, kills, and then shows from outside that it bit: the process is gone by the operating system's word, and where
the fault is about leadership, the cluster's own metadata noticed. Healing starts the processes that are not running and
waits, within a bound, until each answers; it does not wait for full ISRs (`recover` does), since an overlapping fault
may only be able to act before that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from harness.cluster.actions import Action, Kill, Start
from harness.cluster.questions import IsrShrunk, LeaderElected, Pid
from nemesis.actions import inverses
from nemesis.aiming import (
    answers_within,
    ask_each,
    bitten,
    drawn,
    followers,
    isr_size,
    leader_moved,
    led,
    missed,
    no_leader,
    per_node,
)
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until

SHRINK_DEADLINE_S = 15.0
"""For the ISR to lose a dead follower: its session ends after 3 s, the replica lag time after another 3 s at most."""

REIGN_S = (0.1, 0.8)
"""How long the successor leads: clients find it within less, and a follower that is slow has not followed it yet."""

NEXT_DEADLINE_S = 10.0
"""For somebody to lead when two of the leaders were killed: a node starts, the quorum elects, a session ends."""

START_DEADLINE_S = 60.0
"""For a started node to answer: measured 7-35 s from start to serving, with all nodes starting at once."""

_KILL: frozenset[Power] = frozenset({"kill"})


def start_again(injection: Injection) -> Heal:
    """Start the killed nodes that are not running; evidence: their pids, when each answered, the ISR's size then."""
    nodes = [action.node for action in injection.undo if isinstance(action, Start)]
    if not nodes:
        return {}
    before = yield from ask_each(Pid, nodes)
    dead = [node for node, pid in before.items() if pid is None]
    if dead:
        yield Act(tuple(Start(node) for node in dead))
    pids = yield from ask_each(Pid, nodes)
    answers = yield from answers_within(nodes, START_DEADLINE_S)
    evidence = {"pid": per_node(pids), "answers_after_ms": per_node(answers)}
    return evidence | (yield from isr_size(injection))


class KillLeader:
    """Kills the node that leads the aimed partition.

    Bit: the process was there and is gone, and the partition has another leader (how soon is recorded) or, with no
    replica left that may lead, none. While another fault holds it: gone; `await-leader` records the election.
    """

    name = "kill-leader"
    summary = "SIGKILL the leader of a partition; starts it again"
    needs = _KILL
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Kill the leader and wait for the next one."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        injection, gone = yield from kill_nodes(aim, (state.leader,))
        if not gone or aim.held:
            return injection
        return bitten(injection, (yield from leader_moved(aim, state.leader)))

    def heal(self, injection: Injection) -> Heal:
        """Start it again."""
        return start_again(injection)


def _within(span: tuple[float, float], draw: float) -> float:
    return span[0] + draw * (span[1] - span[0])


class KillLeaders:
    """Kills the node that leads the aimed partition, and its successor a moment after it leads.

    Clients have just found the successor; what it took over or decided alone dies with it. The first one starts first,
    so that somebody else leads before the successor is back. Of three nodes
    with combined roles one is left, without a quorum. Bit: both processes were there and are gone.
    """

    name = "kill-leaders"
    summary = "SIGKILL the leader of a partition and, at once, the next one; starts them again, one after the other"
    needs = _KILL
    expects: Expects = "stall"

    def inject(self, aim: Aim) -> Inject:
        """Kill the leader, wait for the next one, kill it, too."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        first, gone = yield from kill_nodes(aim, (state.leader,))
        if not gone:
            return first
        evidence = yield from leader_moved(aim, state.leader)
        successor = evidence["new-leader"]
        if successor is None or successor in aim.spare:
            return bitten(first, evidence | {"reason": "nobody else led who may be killed"})
        others = frozenset({state.leader, successor})
        yield Until(LeaderElected(aim.keys[0], others), _within(REIGN_S, aim.draw))  # unless it has lost the lead again
        second, _ = yield from kill_nodes(aim, (successor,))
        both = replace(second, nodes=first.nodes + second.nodes, undo=second.undo + first.undo)
        pids = {node: one.evidence.get("pid") for one in (first, second) for node in one.nodes}
        return bitten(both, evidence | {"pid": pids})

    def heal(self, injection: Injection) -> Heal:
        """Start the first one, wait for somebody to lead, start the other."""
        starts = [action for action in injection.undo if isinstance(action, Start)]
        if len(starts) == 2 and (yield Ask(Pid(starts[1].node))) is None:
            successor, first = starts
            yield Act((first,))
            yield Until(LeaderElected(injection.keys[0], frozenset({successor.node})), NEXT_DEADLINE_S)
        return (yield from start_again(injection))


class KillFollower:
    """Kills one follower of the aimed partition, one that is in the ISR if any is.

    It aims at the partition's own replicas, so that with RF 2 the node that holds no replica stays up.
    Bit: the process was there and is gone. Whether and when the ISR lost it is recorded too: from then on the leader
    acknowledges without it.
    """

    name = "kill-follower"
    summary = "SIGKILL a follower of a partition; starts it again"
    needs = _KILL
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Kill a follower and wait for the ISR to lose it."""
        state = yield from led(aim)
        if state is None:
            return no_leader(aim)
        candidates = followers(state, aim)
        in_sync = tuple(node for node in candidates if node in state.isr)
        if not candidates:
            return missed(aim, f"{aim.keys[0]} has no follower to kill", replicas=list(state.replicas))
        node = drawn(in_sync or candidates, aim)
        injection, gone = yield from kill_nodes(aim, (node,))
        if not gone or aim.held:
            return injection
        after_ms = yield Until(IsrShrunk(aim.keys[0], frozenset({node})), SHRINK_DEADLINE_S)
        return bitten(injection, {"was-in-isr": bool(in_sync), "isr_shrunk_after_ms": after_ms})

    def heal(self, injection: Injection) -> Heal:
        """Start it again."""
        return start_again(injection)


class KillRandom:
    """Kills one broker, whatever its role. Bit: the process was there and is gone."""

    name = "kill-random"
    summary = "SIGKILL any broker; starts it again"
    needs = _KILL
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Kill one of the running brokers."""
        nodes = yield from running(aim)
        if not nodes:
            return missed(aim, "no broker is running that may be killed")
        injection, _ = yield from kill_nodes(aim, (drawn(nodes, aim),))
        return injection

    def heal(self, injection: Injection) -> Heal:
        """Start it again."""
        return start_again(injection)


class KillAll:
    """Kills every running broker at once. Bit: each process was there and all are gone."""

    name = "kill-all"
    summary = "SIGKILL every broker; starts them again"
    needs = _KILL
    expects: Expects = "stall"

    def inject(self, aim: Aim) -> Inject:
        """Kill all running brokers."""
        nodes = yield from running(aim)
        if not nodes:
            return missed(aim, "no broker is running that may be killed")
        injection, _ = yield from kill_nodes(aim, nodes)
        return injection

    def heal(self, injection: Injection) -> Heal:
        """Start them all again."""
        return start_again(injection)


def running(aim: Aim) -> Generator[Step, Any, tuple[str, ...]]:
    """Return the brokers that have a process and are not to be spared."""
    pids = yield from ask_each(Pid, (node for node in aim.nodes if node not in aim.spare))
    return tuple(node for node, pid in pids.items() if pid is not None)


def kill_nodes(
    aim: Aim, nodes: tuple[str, ...], injure: Callable[[str], Action] = Kill
) -> Generator[Step, Any, tuple[Injection, bool]]:
    """Kill the nodes; return the injection as far as it is known, and whether all processes went."""
    before = yield from ask_each(Pid, nodes)
    absent = sorted(node for node, pid in before.items() if pid is None)
    if absent:
        return missed(aim, f"no process to kill on {', '.join(absent)}"), False
    actions = tuple(injure(node) for node in nodes)
    yield Act(actions)
    left = [node for node, pid in (yield from ask_each(Pid, nodes)).items() if pid is not None]
    evidence = {"pid": per_node(before), "pid-gone": not left}
    if left:
        evidence["reason"] = f"a process still runs on {', '.join(left)}"
    return Injection(nodes=nodes, keys=aim.keys, evidence=evidence, bit=not left, undo=inverses(actions)), not left
