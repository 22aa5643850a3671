"""The faults restart-rolling and upgrade-rolling: what an operator does to every cluster, one node after the other.

Each broker in turn is stopped in order (SIGTERM), started again, and waited for until it answers and every partition
has its full ISR: only then comes the next. With min.insync.replicas copies left, nobody should notice more than
leaderships that move. The last one is started by the heal, and so is whatever an injection that broke off has left
down. Beside another fault that holds, only one node is stopped: nobody restarts a cluster that is broken already.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from harness.cluster.actions import Action, Install, Start, Stop
from harness.cluster.questions import FullIsr, NodeAnswers, Pid, RunningVersion, Versions
from nemesis.actions import inverses
from nemesis.aiming import ask_each, bitten, drawn, missed
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until
from nemesis.kills import START_DEADLINE_S, running, start_again

ISR_DEADLINE_S = 60.0
"""For a node that has answered to be in every ISR again."""


Before = Callable[[str], tuple[Action, ...]]
"""What is done to a node while it is down."""


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
        return (yield from _one_by_one(aim, nodes, lambda _: ()))

    def heal(self, injection: Injection) -> Heal:
        """Start whatever is down."""
        return start_again(injection)


class UpgradeRolling:
    """Brings every running broker to the other version, the drawn one last: up, and the next time down again.

    Where an injection broke off, or stopped one node only, the next one goes on upwards. The level of the cluster's
    features (metadata.version) stays what it was at the beginning, as Kafka's upgrade guide has it until one is sure:
    that is what makes the way back lawful. Controllers of their own are not restarted.

    Bit: as restart-rolling, and each node that answered again says that it runs the version.
    """

    name = "upgrade-rolling"
    summary = "stop every broker in order and start it with the version of --upgrade-to, or with the old one again"
    needs: frozenset[Power] = frozenset({"kill", "stop", "upgrade"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Choose the version by what the brokers run, and bring all but the last to it; stop that."""
        nodes = yield from running(aim)
        versions = yield Ask(Versions())
        if not nodes:
            return missed(aim, "no broker is running that may be upgraded")
        if len(versions or ()) < 2:
            return missed(aim, "the cluster knows no other version")
        old, new = versions
        said = yield from ask_each(RunningVersion, nodes)
        version = old if set(said.values()) == {new} else new
        injection = yield from _one_by_one(aim, nodes, lambda node: (Install(node, version),))
        evidence: dict[str, Any] = {"from": sorted({str(one) for one in said.values()}), "to": version}
        said = yield from ask_each(RunningVersion, injection.nodes[:-1])
        strayed = sorted(node for node, runs in said.items() if runs != version)
        if strayed and injection.bit:
            evidence["reason"] = f"{', '.join(strayed)} did not say that it runs {version}"
        return bitten(injection, evidence)

    def heal(self, injection: Injection) -> Heal:
        """Start whatever is down; evidence also: the version that each of its nodes says it runs."""
        evidence = yield from start_again(injection)
        said = yield from ask_each(RunningVersion, injection.nodes)
        return evidence | {"versions": said}


def _one_by_one(aim: Aim, nodes: Sequence[str], before: Before) -> Generator[Step, Any, Injection]:
    """Stop and start the nodes, the drawn one last, which stays down; beside another fault only that one."""
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
        if actions := before(node):
            yield Act(actions)
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
