"""Faults that cut links between nodes: partition-leader.

Links are cut one direction at a time; clients still reach every node. The isolated leader answers its clients and
believes for a while that it leads, which is what makes the fault interesting: a node that is dead tells no lies.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from harness.cluster.actions import Cut, Join
from harness.cluster.api import Dropped, PacketsDropped
from nemesis.actions import inverses
from nemesis.aiming import answers_within, bitten, isr_size, leader_moved, led, missed, no_leader, per_node
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until

DROP_DEADLINE_S = 5.0
"""For a cut to drop something: followers fetch every 500 ms, brokers send heartbeats every 500 ms."""

REJOIN_DEADLINE_S = 20.0
"""For an isolated node to answer again: it must find the controller and register."""


class PartitionLeader:
    """Isolates the node that leads the aimed partition from all other nodes, both ways.

    Bit: the cuts dropped packets, and the partition has another leader (how soon is recorded) or none: the isolated
    node itself can't say so, since it hears of no election. While another fault holds it: packets were dropped;
    `await-leader` records the election.
    """

    name = "partition-leader"
    summary = "cut the leader of a partition off from the other nodes; clients still reach it"
    needs: frozenset[Power] = frozenset({"partition"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Cut the leader off and wait for the next one."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        leader = state.leader
        others = [node for node in (aim.every or aim.nodes) if node != leader]
        if not others:
            return missed(aim, f"{leader} has no other node to be cut off from")
        cuts = tuple(cut for node in others for cut in (Cut(leader, node), Cut(node, leader)))
        yield Act(cuts)
        injection = Injection(nodes=(leader,), keys=aim.keys, evidence={}, bit=True, undo=inverses(cuts))
        evidence: dict[str, Any] = {} if aim.held else (yield from leader_moved(aim, leader))
        return bitten(injection, evidence | (yield from _packets(cuts)))

    def heal(self, injection: Injection) -> Heal:
        """Join the links again; evidence: what the cuts dropped in all, when the node answered, the ISR's size then."""
        joins = tuple(action for action in injection.undo if isinstance(action, Join))
        if not joins:
            return {}
        dropped = 0
        for join in joins:
            dropped += yield Ask(Dropped(join.source, join.target))
        yield Act(joins)
        nodes = injection.nodes or tuple(sorted({join.source for join in joins}))
        answers = yield from answers_within(nodes, REJOIN_DEADLINE_S)
        return {"dropped": dropped, "answers_after_ms": per_node(answers)} | (yield from isr_size(injection))


def _packets(cuts: tuple[Cut, ...]) -> Generator[Step, Any, dict[str, Any]]:
    """Return what each cut has dropped, waiting a bounded time for the first; with a reason if none."""
    dropped: dict[str, int] = {}
    for cut in cuts:
        dropped[f"{cut.source}>{cut.target}"] = yield Ask(Dropped(cut.source, cut.target))
    if not any(dropped.values()):
        first = cuts[0]
        yield Until(PacketsDropped(first.source, first.target), DROP_DEADLINE_S)
        for cut in cuts:
            dropped[f"{cut.source}>{cut.target}"] = yield Ask(Dropped(cut.source, cut.target))
    evidence: dict[str, Any] = {"dropped": dropped}
    if not any(dropped.values()):
        evidence["reason"] = "the cuts dropped no packet"
    return evidence
