"""librdkafka 2.16: a member joins anew, for others to be dealt what its application still holds (docs/findings.md).

    python -m bench.findings.grown_group [--cluster embedded|jvm|compose]

A member of a classic group holds both partitions of a topic, and its application is busy: it does not poll, for far
less than `max.poll.interval.ms`. Another member joins; the group waits for the first, whose application has to give up
its partitions. Then the topic grows. Prints one JSON line: what the second member was dealt while the application of
the first one still held everything, and whether a commit of the first one for it was accepted then.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition, libversion
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from bench.findings.stage import stage

WITHIN_S = 60.0
JOINING_S = 3.0
"""The second member is in, and the first one has heard of it with its heartbeat."""
WAITS_S = 10.0
"""For the metadata to be looked at (every second) and the group to deal anew."""
MEMBER = {
    "group.id": "g",
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 300,
    "topic.metadata.refresh.interval.ms": 1000,
}


def show(cluster: Any) -> dict[str, object]:
    """Do what the module tells, on a cluster that is up."""
    bootstrap = {"bootstrap.servers": cluster.bootstrap(), "log_level": 0}
    admin = AdminClient(bootstrap)
    admin.create_topics([NewTopic("t", 2, 3)])["t"].result(WITHIN_S)
    producer = Producer(bootstrap)
    for number in range(10):
        producer.produce("t", str(number), partition=number % 2)
    producer.flush(WITHIN_S)
    # Dealt in the order of their names: the second one first.
    busy, other = (Consumer({**bootstrap, **MEMBER, "client.id": name}) for name in ("z", "a"))
    heard: list[str] = []
    dealt: list[int] = []
    try:
        busy.subscribe(["t"], on_revoke=lambda *_: heard.append("revoked"), on_lost=lambda *_: heard.append("lost"))
        assert busy.consume(1, WITHIN_S)
        other.subscribe(["t"], on_assign=lambda _, places: dealt.extend(place.partition for place in places))
        _poll(other, JOINING_S)
        before = list(dealt)
        admin.create_partitions([NewPartitions("t", 3)])["t"].result(WITHIN_S)
        _poll(other, WAITS_S)
        held_by_both = sorted({0, 1} & set(dealt))
        accepted = [place for place in held_by_both if _commits(busy, place)]
        return {
            "librdkafka": libversion()[0],
            "dealt-before": before,
            "dealt": sorted(dealt),
            "first-heard": list(heard),
            "held-by-both": held_by_both,
            "commits-accepted": accepted,
        }
    finally:
        for consumer in (busy, other):
            consumer.close()


def _poll(consumer: Consumer, for_s: float) -> None:
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        consumer.poll(0.05)


def _commits(consumer: Consumer, partition: int) -> bool:
    try:
        told = consumer.commit(offsets=[TopicPartition("t", partition, 1)], asynchronous=False)
    except KafkaException:
        return False
    return all(place.error is None for place in told or ())


if __name__ == "__main__":
    stage("grown-group", __doc__, "embedded, jvm or compose", show)
