"""Faults of single requests: lose-answers, late-requests. They need links that know Kafka's protocol.

Networks do both, seldom: here they do it to the requests that change something. A client whose answer is lost can't
know whether its request was executed, and sends it again. A request that is late comes when the client has sent it
again over another connection, was answered, and may be further on.

late-requests is not among those that `all` stands for. With version 1 of the protocol of transactions, which
librdkafka speaks, a correct Kafka can't tell the late end of one transaction from the end of the next (KAFKA-17754):
what that does is found, and told as permitted by the protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from harness.cluster.actions import Intercept, Release
from harness.cluster.api import APIS, Interception
from harness.cluster.questions import Intercepted, RequestsIntercepted
from nemesis.actions import inverses
from nemesis.aiming import answers_within, bitten, isr_size, led, no_leader, per_node
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Until

SHOWS_DEADLINE_S = 10.0
"""For a client to send one of them to that node, and the chance to strike."""
REJOIN_DEADLINE_S = 20.0
"""For a node to answer after the heal."""
LATE = ("Produce", "AddPartitionsToTxn", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn")
"""No OffsetCommit: a late one takes a group back, as any member may."""
LOST_PPM = 250_000
"""Three of four requests get through: four tries in a row fail in one of 256 cases."""
LATE_PPM = 300_000
LATE_MS = (1000, 3000)
"""Longer than a client waits until it sends again (a reset connection is told at once), shorter than a transaction may
be open."""


class _Interception:
    """What both have in common: the node that leads the partition, its clients, and how it heals."""

    needs: frozenset[Power] = frozenset({"intercept"})
    expects: Expects = "progress"

    def _inject(self, aim: Aim, apis: Iterable[str], ppm: int, late_ms: int | None) -> Inject:
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        done = (Intercept(state.leader, Interception(tuple(apis), ppm, late_ms)),)
        yield Act(done)
        injection = Injection(nodes=(state.leader,), keys=aim.keys, evidence={}, bit=True, undo=inverses(done))
        after_ms = yield Until(RequestsIntercepted(state.leader), SHOWS_DEADLINE_S)
        evidence: dict[str, Any] = {"after_ms": after_ms} | ({} if late_ms is None else {"late_ms": late_ms})
        evidence["requests"] = (yield Ask(Intercepted(state.leader))) or {}
        if not evidence["requests"]:
            evidence["reason"] = f"no request to {state.leader} was struck within {SHOWS_DEADLINE_S:g} s"
        return bitten(injection, evidence)

    def heal(self, injection: Injection) -> Heal:
        """Let everything pass; evidence: how many requests in all, when the node answered, the ISR's size then."""
        requests: Counter[str] = Counter()
        for action in injection.undo:
            if isinstance(action, Release):
                requests.update((yield Ask(Intercepted(action.node))) or {})
        yield Act(injection.undo)
        answers = yield from answers_within(injection.nodes, REJOIN_DEADLINE_S)
        return {"requests": dict(requests), "answers_after_ms": per_node(answers)} | (yield from isr_size(injection))


class LoseAnswers(_Interception):
    """Loses answers of the partition's leader to requests of clients that change something.

    Bit: at least one request was answered in vain.
    """

    name = "lose-answers"
    summary = "execute what clients ask of the leader of a partition, and lose the answers of some"

    def inject(self, aim: Aim) -> Inject:
        """Begin, and wait until an answer was lost."""
        return (yield from self._inject(aim, APIS, LOST_PPM, None))


class LateRequests(_Interception):
    """Has some requests of clients to the partition's leader come when they have been sent again.

    Bit: at least one was held.
    """

    name = "late-requests"
    summary = "have requests of transactions come late, when they were sent again (never drawn by `all`)"

    def inject(self, aim: Aim) -> Inject:
        """Begin, and wait until a request was held."""
        late_ms = LATE_MS[0] + int((LATE_MS[1] - LATE_MS[0]) * aim.draw)
        return (yield from self._inject(aim, LATE, LATE_PPM, late_ms))
