"""Fault replica-away: one replica is down for longer than deletions are remembered; then it leads.

It aims at the first replica of the partition, whom the cluster prefers as leader, so that an election brings it back to
the lead of all that it led before: killed; down while the others write, compact, and forget deletions; started; in
every ISR again; elected, with the first replicas of the topic's other partitions; and left to lead for a while. Where
another fault holds that replica, the next one is away instead, and nobody elects it. A replica that comes back with
what the others have deleted, and can't be told any more, shows it while it leads (Apache Kafka's
compaction-replication race).

Bit: the process was there and is gone, and another leads. The healing tells whether it led again, and after how long.
How long it is away is the plan's matter, `AWAY_S` at least.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from harness.cluster.api import PartitionState
from harness.cluster.questions import FullIsr, LeaderElected, LeaderOf
from nemesis.aiming import bitten, elected, leader_moved, led, missed, no_leader
from nemesis.fault import Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until
from nemesis.kills import kill_nodes, start_again

AWAY_S = 10.0
"""The workload's deletions are remembered for 2 s; segments roll and compaction comes round twice in this time."""
FULL_ISR_S = 60.0
"""A killed node was back in every ISR after 21 s on Apache Kafka, 2 s on our broker."""
LEADS_S = 5.0
"""It leads so long before the next fault may come: time for some scans."""


class ReplicaAway:
    """See the module."""

    name = "replica-away"
    summary = "keeps one replica down while deletions are forgotten; then makes it the leader"
    needs: frozenset[Power] = frozenset({"kill"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Kill the preferred leader and wait for another."""
        state = yield from led(aim)
        if state is None:
            return no_leader(aim)
        node = next((one for one in state.replicas if one not in aim.spare), None)
        if node is None:
            return missed(aim, f"every replica of {aim.keys[0]} is to be spared")
        injection, gone = yield from kill_nodes(aim, (node,))
        if not gone or aim.held:
            return injection
        moved = (yield from leader_moved(aim, node)) if state.leader == node else {"new-leader": state.leader}
        return bitten(injection, moved)

    def heal(self, injection: Injection) -> Heal:
        """Start it, wait until it is in sync, and make it the leader."""
        evidence = yield from start_again(injection)
        if not injection.nodes or not injection.keys:
            return evidence
        full = yield Until(FullIsr(), FULL_ISR_S)
        return evidence | {"full-isr-after_ms": full} | (yield from _lead(injection.keys[0], injection.nodes[0]))


def _lead(key: str, node: str) -> Generator[Step, Any, dict[str, Any]]:
    first: PartitionState | None = yield Ask(LeaderOf(key))
    if first is not None and first.replicas[0] != node:
        return {"led-again": None, "reason": f"{node} is not the replica of {key} that the cluster prefers"}
    led_ = yield from elected(key, node)
    if "reason" in led_:
        return {"led-again": None} | led_
    yield Until(LeaderElected(key, frozenset({node})), LEADS_S)
    return {"led-again": node} | led_
