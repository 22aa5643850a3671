"""What is done to a target, by confluent-kafka clients in this process: each function returns its figures.

Batches and queues are librdkafka's defaults, but for a queue of 64 MB: what is left to flush at the end counts. acks is
all. Every produce measurement has a topic of its own, deleted afterwards.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

Config = dict[str, Any]
QUIET: Config = {"enable.metrics.push": False, "log_level": 4}
TIMEOUT_S = 60.0
QUEUE_KBYTES = 64 * 1024
BATCH = 500
"""Records that go to librdkafka in one call: the client's own cost per record is then small."""
FIRST_WAIT_S = 0.005
WARM_UP = 20
"""Records that are written one by one before the clock counts."""
_numbers = itertools.count()


class FailedError(Exception):
    """A load did not do what it should; the message says what."""


def create(bootstrap: str, partitions: int, replicas: int) -> str:
    """Return a new topic, with leaders."""
    name = f"bench-{time.time_ns()}-{next(_numbers)}"
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    admin.create_topics([NewTopic(name, partitions, replicas)])[name].result(TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        found = admin.list_topics(name, timeout=TIMEOUT_S).topics[name].partitions
        if len(found) == partitions and all(one.leader >= 0 for one in found.values()):
            return name
        time.sleep(0.02)
    raise FailedError(f"{name} has no leaders")


def delete(bootstrap: str, topic: str) -> None:
    """Delete it."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)


def produce(
    bootstrap: str, topic: str, *, size: int, partitions: int, seconds: float, records: int = 1 << 60, **config: Any
) -> dict[str, float]:
    """Write as fast as it goes, for that long or that many records; figures: records and MB a second."""
    settings: Config = {"bootstrap.servers": bootstrap, "acks": "all", "queue.buffering.max.kbytes": QUEUE_KBYTES}
    failed: list[KafkaError] = []
    settings |= QUIET | {"error_cb": failed.append} | config
    producer = Producer(settings)
    producer.list_topics(topic, timeout=TIMEOUT_S)
    value = bytes(index * 7 % 251 for index in range(size))
    messages = [{"value": value}] * BATCH
    sent = 0
    places = itertools.cycle(range(partitions))
    began = time.monotonic()
    while time.monotonic() < began + seconds and sent < records:
        taken = producer.produce_batch(topic, [dict(one) for one in messages], partition=next(places))
        sent += taken
        if taken < BATCH:
            producer.poll(0.002)
    left = producer.flush(TIMEOUT_S)
    took = time.monotonic() - began
    if left:
        raise FailedError(f"{left} records were not acknowledged in {TIMEOUT_S:g} s: {failed[-1:]}")
    ends = end_offsets(bootstrap, topic, partitions)
    if sum(ends) < sent:
        raise FailedError(f"{sent} records were acknowledged, the log has {sum(ends)}")
    return {"records_per_s": sent / took, "mb_per_s": sent * size / took / 1e6, "bytes": float(sent * size)}


def end_offsets(bootstrap: str, topic: str, partitions: int) -> list[int]:
    """Return the high watermark of each partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", **QUIET})
    try:
        return [consumer.get_watermark_offsets(TopicPartition(topic, p), TIMEOUT_S)[1] for p in range(partitions)]
    finally:
        consumer.close()


def consume(bootstrap: str, topic: str, *, size: int, partitions: int) -> dict[str, float]:
    """Read it all, from the start; the clock begins with the first record."""
    ends = end_offsets(bootstrap, topic, partitions)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 1_000_000,
            **QUIET,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    read, total, began = 0, sum(ends), 0.0
    deadline = time.monotonic() + TIMEOUT_S
    first = 0
    while read < total and time.monotonic() < deadline:
        got = len(consumer.consume(10_000, timeout=1.0))
        read += got
        if got and not began:
            began, first = time.monotonic(), got
    took = time.monotonic() - began
    consumer.close()
    if read < total:
        raise FailedError(f"{read} of {total} records were read in {TIMEOUT_S:g} s")
    return {"records_per_s": (total - first) / took, "mb_per_s": (total - first) * size / took / 1e6}


def sync_produce(bootstrap: str, topic: str, *, seconds: float, size: int = 100) -> dict[str, float]:
    """Write one record after the other, each acknowledged before the next; figures: percentiles in ms."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0, **QUIET})
    value = bytes(size)
    taken: list[float] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.perf_counter()
        producer.produce(topic, value, partition=0)
        if producer.flush(TIMEOUT_S):
            raise FailedError("a record was not acknowledged")
        taken.append((time.perf_counter() - began) * 1000)
    return _percentiles(taken[WARM_UP:])


def transactions(bootstrap: str, topic: str, *, seconds: float, records: int = 10) -> dict[str, float]:
    """Commit transactions one after the other; figures: how many a second, percentiles in ms.

    One producer, a topic of its own, the next transaction begins as soon as the last is committed: three requests each
    (AddPartitions, Produce, EndTxn). The client alone takes over a millisecond, since librdkafka registers partitions
    on a timer of 1 ms; no broker gets past some 700 a second. Apache Kafka answers EndTxn before its markers are
    written: a client that goes on at once may hear CONCURRENT_TRANSACTIONS, and tries again 20 ms later, or after
    `retry.backoff.ms` (100). How often depends on who is quicker, client or markers: on one node with a warm machine
    seldom (200-300 transactions a second), with three nodes nearly always (6-7 a second).
    """
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"t-{topic}", "linger.ms": 0, **QUIET})
    producer.init_transactions(TIMEOUT_S)
    taken: list[float] = []
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        start = time.perf_counter()
        producer.begin_transaction()
        for index in range(records):
            producer.produce(topic, b"x" * 100, key=str(index), partition=0)
        producer.commit_transaction(TIMEOUT_S)
        taken.append((time.perf_counter() - start) * 1000)
    took = time.monotonic() - began
    return {"per_s": len(taken) / took} | _percentiles(taken)


def _percentiles(taken_ms: list[float]) -> dict[str, float]:
    if len(taken_ms) < 2:
        raise FailedError(f"{len(taken_ms)} were measured: too slow, or too short a time (--seconds)")
    cuts = statistics.quantiles(taken_ms, n=100)
    return {"p50_ms": cuts[49], "p99_ms": cuts[98]}


def first_ack(bootstrap: str, replicas: int, since_s: float) -> dict[str, float]:
    """Return the seconds until a record was acknowledged, in a topic that is made as soon as anybody answers."""
    quick: Config = {
        **QUIET,
        "bootstrap.servers": bootstrap,
        "reconnect.backoff.ms": 10,
        "reconnect.backoff.max.ms": 20,
        "topic.metadata.refresh.fast.interval.ms": 10,
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 20,
        "log_level": 0,
        "linger.ms": 0,
    }
    topic = f"bench-first-{time.time_ns()}"
    admin = AdminClient({**quick, "error_cb": lambda _: None})
    _until(lambda: admin.create_topics([NewTopic(topic, 1, replicas)], request_timeout=1.0)[topic].result(2.0))
    producer = Producer({**quick, "acks": "all", "error_cb": lambda _: None})
    producer.produce(topic, b"first", partition=0)
    if producer.flush(TIMEOUT_S):
        raise FailedError("the first record was not acknowledged")
    return {"s": time.monotonic() - since_s}


def _until(action: Callable[[], Any]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            action()
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.TOPIC_ALREADY_EXISTS:
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(FIRST_WAIT_S)
        else:
            return
