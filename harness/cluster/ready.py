"""When is an Apache Kafka cluster ready? Shared by the providers that start one.

Ready means: every broker answers for itself with the cluster id that is ours, and lists every broker (in KRaft a broker
is listed while it is unfenced); the quorum has a leader, and every voter has fetched from it. A wrong cluster id is an
error at once: a leftover cluster on the same port once answered in place of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from harness.cluster.api import ClusterError, Node
from harness.cluster.probe import Probe, ProbeError, split_address

READY_TIMEOUT_S: Final = 120.0
"""7-13 s on a quiet machine of two cores, 35 s seen on a busy one."""
_POLL_S: Final = 0.1


def await_ready(
    nodes: Sequence[Node],
    cluster_id: str,
    *,
    check_alive: Callable[[], None],
    timeout_s: float,
    poll_s: float = _POLL_S,
) -> None:
    """Return when the cluster is ready; ClusterError with the last reason when the bound passes.

    check_alive raises ClusterError when waiting is pointless (a process is dead); it is called before every look.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        check_alive()
        reason = not_ready(nodes, cluster_id)
        if reason is None:
            return
        if time.monotonic() > deadline:
            raise ClusterError(f"the cluster was not ready within {timeout_s:g} s: {reason}")
        time.sleep(poll_s)


def not_ready(nodes: Sequence[Node], cluster_id: str) -> str | None:
    """Return why the cluster is not ready, None when it is; ClusterError when a stranger answers."""
    brokers = [node for node in nodes if "broker" in node.roles]
    everyone = {node.id for node in brokers}
    for node in brokers:
        try:
            with Probe(*split_address(node.address)) as probe:
                answer = probe.metadata(())
        except ProbeError as error:
            return f"{node.name} does not answer ({error})"
        if answer.cluster_id != cluster_id:
            raise ClusterError(
                f"{node.address} is answered by cluster {answer.cluster_id}, ours is {cluster_id}: stop the other one"
            )
        missing = everyone - {broker.node_id for broker in answer.brokers}
        if missing:
            return f"{node.name} does not list node {sorted(missing)} yet"
    return _quorum_not_ready(brokers[0], [node for node in nodes if "controller" in node.roles])


def _quorum_not_ready(broker: Node, controllers: Sequence[Node]) -> str | None:
    try:
        with Probe(*split_address(broker.address)) as probe:
            quorum = probe.describe_quorum()
    except ProbeError as error:
        return f"the quorum does not answer ({error})"
    fetched = {voter.replica_id for voter in quorum.current_voters if voter.log_end_offset >= 0}
    absent = [node.name for node in controllers if node.id not in fetched]
    return f"{absent} have not joined the quorum yet" if absent else None
