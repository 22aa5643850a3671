"""No op blocks past its bound, whatever the brokers do: dead (connections refused) or paused (no answer at all)."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import msgspec
import pytest
from confluent_kafka import Consumer

from harness.clients import sender as sender_module
from harness.clients import settings
from harness.clients.confluent import ConfluentClients
from harness.clients.errors import FailedError
from harness.clients.patience import Deadline
from harness.clients.sender import Sender
from tests.harness.clients.conftest import POLL, SCENARIO, WAIT_S, op, send, txn, until
from tests.harness.clients.mock_kafka import Api, MockKafka

FOREVER_MS = 120_000
SLACK_S = 20.0
"""A loaded machine may be slow. Without the harness's bounds an op takes librdkafka's own times, a minute and more."""
PATIENCE_S = 50.0
"""Bound of all threads together: more than what is asserted of each."""
PATIENT = msgspec.structs.replace(SCENARIO, transaction_timeout_s=PATIENCE_S)
"""No op of it is given up because the machine is busy."""
ROUNDS = 3
"""So many requests for metadata after a change: the first of them has been answered by then."""
SEND = ["send", "t0/0", 7]
KINDS = {
    "send": send(("t0/0", 8)),
    "poll": POLL,
    "txn": txn(["send", "t0/0", 8], ["poll"]),
    "first-txn": txn(SEND),
    "assign": op("assign", ["t0/0", "t0/1"]),
    "subscribe": op("subscribe", ["t0/0"]),
    "commit": op("commit", [["t0/0", 1]]),
    "committed": op("committed", {"group": "harness"}),
    "crash": op("crash"),
}


UNSURE = ("send", "first-txn", "commit", "crash")
"""Without an answer nobody knows whether they happened. (A transaction can be aborted without one when nothing of it had
been sent: librdkafka then sends no EndTxn.)"""


@pytest.fixture
def quick(monkeypatch):
    """Time-outs short enough that a whole op fits into two seconds."""
    monkeypatch.setattr(settings, "SOCKET_TIMEOUT_MS", 1000)
    monkeypatch.setattr(settings, "OP_GRACE_S", 1.0)
    return msgspec.structs.replace(SCENARIO, transaction_timeout_s=1.0)


def prepared(clients, process, kind):
    """A client that has connected everything that the op will use."""
    client = clients.open(process, time.monotonic_ns)
    if kind != "first-txn":
        client.invoke(send(("t0/1", 1)))
        client.invoke(txn(SEND))
    client.invoke(op("assign", ["t0/1"]))
    return client


@pytest.mark.parametrize("fault", ["dead", "paused"])
def test_every_op_and_close_return_within_their_bounds(quick, fault):
    took_s, types, closed_s = {}, {}, {}
    ready, broken = threading.Barrier(len(KINDS) + 1, timeout=PATIENCE_S), threading.Event()

    def perform(process, kind):
        client = prepared(clients, process, kind)
        ready.wait()
        assert broken.wait(PATIENCE_S)
        begun = time.monotonic()
        done = client.invoke(KINDS[kind])
        took_s[kind], types[kind] = time.monotonic() - begun, done.type
        begun = time.monotonic()
        client.close()
        closed_s[kind] = time.monotonic() - begun

    with MockKafka() as mock:
        clients = ConfluentClients(quick, mock.bootstrap)
        threads = [threading.Thread(target=perform, args=pair) for pair in enumerate(KINDS)]
        for thread in threads:
            thread.start()
        ready.wait()
        if fault == "dead":
            mock.down()
        else:
            mock.answer_after_ms(FOREVER_MS)
        broken.set()
        end_s = time.monotonic() + PATIENCE_S
        for thread in threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        assert not any(thread.is_alive() for thread in threads)
        mock.answer_after_ms(0)
        mock.up()
    assert set(took_s) == set(KINDS)
    bound_s = settings.op_bound_s(quick) + SLACK_S
    assert {kind: s for kind, s in took_s.items() if s > bound_s} == {}
    assert {kind: s for kind, s in closed_s.items() if s > settings.CLOSE_S + SLACK_S} == {}
    assert {kind: types[kind] for kind in UNSURE} == dict.fromkeys(UNSURE, "info")
    assert types["txn"] != "ok"
    assert types["poll"] == types["assign"] == types["subscribe"] == "ok"


def test_a_call_of_librdkafka_that_never_returns_costs_its_producer(quick, mock, monkeypatch):
    monkeypatch.setattr(sender_module, "OVERDUE_S", 0.1)
    sender = Sender(settings.producer(quick, mock.bootstrap, "c", "id-1"), "t0")
    hanging = threading.Event()
    sender._producer = SimpleNamespace(send_offsets_to_transaction=lambda *_: hanging.wait())
    try:
        with pytest.raises(FailedError) as failed:
            sender.send_offsets({"t0/0": 1}, None, Deadline(0))
    finally:
        hanging.set()
    assert (failed.value.failure.name, failed.value.failure.fatal) == ("_TIMED_OUT", True)


@pytest.mark.parametrize("fault", ["dead", "paused"])
def test_sending_offsets_passes_its_deadline_by_one_socket_time_out_at_most(quick, mock, fault):
    sender = Sender(settings.producer(quick, mock.bootstrap, "c", "id-1"), "t0")
    consumer = Consumer(settings.consumer(quick, mock.bootstrap, "c", "read_committed"))
    sender.init(Deadline(10))
    sender.begin()
    if fault == "dead":
        mock.down()
    else:
        mock.answer_after_ms(FOREVER_MS)
    begun = time.monotonic()
    with pytest.raises(FailedError) as failed:
        sender.send_offsets({"t0/0": 1}, consumer.consumer_group_metadata(), Deadline(0))
    assert time.monotonic() - begun < settings.MIN_OFFSETS_S + settings.SOCKET_TIMEOUT_MS / 1000 + SLACK_S
    assert failed.value.failure.name == "_TIMED_OUT"
    assert sender.drop(settings.CLOSE_S)


def test_a_transaction_whose_commit_hangs_is_info_with_a_commit_time(quick, mock, opened):
    client = opened(ConfluentClients(quick, mock.bootstrap))
    client.invoke(txn(SEND))
    mock.push(Api.END_TXN, *[14] * 1000)  # COORDINATOR_LOAD_IN_PROGRESS, retried until the op's bound
    done = client.invoke(txn(SEND))
    assert (done.type, done.error["stage"], done.error["name"]) == ("info", "commit", "_TIMED_OUT")
    assert done.commit_time >= done.times[-1][1]
    assert done.value == [["send", "t0/0", [2, 7]]]


def test_a_leader_change_is_noticed_by_the_old_leaders_refusal(opened):
    with MockKafka(brokers=3) as mock:
        client = opened(ConfluentClients(PATIENT, mock.bootstrap))
        mock.lead("t0", 0, 1)
        client.invoke(send(("t0/0", 1)))
        client.invoke(op("assign", ["t0/0"]))
        mock.lead("t0", 0, 2)
        assert client.invoke(send(("t0/0", 2))).type == "ok"
        until(client, lambda done: done.positions == [["t0/0", 2]])
        client.close()


def test_a_leader_change_is_noticed_by_who_asks_nothing(monkeypatch, opened):
    """By the metadata alone that are asked for every second: the old leader refuses nothing, since it says nothing."""
    monkeypatch.setattr(settings, "SOCKET_TIMEOUT_MS", int(PATIENT.transaction_timeout_s * 1000))
    with MockKafka(brokers=3) as mock:
        client = opened(ConfluentClients(PATIENT, mock.bootstrap))
        mock.lead("t0", 0, 1)
        client.invoke(send(("t0/0", 1)))
        mock.lead("t0", 0, 2)
        mock.track()
        deadline = time.monotonic() + WAIT_S
        while mock.requests()[Api.METADATA] < ROUNDS:
            assert time.monotonic() < deadline, "metadata are not asked for"
            threading.Event().wait(0.01)
        mock.answer_after_ms(FOREVER_MS, broker=1)
        assert client.invoke(send(("t0/0", 2))).type == "ok"
        client.close()


def test_a_paused_leader_delays_a_send_by_about_one_socket_time_out(quick, opened):
    with MockKafka(brokers=3) as mock:
        scenario = msgspec.structs.replace(quick, transaction_timeout_s=10.0)
        client = opened(ConfluentClients(scenario, mock.bootstrap))
        mock.lead("t0", 0, 1)
        client.invoke(send(("t0/0", 1)))
        mock.answer_after_ms(FOREVER_MS, broker=1)
        mock.lead("t0", 0, 2)
        begun = time.monotonic()
        done = client.invoke(send(("t0/0", 2)))
        took_s = time.monotonic() - begun
        assert done.type == "ok"
        assert took_s < settings.SOCKET_TIMEOUT_MS / 1000 + SLACK_S
        client.close()


def test_close_from_another_thread_does_not_touch_an_op_that_is_out(client, monkeypatch):
    monkeypatch.setattr(settings, "CLOSE_S", 0.2)
    client.invoke(op("assign", ["t0/0"]))
    inside, leave, done = threading.Event(), threading.Event(), []
    poll = client._reader.poll

    def slow_poll(most):
        inside.set()
        leave.wait(10)
        return poll(most)

    monkeypatch.setattr(client._reader, "poll", slow_poll)
    worker = threading.Thread(target=lambda: done.append(client.invoke(POLL)))
    worker.start()
    assert inside.wait(10)
    client.close()
    leave.set()
    worker.join(10)
    assert [d.type for d in done] == ["ok"]
