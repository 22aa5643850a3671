"""Faults that aim at coordinators: kill-, pause-, partition-, move- and reassign-coordinator.

A group, a transactional id, or what a share group knows of one partition (KIP-932) is kept by one partition of an
internal topic, and coordinated by whoever leads that. So each of these is the fault of the same kind that aims at a
partition's leader, aimed at a partition of `__consumer_offsets`, `__transaction_state` or `__share_group_state`: it
bites when that has happened to this partition, and heals alike.

Whose coordinator it is, is drawn at the moment of injection among what the run's processes use then: first the kind,
then one of it. Which partition keeps it follows from its hash; the nodes themselves (FindCoordinator) must name its
leader, else nothing is done. A second fault that overlaps and aims at a coordinator aims at the same one's, who is then
a successor that has only begun to read what it is to know.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from harness.cluster.api import PartitionState
from harness.cluster.questions import Coordinated, Coordinator
from nemesis.aiming import AIM_DEADLINE_S, bitten, missed, split
from nemesis.fault import Aim, Ask, Fault, Heal, Inject, Injection, Step, Until


class OfCoordinator:
    """A fault that aims at leaders, aimed at a coordinator. Bit: as that fault."""

    def __init__(self, name: str, summary: str, fault: Fault) -> None:
        """Name it; `fault` is what happens to the partition."""
        self.name, self.summary, self._fault = name, summary, fault
        self.needs, self.expects = fault.needs, fault.expects

    def inject(self, aim: Aim) -> Inject:
        """Draw whose coordinator, find the partition, and do it there."""
        if not aim.coordinated:
            return missed(aim, "the run has no group and no transactional id")
        of, left = _one_of(aim.coordinated, aim.draw)
        state = yield from _kept(of, aim.spare)
        told = {"coordinator-of": f"{of.kind} {of.name}"}
        if state is None:
            other = f" other than {', '.join(sorted(aim.spare))}" if aim.spare else ""
            return missed(aim, f"no coordinator{other} known for it within {AIM_DEADLINE_S:g} s", **told)
        injection = yield from self._fault.inject(replace(aim, keys=(state.key,), draw=left, seen=state))
        injection.memory["coordinated"] = (of,)
        return bitten(injection, told)

    def heal(self, injection: Injection) -> Heal:
        """Do what heals the fault."""
        return self._fault.heal(injection)


def _one_of(coordinated: Sequence[Coordinator], draw: float) -> tuple[Coordinator, float]:
    """Return one of them, each kind as likely, and what is left of the draw."""
    kind, left = split(tuple(dict.fromkeys(one.kind for one in coordinated)), draw)
    return split([one for one in coordinated if one.kind == kind], left)


def _kept(of: Coordinator, spare: frozenset[str]) -> Generator[Step, Any, PartitionState | None]:
    """Return the partition that keeps it, led by a node that is not to be spared; None when there is none in time."""
    state: PartitionState | None = yield Ask(of)
    if state is None or state.leader in spare:
        yield Until(Coordinated(of, spare), AIM_DEADLINE_S)
        state = yield Ask(of)
    return None if state is None or state.leader in spare else state
