"""Apache Kafka 4.1.1: a partition whose replica was dropped is led by nobody any more (docs/findings.md).

    python -m bench.findings.dropped_replica [--cluster embedded|jvm|compose]

A topic with min.insync.replicas=2 has two replicas; an operator moves its partition to the third broker alone. That
broker is killed and started again: it has all records. Prints one JSON line: who leads the partition then, and what the
cluster answers to whoever wants to move it back.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic

from bench.findings.stage import stage
from harness.cluster.api import PartitionState
from harness.cluster.observer import holds, observer_of
from harness.cluster.questions import AssignedTo, Condition, LeaderElected, NodeAnswers

KEY = "t/0"
WITHIN_S = 60.0
ELECTED_S = 30.0
"""For the only replica to lead, once its node is in service: it takes a second."""


def show(cluster: Any) -> dict[str, object]:
    """Do what the module tells, on a cluster of three that is up."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap(), "log_level": 0})
    admin.create_topics([NewTopic("t", 1, 2, config={"min.insync.replicas": "2"})])["t"].result(WITHIN_S)
    observer = observer_of(cluster, ["t"])

    def seen(condition: Condition, within_s: float) -> bool:
        end = time.monotonic() + within_s
        while not holds(condition, observer, cluster):
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def state() -> PartitionState:
        return observer.partitions([KEY])[0]

    assert seen(LeaderElected(KEY), WITHIN_S)
    before = state().replicas
    (node,) = (one.name for one in cluster.nodes() if one.name not in before)
    cluster.reassign(KEY, [node])
    assert seen(AssignedTo(KEY, (node,)), WITHIN_S)
    cluster.kill(node)
    cluster.start(node)
    assert seen(NodeAnswers(node), WITHIN_S)
    seen(LeaderElected(KEY), ELECTED_S)
    after = state()
    ids = [one.id for one in cluster.nodes() if one.name in before]
    answers = set(observer.ask_brokers(lambda probe: probe.reassign("t", 0, ids)).values())
    return {"replicas": after.replicas, "leader": after.leader, "isr": after.isr, "back": sorted(answers)}


if __name__ == "__main__":
    stage("dropped", __doc__, "embedded, jvm or compose", show)
