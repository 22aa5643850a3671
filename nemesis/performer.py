"""Performs a fault's plan step by step on a running cluster: the driver for threads and the real clock.

It is the only place where a fault waits: a condition is polled in slices of `poll_s` until its deadline, or until the
run is told to stop; what is waited for then counts as not seen, and the plan goes on. Order contract: an action is
written to the fault journal, and remembered as begun, before it is performed.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, assert_never

from harness.cluster.actions import Action
from harness.cluster.api import Cluster, ClusterError, Key, Observer
from harness.cluster.questions import Condition, Question
from nemesis.actions import inverses, nodes_of, perform
from nemesis.fault import Act, Ask, Fault, Injection, Step, Until
from nemesis.journal import Journal

T = TypeVar("T")

POLL_S = 0.2
"""Between two looks at a condition; a look itself costs a metadata request."""

CLOSELY = 10
"""How many times as often a condition is looked at that what comes next depends on to the moment."""

MAX_STEPS = 1_000
"""Bound of a plan's steps: a fault of ten nodes takes a few hundred at most."""

Answers = Callable[[Question, Observer, Cluster], Any]
"""Answers a question; None: nobody could say."""

Holds = Callable[[Condition, Observer, Cluster], bool]
"""Whether a condition holds now."""


class Clock(Protocol):
    """What time it is, and waiting."""

    def now_s(self) -> float:
        """Return seconds on a monotonic clock."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait; return False if the run was told to stop (at once, then)."""
        ...


class WallClock:
    """The real clock; `stop`, set from any thread, ends all waiting."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        """Make one; without an event nothing cuts it short."""
        self._stop = stop or threading.Event()

    def now_s(self) -> float:
        """Return the monotonic clock."""
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Wait for that long, or until told to stop."""
        return not self._stop.wait(seconds)


@dataclass(slots=True)
class Begun:
    """An injection under way, or holding: what was done, and since when."""

    fault_id: int
    fault: Fault
    keys: tuple[Key, ...]
    acted: list[Action] = field(default_factory=list)
    since_s: float = 0.0
    """When its last injury was done, or else when it began."""
    injection: Injection | None = None

    def held(self) -> Injection:
        """Return the injection; one that broke off is made up from what was done."""
        if self.injection is not None:
            return self.injection
        return Injection(nodes_of(self.acted), self.keys, {}, bit=False, undo=inverses(self.acted))


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """A plan has ended with this result."""

    value: T


class Performer:
    """Performs plans on one cluster; used from one thread at a time."""

    def __init__(
        self,
        cluster: Cluster,
        observer: Observer,
        journal: Journal,
        *,
        answer: Answers,
        holds: Holds,
        clock: Clock,
        poll_s: float = POLL_S,
        others: Mapping[str, Cluster] | None = None,
    ) -> None:
        """Prepare; nothing is asked or done yet. poll_s: between two looks at a condition.

        others: what is no node of the cluster and is broken as one, by name, and what breaks it.
        """
        self._cluster = cluster
        self._observer = observer
        self._journal = journal
        self._answer = answer
        self._holds = holds
        self._clock = clock
        self.poll_s = poll_s
        self._others = others or {}

    def drive(self, plan: Generator[Step, Any, T], begun: Begun) -> T:
        """Perform a plan to its end and return its result. Raises what the provider raises."""
        return self.finish(plan, self.advance(plan, begun), begun)

    def finish(
        self, plan: Generator[Step, Any, T], stop: Until | Ended[T], begun: Begun, longest_s: float = math.inf
    ) -> T:
        """Perform the rest of a plan that has stopped at `stop`; no wait lasts longer than `longest_s`."""
        for _ in range(MAX_STEPS):
            if isinstance(stop, Ended):
                return stop.value
            stop = self.advance(plan, begun, self._wait(stop, longest_s))
        raise RuntimeError(f"{begun.fault.name}: a plan of more than {MAX_STEPS} waits")

    def advance(self, plan: Generator[Step, Any, T], begun: Begun, result: Any = None) -> Until | Ended[T]:
        """Send the result into the plan and perform its steps until it wants to wait, or ends."""
        for _ in range(MAX_STEPS):
            try:
                step = plan.send(result)
            except StopIteration as end:
                return Ended(end.value)
            match step:
                case Act(actions):
                    self._act(actions, begun)
                    result = None
                case Ask(question):
                    result = self.ask(question)
                case Until():
                    return step
                case _:
                    assert_never(step)
        raise RuntimeError(f"{begun.fault.name}: a plan of more than {MAX_STEPS} steps")

    def ask(self, question: Question) -> Any:
        """Return the answer to a question."""
        return self._answer(question, self._observer, self._of(question))

    def _of(self, what: Question | Action) -> Cluster:
        return self._others.get(getattr(what, "node", ""), self._cluster)

    def _wait(self, step: Until, longest_s: float) -> float | None:
        poll_s = self.poll_s / CLOSELY if step.closely else self.poll_s
        return self.until(step.condition, min(step.deadline_s, longest_s), poll_s)

    def until(self, condition: Condition, deadline_s: float, poll_s: float | None = None) -> float | None:
        """Poll the condition; return ms waited, None if it wasn't seen before the deadline."""
        began_s = self._clock.now_s()
        while not self.looks(condition):
            if self._clock.now_s() - began_s >= deadline_s or not self._clock.wait(poll_s or self.poll_s):
                return None
        return round((self._clock.now_s() - began_s) * 1000, 1)

    def looks(self, condition: Condition) -> bool:
        """Return whether the condition is seen to hold now."""
        try:
            return self._holds(condition, self._observer, self._cluster)
        except ClusterError:  # a cluster that is being broken may not answer; that is not what was waited for
            return False

    def _act(self, actions: tuple[Action, ...], begun: Begun) -> None:
        self._journal.do(begun.fault_id, begun.fault.name, actions)
        injures = bool(inverses(actions))
        if injures:
            begun.acted.extend(actions)
        for action in actions:
            perform(action, self._of(action))
        if injures:
            begun.since_s = self._clock.now_s()
