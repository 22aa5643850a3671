"""Faults that take the power of nodes: lose-power, lose-power-all. The process ends, what was not synced is gone.

One node at a time loses nothing that was acknowledged: the others hold it, and a node that was not stopped in order may
not lead again before it has caught up (KIP-966). All at once is the power loss that only a sync before the
acknowledgement survives (`flush.messages=1`); without it Kafka promises nothing, and records are lost lawfully. What
coordinators keep, transactions and offsets, is not in the topic: it wants the brokers' `log.flush.interval.messages=1`.
"""

from __future__ import annotations

from harness.cluster.actions import Blackout
from nemesis.aiming import bitten, leader_moved, led, missed, no_leader
from nemesis.fault import Aim, Expects, Heal, Inject, Injection, Power
from nemesis.kills import kill_nodes, running, start_again

_POWER: frozenset[Power] = frozenset({"kill", "power"})


class LosePower:
    """Takes the power of the node that leads the aimed partition: the process ends, what it had not synced is gone.

    Bit: as kill-leader.
    """

    name = "lose-power"
    summary = "the leader of a partition loses power, and what it had not synced; starts it again"
    needs = _POWER
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Take the leader's power and wait for the next one."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        injection, gone = yield from kill_nodes(aim, (state.leader,), Blackout)
        if not gone or aim.held:
            return injection
        return bitten(injection, (yield from leader_moved(aim, state.leader)))

    def heal(self, injection: Injection) -> Heal:
        """Start it again."""
        return start_again(injection)


class LosePowerAll:
    """Takes the power of every running broker at one moment. Bit: each process was there and all are gone."""

    name = "lose-power-all"
    summary = "all brokers lose power at once, and what they had not synced; starts them again"
    needs = _POWER
    expects: Expects = "stall"

    def inject(self, aim: Aim) -> Inject:
        """Take the power of all running brokers."""
        nodes = yield from running(aim)
        if not nodes:
            return missed(aim, "no broker is running that may lose power")
        injection, _ = yield from kill_nodes(aim, nodes, Blackout)
        return injection

    def heal(self, injection: Injection) -> Heal:
        """Start them all again."""
        return start_again(injection)
