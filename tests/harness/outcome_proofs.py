"""For each row of the outcome table, how the real client is brought to meet its error: on librdkafka's mock cluster.

A proof gets a `Scene` and returns the completion of the op that met the error. In a transaction there are two kinds:
`open` proofs, after which no abort has returned ok (the row's `outcome`), and `aborted` ones (its `aborted`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from confluent_kafka import KafkaException

from harness.clients.confluent import ConfluentClient, ConfluentClients
from harness.history import Op
from harness.outcome import ANY, DELIBERATE_ABORT, DELIBERATE_CRASH, Stage
from harness.scenario import Scenario
from tests.harness.clients.conftest import join, op, send, txn, until
from tests.harness.clients.mock_kafka import Api, MockKafka

TXN = Scenario(topics=1, partitions=3, replication=1, min_isr=1, concurrency=4, transaction_timeout_s=1.0)
PLAIN = msgspec.structs.replace(TXN, workload="send-poll", idempotence=False)
NO_RETRIES = {"retries": 0}
FOREVER_MS = 120_000
WAIT_S = 20.0
SEND = ["send", "t0/0", 7]
MAX_TRIES = 12
REFUSED = 29
"""TOPIC_AUTHORIZATION_FAILED: makes an EndTxn fail at once."""

TWO_BROKERS = frozenset({(True, Stage.COMMIT, "_INCONSISTENT"), (True, Stage.COMMIT, "_TIMED_OUT")})
"""Rows whose proof needs a broker that fails and a coordinator that does not."""

Proof = Callable[["Scene"], Op]
OPEN: dict[tuple[bool, Stage, str], Proof] = {}
ABORTED: dict[tuple[bool, Stage, str], Proof] = {}


@dataclass
class Scene:
    """A mock cluster, and clients of it whose clock can spring an action on them between two micro-ops."""

    mock: MockKafka
    clients: list[ConfluentClient] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)
    _at: int | None = None
    _action: Callable[[], object] = lambda: None

    def client(self, scenario: Scenario, consumer: Any = None, **producer: Any) -> ConfluentClient:
        factory = ConfluentClients(
            scenario, self.mock.bootstrap, producer_overrides=producer, consumer_overrides=consumer or {}
        )
        self.clients.append(factory.open(0, self._now))
        return self.clients[-1]

    def _now(self) -> int:
        if next(self._count) == self._at:
            self._at = None
            self._action()
        return time.monotonic_ns()

    def before_micro_op(self, position: int, action: Callable[[], object]) -> None:
        """Act in the next op, right before its micro-op `position`; past the last one: right before commit."""
        self._count, self._at, self._action = itertools.count(), 2 * position, action

    def close(self) -> None:
        for client in self.clients:
            client.close()


def proves(
    stage: Stage, name: str, *, transactional: bool = False, into: dict[tuple[bool, Stage, str], Proof] = OPEN
) -> Callable[[Proof], Proof]:
    def register(proof: Proof) -> Proof:
        key = (transactional, stage, name)
        assert key not in into, f"{key} has two proofs"
        into[key] = proof
        return proof

    return register


def raw(client: ConfluentClient):
    """The client's own producer, to act behind the client's back."""
    sender = client._plain or client._transactions._sender
    return sender.producer


def wait_for(condition: Callable[[], bool]) -> None:
    deadline, never = time.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        never.wait(0.01)


def break_producer(scene: Scene, client: ConfluentClient, code: int) -> None:
    """Let the producer meet a fatal error that is not the op's."""
    scene.mock.push(Api.PRODUCE, code)
    with suppress(KafkaException):  # the fatal error
        raw(client).produce("t0", b"x", partition=0)
        raw(client).flush(5)


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
    return scene.client(PLAIN).invoke(send(("t0/99", 1)))


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


# Transactions: before anything was sent.


def init_refused(code: int) -> Proof:
    def proof(scene: Scene) -> Op:
        scene.mock.push(Api.INIT_PRODUCER_ID, code)
        return scene.client(TXN).invoke(txn(SEND))

    return proof


for _code, _name in (
    (90, "_FENCED"),
    (53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    (31, "CLUSTER_AUTHORIZATION_FAILED"),
    (50, "INVALID_TRANSACTION_TIMEOUT"),
):
    proves(Stage.INIT, _name, transactional=True)(init_refused(_code))


@proves(Stage.BEGIN, ANY, transactional=True)
def begun_already(scene: Scene) -> Op:
    client = scene.client(TXN)
    client.invoke(txn(SEND))
    raw(client).begin_transaction()
    return client.invoke(txn(SEND))


# Transactions: the body. Each meets its error in the second transaction of a client.


def body(prepare: Callable[[Scene, ConfluentClient], object], invocation: Op, *, abort_fails: bool) -> Proof:
    def proof(scene: Scene) -> Op:
        client = scene.client(TXN)
        client.invoke(txn(SEND))
        prepare(scene, client)
        if abort_fails:
            scene.mock.push(Api.END_TXN, *[REFUSED] * 5)
        return until(client, lambda done: done.type != "ok", invocation)

    return proof


def push(api: Api, code: int, times: int = 1) -> Callable[[Scene, ConfluentClient], object]:
    return lambda scene, _: scene.mock.push(api, *[code] * times)


def fetched(scene: Scene, times: int) -> None:
    """Wait until the consumer has fetched so often since `track`: what it was answered is in its queue."""
    wait_for(lambda: scene.mock.requests()[Api.FETCH] > times)


def poll_fails(scene: Scene, client: ConfluentClient) -> None:
    client.invoke(op("assign", ["t0/0"]))
    scene.mock.track()
    scene.mock.push(Api.FETCH, *[13] * 20)  # NETWORK_EXCEPTION
    fetched(scene, 3)


def offsets_fail(code: int) -> Callable[[Scene, ConfluentClient], object]:
    def prepare(scene: Scene, client: ConfluentClient) -> None:
        join(client)
        scene.mock.track()
        client.invoke(send(("t0/1", 1)))
        fetched(scene, 3)
        scene.mock.push(Api.ADD_OFFSETS_TO_TXN, *[code] * 20)

    return prepare


def fenced_between_two_sends(scene: Scene, client: ConfluentClient) -> None:
    scene.before_micro_op(1, lambda: break_producer(scene, client, 47))


TWO_SENDS = txn(SEND, ["send", "t0/0", 8])
for _stage, _name, _prepare, _invocation in (
    (Stage.DELIVERY, "_FENCED", push(Api.PRODUCE, 47), txn(SEND)),
    (Stage.DELIVERY, "PRODUCER_FENCED", push(Api.PRODUCE, 90), txn(SEND)),
    (Stage.PRODUCE, "_FENCED", fenced_between_two_sends, TWO_SENDS),
    (Stage.SEND_OFFSETS, "_FENCED", offsets_fail(90), txn(SEND, ["poll"])),
    (Stage.PRODUCE, ANY, lambda *_: None, txn(SEND, ["send", "t0/99", 8])),
    (Stage.DELIVERY, ANY, push(Api.PRODUCE, 87), txn(SEND)),
    (Stage.POLL, ANY, poll_fails, txn(SEND, ["poll"])),
    (Stage.SEND_OFFSETS, ANY, offsets_fail(30), txn(SEND, ["poll"])),
):
    proves(_stage, _name, transactional=True)(body(_prepare, _invocation, abort_fails=True))
    if _name != "_FENCED":  # a fatal error leaves no abort
        proves(_stage, _name, transactional=True, into=ABORTED)(body(_prepare, _invocation, abort_fails=False))


# Transactions: commit.


def commit_fails(code: int, times: int, *, abort_fails: bool) -> Proof:
    def proof(scene: Scene) -> Op:
        client = scene.client(TXN)
        client.invoke(txn(SEND))
        scene.mock.push(Api.END_TXN, *[code] * times, *([REFUSED] * 5 if abort_fails else []))
        return client.invoke(txn(SEND))

    return proof


for _code, _name, _times in (
    (59, "UNKNOWN_PRODUCER_ID", 1),
    (49, "INVALID_PRODUCER_ID_MAPPING", 1),
    (90, "_FENCED", 1),
    (48, "INVALID_TXN_STATE", 1),
    (14, "_TIMED_OUT", 1000),  # COORDINATOR_LOAD_IN_PROGRESS, retried until the op's bound
    (-1, ANY, 1),
):
    proves(Stage.COMMIT, _name, transactional=True)(commit_fails(_code, _times, abort_fails=True))
    if _name not in {"_FENCED", "INVALID_TXN_STATE", "_TIMED_OUT"}:  # fatal, or still under way: no abort
        proves(Stage.COMMIT, _name, transactional=True, into=ABORTED)(commit_fails(_code, _times, abort_fails=False))


@proves(Stage.COMMIT, "_STATE", transactional=True)
def committed_already(scene: Scene) -> Op:
    client = scene.client(TXN)
    client.invoke(txn(SEND))
    scene.before_micro_op(1, lambda: raw(client).commit_transaction(5))
    return client.invoke(txn(SEND))


def undelivered_at_commit(scene: Scene, name: str, *, abort_fails: bool) -> Op:
    """A record that only a second broker could take is under way when commit is called; the coordinator is well.

    Whether librdkafka calls it _TIMED_OUT or _INCONSISTENT depends on which of its timers finds the record first: a
    record that was never on its way (broker dead) is _INCONSISTENT, of others (broker paused) some are _TIMED_OUT.
    """
    client = scene.client(TXN, **{"message.timeout.ms": 1000, "socket.timeout.ms": 300})
    scene.mock.coordinate("transaction", "harness-0-0", 1)
    scene.mock.lead("t0", 0, 1)
    scene.mock.lead("t0", 2, 2)

    def send_one_more() -> None:
        if name == "_INCONSISTENT":
            scene.mock.down(2)
        else:
            scene.mock.answer_after_ms(FOREVER_MS, 2)
        raw(client).produce("t0", b"x", partition=2)

    for _ in range(MAX_TRIES):
        scene.mock.answer_after_ms(0, 2)
        client.invoke(txn(SEND, ["send", "t0/2", 6]))
        scene.before_micro_op(1, send_one_more)
        if abort_fails:
            scene.mock.push(Api.END_TXN, *[REFUSED] * 5)
        done = client.invoke(txn(SEND))
        if done.error and done.error["name"] == name:
            return done
    raise AssertionError(f"commit never ended with {name}")


for _name, _abort_fails in (("_INCONSISTENT", True), ("_INCONSISTENT", False), ("_TIMED_OUT", False)):
    proves(Stage.COMMIT, _name, transactional=True, into=OPEN if _abort_fails else ABORTED)(
        partial(undelivered_at_commit, name=_name, abort_fails=_abort_fails)
    )


# Transactions: abort, and what the workload asks for.


def abort_fails_with(code: int, times: int) -> Proof:
    def proof(scene: Scene) -> Op:
        client = scene.client(TXN)
        client.invoke(txn(SEND))
        scene.mock.push(Api.END_TXN, *[code] * times)
        return client.invoke(txn(SEND, abort=True))

    return proof


for _code, _name, _times in ((90, "_FENCED", 1), (14, "_TIMED_OUT", 1000), (REFUSED, ANY, 5)):
    proves(Stage.ABORT, _name, transactional=True)(abort_fails_with(_code, _times))
proves(Stage.ABORT, DELIBERATE_ABORT, transactional=True)(abort_fails_with(REFUSED, 5))


@proves(Stage.ABORT, DELIBERATE_ABORT, transactional=True, into=ABORTED)
def aborted_on_purpose(scene: Scene) -> Op:
    return scene.client(TXN).invoke(txn(SEND, abort=True))


@proves(Stage.ABORT, DELIBERATE_CRASH, transactional=True)
def crashed_on_purpose(scene: Scene) -> Op:
    return scene.client(TXN).invoke(txn(SEND, crash=True))
