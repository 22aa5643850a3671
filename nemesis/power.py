"""Faults of power: lose-power, lose-power-all, last-replica, last-replica-unclean. What was not synced is gone.

One node at a time loses nothing that was acknowledged: the others hold it, and a node that was not stopped in order may
not lead again before it has caught up (KIP-966). All at once is the power loss that only a sync before the
acknowledgement survives (`flush.messages=1`); without it Kafka promises nothing, and records are lost lawfully. What
coordinators keep, transactions and offsets, is not in the topic: it wants the brokers' `log.flush.interval.messages=1`.

In between stands the last replica: the followers were stopped in order, one after the other, so that it alone is in the
ISR when it loses power and what it acknowledged. They still have all of it. Without eligible leader replicas (Apache
Kafka before 4.1, where nobody has switched them on) it leads as soon as it is back, and the others cut theirs to
what it has left; with them it has to wait for one of them. Where the followers were killed instead, they have it all,
too, but nobody takes their word for it: a broker that was not stopped in order is no eligible leader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from harness.cluster.actions import Blackout, Kill, Start, Stop
from harness.cluster.questions import IsrShrunk, LeaderElected, LeaderOf, Lost, Pid
from nemesis.actions import inverses
from nemesis.aiming import ask_each, bitten, followers, leader_moved, led, missed, no_leader, per_node
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until
from nemesis.kills import SHRINK_DEADLINE_S, kill_nodes, running, start_again

_POWER: frozenset[Power] = frozenset({"kill", "power"})

LAST_LEADS_S = 20.0
"""For the last replica to start, alone, and to lead, if it may: its old session ends, the quorum elects."""

WRITTEN_S = 5.0
"""So long is written before the last replica loses power: without records there is nothing to lose."""


class LosePower:
    """Takes the power of the node that leads the aimed partition: the process ends, what it had not synced is gone.

    Bit: as kill-leader. How much it lost is recorded.
    """

    name = "lose-power"
    summary = "the leader of a partition loses power, and what it had not synced; starts it again"
    needs = _POWER
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Take the leader's power and wait for the next one."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        injection, gone = yield from _blackout(aim, (state.leader,))
        if not gone or aim.held:
            return injection
        return bitten(injection, (yield from leader_moved(aim, state.leader)))

    def heal(self, injection: Injection) -> Heal:
        """Start it again."""
        return start_again(injection)


class LosePowerAll:
    """Takes the power of every running broker at one moment. Bit: each process was there and all are gone."""

    name = "lose-power-all"
    summary = "all brokers lose power at once, and what they had not synced; starts them again"
    needs = _POWER
    expects: Expects = "stall"

    def inject(self, aim: Aim) -> Inject:
        """Take the power of all running brokers."""
        nodes = yield from running(aim)
        if not nodes:
            return missed(aim, "no broker is running that may lose power")
        injection, _ = yield from _blackout(aim, nodes)
        return injection

    def heal(self, injection: Injection) -> Heal:
        """Start them all again."""
        return start_again(injection)


class LastReplica:
    """Stops or kills the followers, one after the other, and takes the power of the leader, the last in the ISR.

    Bit: the ISR was the leader alone, its process is gone, and bytes of its disk, too. The heal starts it first and
    tells whether it led before the others were back.
    """

    needs: frozenset[Power]
    expects: Expects = "stall"

    def __init__(self, name: str, summary: str, end: type[Stop | Kill]) -> None:
        """Name it; `end` is what is done to the followers."""
        self.name, self.summary, self._end = name, summary, end
        self.needs = _POWER | {"stop"} if end is Stop else _POWER

    def inject(self, aim: Aim) -> Inject:
        """Stop follower after follower, wait for the ISR to lose each, take the leader's power."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        last = state.leader
        others = followers(state, aim)
        pids = yield from ask_each(Pid, others)
        absent = sorted(node for node in others if pids[node] is None)
        if not others or absent:
            return missed(aim, f"no process to end on {', '.join(absent)}" if absent else "it has no follower")
        ends = tuple(self._end(node) for node in others)
        after: dict[str, float | None] = {}
        for end in ends:
            yield Act((end,))
            after[end.node] = yield Until(IsrShrunk(aim.keys[0], frozenset({end.node})), SHRINK_DEADLINE_S)
        begun = Injection(
            nodes=others, keys=aim.keys, evidence={"isr_shrunk_after_ms": after}, bit=True, undo=inverses(ends)
        )
        alone = yield Ask(LeaderOf(aim.keys[0]))
        if alone is None or alone.leader != last or set(alone.isr) != {last}:
            isr = None if alone is None else sorted(alone.isr)
            return bitten(begun, {"reason": f"{last} was not left alone in the ISR", "isr": isr})
        injection, _ = yield from _blackout(aim, (last,))
        both = replace(injection, nodes=(last, *others), undo=injection.undo + begun.undo)
        reason = {} if injection.evidence.get("bytes-lost") else {"reason": f"{last} had synced all that it holds"}
        return bitten(both, begun.evidence | {"last": last} | reason)

    def heal(self, injection: Injection) -> Heal:
        """Start the last one, see whether it leads, start the others."""
        last = injection.evidence.get("last")
        evidence: dict[str, Any] = {}
        if last is not None and (yield Ask(Pid(last))) is None:
            yield Act((Start(last),))
            others = frozenset(injection.nodes) - {last}
            evidence["last-led_after_ms"] = yield Until(LeaderElected(injection.keys[0], others), LAST_LEADS_S)
        return evidence | (yield from start_again(injection))


LAST_REPLICAS: tuple[LastReplica, ...] = (
    LastReplica(
        "last-replica",
        "stop the followers of a partition in order; then its leader loses power; starts the leader first",
        Stop,
    ),
    LastReplica(
        "last-replica-unclean",
        "SIGKILL the followers of a partition; then its leader loses power; starts the leader first",
        Kill,
    ),
)


def _blackout(aim: Aim, nodes: tuple[str, ...]) -> Generator[Step, Any, tuple[Injection, bool]]:
    """Take the power of the nodes; return as `kill_nodes`, with how much they lost."""
    before = yield from ask_each(Lost, nodes)
    injection, gone = yield from kill_nodes(aim, nodes, Blackout)
    if not injection.nodes:
        return injection, gone
    after = yield from ask_each(Lost, nodes)
    parts = {node: dict(sorted((Counter(after[node]) - Counter(before[node])).items())) for node in nodes}
    lost = per_node({node: sum(sizes.values()) for node, sizes in parts.items()})
    return replace(injection, evidence=injection.evidence | {"bytes-lost": lost, "partitions-lost": parts}), gone
