"""A fault: what goes wrong and how it heals, as a pure plan.

A plan is a Python generator that *yields* steps and is *sent* their results. It never sleeps, never calls Docker and
knows no clock: `nemesis.client` performs the steps on a real cluster with the real clock, the simulator performs the
same steps on a virtual one. The states of a fault: aimed (it asks who leads) -> injected (its actions are journalled,
then done) -> bit or missed (evidence gathered within a bound) -> healed (the inverse actions, evidence again).

Order contract: every `Act` is written to the run's fault journal before it is performed, so that `harness heal` can
undo it after a crash of the harness.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from harness.cluster.actions import Action
from harness.cluster.api import Key, PartitionState
from harness.cluster.questions import Condition, Coordinator, Question

Expects = Literal["progress", "stall"]
Power = Literal[
    "kill",
    "stop",
    "upgrade",
    "pause",
    "partition",
    "shape",
    "intercept",
    "power",
    "disk",
    "clock",
    "reassign",
    "configure",
    "application",
]


@dataclass(frozen=True, slots=True)
class Act:
    """Do the action now; the result is None. Actions of one Act are done in order, without waiting between them."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the cluster; the result is the question's answer, None where nobody could say."""

    question: Question


@dataclass(frozen=True, slots=True)
class Until:
    """Wait for the condition; the result is milliseconds waited as float, or None when the deadline passed."""

    condition: Condition
    deadline_s: float
    closely: bool = False
    """Look often: what comes next must not come late."""


Step = Act | Ask | Until


@dataclass(frozen=True, slots=True)
class Injection:
    """What an injection did: HISTORY.md's completion value without the fault-id. `nodes` and `keys` may be empty."""

    nodes: tuple[str, ...]
    keys: tuple[Key, ...]
    evidence: dict[str, Any]
    bit: bool
    undo: tuple[Action, ...] = ()
    """The inverse actions that heal it."""
    expects: Expects | None = None
    """What this one leaves to the cluster; None: what the fault says of all."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What a fault that overlaps this one, or its own heal, wants to know: see `Aim.seen`."""


Inject = Generator[Step, Any, Injection]
Heal = Generator[Step, Any, dict[str, Any]]
"""Returns the evidence of healing."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Where to aim: by role at the moment of injection.

    keys: the partitions to aim at, the first is the one whose roles count (overlapping faults share it);
    draw: a number in [0, 1) from the run's seed for any choice that is left; spare: nodes not to touch.
    """

    keys: tuple[Key, ...]
    draw: float
    nodes: tuple[str, ...] = ()
    """All broker nodes, for faults that aim at any or all."""
    spare: frozenset[str] = frozenset()
    every: tuple[str, ...] = ()
    """All nodes, separate controllers included, for faults that cut links."""
    held: bool = False
    """Another fault holds and is healed right after this injection: no waiting for what only that healing brings."""
    seen: PartitionState | None = None
    """What was seen of the first key already: by the fault that holds, where asking now would hang on the nodes that it
    stopped, or by whoever found out that this is the key."""
    coordinated: tuple[Coordinator, ...] = ()
    """The groups and transactional ids whose coordinators there are to aim at; asking for one tells its coordinator."""
    instances: tuple[str, ...] = ()
    """Those of the user's program."""


class Fault(Protocol):
    """One kind of fault."""

    name: str
    summary: str
    needs: frozenset[Power]
    expects: Expects

    def inject(self, aim: Aim) -> Inject:
        """Yield the steps that injure the cluster and show that it bit."""
        ...

    def heal(self, injection: Injection) -> Heal:
        """Yield the steps that undo it."""
        ...
