"""Faults that stop nodes with SIGSTOP (in containers: the freezer, the same to others): pause-leader, pause-followers.

A stopped process keeps its connections open and answers nothing: to others it looks slow before it looks dead, and when
it goes on it believes for a moment what was true before. The operating system says whether it is stopped.

pause-followers never waits after its signals. With combined roles, stopping two nodes of three takes away the
controller quorum too: then no ISR can shrink and no leader can move, however long one waits, and that state is the
strongest form of the fault. And a fault that overlaps it must come while the stopped followers still count as in sync
(see `nemesis.plan`).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from harness.cluster.actions import Pause, Resume
from harness.cluster.questions import Stopped
from nemesis.actions import inverses
from nemesis.aiming import (
    answers_within,
    ask_each,
    bitten,
    followers,
    isr_size,
    leader_moved,
    led,
    missed,
    no_leader,
    per_node,
)
from nemesis.fault import Act, Aim, Expects, Heal, Inject, Injection, Power, Step

RESUME_DEADLINE_S = 20.0
"""For a resumed node to answer: an election of the controller and a registration first, if its quorum was gone."""

_PAUSE: frozenset[Power] = frozenset({"pause"})


def go_on(injection: Injection) -> Heal:
    """Resume the paused nodes, at once and without a question to the cluster first; evidence: as in `kills`.

    A node whose process is gone, or that already goes on, is left alone.
    """
    nodes = [action.node for action in injection.undo if isinstance(action, Resume)]
    if not nodes:
        return {}
    before = yield from ask_each(Stopped, nodes)
    stopped = [node for node, is_stopped in before.items() if is_stopped is not False]
    if stopped:
        yield Act(tuple(Resume(node) for node in stopped))
    still = yield from ask_each(Stopped, nodes)
    answers = yield from answers_within(nodes, RESUME_DEADLINE_S)
    evidence = {"stopped": per_node(still), "answers_after_ms": per_node(answers)}
    return evidence | (yield from isr_size(injection))


class PauseLeader:
    """Stops the node that leads the aimed partition.

    Bit: the operating system says that it is stopped, and the partition has another leader (how soon is recorded) or
    none. While another fault holds it: stopped; `await-leader` records the election.
    """

    name = "pause-leader"
    summary = "SIGSTOP the leader of a partition; lets it go on"
    needs = _PAUSE
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Pause the leader and wait for the next one."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        injection = yield from _pause(aim, (state.leader,))
        if not injection.bit or aim.held:
            return injection
        return bitten(injection, (yield from leader_moved(aim, state.leader)))

    def heal(self, injection: Injection) -> Heal:
        """Let it go on."""
        return go_on(injection)


class PauseFollowers:
    """Stops all followers of the aimed partition.

    Bit: the operating system says that every one is stopped, and one at least was in the ISR: a stopped process fetches
    nothing, whatever the metadata say. What the ISR was is recorded.
    """

    name = "pause-followers"
    summary = "SIGSTOP all followers of a partition; lets them go on"
    needs = _PAUSE
    expects: Expects = "stall"

    def inject(self, aim: Aim) -> Inject:
        """Pause the followers."""
        state = yield from led(aim)
        if state is None:
            return no_leader(aim)
        nodes = followers(state, aim)
        if not nodes:
            return missed(aim, f"{aim.keys[0]} has no follower to pause", replicas=list(state.replicas))
        in_sync = [node for node in nodes if node in state.isr]
        evidence: dict[str, Any] = {"leader": state.leader, "isr-before": list(state.isr)}
        if not in_sync:
            evidence["reason"] = "no follower was in the ISR before"
        injection = yield from _pause(aim, nodes)
        injection.memory["seen"] = state
        return bitten(injection, evidence)

    def heal(self, injection: Injection) -> Heal:
        """Let them go on."""
        return go_on(injection)


def _pause(aim: Aim, nodes: tuple[str, ...]) -> Generator[Step, Any, Injection]:
    """Stop the nodes; it bit so far if the operating system says that all of them are stopped."""
    actions = tuple(Pause(node) for node in nodes)
    yield Act(actions)
    stopped = yield from ask_each(Stopped, nodes)
    evidence: dict[str, Any] = {"stopped": per_node(stopped)}
    running = sorted(node for node, is_stopped in stopped.items() if not is_stopped)
    if running:
        evidence["reason"] = f"not stopped: {', '.join(running)}"
    return Injection(nodes=nodes, keys=aim.keys, evidence=evidence, bit=not running, undo=inverses(actions))
