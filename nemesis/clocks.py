"""Faults of clocks: bump-clock, strobe-clock. The clock on a node's wall is wrong; how long things take is not.

The terms are Jepsen's (nemesis/time): a bump is one jump, a strobe goes to and fro. What a node puts on records, and
all that it does by the date, follows the wrong clock: retention, the time-out of a transaction, in Kafka also the age
of a replica's last fetch and the quorum's elections. Records that are not up to time must not be lost, doubled or
reordered by it.

Either has bitten only if the node itself has shown the wrong time: see `harness.cluster.clocks`. A strobe must have
shown both, wrong and right.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from harness.cluster.actions import Skew, Unskew
from harness.cluster.questions import ClockOff, ClockWithin, Pid, Stopped
from harness.scenario import CLOCK_JUMP_S
from nemesis.actions import inverses
from nemesis.aiming import answers_within, bitten, isr_size, led, missed, no_leader, per_node, split
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until

AMOUNTS_MS = (100.0, CLOCK_JUMP_S * 1000)
"""A jump, either way; every order of magnitude is as likely. The longest outlasts every time-out of a run.

The final reads, and who judges a recovery, wait that much longer: a transaction that was begun by a clock that was
ahead ends when the right one has caught up, and so does what Kafka itself puts off.
"""
STROBES_MS = (100.0, 5_000.0)
EVERY_MS = (100, 1_000)
TELLS_S = 10.0
"""For a node to say for the first time what time it is: the topic is made that it takes."""
SHOWS_S = 5.0
"""For a jump to show."""
REJOIN_DEADLINE_S = 20.0


class BumpClock:
    """Lets the clock of the node that leads the aimed partition jump, ahead or back, by an amount from the draw.

    Bit: the node itself has shown a time that is wrong by half of that at least.
    """

    name = "bump-clock"
    summary = "the clock of a partition's leader jumps ahead or back, by up to two minutes; sets it right again"
    needs: frozenset[Power] = frozenset({"clock"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Let it jump, and wait until the node shows it."""
        ahead, left = split((1, -1), aim.draw)
        return (yield from _skew(aim, ahead * _amount(AMOUNTS_MS, left)))

    def heal(self, injection: Injection) -> Heal:
        """Set it right."""
        return _set_right(injection)


class StrobeClock:
    """Lets the clock of the node that leads the aimed partition jump to and fro, as far and as often as is drawn.

    Bit: the node itself has shown a time that is wrong by half of that at least, and after that one that is right.
    """

    name = "strobe-clock"
    summary = "the clock of a partition's leader jumps to and fro, again and again; sets it right again"
    needs: frozenset[Power] = frozenset({"clock"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Let it jump to and fro, and wait until the node shows both."""
        ahead, left = split((1, -1), aim.draw)
        every_ms, left = split(range(EVERY_MS[0], EVERY_MS[1] + 1, EVERY_MS[0]), left)
        return (yield from _skew(aim, ahead * _amount(STROBES_MS, left), every_ms))

    def heal(self, injection: Injection) -> Heal:
        """Set it right."""
        return _set_right(injection)


DATED = frozenset({"compaction", "retention"})
"""Workloads whose records may go by the date, all of them: a wrong clock takes them lawfully, sooner or later."""


@dataclass(frozen=True, slots=True)
class _Wrong:
    """What a clock shows that is wrong by an amount, and what it shows when it is right."""

    node: str
    before_ms: int
    offset_ms: int

    def is_wrong(self) -> ClockWithin:
        half = self.before_ms + self.offset_ms / 2
        return ClockWithin(self.node, *((half, math.inf) if self.offset_ms > 0 else (-math.inf, half)))

    def is_right(self) -> ClockWithin:
        half = self.before_ms + self.offset_ms / 2
        return ClockWithin(self.node, *((-math.inf, half) if self.offset_ms > 0 else (half, math.inf)))


def _amount(span: tuple[float, float], draw: float) -> int:
    """Return an amount of the span; orders of magnitude are as likely as each other."""
    return round(span[0] * math.pow(span[1] / span[0], draw))


def _skew(aim: Aim, offset_ms: int, every_ms: int = 0) -> Inject:
    state = yield from led(aim)
    if state is None or state.leader is None:
        return no_leader(aim)
    node = state.leader
    before_ms = yield from _told(node)
    if before_ms is None:
        return missed(aim, f"{node} did not say within {TELLS_S:g} s what time it is")
    action, wrong = Skew(node, offset_ms, every_ms), _Wrong(node, before_ms, offset_ms)
    yield Act((action,))
    injection = Injection(
        nodes=(node,),
        keys=aim.keys,
        evidence={"offset_ms": offset_ms, "off-before_ms": before_ms} | ({"every_ms": every_ms} if every_ms else {}),
        bit=True,
        undo=inverses((action,)),
        memory={"wrong": wrong},
    )
    after_ms = yield Until(wrong.is_wrong(), SHOWS_S, closely=bool(every_ms))
    if after_ms is None:
        return bitten(injection, {"reason": f"{node} did not show it within {SHOWS_S:g} s"})
    evidence: dict[str, Any] = {"shown-after_ms": after_ms}
    if every_ms:
        back_ms = yield Until(wrong.is_right(), SHOWS_S, closely=True)
        evidence["back-after_ms"] = back_ms
        if back_ms is None:
            evidence["reason"] = f"{node} did not go back within {SHOWS_S:g} s"
    else:
        evidence["off_ms"] = yield Ask(ClockOff(node))
    return bitten(injection, evidence)


def _told(node: str) -> Generator[Step, Any, int | None]:
    """Return how far off the node's clock is, waiting a bounded time for it to say so."""
    yield Until(ClockWithin(node, -math.inf, math.inf), TELLS_S)
    off_ms: int | None = yield Ask(ClockOff(node))
    return off_ms


def _set_right(injection: Injection) -> Heal:
    """Set the clock right; evidence: when the node showed it, when it answered, the ISR's size then.

    What another fault holds down shows nothing, and is not waited for.
    """
    nodes = [action.node for action in injection.undo if isinstance(action, Unskew)]
    if not nodes:
        return {}
    yield Act(injection.undo)
    for node in nodes:
        if (yield Ask(Pid(node))) is None or (yield Ask(Stopped(node))):
            return {"down": node}
    evidence: dict[str, Any] = {}
    wrong = injection.memory.get("wrong")
    if isinstance(wrong, _Wrong):
        evidence["right-after_ms"] = yield Until(wrong.is_right(), SHOWS_S)
    answers = yield from answers_within(nodes, REJOIN_DEADLINE_S)
    return evidence | {"answers_after_ms": per_node(answers)} | (yield from isr_size(injection))
