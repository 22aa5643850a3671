"""The fault add-partitions: a topic grows while it is written and read.

The topic of the partition that is aimed at gets one or two partitions more. Nothing takes partitions away again: the
topic stays as it is, the heal tells how large it has become, and after a killed harness there is nothing to undo. A
topic of `MOST` partitions is left alone. Once the new ones have leaders, the run is told of them by a point event
(`nemesis.schedule`): they are written, probed and read to their ends like all others from then on, and members of
groups are to get them.

Bit: the metadata show the new partitions, and each has a leader.
"""

from __future__ import annotations

from typing import Final

from harness.cluster.actions import AddPartitions as Grow
from harness.cluster.questions import KeysOf, LeaderElected
from nemesis.aiming import bitten, led, missed, no_leader
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Until

MOST: Final = 12
"""Partitions of a topic: the final reads of a long run take their time for each."""
LED_S: Final = 5.0
"""For a controller to make a partition, and for the others to hear of it."""
ADDED: Final = "added"
"""Of the evidence: the new keys."""


class AddPartitions:
    """See the module."""

    name = "add-partitions"
    summary = "let a topic grow by one or two partitions, for good: they are used as the others are"
    needs: frozenset[Power] = frozenset({"configure"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Let the topic grow, and wait for the leaders of what is new."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        topic = aim.keys[0].rpartition("/")[0]
        known: tuple[str, ...] = (yield Ask(KeysOf(topic))) or ()
        if not known:
            return missed(aim, f"nobody told how many partitions {topic} has")
        if len(known) >= MOST:
            return missed(aim, f"{topic} has {len(known)} partitions already")
        count = min(len(known) + 1 + int(aim.draw * 2), MOST)
        added = tuple(f"{topic}/{index}" for index in range(len(known), count))
        yield Act((Grow(state.leader, topic, count),))
        injection = Injection(
            nodes=(state.leader,),
            keys=aim.keys,
            evidence={"from": len(known), "to": count, ADDED: list(added)},
            bit=True,
        )
        waited = []
        for key in added:
            led_ms = yield Until(LeaderElected(key), LED_S)
            if led_ms is None:
                return bitten(injection, {"reason": f"{key} had no leader within {LED_S:g} s"})
            waited.append(led_ms)
        return bitten(injection, {"led-after_ms": waited})

    def heal(self, injection: Injection) -> Heal:
        """Tell how large the topic is: nothing takes partitions away."""
        known = yield Ask(KeysOf(injection.keys[0].rpartition("/")[0]))
        return {"kept": len(known or ())}
