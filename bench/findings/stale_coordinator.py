"""Exactly once, twice: a group coordinator that was deposed tells committed offsets of the past (docs/findings.md).

    python -m bench.findings.stale_coordinator [--cluster embedded|jvm]

The broker that coordinates a group is cut off from all others, but not from the clients; the others elect another
coordinator. The consumer keeps to the old one, which answers its heartbeats. The application's producer is a new one
(its predecessor's transaction failed): its offsets go to the new coordinator, which knows the member and its
generation, and takes them. Then the application asks what its group has committed, as it does after an abort: the old
coordinator answers, with what was committed before the cut. The application goes back there and copies again what it
has copied already, and the new coordinator takes that, too. Prints one JSON line; `twice` names the inputs that were
copied twice by committed transactions, as a reader of committed data finds them; `told` is null where nobody answered.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition, libversion
from confluent_kafka.admin import AdminClient, NewTopic

from bench.findings.stage import stage
from harness.cluster.observer import ClusterObserver, observer_of

WITHIN_S = 60.0
QUIET_S = 3.0
"""Before the cut, so that nothing waits for the followers: the old coordinator would not answer heartbeats."""
ANSWER_S = 10.0
GROUP = "g"
RECORDS = 6
QUIET = {"log_level": 0}


class Application:
    """Copies from one partition to another, exactly once."""

    def __init__(self, bootstrap: str, source: TopicPartition, target: TopicPartition, name: str) -> None:
        settings = {"group.id": GROUP, "isolation.level": "read_committed", "enable.auto.commit": False}
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, **QUIET, **settings, "auto.offset.reset": "earliest"}
        )
        self._consumer.subscribe([source.topic])
        self._source, self._target, self._name = source, target, name
        self.renew(bootstrap)

    def renew(self, bootstrap: str) -> None:
        """Take another producer, of the same transactional id."""
        self._producer = Producer({"bootstrap.servers": bootstrap, **QUIET, "transactional.id": self._name})
        self._producer.init_transactions(WITHIN_S)

    def copy(self, count: int) -> list[int]:
        """Copy the next records in one transaction; return their offsets."""
        offsets: list[int] = []
        deadline = time.monotonic() + WITHIN_S
        while len(offsets) < count and time.monotonic() < deadline:
            record = self._consumer.poll(1.0)
            if record is not None and record.error() is None:
                offsets.append(record.offset())
        self._producer.begin_transaction()
        for offset in offsets:
            self._producer.produce(self._target.topic, str(offset).encode(), partition=self._target.partition)
        after = TopicPartition(self._source.topic, self._source.partition, offsets[-1] + 1)
        self._producer.send_offsets_to_transaction([after], self._consumer.consumer_group_metadata())
        self._producer.commit_transaction(WITHIN_S)
        return offsets

    def go_back(self) -> int | None:
        """Go on at what the group has committed, as the consumer is told; return that, None if nobody answers."""
        try:
            (found,) = self._consumer.committed([self._source], ANSWER_S)
        except KafkaException:
            return None
        self._consumer.seek(found)
        return int(found.offset)


def show(cluster: Any) -> dict[str, object]:
    """Do what the module tells, on a cluster of three that is up."""
    bootstrap = cluster.bootstrap()
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    observer = observer_of(cluster, ["in", "out"])
    first = _until(lambda: _coordinator(observer, "group", GROUP), "no coordinator of the group")
    numbers = {node.name: node.id for node in cluster.nodes()}
    others = [name for name in numbers if name != first]
    placed = [[numbers[name] for name in (*others, first)]]
    for future in admin.create_topics(
        [NewTopic(name, 1, replica_assignment=placed) for name in ("in", "out")]
    ).values():
        future.result(WITHIN_S)
    ids = map("copy-{}".format, itertools.count())
    name = next(one for one in ids if _until(partial(_coordinator, observer, "transaction", one), "none") != first)
    source, target = TopicPartition("in", 0), TopicPartition("out", 0)
    _fill(bootstrap, source)
    application = Application(bootstrap, source, target, name)
    copied = [application.copy(2)]
    time.sleep(QUIET_S)
    _each(cluster.cut, first, others)
    second = _until(lambda: _another(_coordinator(observer, "group", GROUP), first), "no other coordinator")
    application.renew(",".join(node.address for node in cluster.nodes() if node.name != first))
    copied.append(application.copy(RECORDS - 2))
    told = application.go_back()
    if told is not None and told < RECORDS:
        copied.append(application.copy(RECORDS - told))
    _each(cluster.join, first, others)
    found = _read(bootstrap, target, sum(map(len, copied)))
    return {
        "librdkafka": libversion()[0],
        "coordinators": [first, second],
        "copied": copied,
        "committed": RECORDS,
        "told": told,
        "twice": sorted(one for one, count in Counter(found).items() if count > 1),
    }


def _each(change: Callable[[str, str], None], node: str, others: Sequence[str]) -> None:
    for other in others:
        change(node, other)
        change(other, node)


def _coordinator(observer: ClusterObserver, kind: str, name: str) -> str | None:
    keeper = observer.coordinator(kind, name)
    return keeper and keeper.leader


def _another(found: str | None, first: str) -> str | None:
    return None if found == first else found


def _until(ask: Callable[[], Any], why: str) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.2)
    raise SystemExit(f"{why} in {WITHIN_S:g} s")


def _fill(bootstrap: str, source: TopicPartition) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, **QUIET})
    for number in range(RECORDS):
        producer.produce(source.topic, str(number).encode(), partition=source.partition)
    producer.flush(WITHIN_S)


def _read(bootstrap: str, target: TopicPartition, count: int) -> list[int]:
    """Return what committed data holds, when there is so much of it."""
    settings = {"group.id": "reader", "isolation.level": "read_committed"}
    consumer = Consumer({"bootstrap.servers": bootstrap, **settings, **QUIET})
    consumer.assign([TopicPartition(target.topic, target.partition, 0)])
    found: list[int] = []
    deadline = time.monotonic() + WITHIN_S
    try:
        while len(found) < count and time.monotonic() < deadline:
            record = consumer.poll(1.0)
            if record is not None and record.error() is None:
                found.append(int(record.value()))
    finally:
        consumer.close()
    return found


if __name__ == "__main__":
    stage("stale", __doc__, "embedded or jvm", show)
