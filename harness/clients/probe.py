"""The client of the process "probe/NODE": what one node says of one partition, taken into the history.

Ops: f `probe`, value `{"api": "Metadata", "key": "t0/1"}` adds leader, epoch and isr (node names) as this node knows
them; `"ListOffsets"` adds hw, lso, log-start, epoch (only the leader answers). A question that is not answered is a
`fail`: a probe changes nothing. Answers come within a second; `invoke` never raises for what a node does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from harness.client import Client, Now
from harness.cluster.api import Cluster, Node
from harness.cluster.probe import (
    EARLIEST,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    Probe,
    ProbeError,
    error_name,
    split_address,
)
from harness.history import FAIL, OK, Op, Process

TIMEOUT_S: Final = 1.0
"""A paused node never answers, and its probe must be there again when it goes on."""


class ProbeClient:
    """Asks one node, over one connection."""

    def __init__(self, node: Node, names: Mapping[int, str], probe: Probe | None = None) -> None:
        """Connect later. names: node names by Kafka's node id; probe: another way to ask the node."""
        self._names = names
        self._probe = probe or Probe(*split_address(node.address), timeout_s=TIMEOUT_S)
        self._questions = {"Metadata": self._metadata, "ListOffsets": self._list_offsets}

    def invoke(self, op: Op) -> Op:
        """Ask; ok with the answer's fields added to the value, or fail."""
        value = dict(op.value)
        question = self._questions.get(value["api"])
        if question is None:
            return op.completed(FAIL, error=_error("UNKNOWN_API", f"a probe can't ask for {value['api']}"))
        topic, _, index = value["key"].rpartition("/")
        try:
            return op.completed(OK, value=value | question(topic, int(index)))
        except ProbeError as error:
            return op.completed(FAIL, error=_error("_PROBE", str(error)))

    def close(self) -> None:
        """Close the connection."""
        self._probe.close()

    def _metadata(self, topic: str, index: int) -> dict[str, Any]:
        for found in self._probe.metadata((topic,)).topics:
            for part in found.partitions:
                if part.partition_index == index:
                    leader = self._name(part.leader_id) if part.leader_id >= 0 else None
                    return {"leader": leader, "epoch": part.leader_epoch, "isr": [*map(self._name, part.isr_nodes)]}
        raise ProbeError(f"METADATA to {self._probe.address}: it does not know {topic}/{index}")

    def _list_offsets(self, topic: str, index: int) -> dict[str, Any]:
        lso = self._offset(topic, index, READ_COMMITTED)
        high = self._offset(topic, index, READ_UNCOMMITTED)
        start = self._offset(topic, index, READ_UNCOMMITTED, timestamp=EARLIEST)
        return {"lso": lso[0], "hw": high[0], "log-start": start[0], "epoch": high[1]}

    def _offset(self, topic: str, index: int, isolation_level: int, **timestamp: int) -> tuple[int, int]:
        """Return an offset and its leader epoch."""
        answer = self._probe.list_offsets([(topic, index)], isolation_level=isolation_level, **timestamp)
        part = answer.get((topic, index))
        if part is None or part.error_code != 0:
            name = error_name(part.error_code) if part else "no answer for the partition"
            raise ProbeError(f"LIST_OFFSETS to {self._probe.address}: {name}")
        return part.offset, part.leader_epoch

    def _name(self, node_id: int) -> str:
        return self._names.get(node_id, f"id{node_id}")


class ProbeClients:
    """Opens the probe clients of one node."""

    def __init__(self, node: Node, cluster: Cluster) -> None:
        """Remember the node; the cluster gives the other nodes' names."""
        self._node, self._cluster = node, cluster

    def open(self, process: Process, now: Now) -> Client:  # noqa: ARG002  what `Clients` asks for
        """Return a client for the node."""
        return ProbeClient(self._node, {node.id: node.name for node in self._cluster.nodes()})


def _error(name: str, message: str) -> dict[str, Any]:
    return {"code": None, "name": name, "message": message, "retriable": True}
