"""librdkafka 2.16: the record after an aborted one vanishes (docs/findings.md).

    python -m bench.findings.purged_record [--cluster embedded|jvm|compose]

A transaction sends A while both followers are stopped: the leader appends A, can't acknowledge it, and answers that it
timed out. librdkafka waits before it tries again; meanwhile the followers go on, A is replicated, and the transaction
is aborted, which purges A from librdkafka's queue. The next transaction sends B to the same partition and commits. B
gets A's sequence number and epoch, so the broker acknowledges it as A's repetition. Prints one JSON line; `lost` is
true where B was committed and no reader of committed data finds it.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition, libversion
from confluent_kafka.admin import AdminClient, NewTopic

from bench.findings.stage import stage
from harness.cluster.observer import observer_of

WITHIN_S = 60.0
UNANSWERED_S = 4.0
"""The leader gives up waiting for the followers after 1.5 s; then librdkafka waits 20 s before it tries again."""
HEALTHY_S = 5.0
"""The followers fetch A, and elect whom they need."""
CLIENT = {
    "transactional.id": "purged",
    "request.timeout.ms": 1500,
    "retry.backoff.ms": 20_000,
    "retry.backoff.max.ms": 20_000,
    "log_level": 0,
}


def show(cluster: Any) -> dict[str, object]:
    """Do what the module tells, on a cluster of three that is up."""
    bootstrap = {"bootstrap.servers": cluster.bootstrap(), "log_level": 0}
    topic = NewTopic("t", 1, 3, config={"min.insync.replicas": "2"})
    admin = AdminClient(bootstrap)
    admin.create_topics([topic])["t"].result(WITHIN_S)
    producer = Producer({**CLIENT, **bootstrap})
    producer.init_transactions(WITHIN_S)
    told: dict[bytes, list[Any]] = {}

    def report(error: Any, message: Any) -> None:
        told[message.value()] = [error.name() if error else None, message.offset()]

    def send(value: bytes) -> None:
        producer.produce("t", value, partition=0, on_delivery=report)

    producer.begin_transaction()
    send(b"first")
    producer.flush(WITHIN_S)
    leader = observer_of(cluster, ["t"]).partitions(["t/0"])[0].leader
    followers = [node.name for node in cluster.nodes() if node.name != leader]
    for name in followers:
        cluster.pause(name)
    send(b"A")
    _serve(producer, UNANSWERED_S)
    for name in followers:
        cluster.resume(name)
    _serve(producer, HEALTHY_S)
    producer.abort_transaction(WITHIN_S)
    producer.begin_transaction()
    send(b"B")
    producer.flush(WITHIN_S)
    producer.commit_transaction(WITHIN_S)
    found = _read(bootstrap)
    reports = {value.decode(): report for value, report in told.items()}
    return {"librdkafka": libversion()[0], "reports": reports, "read": found, "lost": "B" not in found}


def _serve(producer: Producer, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        producer.poll(0.1)


def _read(bootstrap: dict[str, Any]) -> dict[str, int]:
    """Return what committed data holds, to its end."""
    settings = {"group.id": "g", "isolation.level": "read_committed", "enable.partition.eof": True}
    consumer = Consumer({**bootstrap, **settings, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition("t", 0, 0)])
    found: dict[str, int] = {}
    try:
        while (message := consumer.poll(WITHIN_S)) is not None and message.error() is None:
            found[message.value().decode()] = message.offset()
    finally:
        consumer.close()
    return found


if __name__ == "__main__":
    stage("purged", __doc__, "embedded, jvm or compose", show)
