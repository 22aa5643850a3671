"""The client of the process "nemesis": keeps the book of which faults hold, and performs the ops about them.

Ops: every fault by its name, `heal` (one fault, or all that hold, the newest first), `recover` (full ISRs),
`await-leader` (somebody leads whom the fault does not hold), `await-stable` (for the final reads). All complete as
`info`. An error of the provider is a failure of the harness, not of the system under test: the completion carries it,
an injection has `bit` false, and what was begun stays outstanding, so that the next `heal` or `nemesis.journal.heal`
undoes it. A fault is marked healed in the journal after its heal is complete.

One client serves the whole run, since it remembers which faults hold: it is its own factory (`open` returns itself).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.client import Client, Now
from harness.cluster.actions import Reset, Restore, Unskew
from harness.cluster.api import Cluster, ClusterError, Key, Observer
from harness.cluster.questions import Coordinator, FullIsr, LeaderElected, LeaderOf
from harness.history import INFO, Op, Process
from nemesis.fault import Aim, Fault, Heal, Until
from nemesis.faults import FAULTS
from nemesis.journal import Journal
from nemesis.performer import POLL_S, Answers, Begun, Clock, Ended, Holds, Performer
from nemesis.schedule import AWAIT_LEADER, AWAIT_STABLE, HEAL, RECOVER

AWAIT_LEADER_S = 30.0
"""For `await-leader`: the node that may lead answers already (its heal waited for that); then an election, 5 s."""

STALLED_WAIT_S = 5.0
"""Longest wait of a heal while a fault holds that stalls the cluster: what it waits for can hardly come."""

DEFAULT_BOUND_S = 60.0
"""For `recover` and `await-stable` where the op names no bound-s."""


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
        poll_s: float = POLL_S,
        coordinated: Callable[[], tuple[Coordinator, ...]] = tuple,
        spare_replicas: bool = True,
        instances: Mapping[str, Cluster] | None = None,
    ) -> None:
        """Prepare; `keys` are the run's partitions, the aim where an op names none.

        poll_s: between two looks at a condition. coordinated: tells the groups and transactional ids in use.
        spare_replicas: whether partitions take writes while a replica is
        away; where they don't, no fault is expected to let anything through. instances: of the user's program, by name,
        and what breaks them.
        """
        self._cluster = cluster
        self._observer = observer
        self._journal = journal
        self._keys = tuple(keys)
        self._instances = instances or {}
        self._performer = Performer(
            cluster, observer, journal, answer=answer, holds=holds, clock=clock, poll_s=poll_s, others=self._instances
        )
        self._clock = clock
        self._faults = faults
        self._coordinated = coordinated
        self._spare_replicas = spare_replicas
        self._last_id = 0
        self._holding: dict[int, Begun] = {}
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
        begun = Begun(self._last_id, fault, aim.keys, since_s=self._clock.now_s())
        failure = None
        try:
            begun.injection = self._performer.drive(fault.inject(aim), begun)
        except Exception as error:  # noqa: BLE001  a door: what was begun must be remembered, to be healed
            failure = _error(error)
        injection = begun.held()
        if begun.acted or injection.bit:
            self._holding[begun.fault_id] = begun
        evidence = injection.evidence or ({"reason": failure["message"]} if failure else {})
        told = {
            "fault-id": begun.fault_id,
            "nodes": list(injection.nodes),
            "keys": list(injection.keys),
            "evidence": evidence,
            "bit": injection.bit,
            "expects": (injection.expects or fault.expects) if self._spare_replicas else "stall",
        }
        return told | ({"error": failure} if failure else {})

    def _aim(self, value: Mapping[str, Any]) -> Aim:
        nodes = self._cluster.nodes()
        aim = Aim(
            keys=tuple(value.get("keys") or self._keys),
            draw=float(value.get("draw", 0.0)),
            nodes=tuple(node.name for node in nodes if "broker" in node.roles),
            every=tuple(node.name for node in nodes),
            coordinated=self._coordinated(),
            instances=tuple(self._instances),
        )
        during = self._holding.get(value.get("during", 0))
        if during is None:
            return aim
        held = during.held()
        # Whoever was moved, or has a wrong clock, is as good as any.
        unhurt = all(isinstance(undo, Restore | Reset | Unskew) for undo in held.undo)
        spare = frozenset() if unhurt else frozenset(held.nodes)
        coordinated = held.memory.get("coordinated", aim.coordinated)
        return replace(aim, spare=spare, held=True, seen=held.memory.get("seen"), coordinated=coordinated)

    # Healing

    def _heal(self, value: Mapping[str, Any]) -> dict[str, Any]:
        if "fault-id" not in value:
            return self._heal_all()
        fault_id = value["fault-id"]
        begun = self._holding.get(fault_id)
        if begun is None:
            return {"fault-id": fault_id, "evidence": {"reason": "this fault does not hold"}}
        stalled = any(other.fault.expects == "stall" for other in self._holding.values() if other is not begun)
        (healed,) = self._heal_these([begun], STALLED_WAIT_S if stalled else math.inf)
        return healed

    def _heal_all(self) -> dict[str, Any]:
        healed = self._heal_these(sorted(self._holding.values(), key=lambda begun: -begun.fault_id), math.inf)
        told: dict[str, Any] = {
            "fault-ids": [one["fault-id"] for one in healed],
            "evidence": {str(one["fault-id"]): one["evidence"] for one in healed},
        }
        failures = [one["error"] for one in healed if "error" in one]
        return told | ({"error": failures[0]} if failures else {})

    def _heal_these(self, faults: Sequence[Begun], longest_s: float) -> list[dict[str, Any]]:
        """Heal them: first everything is undone, then waited for, since one heal may be what another waits for."""
        plans = [(begun, begun.fault.heal(begun.held())) for begun in faults]
        stops: list[Until | Ended[dict[str, Any]] | Exception] = []
        for begun, plan in plans:
            try:
                stops.append(self._performer.advance(plan, begun))
            except Exception as error:  # noqa: BLE001  a door: the other faults must still be healed
                stops.append(error)
        return [self._finish(begun, plan, stop, longest_s) for (begun, plan), stop in zip(plans, stops, strict=True)]

    def _finish(
        self, begun: Begun, plan: Heal, stop: Until | Ended[dict[str, Any]] | Exception, longest_s: float
    ) -> dict[str, Any]:
        """Perform the rest of a heal and strike the fault off, unless the provider failed."""
        if isinstance(stop, Exception):
            return {"fault-id": begun.fault_id, "evidence": {}, "error": _error(stop)}
        try:
            evidence = self._performer.finish(plan, stop, begun, longest_s)
        except Exception as error:  # noqa: BLE001  a door: the other faults must still be healed
            return {"fault-id": begun.fault_id, "evidence": {}, "error": _error(error)}
        self._journal.healed(begun.fault_id, begun.fault.name)
        del self._holding[begun.fault_id]
        return {"fault-id": begun.fault_id, "evidence": evidence}

    # Waiting

    def _recover(self, value: Mapping[str, Any]) -> dict[str, Any]:
        bound_s = float(value.get("bound-s", DEFAULT_BOUND_S))
        after_ms = self._performer.until(FullIsr(), bound_s)
        return {"full-isr": after_ms is not None, "after_ms": after_ms, "bound-s": bound_s}

    def _await_leader(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Wait until somebody leads whom the fault does not hold; `after_ms` counts from its injury.

        Its values say "of", not "fault-id": whoever pairs injections with heals by that id must not take it for one.
        """
        fault_id = value["of"]
        begun = self._holding.get(fault_id)
        if begun is None:
            return {"of": fault_id, "reason": "this fault does not hold"}
        key, injection = begun.keys[0], begun.held()
        unhurt = all(isinstance(undo, Reset | Unskew) for undo in injection.undo)  # whoever leads may lead
        held = frozenset() if unhurt else frozenset(injection.nodes)
        seen = self._performer.until(LeaderElected(key, held), AWAIT_LEADER_S) is not None
        after_ms = round((self._clock.now_s() - begun.since_s) * 1000, 1)
        state = self._performer.ask(LeaderOf(key))
        leader = state.leader if seen and state is not None else None
        return {"of": fault_id, "key": key, "new-leader": leader, "after_ms": after_ms if seen else None}

    def _await_stable(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for full ISRs and LSO = HW on every key; told is what the last look saw."""
        keys = tuple(value.get("keys", self._keys))
        bound_s = float(value.get("bound-s", DEFAULT_BOUND_S))
        began_s = self._clock.now_s()
        while True:
            full = self._performer.looks(FullIsr())
            ends = self._observer.end_offsets(keys)
            stable = all(key in ends and ends[key][0] == ends[key][1] for key in keys)
            waited_s = self._clock.now_s() - began_s
            if (full and stable) or waited_s >= bound_s or not self._clock.wait(self._performer.poll_s):
                break
        return {
            "ends": {key: list(ends[key]) if key in ends else None for key in keys},
            "full-isr": full,
            "stable": stable,
            "after_ms": round(waited_s * 1000, 1),
        }


def _error(error: Exception) -> dict[str, str]:
    """Return a completion's error for a failure of the harness."""
    name = "CLUSTER_ERROR" if isinstance(error, ClusterError) else "NEMESIS_CRASHED"
    return {"name": name, "message": str(error) or repr(error)}
