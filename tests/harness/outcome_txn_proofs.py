"""How the real client is brought to meet the errors of the outcome table in transactions (see outcome_scene)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from harness.clients.confluent import ConfluentClient
from harness.history import Op
from harness.outcome import ANY, DELIBERATE_ABORT, DELIBERATE_CRASH, Stage
from tests.harness.clients.conftest import join, op, send, txn, until
from tests.harness.clients.mock_kafka import Api
from tests.harness.outcome_scene import (
    ABORTED,
    FOREVER_MS,
    MAX_TRIES,
    OPEN,
    REFUSED,
    SEND,
    TXN,
    Proof,
    Scene,
    break_producer,
    proves,
    raw,
    wait_for,
)

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
