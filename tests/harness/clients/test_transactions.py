"""Transactions, their ends and their crashes, on librdkafka's mock cluster (which neither fences nor hides aborted data)."""

from __future__ import annotations

import msgspec
import pytest

from harness.clients.confluent import ConfluentClients
from harness.clients.errors import FailedError, timed_out
from harness.clients.micro_ops import MicroOps, Work
from harness.clients.patience import Deadline
from harness.clients.transactions import Transactions
from harness.history import encode
from harness.outcome import Stage
from tests.harness.clients.conftest import SCENARIO, join, op, polled, read, send, txn, until
from tests.harness.clients.mock_kafka import Api

SEND = ["send", "t0/0", 7]


def test_a_committed_transaction_tells_offsets_times_and_when_commit_was_first_called(client):
    client.invoke(op("assign", ["t0/1"]))
    client.invoke(send(("t0/1", 1)))
    done = until(client, polled, txn(SEND, ["poll"]))
    assert (done.type, done.error, done.txn_id) == ("ok", None, "harness-0-0")
    assert done.value[0][:2] == ["send", "t0/0"]
    assert done.value[0][2][1] == 7
    assert done.value[1] == ["poll", [["t0/1", [[0, 1, {"epoch": 0}]]]]]
    assert len(done.times) == 2
    assert done.times[0][1] <= done.times[1][0] <= done.times[1][1] <= done.commit_time
    assert (done.isolation, done.offsets, done.group) == ("read_committed", None, None)


def test_a_deliberate_abort_is_fail_and_says_that_commit_was_never_called(client):
    done = client.invoke(txn(SEND, abort=True))
    assert (done.type, done.error["name"], done.commit_time) == ("fail", "DELIBERATE_ABORT", None)
    assert done.value == [["send", "t0/0", [0, 7]]]
    assert msgspec.json.decode(encode(done))["commit-time"] is None
    assert client.invoke(txn(SEND)).type == "ok"


def test_after_an_abort_the_polled_records_are_read_again(client):
    client.invoke(send(("t0/1", 1), ("t0/1", 2)))
    client.invoke(op("assign", ["t0/1"]))
    until(client, polled, txn(["poll"], abort=True))
    assert read(client, 2) == {"t0/1": [1, 2]}


def test_after_a_commit_they_are_not(client):
    client.invoke(send(("t0/1", 1)))
    client.invoke(op("assign", ["t0/1"]))
    until(client, polled, txn(["poll"]))
    client.invoke(send(("t0/1", 2)))
    assert read(client, 1) == {"t0/1": [2]}


def test_a_refused_record_stops_the_transaction_and_the_rest_is_never_begun(client, mock):
    client.invoke(txn(SEND))
    mock.push(Api.PRODUCE, 87)  # INVALID_RECORD
    done = client.invoke(txn(["send", "t0/0", 8], ["send", "t0/1", 9]))
    assert (done.type, done.error["name"], done.error["stage"]) == ("fail", "INVALID_RECORD", "delivery")
    assert done.value == [["send", "t0/0", 8], ["send", "t0/1", 9]]
    assert (len(done.times), done.commit_time) == (1, None)


class Purging:
    """A producer whose record gets no report, and whose abort succeeds."""

    def __init__(self):
        self.is_dropped = False

    def init(self, deadline):
        pass

    def begin(self):
        pass

    def queue(self, *_):
        return []

    def report(self, *_):
        raise FailedError(timed_out(Stage.DELIVERY, "no delivery report within the op's bound"))

    def abort(self, deadline):
        pass

    def drop(self, timeout_s):
        self.is_dropped = True


class NoReader:
    subscribed = False


@pytest.mark.parametrize("keep", [False, True])
def test_a_producer_that_purged_an_unreported_record_is_not_used_again_unless_that_is_asked_for(keep):
    """Else librdkafka would give its sequence number to the next record, which vanishes if the first was written."""
    made = []

    def new():
        made.append(Purging())
        return made[-1]

    transactions = Transactions(MicroOps(0, NoReader(), lambda: 0), NoReader(), new, lambda: 0, keep=keep)
    for _ in range(2):
        attempt = transactions.attempt(txn(SEND), Work([SEND]), Deadline(5))
        assert attempt.course.abort_ok
    assert len(made) == (1 if keep else 2)
    assert all(one.is_dropped for one in made) is not keep


def test_offsets_that_brokers_told_stay_on_an_op_that_came_to_nothing(client, mock):
    client.invoke(txn(SEND))
    mock.push(Api.PRODUCE, 0, 87)
    done = client.invoke(txn(["send", "t0/0", 8], ["send", "t0/1", 9]))
    assert (done.type, done.value) == ("fail", [["send", "t0/0", [2, 8]], ["send", "t0/1", 9]])


def test_purged_records_tell_why_they_were_purged(client, mock):
    client.invoke(txn(SEND))
    mock.push(Api.ADD_PARTITIONS_TO_TXN, 29)  # TOPIC_AUTHORIZATION_FAILED
    done = client.invoke(txn(SEND))
    assert (done.type, done.error["name"], done.error["stage"]) == ("fail", "TOPIC_AUTHORIZATION_FAILED", "delivery")


def test_a_commit_whose_answer_is_lost_is_resumed_not_done_twice(client, mock):
    mock.track()
    mock.push(Api.END_TXN, -195, -195)  # the connection breaks twice
    done = client.invoke(txn(SEND))
    assert (done.type, done.value) == ("ok", [["send", "t0/0", [0, 7]]])
    assert mock.requests()[Api.END_TXN] == 3
    assert client.invoke(txn(["send", "t0/0", 8])).value == [["send", "t0/0", [2, 8]]]


def test_a_fenced_producer_is_replaced_by_the_next_transaction(client, mock):
    client.invoke(txn(SEND))
    mock.push(Api.END_TXN, 90)  # PRODUCER_FENCED
    fenced = client.invoke(txn(SEND))
    assert (fenced.type, fenced.error["name"]) == ("info", "_FENCED")
    assert fenced.commit_time is not None
    mock.track()
    again = client.invoke(txn(SEND))
    assert (again.type, again.txn_id) == ("ok", "harness-0-0")
    assert mock.requests()[Api.INIT_PRODUCER_ID] == 1


def test_the_next_process_of_a_thread_takes_its_transactional_id_over(clients, opened):
    first, second, other = (opened(clients, process) for process in (2, 2 + SCENARIO.concurrency, 3))
    assert [c.invoke(txn(SEND)).txn_id for c in (first, second, other)] == ["harness-2-0", "harness-2-0", "harness-3-0"]


def test_a_crash_in_a_transaction_ends_nothing_and_leaves_the_id_to_the_coordinator(clients, opened, mock):
    client = opened(clients, 2)
    client.invoke(txn(SEND))
    mock.track()
    crashed = client.invoke(txn(["send", "t0/0", 8], crash=True))
    assert (crashed.type, crashed.error["name"], crashed.commit_time) == ("info", "DELIBERATE_CRASH", None)
    assert (crashed.value, crashed.txn_id) == ([["send", "t0/0", [2, 8]]], "harness-2-0")
    client.close()
    heir = opened(clients, 2 + SCENARIO.concurrency).invoke(txn(["send", "t0/0", 9]))
    assert (heir.type, heir.txn_id) == ("ok", "harness-2-1")
    assert mock.requests()[Api.END_TXN] == 1  # the heir's own


def test_a_crash_closes_nothing_and_is_info(client, mock):
    join(client)
    client.invoke(txn(SEND))
    mock.track()
    done = client.invoke(op("crash"))
    assert (done.type, done.error["name"]) == ("info", "DELIBERATE_CRASH")
    client.close()
    client.invoke(send(("t0/0", 1)))  # the mock answers in order: what the crash had sent came before
    assert {Api.END_TXN, Api.LEAVE_GROUP, Api.OFFSET_COMMIT}.isdisjoint(mock.requests())


def test_polled_offsets_of_a_group_are_committed_with_the_transaction(client):
    join(client)
    client.invoke(send(("t0/1", 1), ("t0/1", 2)))
    done = until(client, lambda done: done.offsets, txn(SEND, ["poll"]))
    assert (done.type, done.group) == ("ok", "harness")
    committed = client.invoke(op("committed", {"group": "harness"}))
    assert committed.type == "ok"
    for key, offset in done.offsets:
        assert offset == polled(done)[key][-1][0] + 1
    # The mock cluster takes TxnOffsetCommit but keeps no offsets from it.
    assert [key for key, _ in committed.value] == ["t0/0", "t0/1", "t0/2"]


def test_a_refused_commit_of_offsets_aborts_the_transaction(client, mock):
    join(client)
    client.invoke(txn(SEND))
    client.invoke(send(("t0/1", 1)))
    mock.push(Api.TXN_OFFSET_COMMIT, *[22] * 20)  # ILLEGAL_GENERATION
    done = until(client, lambda done: done.type != "ok", txn(["poll"]))
    assert (done.type, done.error["name"], done.error["stage"]) == ("fail", "ILLEGAL_GENERATION", "send-offsets")
    assert (done.offsets, done.commit_time) == (None, None)


def test_the_prefix_is_in_front_of_every_transactional_id_and_group(mock, opened):
    scenario = msgspec.structs.replace(SCENARIO, prefix="x-")
    mock.make_topic("x-t0", 3)
    client = opened(ConfluentClients(scenario, mock.bootstrap, "r7"), 1)
    assert client.invoke(txn(["send", "x-t0/0", 1])).txn_id == "x-r7-1-0"
    assert client.invoke(op("subscribe", ["x-t0/0"])).group == "x-harness"
    until(client, lambda _: bool(client._reader.held))  # librdkafka may hang where a consumer is closed while it joins


@pytest.mark.parametrize("micro_op", [["send", "t0/0"], ["read", "t0/0", None], ["send", "t0/0", "text"]])
def test_a_malformed_micro_op_is_the_harness_fault_and_raised(client, micro_op):
    with pytest.raises(ValueError, match="a micro-op is"):
        client.invoke(op("send", [micro_op]))
