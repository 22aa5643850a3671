"""The process "probe/NODE" on the virtual clock: what one node says of one partition, as `harness.clients.probe` asks.

It connects under a name of its own, "probe", so that faults between clients and nodes leave it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.sim.client.config import ClientConfig
from broker.sim.client.contact import METADATA_VERSION, Contact
from broker.sim.client.errors import ClientError, name_of
from broker.sim.loop import Loop
from broker.sim.network import Network
from broker.wire.messages.list_offsets import (
    EARLIEST,
    LATEST,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from harness.client import Now
from harness.clients.probe import TIMEOUT_S
from harness.history import FAIL, OK, Op, Process

LIST_VERSION: Final = 7


class SimulatedProbe:
    """Asks one node, over one connection."""

    def __init__(self, contact: Contact, node_id: int, names: Mapping[int, str]) -> None:
        """Prepare. names: node names by Kafka's node id."""
        self._contact, self._node_id, self._names = contact, node_id, names
        self._questions = {"Metadata": self._metadata, "ListOffsets": self._list_offsets}

    async def invoke(self, op: Op) -> Op:
        """Ask; ok with the answer's fields added to the value, or fail."""
        value = dict(op.value)
        question = self._questions.get(value["api"])
        if question is None:
            return op.completed(FAIL, error=_error("UNKNOWN_API", f"a probe can't ask for {value['api']}"))
        topic, _, index = value["key"].rpartition("/")
        try:
            return op.completed(OK, value=value | await question(topic, int(index)))
        except ClientError as error:
            return op.completed(FAIL, error=_error("_PROBE", str(error)))

    async def close(self) -> None:
        """Close the connection."""
        self._contact.close()

    async def _metadata(self, topic: str, index: int) -> dict[str, Any]:
        ask = MetadataRequest(topics=(MetadataRequestTopic(name=topic),), allow_auto_topic_creation=False)
        answer = await self._contact.call(self._node_id, ask, METADATA_VERSION)
        for found in answer.topics:
            for part in found.partitions:
                if part.partition_index == index:
                    leader = self._name(part.leader_id) if part.leader_id >= 0 else None
                    return {"leader": leader, "epoch": part.leader_epoch, "isr": [*map(self._name, part.isr_nodes)]}
        raise ClientError("UNKNOWN_TOPIC_OR_PARTITION", f"node {self._node_id} does not know {topic}/{index}")

    async def _list_offsets(self, topic: str, index: int) -> dict[str, Any]:
        lso = await self._offset(topic, index, READ_COMMITTED)
        high = await self._offset(topic, index, READ_UNCOMMITTED)
        start = await self._offset(topic, index, READ_UNCOMMITTED, timestamp=EARLIEST)
        return {"lso": lso[0], "hw": high[0], "log-start": start[0], "epoch": high[1]}

    async def _offset(
        self, topic: str, index: int, isolation_level: int, *, timestamp: int = LATEST
    ) -> tuple[int, int]:
        """Return an offset and its leader epoch."""
        asked = (ListOffsetsPartition(partition_index=index, timestamp=timestamp),)
        ask = ListOffsetsRequest(
            isolation_level=isolation_level, topics=(ListOffsetsTopic(name=topic, partitions=asked),)
        )
        answer = await self._contact.call(self._node_id, ask, LIST_VERSION)
        part = answer.topics[0].partitions[0]
        if part.error_code:
            raise ClientError(name_of(part.error_code), f"LIST_OFFSETS to node {self._node_id}")
        return part.offset, part.leader_epoch

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
            client_id="probe",
            bootstrap=(self._node_id,),
            request_timeout_ms=timeout_ms,
            connect_timeout_ms=timeout_ms,
            metadata_timeout_ms=timeout_ms,
        )
        return SimulatedProbe(Contact(self._loop, self._network, config), self._node_id, self._names)


def _error(name: str, message: str) -> dict[str, Any]:
    return {"code": None, "name": name, "message": message, "retriable": True}
