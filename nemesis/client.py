"""The client of the process "nemesis": performs fault plans on a running cluster, with the real clock.

It is the only place where a fault waits: a condition is polled in slices of POLL_S until its deadline, or until the run
is told to stop (then what is waited for counts as not seen; healing goes on without waiting). Order contract: an action
is written to the fault journal before it is performed; a fault is marked healed there after its heal is complete.

Ops: every fault by its name, `heal` (one fault, or all that hold, the newest first), `recover` (full ISRs),
`await-leader` (somebody leads whom the fault does not hold), `await-stable` (for the final reads). All complete as
`info`. An error of the provider is a failure of the harness, not of the system under test: the completion carries it,
an injection has `bit` false, and what was begun stays outstanding, so that the next `heal` or `nemesis.journal.heal`
undoes it.

One client serves the whole run, since it remembers which faults hold: it is its own factory (`open` returns itself).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, assert_never

from harness.client import Client, Now
from harness.cluster.api import (
    Action,
    Cluster,
    ClusterError,
    Condition,
    FullIsr,
    Key,
    LeaderElected,
    LeaderOf,
    Observer,
    Question,
)
from harness.history import INFO, Op, Process
from nemesis.actions import inverses, nodes_of, perform
from nemesis.fault import Act, Aim, Ask, Fault, Injection, Step, Until
from nemesis.faults import FAULTS
from nemesis.journal import Journal
from nemesis.schedule import AWAIT_LEADER, AWAIT_STABLE, HEAL, RECOVER

T = TypeVar("T")

POLL_S = 0.2
"""Between two looks at a condition; a look itself costs a metadata request."""

AWAIT_LEADER_S = 30.0
"""For `await-leader`: the node that may lead answers already (its heal waited for that); then an election, 5 s."""

DEFAULT_BOUND_S = 60.0
"""For `recover` and `await-stable` where the op names no bound-s."""

MAX_STEPS = 1_000
"""Bound of a plan's steps: a fault of ten nodes takes a few hundred at most."""

Answers = Callable[[Question, Observer, Cluster], Any]
Holds = Callable[[Condition, Observer, Cluster], bool]


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
class _Begun:
    """An injection under way, or holding: what was done, and since when."""

    fault_id: int
    fault: Fault
    keys: tuple[Key, ...]
    acted: list[Action] = field(default_factory=list)
    since_s: float = 0.0
    """When its last injury was done."""
    injection: Injection | None = None

    def held(self) -> Injection:
        """Return the injection; one that broke off is made up from what was done."""
        if self.injection is not None:
            return self.injection
        return Injection(nodes_of(self.acted), self.keys, {}, bit=False, undo=inverses(self.acted))


class NemesisClient:
    """Performs the nemesis's ops; see the module's text. Used from one thread at a time."""

    def __init__(
        self,
        cluster: Cluster,
        observer: Observer,
        journal: Journal,
        keys: Sequence[Key],
        *,
        answer: Answers,
        holds: Holds,
        clock: Clock,
        faults: Mapping[str, Fault] = FAULTS,
    ) -> None:
        """Prepare; `keys` are the run's partitions, the aim where an op names none."""
        self._cluster = cluster
        self._observer = observer
        self._journal = journal
        self._keys = tuple(keys)
        self._answer = answer
        self._holds = holds
        self._clock = clock
        self._faults = faults
        self._last_id = 0
        self._holding: dict[int, _Begun] = {}
        self._ops: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            HEAL: self._heal,
            RECOVER: self._recover,
            AWAIT_LEADER: self._await_leader,
            AWAIT_STABLE: self._await_stable,
        }

    def open(self, process: Process, now: Now) -> Client:  # noqa: ARG002  what `Clients` asks for
        """Return itself: which faults hold is remembered for the whole run."""
        return self

    def close(self) -> None:
        """Do nothing: what holds is healed by an op, or by `nemesis.journal.heal`."""

    def invoke(self, op: Op) -> Op:
        """Perform the op; its completion is always `info`."""
        try:
            value = self._perform(op)
        except Exception as error:  # noqa: BLE001  a door: whatever a provider throws, healing must still be possible
            return op.completed(INFO, error=_error(error))
        failure = value.pop("error", None)
        return op.completed(INFO, value=value, error=failure)

    def _perform(self, op: Op) -> dict[str, Any]:
        value = op.value if isinstance(op.value, dict) else {}
        if op.f in self._faults:
            return self._inject(self._faults[op.f], value)
        if op.f not in self._ops:
            raise ValueError(f"the nemesis knows no op {op.f!r}")
        return self._ops[op.f](value)

    # Injections

    def _inject(self, fault: Fault, value: Mapping[str, Any]) -> dict[str, Any]:
        aim = self._aim(value)
        self._last_id += 1
        begun = _Begun(self._last_id, fault, aim.keys)
        failure = None
        try:
            begun.injection = self._drive(fault.inject(aim), begun)
        except Exception as error:  # noqa: BLE001  a door: what was begun must be remembered, to be healed
            failure = _error(error)
        injection = begun.held()
        if begun.acted:
            self._holding[begun.fault_id] = begun
        evidence = injection.evidence or ({"reason": failure["message"]} if failure else {})
        told = {
            "fault-id": begun.fault_id,
            "nodes": list(injection.nodes),
            "keys": list(injection.keys),
            "evidence": evidence,
            "bit": injection.bit,
            "expects": fault.expects,
        }
        return told | ({"error": failure} if failure else {})

    def _aim(self, value: Mapping[str, Any]) -> Aim:
        nodes = self._cluster.nodes()
        aim = Aim(
            keys=tuple(value.get("keys") or self._keys),
            draw=float(value.get("draw", 0.0)),
            nodes=tuple(node.name for node in nodes if "broker" in node.roles),
            every=tuple(node.name for node in nodes),
        )
        during = self._holding.get(value.get("during", 0))
        if during is None:
            return aim
        held = during.held()
        return replace(aim, spare=frozenset(held.nodes), held=True, seen=held.memory.get("seen"))

    # Healing

    def _heal(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return self._heal_one(value["fault-id"]) if "fault-id" in value else self._heal_all()

    def _heal_one(self, fault_id: int) -> dict[str, Any]:
        begun = self._holding.get(fault_id)
        if begun is None:
            return {"fault-id": fault_id, "evidence": {"reason": "this fault does not hold"}}
        try:
            evidence = self._drive(begun.fault.heal(begun.held()), begun)
        except Exception as error:  # noqa: BLE001  a door: the other faults must still be healed
            return {"fault-id": fault_id, "evidence": {}, "error": _error(error)}
        self._journal.healed(fault_id, begun.fault.name)
        del self._holding[fault_id]
        return {"fault-id": fault_id, "evidence": evidence}

    def _heal_all(self) -> dict[str, Any]:
        healed = [self._heal_one(fault_id) for fault_id in sorted(self._holding, reverse=True)]
        told: dict[str, Any] = {
            "fault-ids": [one["fault-id"] for one in healed],
            "evidence": {str(one["fault-id"]): one["evidence"] for one in healed},
        }
        failures = [one["error"] for one in healed if "error" in one]
        return told | ({"error": failures[0]} if failures else {})

    # Waiting

    def _recover(self, value: Mapping[str, Any]) -> dict[str, Any]:
        bound_s = float(value.get("bound-s", DEFAULT_BOUND_S))
        after_ms = self._until(FullIsr(), bound_s)
        return {"full-isr": after_ms is not None, "after_ms": after_ms, "bound-s": bound_s}

    def _await_leader(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Wait until somebody leads whom the fault does not hold; `after_ms` counts from its injury."""
        fault_id = value["fault-id"]
        begun = self._holding.get(fault_id)
        if begun is None:
            return {"fault-id": fault_id, "reason": "this fault does not hold"}
        key, held = begun.keys[0], frozenset(begun.held().nodes)
        seen = self._until(LeaderElected(key, held), AWAIT_LEADER_S) is not None
        after_ms = round((self._clock.now_s() - begun.since_s) * 1000, 1)
        state = self._answer(LeaderOf(key), self._observer, self._cluster)
        leader = state.leader if seen and state is not None else None
        return {"fault-id": fault_id, "key": key, "new-leader": leader, "after_ms": after_ms if seen else None}

    def _await_stable(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for full ISRs and LSO = HW on every key; told is what the last look saw."""
        keys = tuple(value.get("keys", self._keys))
        bound_s = float(value.get("bound-s", DEFAULT_BOUND_S))
        began_s = self._clock.now_s()
        while True:
            full = self._looks(FullIsr())
            ends = self._observer.end_offsets(keys)
            stable = all(key in ends and ends[key][0] == ends[key][1] for key in keys)
            waited_s = self._clock.now_s() - began_s
            if (full and stable) or waited_s >= bound_s or not self._clock.wait(POLL_S):
                break
        return {
            "ends": {key: list(ends[key]) if key in ends else None for key in keys},
            "full-isr": full,
            "stable": stable,
            "after_ms": round(waited_s * 1000, 1),
        }

    def _until(self, condition: Condition, deadline_s: float) -> float | None:
        """Poll the condition; return ms waited, None if it wasn't seen before the deadline."""
        began_s = self._clock.now_s()
        while not self._looks(condition):
            if self._clock.now_s() - began_s >= deadline_s or not self._clock.wait(POLL_S):
                return None
        return round((self._clock.now_s() - began_s) * 1000, 1)

    def _looks(self, condition: Condition) -> bool:
        try:
            return self._holds(condition, self._observer, self._cluster)
        except ClusterError:  # a cluster that is being broken may not answer; that is not what was waited for
            return False

    # Plans

    def _drive(self, plan: Generator[Step, Any, T], begun: _Begun) -> T:
        """Perform a plan's steps and return its result."""
        result: Any = None
        for _ in range(MAX_STEPS):
            try:
                step = plan.send(result)
            except StopIteration as end:
                told: T = end.value
                return told
            match step:
                case Act(actions):
                    self._act(actions, begun)
                    result = None
                case Ask(question):
                    result = self._answer(question, self._observer, self._cluster)
                case Until(condition, deadline_s):
                    result = self._until(condition, deadline_s)
                case _:
                    assert_never(step)
        raise RuntimeError(f"{begun.fault.name}: a plan of more than {MAX_STEPS} steps")

    def _act(self, actions: tuple[Action, ...], begun: _Begun) -> None:
        self._journal.do(begun.fault_id, begun.fault.name, actions)
        if inverses(actions):  # injuries: remembered before they are done, like in the journal
            begun.acted.extend(actions)
        for action in actions:
            perform(action, self._cluster)
        if inverses(actions):
            begun.since_s = self._clock.now_s()


def _error(error: Exception) -> dict[str, str]:
    """Return a completion's error for a failure of the harness."""
    name = "CLUSTER_ERROR" if isinstance(error, ClusterError) else "NEMESIS_CRASHED"
    return {"name": name, "message": str(error) or repr(error)}
