"""Faults of disks: fill-disk, rot-follower. Both end a node, and neither may cost a record that was acknowledged.

A disk that is full refuses a write; the node ends, as Kafka's does whose only log folder fails, and starts when there
is room. Rot is aimed at one follower alone, so that most replicas of a partition are good: a batch that it would have
to check when it starts is not what it was. It must find that, say that it may have lost something, and fetch it again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from harness.cluster.actions import Fill, Kill, Rot, Start
from harness.cluster.questions import IsrShrunk, Pid, Rotten
from nemesis.actions import inverses
from nemesis.aiming import ask_each, bitten, drawn, followers, leader_moved, led, missed, no_leader
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Until
from nemesis.kills import SHRINK_DEADLINE_S, kill_nodes, start_again

_DISK: frozenset[Power] = frozenset({"kill", "disk"})


class FillDisk:
    """Fills the disk of the node that leads the aimed partition. Bit: its process ended, and as kill-leader."""

    name = "fill-disk"
    summary = "the disk of a partition's leader is full: the node ends with the next write; makes room, starts it again"
    needs = _DISK
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Fill the disk, wait for the next leader."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        node = state.leader
        before = yield Ask(Pid(node))
        if before is None:
            return missed(aim, f"no process writes on {node}")
        actions = (Fill(node),)
        yield Act(actions)
        evidence = {"pid": before, **({} if aim.held else (yield from leader_moved(aim, node)))}
        ended = (yield Ask(Pid(node))) != before
        injection = Injection(nodes=(node,), keys=aim.keys, evidence={}, bit=ended, undo=inverses(actions))
        if not ended:
            evidence["reason"] = f"{node} still runs: it wrote nothing"
        return bitten(injection, evidence)

    def heal(self, injection: Injection) -> Heal:
        """Start it again, with room; one that has written nothing since is ended first."""
        alive = yield from ask_each(Pid, [action.node for action in injection.undo if isinstance(action, Start)])
        yield Act(tuple(Kill(node) for node, pid in alive.items() if pid is not None))
        return (yield from start_again(injection))


class RotFollower:
    """Kills a follower that is in sync, and changes a byte of its replica. Bit: it is gone, and so is the byte."""

    name = "rot-follower"
    summary = "SIGKILL a follower of a partition, and change a byte of what it wrote last; starts it again"
    needs = _DISK
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Kill a follower, change a byte, wait for the ISR to lose it."""
        state = yield from led(aim)
        if state is None:
            return no_leader(aim)
        in_sync = tuple(node for node in followers(state, aim) if node in state.isr)
        if not in_sync:
            return missed(aim, f"{aim.keys[0]} has no follower in sync", replicas=list(state.replicas))
        node = drawn(in_sync, aim)
        before = yield Ask(Rotten(node))
        injection, gone = yield from kill_nodes(aim, (node,), partial(Rot, key=aim.keys[0]))
        changed = (yield Ask(Rotten(node))) - before
        if not changed:
            injection = replace(injection, bit=False, evidence={**injection.evidence, "reason": "all was checkpointed"})
        injection = replace(injection, evidence={**injection.evidence, "bytes-changed": changed})
        if not gone or aim.held:
            return injection
        after_ms = yield Until(IsrShrunk(aim.keys[0], frozenset({node})), SHRINK_DEADLINE_S)
        return bitten(injection, {"isr_shrunk_after_ms": after_ms})

    def heal(self, injection: Injection) -> Heal:
        """Start it again."""
        return start_again(injection)
