"""The faults move-leader and reassign: what an operator does to partitions while they are written.

move-leader: another replica in sync is put first among the partition's replicas and elected, which nobody but the
producers and the followers should notice; the heal puts the old order back, and has its first replica elected.

reassign: the leader's replica moves to a broker that has none, drawn among those that run; where every broker has one,
it is dropped. The new replica reads all of the log; when it is in sync, the old one goes, its files are deleted, and
somebody else leads. The heal waits for that, within a bound, and moves the partition back: the broker that had deleted
its replica begins an empty one. So records change their places twice, and none may be lost on the way, whoever dies
meanwhile: a second fault that overlaps comes at once, while the new replica reads, and spares nobody.

Both ask the cluster as any administrator does (AlterPartitionReassignments, ElectLeaders), and look at its metadata for
what came of it. Bit, move-leader: the partition is led by another. Bit, reassign: the move has begun; the heal tells
after how long it was over.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from harness.cluster.actions import Reassign as Move
from harness.cluster.actions import Restore
from harness.cluster.api import Key, PartitionState
from harness.cluster.questions import AssignedTo, LeaderOf, Pid
from nemesis.actions import inverse
from nemesis.aiming import ask_each, bitten, drawn, elected, led, missed, no_leader
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until

BEGUN_S = 5.0
"""For a controller to begin a move, and for the others to hear of it."""
MOVED_S = 5.0
"""For a new replica to read the whole log of a run, beside the writes, after the time that the fault has held."""
BACK_S = 10.0
"""The same for the way back."""
TRIES = 5
"""A controller that has just changed, or a node that has just died, leaves the first request without an answer."""

Evidence = Generator[Step, Any, dict[str, Any]]


def _begun(key: Key, replicas: tuple[str, ...], before: tuple[str, ...]) -> Generator[Step, Any, float | None]:
    """Wait for a move to begin; return the ms waited, None: not in time. Who leads may have changed without one."""
    return 0.0 if replicas == before else (yield Until(AssignedTo(key, replicas, instead_of=before), BEGUN_S))


def _moved(aim: Aim, state: PartitionState, wanted: Sequence[str]) -> Generator[Step, Any, Injection]:
    """Have the partition moved; the injection bit if the cluster has begun that."""
    move = Move(aim.keys[0], tuple(wanted), state.replicas)
    yield Act((move,))
    begun_ms = yield from _begun(move.key, move.replicas, move.before)
    undo = inverse(move)
    assert state.leader is not None
    assert undo is not None
    injection = Injection(
        nodes=(state.leader,),
        keys=aim.keys,
        evidence={"from": list(move.before), "to": list(move.replicas)},
        bit=True,
        undo=(undo,),
        memory={"to": move.replicas},
    )
    reason = {"reason": f"{move.key} did not begin to move within {BEGUN_S:g} s"}
    return bitten(injection, reason if begun_ms is None else {"begun-after_ms": begun_ms})


def _restored(injection: Injection) -> Evidence:
    """Have the partition moved back; the evidence holds a reason if the cluster has not begun that."""
    for undo in injection.undo:
        assert isinstance(undo, Restore)
        for _ in range(TRIES):
            yield Act((undo,))
            if (yield from _begun(undo.key, undo.replicas, injection.memory.get("to", ()))) is not None:
                return {"back": list(undo.replicas)}
        return {"reason": f"{undo.key} did not begin to move back in {TRIES} tries"}
    return {}


def _running(nodes: Sequence[str]) -> Generator[Step, Any, tuple[str, ...]]:
    pids = yield from ask_each(Pid, nodes)
    return tuple(node for node in nodes if pids[node] is not None)


class MoveLeader:
    """See the module."""

    name = "move-leader"
    summary = "have another replica of a partition elected in order; then give the lead back"
    needs: frozenset[Power] = frozenset({"reassign"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Put another replica in sync first, and have it elected."""
        state = yield from led(aim)
        if state is None:
            return no_leader(aim)
        others = [node for node in state.isr if node != state.leader and node not in aim.spare]
        able = yield from _running(others)
        if not able:
            return missed(aim, f"no other replica of {aim.keys[0]} is in sync")
        node = drawn(able, aim)
        injection = yield from _moved(aim, state, (node, *(one for one in state.replicas if one != node)))
        if not injection.bit:
            return injection
        return bitten(injection, {"new-leader": node} | (yield from elected(aim.keys[0], node)))

    def heal(self, injection: Injection) -> Heal:
        """Put the old order back, and have its first replica elected."""
        evidence = yield from _restored(injection)
        if "back" not in evidence:
            return evidence
        first = evidence["back"][0]
        again = yield from elected(injection.keys[0], first)
        return evidence | {"led-again": None if "reason" in again else first} | again


class Reassign:
    """See the module."""

    name = "reassign"
    summary = "move the replica that leads a partition to a broker that has none, or drop it; then move it back"
    needs: frozenset[Power] = frozenset({"reassign"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Begin the move."""
        state = yield from led(aim)
        if state is None:
            return no_leader(aim)
        free = yield from _running([node for node in aim.nodes if node not in {*state.replicas, *aim.spare}])
        newcomer = (drawn(free, aim),) if free else ()
        wanted = (*(node for node in state.replicas if node != state.leader), *newcomer)
        if not wanted:
            return missed(aim, f"{aim.keys[0]} has one replica, and no other broker runs")
        return (yield from _moved(aim, state, wanted))

    def heal(self, injection: Injection) -> Heal:
        """Wait until the move is over, and move everything back."""
        if not injection.bit:
            return (yield from _restored(injection))
        key = injection.keys[0]
        moved_ms = yield Until(AssignedTo(key, injection.memory["to"]), MOVED_S)
        state: PartitionState | None = yield Ask(LeaderOf(key))
        told = {"moved-after_ms": moved_ms, "new-leader": None if state is None else state.leader}
        evidence = told | (yield from _restored(injection))
        if moved_ms is None or "back" not in evidence:
            return evidence  # somebody whom it needs is dead: the way back may not end either until the recovery
        return evidence | {"back-after_ms": (yield Until(AssignedTo(key, tuple(evidence["back"])), BACK_S))}
