"""The fault restart-rolling: what an operator does to every cluster, one node after the other.

Each broker in turn is stopped in order (SIGTERM), started again, and waited for until it answers and every partition
has its full ISR: only then comes the next. With min.insync.replicas copies left, nobody should notice more than
leaderships that move. The last one is started by the heal, and so is whatever an injection that broke off has left
down. Beside another fault that holds, only one node is stopped: nobody restarts a cluster that is broken already.
"""

from __future__ import annotations

from typing import Any

from harness.cluster.actions import Start, Stop
from harness.cluster.api import FullIsr, NodeAnswers, Pid
from nemesis.actions import inverses
from nemesis.aiming import drawn, missed
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Until
from nemesis.kills import START_DEADLINE_S, running, start_again

ISR_DEADLINE_S = 60.0
"""For a node that has answered to be in every ISR again."""


class RestartRolling:
    """Restarts every running broker in order, the drawn one last.

    Bit: each process went by itself, and each node but the last answered again.
    """

    name = "restart-rolling"
    summary = "stop every broker in order and start it again, one after the other"
    needs: frozenset[Power] = frozenset({"kill", "stop"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Restart all but the last, stop that; break off at the first that does not end or does not come back."""
        nodes = yield from running(aim)
        if not nodes:
            return missed(aim, "no broker is running that may be restarted")
        last = drawn(nodes, aim)
        order = (last,) if aim.held else (*(node for node in nodes if node != last), last)
        done: list[Stop] = []
        evidence: dict[str, Any] = {"answers_after_ms": [], "isr_after_ms": []}
        for node in order:
            done.append(Stop(node))
            yield Act((done[-1],))
            if (yield Ask(Pid(node))) is not None:
                evidence["reason"] = f"{node} does not stop"
                break
            if node == last:
                break
            yield Act((Start(node),))
            answers_after_ms = yield Until(NodeAnswers(node), START_DEADLINE_S)
            evidence["answers_after_ms"].append(answers_after_ms)
            if answers_after_ms is None:
                evidence["reason"] = f"{node} did not answer within {START_DEADLINE_S:g} s of its start"
                break
            evidence["isr_after_ms"].append((yield Until(FullIsr(), ISR_DEADLINE_S)))
        return Injection(
            nodes=tuple(stop.node for stop in done),
            keys=aim.keys,
            evidence=evidence,
            bit="reason" not in evidence,
            undo=inverses(done),
        )

    def heal(self, injection: Injection) -> Heal:
        """Start whatever is down."""
        return start_again(injection)
