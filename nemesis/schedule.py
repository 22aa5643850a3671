"""Carries a fault plan out: a generator for the process "nemesis", a pure value like every other.

The road of one entry, each step an op of the nemesis whose completion starts the next:

    wait for at_s -> inject a -> length_s -> heal a -> recover                                            (one fault)
    wait for at_s -> inject a -> gap_s -> inject b -> both_s -> heal a -> await-leader -> length_s -> heal b -> recover

A node is broken again only after `recover`: when the last one is back in every ISR, or after a bound that the op
records. An injection that did nothing (its completion names no node) is not healed, nor waited for. An injection whose
completion can't be read is healed by a `heal` without a fault-id, which heals everything.

Keys that an injection has added (`nemesis.growth`) are told to all by a point event, before the next step.

Values: injection {"keys": [...], "draw": x}, the second of an overlap with "during": the first's fault-id; `heal`
{"fault-id": n}; `await-leader` {"of": n}; `recover` {"bound-s": s}. Only an injection's completion has a member "bit".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness.generator import SECOND_NS, Answer, Context, Emit, Generator, Pending, invoke
from harness.history import HARNESS, INFO, INVOKE, NEMESIS, PARTITIONS, Op
from nemesis.faults import FAULTS
from nemesis.growth import ADDED
from nemesis.plan import FaultEntry, FaultPlan

HEAL, RECOVER, AWAIT_LEADER, AWAIT_STABLE = "heal", "recover", "await-leader", "await-stable"

QUIET_S = 1.0
"""Between a recovery and the next injection, so that there is a moment of health to compare with."""


def quiet_s(interval_s: float) -> float:
    """Return the moment of health of a run with that interval: half of it at most, so that short ones can be kept."""
    return min(QUIET_S, interval_s / 2)


@dataclass(frozen=True, slots=True)
class _Injected:
    """What the completion of an injection told."""

    fault_id: int | None
    """None: it could not be read."""
    touched: bool
    """Whether it did anything to a node."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One op of the nemesis; `after_s` counts from the completion of the step before."""

    f: str
    value: Any
    after_s: float = 0.0
    injects: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """The generator; make it with a plan, the bound of `recover`, and `quiet_s`. It ends with the plan."""

    plan: FaultPlan
    recover_bound_s: float
    quiet_s: float = QUIET_S
    position: int = 0
    """Index of the entry under way."""
    steps_done: int = 0
    """Steps of the entry that are behind us."""
    injected: tuple[_Injected, ...] = ()
    """The entry's injections so far."""
    began_ns: int | None = None
    since_ns: int | None = None
    """When the step before was complete; None before the first."""
    is_out: bool = False
    """Whether the current step was invoked and is not complete."""
    added: tuple[str, ...] = ()
    """Keys that the run has now, which nobody was told of."""

    def op(self, ctx: Context) -> Answer:
        """Emit the current step when its time has come."""
        if self.added:
            told = Op(process=HARNESS, type=INFO, f=PARTITIONS, value=list(self.added), time=ctx.time_ns)
            return Emit(told, replace(self, added=()))
        if self.position >= len(self.plan.entries):
            return None
        here = self if self.began_ns is not None else replace(self, began_ns=ctx.time_ns)
        if here.is_out or NEMESIS not in ctx.free:
            return Pending(None, here)
        step = here._step()
        at_ns = here._earliest_ns(step)
        if ctx.time_ns < at_ns:
            return Pending(at_ns, here)
        op = invoke(ctx.of([NEMESIS], [NEMESIS]), step.f, step.value)
        return Emit(op, replace(here, is_out=True))

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002
        """Learn that the current step is complete, and what an injection did."""
        if not self.is_out or event.process != NEMESIS or event.type == INVOKE:
            return self
        injected, added = self.injected, self.added
        if self._step().injects:
            injected, added = (*injected, _read(event.value)), (*added, *_added(event.value))
        here = replace(
            self, steps_done=self.steps_done + 1, injected=injected, since_ns=event.time, is_out=False, added=added
        )
        if here.steps_done < len(_steps(here._entry(), injected, self.recover_bound_s)):
            return here
        return replace(here, position=self.position + 1, steps_done=0, injected=())

    def _entry(self) -> FaultEntry:
        return self.plan.entries[self.position]

    def _step(self) -> _Step:
        return _steps(self._entry(), self.injected, self.recover_bound_s)[self.steps_done]

    def _earliest_ns(self, step: _Step) -> int:
        assert self.began_ns is not None
        if self.steps_done > 0:
            assert self.since_ns is not None
            return self.since_ns + int(step.after_s * SECOND_NS)
        at_ns = self.began_ns + int(self._entry().at_s * SECOND_NS)
        return at_ns if self.since_ns is None else max(at_ns, self.since_ns + int(self.quiet_s * SECOND_NS))


def _read(value: Any) -> _Injected:
    """Read what an injection's completion tells; unsure counts as touched."""
    if not isinstance(value, dict) or not isinstance(value.get("fault-id"), int):
        return _Injected(None, touched=True)
    return _Injected(value["fault-id"], touched=bool(value.get("nodes")))


def _steps(entry: FaultEntry, injected: tuple[_Injected, ...], recover_bound_s: float) -> list[_Step]:
    """Return the entry's steps as far as they can be known: the past ones never change by what is learned later."""
    keys = list(entry.keys)
    steps = [_Step(entry.faults[0], {"keys": keys, "draw": entry.draws[0]}, injects=True)]
    if not injected:
        return [*steps, _Step(RECOVER, None)]
    first = injected[0]
    if len(entry.faults) == 1:
        if first.touched:
            steps.append(_Step(HEAL, _of(first), entry.length_s))
        return [*steps, _Step(RECOVER, {"bound-s": recover_bound_s})]
    aim = {"keys": keys, "draw": entry.draws[1]}
    if first.touched and first.fault_id is not None:
        aim["during"] = first.fault_id
    steps.append(_Step(entry.faults[1], aim, entry.gap_s if first.touched else 0.0, injects=True))
    if len(injected) > 1:
        steps += _healing(entry, first, injected[1])
    return [*steps, _Step(RECOVER, {"bound-s": recover_bound_s})]


def _healing(entry: FaultEntry, first: _Injected, second: _Injected) -> list[_Step]:
    """Return the steps that heal an overlap: the first fault, then the second."""
    steps: list[_Step] = []
    if first.touched:
        steps.append(_Step(HEAL, _of(first), entry.both_s))
        if second.touched and second.fault_id is not None and FAULTS[entry.faults[1]].expects == "progress":
            steps.append(_Step(AWAIT_LEADER, {"of": second.fault_id}))
    if second.touched:
        steps.append(_Step(HEAL, _of(second), entry.length_s))
    return steps


def _of(injected: _Injected) -> dict[str, int] | None:
    """Return the value that names the fault; None heals everything."""
    return None if injected.fault_id is None else {"fault-id": injected.fault_id}


def _added(value: Any) -> tuple[str, ...]:
    """Return the keys that an injection has added."""
    evidence = value.get("evidence") if isinstance(value, dict) and value.get("bit") else None
    return tuple(evidence.get(ADDED, ())) if isinstance(evidence, dict) else ()
