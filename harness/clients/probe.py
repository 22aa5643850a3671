"""The client of the process "probe/NODE": what one node says of one partition, taken into the history.

Ops: f `probe`, value `{"api": "Metadata", "key": "t0/1"}`; the completion adds what `harness.clients.questions` names.
A question that is not answered is a `fail`: a probe changes nothing. Each request is answered within a second or
fails; `invoke` never raises for what a node does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from harness.client import Client, Now
from harness.clients.questions import QUESTIONS, Asking, Fields, UnansweredError
from harness.cluster.api import Cluster, Node
from harness.cluster.probe import Probe, ProbeError, split_address
from harness.credentials import NO_CREDENTIALS, Credentials, credentials_of
from harness.history import FAIL, OK, Op, Process

TIMEOUT_S: Final = 1.0
"""A paused node never answers, and its probe must be there again when it goes on."""


class ProbeClient:
    """Asks one node, over one connection."""

    def __init__(
        self,
        node: Node,
        names: Mapping[int, str],
        probe: Probe | None = None,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        """Connect later. names: node names by Kafka's node id; probe: another way to ask the node."""
        self._names = names
        self._probe = probe or Probe(*split_address(node.address), TIMEOUT_S, credentials=credentials)

    def invoke(self, op: Op) -> Op:
        """Ask; ok with the answer's fields added to the value, or fail."""
        value = dict(op.value)
        question = QUESTIONS.get(value["api"])
        if question is None:
            return op.completed(FAIL, error=unanswered("UNKNOWN_API", f"a probe can't ask for {value['api']}"))
        try:
            return op.completed(OK, value=value | self._ask(question(value, self._name)))
        except (ProbeError, UnansweredError) as error:
            return op.completed(FAIL, error=unanswered("_PROBE", f"{self._probe.address}: {error}"))

    def _ask(self, asking: Asking) -> Fields:
        request = next(asking)
        while True:
            answer = self._probe.ask(request)
            try:
                request = asking.send(answer)
            except StopIteration as end:
                fields: Fields = end.value
                return fields

    def close(self) -> None:
        """Close the connection."""
        self._probe.close()

    def _name(self, node_id: int) -> str:
        return self._names.get(node_id, f"id{node_id}")


class ProbeClients:
    """Opens the probe clients of one node."""

    def __init__(self, node: Node, cluster: Cluster) -> None:
        """Remember the node; the cluster gives the other nodes' names."""
        self._node, self._cluster = node, cluster

    def open(self, process: Process, now: Now) -> Client:  # noqa: ARG002  what `Clients` asks for
        """Return a client for the node."""
        names = {node.id: node.name for node in self._cluster.nodes()}
        return ProbeClient(self._node, names, credentials=credentials_of(self._cluster))


def unanswered(name: str, message: str) -> dict[str, Any]:
    """Return the error of a question without an answer."""
    return {"code": None, "name": name, "message": message, "retriable": True}
