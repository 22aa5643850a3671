"""Faults of the metadata quorum: kill-controller.

The active controller leads the metadata quorum. Who it is, is asked from the quorum itself (DescribeQuorum); partitions
and their leaders have no say. Its successor is seen as soon as it claims to lead, before it has committed anything:
what comes next in an overlap hits the quorum at the moment of the election.
"""

from __future__ import annotations

from typing import Any

from harness.cluster.questions import Controller, ControllerElected, QuorumLeader
from nemesis.aiming import ELECTION_DEADLINE_S, bitten, missed
from nemesis.fault import Aim, Ask, Expects, Heal, Inject, Injection, Power, Until
from nemesis.kills import kill_nodes, start_again

AIM_DEADLINE_S = 5.0
"""For a controller to aim at: elections of the quorum end within a few seconds."""


class KillController:
    """Kills the active controller.

    Bit: the process was there and is gone, and another node leads the quorum (how soon is recorded). While another
    fault holds it: gone.
    """

    name = "kill-controller"
    summary = "SIGKILL the active controller; starts it again"
    needs: frozenset[Power] = frozenset({"kill"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Kill the controller and wait for the next one."""
        controller: str | None = yield Ask(Controller())
        if controller is None or controller in aim.spare:
            yield Until(ControllerElected(aim.spare), AIM_DEADLINE_S)
            controller = yield Ask(Controller())
        if controller is None or controller in aim.spare:
            return missed(aim, f"no active controller to kill known within {AIM_DEADLINE_S:g} s")
        injection, gone = yield from kill_nodes(aim, (controller,))
        if not gone or aim.held:
            return injection
        after_ms = yield Until(ControllerElected(frozenset({controller})), ELECTION_DEADLINE_S, closely=True)
        found: tuple[str, int] | None = yield Ask(QuorumLeader())
        evidence: dict[str, Any] = {"new-controller": None if found is None else found[0], "after_ms": after_ms}
        if found is not None:
            evidence["quorum-epoch"] = found[1]
        if after_ms is None:
            evidence["reason"] = f"the quorum had no leader other than {controller} within {ELECTION_DEADLINE_S:g} s"
        return bitten(injection, evidence)

    def heal(self, injection: Injection) -> Heal:
        """Start it again."""
        return start_again(injection)
