"""Aiming by role, and the evidence that faults share.

Who leads and who follows the aimed partition is asked at the moment of injection, in the cluster's own metadata.

A fault asks once. Where nobody could say, or the leader is a node to spare, it waits a short bounded time for a leader
and asks again; after that the injection has missed, with the reason as its evidence. Nothing is done to any node then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from harness.cluster.api import Key, PartitionState
from harness.cluster.questions import LeaderElected, LeaderOf, NodeAnswers, PreferredElection, Question
from nemesis.fault import Aim, Ask, Injection, Step, Until

T = TypeVar("T")

AIM_DEADLINE_S = 5.0
"""For a leader to aim at: an election that is under way ends within about 5 s (measured 3.3-4.9 s)."""

ELECTION_DEADLINE_S = 15.0
"""For another leader: about three times what was measured on two busy cores (3.3-4.9 s)."""

ELECTION_TRIES = 5
"""A controller that has just changed, or an ISR that flickers, refuses an election once or twice."""

Led = Generator[Step, Any, PartitionState | None]


def led(aim: Aim) -> Led:
    """Return the first key's state with a leader that is not to be spared; None when there is none in time."""
    if aim.seen is not None:
        return aim.seen
    assert aim.keys, "an aim by role needs a partition"
    state: PartitionState | None = yield Ask(LeaderOf(aim.keys[0]))
    if not _usable(state, aim):
        yield Until(LeaderElected(aim.keys[0], aim.spare), AIM_DEADLINE_S)
        state = yield Ask(LeaderOf(aim.keys[0]))
    return state if _usable(state, aim) else None


def _usable(state: PartitionState | None, aim: Aim) -> bool:
    return state is not None and state.leader is not None and state.leader not in aim.spare


def no_leader(aim: Aim) -> Injection:
    """Return the miss of a fault that found no leader to aim at."""
    others = f" other than {', '.join(sorted(aim.spare))}" if aim.spare else ""
    return missed(aim, f"no leader{others} known for {aim.keys[0]} within {AIM_DEADLINE_S:g} s")


def missed(aim: Aim, reason: str, **evidence: Any) -> Injection:
    """Return an injection that did nothing, and why."""
    return Injection(nodes=(), keys=aim.keys, evidence={"reason": reason, **evidence}, bit=False)


def followers(state: PartitionState, aim: Aim) -> tuple[str, ...]:
    """Return the replicas that don't lead and are not to be spared, in the order of their names."""
    return tuple(sorted(node for node in state.replicas if node != state.leader and node not in aim.spare))


def drawn(nodes: Sequence[str], aim: Aim) -> str:
    """Return the node that the aim's draw chooses."""
    return nodes[int(aim.draw * len(nodes))]


def split(items: Sequence[T], draw: float) -> tuple[T, float]:
    """Return one of the items, each as likely, and what is left of the draw, for another choice."""
    index, left = divmod(draw * len(items), 1)
    return items[int(index)], left


def ask_each(question: Callable[[str], Question], nodes: Iterable[str]) -> Generator[Step, Any, dict[str, Any]]:
    """Ask the same of several nodes; return {node: answer}."""
    answers: dict[str, Any] = {}
    for node in nodes:
        answers[node] = yield Ask(question(node))
    return answers


def answers_within(nodes: Iterable[str], deadline_s: float) -> Generator[Step, Any, dict[str, float | None]]:
    """Wait for several nodes to answer, one after the other; return {node: ms waited, None: not in time}."""
    waited: dict[str, float | None] = {}
    for node in nodes:
        waited[node] = yield Until(NodeAnswers(node), deadline_s)
    return waited


def per_node(values: Mapping[str, Any]) -> Any:
    """Return evidence gathered by node: the bare value for one node, as HISTORY.md shows it, else {node: value}."""
    return next(iter(values.values())) if len(values) == 1 else dict(values)


def isr_size(injection: Injection) -> Generator[Step, Any, dict[str, Any]]:
    """Return {"isr": size} of the aimed partition; {} where none was aimed at or nobody could say."""
    if not injection.keys:
        return {}
    state: PartitionState | None = yield Ask(LeaderOf(injection.keys[0]))
    return {} if state is None else {"isr": len(state.isr)}


def leader_moved(aim: Aim, leader: str) -> Generator[Step, Any, dict[str, Any]]:
    """Wait for the aimed partition to be led by another; return the evidence, with a reason if it wasn't.

    A partition without any leader when the deadline passes (no replica left that may lead) shows too that the cluster
    noticed.
    """
    key = aim.keys[0]
    after_ms = yield Until(LeaderElected(key, frozenset({leader})), ELECTION_DEADLINE_S)
    state: PartitionState | None = yield Ask(LeaderOf(key))
    if after_ms is not None:
        return {"new-leader": None if state is None else state.leader, "after_ms": after_ms}
    evidence: dict[str, Any] = {"new-leader": None, "after_ms": None}
    if state is not None and state.leader is None:
        return evidence | {"leaderless": True}
    return evidence | {"reason": f"{key} had no leader other than {leader} within {ELECTION_DEADLINE_S:g} s"}


def elected(key: Key, node: str) -> Generator[Step, Any, dict[str, Any]]:
    """Have the partition's first replica, this node, elected; return {"led-after_ms": ms}, or {"reason": why not}."""
    said: str | None = None
    for _ in range(ELECTION_TRIES):
        said = yield Ask(PreferredElection(key.rpartition("/")[0]))
        state: PartitionState | None = yield Ask(LeaderOf(key))
        others = frozenset(state.replicas) - {node} if state is not None else frozenset()
        after_ms = yield Until(LeaderElected(key, others), ELECTION_DEADLINE_S / ELECTION_TRIES)
        if after_ms is not None and state is not None:
            return {"led-after_ms": after_ms}
    return {"reason": f"{node} was not elected for {key}: {said or 'no answer'}"}


def bitten(injection: Injection, evidence: dict[str, Any]) -> Injection:
    """Return the injection with more evidence; it bit if it did so far and the evidence holds no reason against it."""
    return replace(
        injection, evidence=injection.evidence | evidence, bit=injection.bit and evidence.get("reason") is None
    )
