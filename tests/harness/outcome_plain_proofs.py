"""How the real client is brought to meet the errors of the outcome table outside transactions (see outcome_scene)."""

from __future__ import annotations

import threading

import msgspec

from harness.history import Op
from harness.outcome import Stage
from tests.harness.clients.conftest import op, send, until
from tests.harness.clients.mock_kafka import Api
from tests.harness.outcome_scene import (
    FOREVER_MS,
    NO_RETRIES,
    PLAIN,
    TXN,
    WAIT_S,
    Proof,
    Scene,
    break_producer,
    proves,
    raw,
)

# Outside transactions: the call that enqueues a record.


@proves(Stage.PRODUCE, "_QUEUE_FULL")
def queue_full(scene: Scene) -> Op:
    client = scene.client(PLAIN, **{"queue.buffering.max.messages": 1})
    client.invoke(send(("t0/0", 1)))
    scene.mock.down()
    raw(client).produce("t0", b"x", partition=0)
    return client.invoke(send(("t0/0", 2)))


@proves(Stage.PRODUCE, "MSG_SIZE_TOO_LARGE")
def too_large_for_the_client(scene: Scene) -> Op:
    return scene.client(PLAIN, **{"message.max.bytes": 1000}).invoke(send(("t0/0", 10**1500)))


@proves(Stage.PRODUCE, "_UNKNOWN_PARTITION")
def partition_known_to_be_none(scene: Scene) -> Op:
    client = scene.client(PLAIN)
    client.invoke(send(("t0/0", 1)))
    return client.invoke(send(("t0/99", 2)))


@proves(Stage.PRODUCE, "_UNKNOWN_TOPIC")
def topic_known_to_be_none(scene: Scene) -> Op:
    client = scene.client(PLAIN, **{"topic.metadata.propagation.max.ms": 100})
    client.invoke(send(("nope/0", 1)))
    return client.invoke(send(("nope/0", 2)))


@proves(Stage.PRODUCE, "_FATAL")
def producer_broken_before(scene: Scene) -> Op:
    client = scene.client(msgspec.structs.replace(PLAIN, idempotence=True))
    client.invoke(send(("t0/0", 1)))
    break_producer(scene, client, 45)
    return client.invoke(send(("t0/0", 2)))


@proves(Stage.PRODUCE, "_STATE")
def outside_a_transaction(scene: Scene) -> Op:
    client = scene.client(TXN, **{"transactional.id": "a", "transaction.timeout.ms": 4000, "message.timeout.ms": 4000})
    return client.invoke(send(("t0/0", 1)))


# Outside transactions: the delivery report.


def refused_by_the_broker(code: int) -> Proof:
    def proof(scene: Scene) -> Op:
        client = scene.client(PLAIN, **NO_RETRIES)
        client.invoke(send(("t0/0", 1)))
        scene.mock.push(Api.PRODUCE, code)
        return client.invoke(send(("t0/0", 2)))

    return proof


for _code, _name in (
    (10, "MSG_SIZE_TOO_LARGE"),
    (87, "INVALID_RECORD"),
    (29, "TOPIC_AUTHORIZATION_FAILED"),
    (19, "NOT_ENOUGH_REPLICAS"),
    (76, "UNSUPPORTED_COMPRESSION_TYPE"),
    (7, "REQUEST_TIMED_OUT"),
    (-195, "_TRANSPORT"),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"),
    (100, "UNKNOWN_TOPIC_ID"),
    (56, "KAFKA_STORAGE_ERROR"),
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
    (59, "UNKNOWN_PRODUCER_ID"),
    (47, "INVALID_PRODUCER_EPOCH"),
):
    proves(Stage.DELIVERY, _name)(refused_by_the_broker(_code))


@proves(Stage.DELIVERY, "_MSG_TIMED_OUT")
def no_broker(scene: Scene) -> Op:
    client = scene.client(PLAIN, **{"message.timeout.ms": 500})
    scene.mock.down()
    return client.invoke(send(("t0/0", 1)))


@proves(Stage.DELIVERY, "_TIMED_OUT")
def no_report_within_the_ops_bound(scene: Scene) -> Op:
    client = scene.client(PLAIN, **{"message.timeout.ms": 60_000})
    scene.mock.down()
    return client.invoke(send(("t0/0", 1)))


def purged(scene: Scene, *, in_flight: bool) -> Op:
    """Purge the producer, again and again, while a send waits for its report."""
    client = scene.client(PLAIN)
    client.invoke(send(("t0/0", 1)))
    if in_flight:
        scene.mock.answer_after_ms(FOREVER_MS)
    else:
        scene.mock.down()
    over = threading.Event()

    def purge() -> None:
        while not over.wait(0.02):
            raw(client).purge(in_queue=not in_flight, in_flight=in_flight)

    thread = threading.Thread(target=purge)
    thread.start()
    try:
        return client.invoke(send(("t0/0", 2)))
    finally:
        over.set()
        thread.join(WAIT_S)


@proves(Stage.DELIVERY, "_PURGE_QUEUE")
def purged_in_queue(scene: Scene) -> Op:
    return purged(scene, in_flight=False)


@proves(Stage.DELIVERY, "_PURGE_INFLIGHT")
def purged_in_flight(scene: Scene) -> Op:
    return purged(scene, in_flight=True)


@proves(Stage.DELIVERY, "UNKNOWN_TOPIC_OR_PART")
def topic_found_to_be_none(scene: Scene) -> Op:
    return scene.client(PLAIN, **{"topic.metadata.propagation.max.ms": 100}).invoke(send(("nope/0", 1)))


@proves(Stage.DELIVERY, "_UNKNOWN_PARTITION")
def partition_found_to_be_none(scene: Scene) -> Op:
    scene.mock.answer_after_ms(300)  # what partitions there are is not known when the record is taken
    return scene.client(PLAIN, **{"message.timeout.ms": 20_000}).invoke(send(("t0/99", 1)))


# Reading.


@proves(Stage.POLL, "UNKNOWN_TOPIC_OR_PART")
def poll_of_no_topic(scene: Scene) -> Op:
    client = scene.client(PLAIN)
    client.invoke(op("subscribe", ["nope/0"]))
    return until(client, lambda done: done.type != "ok")


@proves(Stage.POLL, "TOPIC_AUTHORIZATION_FAILED")
def poll_refused(scene: Scene) -> Op:
    client = scene.client(PLAIN)
    client.invoke(op("assign", ["t0/0"]))
    scene.mock.push(Api.FETCH, *[29] * 10)
    return until(client, lambda done: done.type != "ok")


@proves(Stage.POLL, "GROUP_AUTHORIZATION_FAILED")
def group_refused(scene: Scene) -> Op:
    client = scene.client(PLAIN)
    scene.mock.push(Api.JOIN_GROUP, 30)
    client.invoke(op("subscribe", ["t0/0"]))
    return until(client, lambda done: done.type != "ok")


@proves(Stage.ASSIGN, "_INVALID_ARG")
def one_key_twice(scene: Scene) -> Op:
    return scene.client(PLAIN).invoke(op("assign", ["t0/0", "t0/0"]))


@proves(Stage.SUBSCRIBE, "_INVALID_ARG")
def no_topics(scene: Scene) -> Op:
    return scene.client(PLAIN).invoke(op("subscribe", []))


COMMIT_OFFSETS = op("commit", [["t0/0", 1]])


def commit_refused(code: int) -> Proof:
    def proof(scene: Scene) -> Op:
        client = scene.client(PLAIN)
        client.invoke(op("assign", ["t0/0"]))
        scene.mock.push(Api.OFFSET_COMMIT, *[code] * 6)
        return client.invoke(COMMIT_OFFSETS)

    return proof


for _code, _name in (
    (22, "ILLEGAL_GENERATION"),
    (25, "UNKNOWN_MEMBER_ID"),
    (82, "FENCED_INSTANCE_ID"),
    (113, "STALE_MEMBER_EPOCH"),
    (27, "REBALANCE_IN_PROGRESS"),
    (7, "REQUEST_TIMED_OUT"),
    (-195, "_TRANSPORT"),
):
    proves(Stage.COMMIT_OFFSETS, _name)(commit_refused(_code))


@proves(Stage.COMMIT_OFFSETS, "_NO_OFFSET")
def nothing_to_commit(scene: Scene) -> Op:
    client = scene.client(PLAIN)
    client.invoke(op("assign", ["t0/0"]))
    return client.invoke(op("commit", []))


@proves(Stage.COMMIT_OFFSETS, "_TIMED_OUT")
def commit_without_an_answer(scene: Scene) -> Op:
    client = scene.client(PLAIN)
    client.invoke(op("assign", ["t0/0"]))
    client.invoke(COMMIT_OFFSETS)
    scene.mock.answer_after_ms(FOREVER_MS)
    return client.invoke(COMMIT_OFFSETS)


@proves(Stage.COMMITTED, "GROUP_AUTHORIZATION_FAILED")
def committed_refused(scene: Scene) -> Op:
    scene.mock.push(Api.OFFSET_FETCH, 30)
    return scene.client(PLAIN).invoke(op("committed", {"group": "g"}))
