"""Faults that cut links between nodes: partition-leader, mute-, deafen-leader, partition-minority, -bridge, -ring.

Links are cut one direction at a time; clients still reach every node. The isolated leader answers its clients and
believes for a while that it leads, which is what makes the fault interesting: a node that is dead tells no lies. A
network seldom parts so cleanly, and whoever is seen by some and not by others is harder to agree about: hence one
direction alone, a bridge between two sides, a ring in which no two nodes see the same majority (Jepsen's grudges).

Bit: the cuts dropped packets; and where the leader should lose its office, another leads, or nobody.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import Any

from harness.cluster.actions import Cut, Join
from harness.cluster.questions import Dropped, PacketsDropped
from nemesis.actions import inverses
from nemesis.aiming import answers_within, bitten, isr_size, leader_moved, led, missed, no_leader, per_node
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until

DROP_DEADLINE_S = 5.0
"""For a cut to drop something: followers fetch every 500 ms, brokers send heartbeats every 500 ms."""

REJOIN_DEADLINE_S = 20.0
"""For an isolated node to answer again: it must find the controller and register."""

Cuts = tuple[Cut, ...]


class _Parting:
    """What they have in common: what they need, and how they heal."""

    needs: frozenset[Power] = frozenset({"partition"})
    expects: Expects = "progress"

    def heal(self, injection: Injection) -> Heal:
        """Join the links again; evidence: what the cuts dropped in all, when each node answered, the ISR's size."""
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


class _LeaderParting(_Parting, ABC):
    """Of those that aim at the aimed partition's leader."""

    deposes = True
    """Another has to lead, or nobody: the isolated node itself can't say so, since it hears of no election. While
    another fault holds it, packets that were dropped are enough; `await-leader` records the election."""

    def inject(self, aim: Aim) -> Inject:
        """Cut the leader off and wait for what shows it."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        leader = state.leader
        others = [node for node in (aim.every or aim.nodes) if node != leader]
        if not others:
            return missed(aim, f"{leader} has no other node to be cut off from")
        cuts, told = self._cuts(leader, _from(others, aim.draw))
        if not cuts:
            return missed(aim, f"{len(others) + 1} nodes are too few for {self.name}")
        yield Act(cuts)
        injection = Injection(nodes=(leader,), keys=aim.keys, evidence=told, bit=True, undo=inverses(cuts))
        evidence: dict[str, Any] = {}
        if self.deposes and not aim.held:
            evidence = yield from leader_moved(aim, leader)
        return bitten(injection, evidence | (yield from _packets(cuts)))

    name: str

    @abstractmethod
    def _cuts(self, leader: str, others: Sequence[str]) -> tuple[Cuts, dict[str, Any]]:
        """Return what to cut, none where there are too few nodes, and the evidence of how; `others` as drawn."""


class PartitionLeader(_LeaderParting):
    """Isolates the node that leads the aimed partition from all other nodes, both ways."""

    name = "partition-leader"
    summary = "cut the leader of a partition off from the other nodes; clients still reach it"

    def _cuts(self, leader: str, others: Sequence[str]) -> tuple[Cuts, dict[str, Any]]:
        return _both_ways([leader], others), {}


class MuteLeader(_LeaderParting):
    """Loses what the leader sends to the other nodes: it hears them, and they don't hear it."""

    name = "mute-leader"
    summary = "lose what the leader of a partition sends to the other nodes; it still hears them"

    def _cuts(self, leader: str, others: Sequence[str]) -> tuple[Cuts, dict[str, Any]]:
        return tuple(Cut(leader, node) for node in others), {}


class DeafenLeader(_LeaderParting):
    """Loses what the other nodes send to the leader: they hear it, and it doesn't hear them.

    Its heartbeats may keep it in office while nobody's fetches reach it and no answer about its ISR: expected to stall.
    """

    name = "deafen-leader"
    summary = "lose what the other nodes send to the leader of a partition; they still hear it"
    expects: Expects = "stall"
    deposes = False

    def _cuts(self, leader: str, others: Sequence[str]) -> tuple[Cuts, dict[str, Any]]:
        return tuple(Cut(node, leader) for node in others), {}


class PartitionBridge(_LeaderParting):
    """Parts the nodes into two sides that don't see each other, and one drawn node that sees both.

    Of three nodes the leader and one other are parted. The leader may stay in office, with the bridge in sync.
    """

    name = "partition-bridge"
    summary = "part the leader of a partition and some nodes from the others; one node sees both sides"
    deposes = False

    def _cuts(self, leader: str, others: Sequence[str]) -> tuple[Cuts, dict[str, Any]]:
        bridge, *rest = others
        near = (len(rest) - 1) // 2
        sides = [leader, *rest[:near]], rest[near:]
        return _both_ways(*sides), {"bridge": bridge, "sides": [sorted(side) for side in sides]}


class _Drawn(_Parting, ABC):
    """Of those that part all nodes but those to spare, whoever leads."""

    name: str

    def inject(self, aim: Aim) -> Inject:
        """Cut the links and wait until one dropped something."""
        nodes = [node for node in aim.every or aim.nodes if node not in aim.spare]
        hit, cuts, told = self._parted(_from(nodes, aim.draw))
        if not cuts:
            return missed(aim, f"{len(nodes)} nodes are too few for {self.name}")
        yield Act(cuts)
        injection = Injection(nodes=tuple(sorted(hit)), keys=aim.keys, evidence=told, bit=True, undo=inverses(cuts))
        return bitten(injection, (yield from _packets(cuts)))

    @abstractmethod
    def _parted(self, nodes: Sequence[str]) -> tuple[Sequence[str], Cuts, dict[str, Any]]:
        """Return whom it strikes, what to cut, none where there are too few nodes, and the evidence of how."""


class PartitionMinority(_Drawn):
    """Cuts as many drawn nodes off from the others, both ways, as leave a majority: one of three, two of five."""

    name = "partition-minority"
    summary = "cut a minority of the nodes, drawn, off from the others; clients still reach all"

    def _parted(self, nodes: Sequence[str]) -> tuple[Sequence[str], Cuts, dict[str, Any]]:
        few = (len(nodes) - 1) // 2
        minority = nodes[:few]
        return minority, _both_ways(minority, nodes[few:]), {"minority": sorted(minority)}


class PartitionRing(_Drawn):
    """Lets each node hear a majority only, its neighbours in a drawn ring: no two hear the same one.

    Of five nodes each sees two others. Of three each hears one other, which does not hear it: nothing goes on.
    """

    name = "partition-ring"
    summary = "have each node hear only a majority of the nodes, and no two the same; clients still reach all"
    expects: Expects = "stall"

    def _parted(self, nodes: Sequence[str]) -> tuple[Sequence[str], Cuts, dict[str, Any]]:
        count = len(nodes)
        others = count // 2
        heard = range(-(others // 2), others - others // 2 + 1)
        cuts = tuple(
            Cut(nodes[(place + step) % count], node)
            for place, node in enumerate(nodes)
            for step in range(heard.stop, heard.start + count)
        )
        return nodes, cuts, {"ring": list(nodes)}


def _from(nodes: Sequence[str], draw: float) -> list[str]:
    """Return the nodes as a ring that begins with the one that the draw chooses."""
    start = int(draw * len(nodes))
    return [*nodes[start:], *nodes[:start]]


def _both_ways(side: Sequence[str], others: Sequence[str]) -> Cuts:
    return tuple(cut for node in others for one in side for cut in (Cut(one, node), Cut(node, one)))


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
