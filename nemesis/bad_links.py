"""Faults of links that stay: slow-links, slow-follower, lossy-links, cut-clients. They need links in user space.

Late and lost packets don't take a node away: elections, sessions and clients' time-outs run while everything answers,
only later, or after another try. Bytes never go missing, as TCP would not let them: what is lost stalls its connection,
which is then reset.

cut-clients is the other half of partition-leader: the nodes see each other, the leader stays what it is, and its
clients can't reach it. Nobody is elected, so what its partitions take stands still until it is healed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from harness.cluster.actions import Cut, Join, Shape, Smooth
from harness.cluster.api import CLIENTS, PartitionState
from harness.cluster.questions import Dropped, PacketsDropped, PiecesShaped, Shaped
from nemesis.actions import inverses
from nemesis.aiming import answers_within, bitten, isr_size, led, missed, no_leader, per_node
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until

SHOWS_DEADLINE_S = 5.0
"""For a link to carry something: heartbeats and fetches pass every few hundred ms."""
REJOIN_DEADLINE_S = 20.0
"""For a node to answer again after it was healed."""
DELAY_MS = (10, 80)
"""Each way. Twice the longest is a third of the shortest time after which our nodes give one another up (500 ms)."""
FOLLOWER_MS = (80, 200)
"""Each way, of a follower that lags and yet stays in sync: a round trip is well below every lag and session time."""
LOSS_PPM = (2_000, 10_000)
"""At some hundred pieces a second and link: a reset every second or so."""


def _within(span: tuple[int, int], draw: float) -> int:
    return span[0] + int(draw * (span[1] - span[0]))


def _shapes(ends: Iterable[str], node: str, *, delay_ms: int = 0, loss_ppm: int = 0) -> tuple[Shape, ...]:
    """Return the shapes of all links between the node and the ends, both ways."""
    return tuple(
        Shape(source, target, delay_ms, loss_ppm) for end in ends for source, target in ((node, end), (end, node))
    )


class _Shaping:
    """What slow and lossy links have in common: the links of one node, and how they heal."""

    needs: frozenset[Power] = frozenset({"shape"})
    expects: Expects = "progress"

    def _ends(self, state: PartitionState, aim: Aim) -> tuple[str, ...]:
        return tuple(node for node in (aim.every or aim.nodes) if node != state.leader)

    def _inject(self, aim: Aim, node: str, shapes: tuple[Shape, ...], told: dict[str, Any]) -> Inject:
        if not shapes:
            return missed(aim, f"{node} has no link to another node")
        yield Act(shapes)
        injection = Injection(nodes=(node,), keys=aim.keys, evidence=told, bit=True, undo=inverses(shapes))
        return bitten(injection, (yield from _pieces(shapes)))

    def heal(self, injection: Injection) -> Heal:
        """Smooth the links; evidence: what was late or lost in all, when the node answered, the ISR's size then."""
        smooths = tuple(action for action in injection.undo if isinstance(action, Smooth))
        if not smooths:
            return {}
        pieces = 0
        for smooth in smooths:
            pieces += yield Ask(Shaped(smooth.source, smooth.target))
        yield Act(smooths)
        answers = yield from answers_within(injection.nodes, REJOIN_DEADLINE_S)
        return {"pieces": pieces, "answers_after_ms": per_node(answers)} | (yield from isr_size(injection))


class SlowLinks(_Shaping):
    """Makes all links between the leader and the other nodes late, both ways, by a delay from the draw.

    Bit: something was late on one of them at least.
    """

    name = "slow-links"
    summary = "make every link between the leader of a partition and the other nodes slow"

    def inject(self, aim: Aim) -> Inject:
        """Slow the links down, and wait until something was late."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        delay_ms = _within(DELAY_MS, aim.draw)
        shapes = _shapes(self._ends(state, aim), state.leader, delay_ms=delay_ms)
        return (yield from self._inject(aim, state.leader, shapes, {"delay_ms": delay_ms}))


class SlowFollower(_Shaping):
    """Makes all links between one follower in the ISR and the other nodes late, both ways, by a delay from the draw.

    The leader waits for it, the other followers do not: they have what it lacks. It is the last one of the replicas,
    who leads only where nobody else can. Bit: something was late.
    """

    name = "slow-follower"
    summary = "make every link between a follower of a partition, in sync, and the other nodes slow"

    def inject(self, aim: Aim) -> Inject:
        """Slow the links down, and wait until something was late."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        behind = [node for node in state.replicas if node in state.isr and node not in {state.leader, *aim.spare}]
        if not behind:
            return missed(aim, f"{aim.keys[0]} has no follower in sync to slow down", isr=list(state.isr))
        node, delay_ms = behind[-1], _within(FOLLOWER_MS, aim.draw)
        shapes = _shapes([end for end in (aim.every or aim.nodes) if end != node], node, delay_ms=delay_ms)
        return (yield from self._inject(aim, node, shapes, {"delay_ms": delay_ms}))


class LossyLinks(_Shaping):
    """Loses pieces on all links of the leader, those of its clients too, both ways, with a chance from the draw.

    Bit: something was lost on one of them at least: a connection stalled and was reset.
    """

    name = "lossy-links"
    summary = "lose some of what passes between the leader of a partition and the other nodes and clients"

    def inject(self, aim: Aim) -> Inject:
        """Make the links lossy, and wait until something was lost."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        loss_ppm = _within(LOSS_PPM, aim.draw)
        shapes = _shapes((CLIENTS, *self._ends(state, aim)), state.leader, loss_ppm=loss_ppm)
        return (yield from self._inject(aim, state.leader, shapes, {"loss_ppm": loss_ppm}))


class CutClients:
    """Cuts all clients off from the partition's leader, both ways; the nodes still see each other.

    Bit: something was held up on the way to the leader.
    """

    name = "cut-clients"
    summary = "cut the clients off from the leader of a partition; the nodes still see each other"
    needs: frozenset[Power] = frozenset({"partition", "shape"})
    expects: Expects = "stall"

    def inject(self, aim: Aim) -> Inject:
        """Cut the clients off, and wait until something was held up."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        cuts = (Cut(CLIENTS, state.leader), Cut(state.leader, CLIENTS))
        yield Act(cuts)
        injection = Injection(nodes=(state.leader,), keys=aim.keys, evidence={}, bit=True, undo=inverses(cuts))
        after_ms = yield Until(PacketsDropped(CLIENTS, state.leader), SHOWS_DEADLINE_S)
        dropped = yield Ask(Dropped(CLIENTS, state.leader))
        evidence: dict[str, Any] = {"dropped": dropped, "after_ms": after_ms}
        if not dropped:
            evidence["reason"] = f"no client sent anything to {state.leader} within {SHOWS_DEADLINE_S:g} s"
        return bitten(injection, evidence)

    def heal(self, injection: Injection) -> Heal:
        """Let the clients through; evidence: what was held up in all, when the node answered, the ISR's size then."""
        joins = tuple(action for action in injection.undo if isinstance(action, Join))
        if not joins:
            return {}
        dropped = 0
        for join in joins:
            dropped += yield Ask(Dropped(join.source, join.target))
        yield Act(joins)
        nodes = injection.nodes or tuple(sorted({join.target for join in joins} - {CLIENTS}))
        answers = yield from answers_within(nodes, REJOIN_DEADLINE_S)
        return {"dropped": dropped, "answers_after_ms": per_node(answers)} | (yield from isr_size(injection))


def _pieces(shapes: tuple[Shape, ...]) -> Generator[Step, Any, dict[str, Any]]:
    """Return what was late or lost on each link, waiting a bounded time for the first; with a reason if nothing was."""
    for shape in shapes:
        if (yield Ask(Shaped(shape.source, shape.target))):
            break
    else:
        deadline_s = SHOWS_DEADLINE_S / len(shapes)
        for shape in shapes:
            if (yield Until(PiecesShaped(shape.source, shape.target), deadline_s)) is not None:
                break
    pieces: dict[str, int] = {}
    for shape in shapes:
        pieces[f"{shape.source}>{shape.target}"] = yield Ask(Shaped(shape.source, shape.target))
    evidence: dict[str, Any] = {"pieces": pieces}
    if not any(pieces.values()):
        evidence["reason"] = "nothing was late or lost on any of the links"
    return evidence
