"""The process "probe/NODE" on the virtual clock: what one node says of one partition, as `harness.clients.probe` asks.

It connects under a name of its own, so that faults between clients and nodes leave it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.sim.client.config import ClientConfig
from broker.sim.client.consumer import FETCH_VERSION, LIST_VERSION
from broker.sim.client.contact import METADATA_VERSION, Contact
from broker.sim.client.errors import ClientError
from broker.sim.loop import Loop
from broker.sim.network import ALOOF, Network
from broker.wire.apis import Api
from harness.client import Now
from harness.clients.probe import TIMEOUT_S, unanswered
from harness.clients.questions import QUESTIONS, Asking, Fields, UnansweredError
from harness.history import FAIL, OK, Op, Process

VERSIONS: Final[Mapping[Api, int]] = {
    Api.METADATA: METADATA_VERSION,
    Api.LIST_OFFSETS: LIST_VERSION,
    Api.FETCH: FETCH_VERSION,
}
"""Where the version says which protocol is spoken."""


class SimulatedProbe:
    """Asks one node, over one connection."""

    def __init__(self, contact: Contact, node_id: int, names: Mapping[int, str]) -> None:
        """Prepare. names: node names by Kafka's node id."""
        self._contact, self._node_id, self._names = contact, node_id, names

    async def invoke(self, op: Op) -> Op:
        """Ask; ok with the answer's fields added to the value, or fail."""
        value = dict(op.value)
        question = QUESTIONS.get(value["api"])
        if question is None:
            return op.completed(FAIL, error=unanswered("UNKNOWN_API", f"a probe can't ask for {value['api']}"))
        try:
            return op.completed(OK, value=value | await self._ask(question(value, self._name)))
        except (ClientError, UnansweredError) as error:
            return op.completed(FAIL, error=unanswered("_PROBE", f"node {self._node_id}: {error}"))

    async def _ask(self, asking: Asking) -> Fields:
        request = next(asking)
        while True:
            answer = await self._contact.call(self._node_id, request, VERSIONS.get(request.api, 0))
            try:
                request = asking.send(answer)
            except StopIteration as end:
                fields: Fields = end.value
                return fields

    async def close(self) -> None:
        """Close the connection."""
        self._contact.close()

    def _name(self, node_id: int) -> str:
        return self._names.get(node_id, f"id{node_id}")


class SimulatedProbes:
    """Opens the probe clients of one node."""

    def __init__(self, loop: Loop, network: Network, node_id: int, names: Mapping[int, str]) -> None:
        """Remember the node; names: all nodes' names by id."""
        self._loop, self._network, self._node_id, self._names = loop, network, node_id, names

    def open(self, process: Process, now: Now) -> SimulatedProbe:  # noqa: ARG002  what every factory takes
        """Return a client for the node."""
        timeout_ms = int(TIMEOUT_S * 1000)
        config = ClientConfig(
            client_id=ALOOF,
            bootstrap=(self._node_id,),
            request_timeout_ms=timeout_ms,
            connect_timeout_ms=timeout_ms,
            metadata_timeout_ms=timeout_ms,
        )
        return SimulatedProbe(Contact(self._loop, self._network, config), self._node_id, self._names)
