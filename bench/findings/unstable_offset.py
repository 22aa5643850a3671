"""librdkafka 2.16: a consumer that waits for its group's offset begins at the beginning (docs/findings.md).

    python -m bench.findings.unstable_offset [--cluster embedded|jvm|compose]

A group has committed offset 5, and a transaction that commits 7 for it is open. A consumer of the group that reads
committed is dealt the partition; it asks for the offset, and has to wait for the transaction. Another member joins, the
group deals the partition to the same consumer again, and that begins. Prints one JSON line: where the consumers of
`ROUNDS` such groups began, while the transaction was open. It should be nowhere.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition, libversion
from confluent_kafka.admin import AdminClient, NewTopic

from bench.findings.stage import stage

ROUNDS = 8
WITHIN_S = 60.0
WAITS_S = 15.0
"""The group deals anew within 5 s; then the answer to the outdated question may be twice as late as it was before."""
OTHER_AFTER_S = 1.0
MEMBER = {
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 300,
}


def show(cluster: Any) -> dict[str, object]:
    """Do what the module tells, on a cluster that is up."""
    bootstrap = {"bootstrap.servers": cluster.bootstrap(), "log_level": 0}
    admin = AdminClient(bootstrap)
    admin.create_topics([NewTopic("t", 1, 3)])["t"].result(WITHIN_S)
    producer = Producer({**bootstrap, "transactional.id": "copier"})
    producer.init_transactions(WITHIN_S)
    producer.begin_transaction()
    for number in range(10):
        producer.produce("t", str(number))
    producer.commit_transaction(WITHIN_S)
    began = [_begins(bootstrap, producer, f"g{number}") for number in range(ROUNDS)]
    return {"librdkafka": libversion()[0], "committed": 5, "began": began}


def _begins(bootstrap: dict[str, Any], producer: Producer, group: str) -> int | None:
    """Return where a consumer of the group begins while its offset may still change; None: nowhere."""
    member = {**bootstrap, **MEMBER, "group.id": group}
    first = Consumer({**member, "client.id": "first"})
    first.subscribe(["t"])
    assert first.consume(1, WITHIN_S)
    first.commit(offsets=[TopicPartition("t", 0, 5)], asynchronous=False)
    producer.begin_transaction()
    producer.send_offsets_to_transaction([TopicPartition("t", 0, 7)], first.consumer_group_metadata(), WITHIN_S)
    first.close()
    members = [Consumer({**member, "client.id": "a"})]  # dealt in the order of their names
    members[0].subscribe(["t"])
    began_s = time.monotonic()
    try:
        while time.monotonic() < began_s + WAITS_S:
            message = members[0].poll(0.05)
            if message is not None and message.error() is None:
                return message.offset()
            if len(members) == 1 and time.monotonic() > began_s + OTHER_AFTER_S:
                members.append(Consumer({**member, "client.id": "z"}))
                members[1].subscribe(["t"])
            for other in members[1:]:
                other.poll(0)
        return None
    finally:
        producer.abort_transaction(WITHIN_S)
        for consumer in members:
            consumer.close()


if __name__ == "__main__":
    stage("unstable", __doc__, "embedded, jvm or compose", show)
