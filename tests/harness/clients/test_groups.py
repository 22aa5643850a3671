"""Subscriptions, rebalances and committed offsets, on librdkafka's mock cluster.

The mock cluster lets a group that once had members wait for a session time-out before the next one gets its keys: each
test joins once.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest
from confluent_kafka import Consumer

from harness.clients import confluent, groups
from harness.clients.confluent import ConfluentClients
from harness.clients.membership import Membership, generation_and_member, leave
from harness.clients.patience import Deadline
from tests.harness.clients.conftest import POLL, SCENARIO, WAIT_S, join, op, polled, send, until
from tests.harness.clients.mock_kafka import Api

KEYS = ["t0/0", "t0/1", "t0/2"]


def test_a_subscriber_gets_all_keys_of_the_topic_and_logs_the_rebalance(client):
    done = client.invoke(op("subscribe", ["t0/1"]))
    assert (done.type, done.value, done.group, done.isolation) == ("ok", ["t0/1"], "harness", "read_committed")
    done = until(client, lambda done: done.rebalance_log)
    assert [(entry["type"], sorted(entry["keys"])) for entry in done.rebalance_log] == [("assigned", KEYS)]
    assert client.invoke(POLL).rebalance_log is None


def test_a_poll_of_a_subscriber_commits_what_it_read(client):
    join(client)
    client.invoke(send(("t0/1", 1), ("t0/1", 2)))
    done = until(client, lambda done: polled(done) and polled(done)["t0/1"][-1][0] == 1)
    assert (done.type, done.group, done.offsets) == ("ok", "harness", [["t0/1", 2]])
    committed = client.invoke(op("committed", {"group": "harness"}))
    assert (committed.type, committed.value) == ("ok", [["t0/0", None], ["t0/1", 2], ["t0/2", None]])


def test_committed_offsets_are_asked_of_keys_that_came_later_too(client, monkeypatch):
    monkeypatch.setattr(confluent, "of_one_coordinator", lambda _, keys, __: dict.fromkeys(keys, 5))
    client.invoke(op("assign", ["t0/0"]))
    client.invoke(op("assign", ["t0/3"]))
    committed = client.invoke(op("committed", {"group": "harness"}))
    assert committed.value == [[key, 5] for key in (*KEYS, "t0/3")]


def test_a_poll_whose_commit_is_refused_stays_ok_and_tells_of_it(client, mock):
    join(client)
    client.invoke(send(("t0/1", 1)))
    mock.push(Api.OFFSET_COMMIT, *[22] * 20)
    done = until(client, polled)
    assert (done.type, done.offsets) == ("ok", None)
    assert done.extra["commit-error"]["name"] == "ILLEGAL_GENERATION"
    assert done.extra["uncertain-offsets"] == [["t0/1", 1]]


def test_a_subscriber_starts_where_the_group_committed(clients, opened):
    committer, reader = opened(clients, 0), opened(clients, 1)
    committer.invoke(send(("t0/1", 1), ("t0/1", 2)))
    committer.invoke(op("assign", ["t0/0"]))
    assert committer.invoke(op("commit", [["t0/1", 1]])).type == "ok"
    reader.invoke(op("subscribe", ["t0/1"]))
    assert polled(until(reader, polled)) == {"t0/1": [[1, 2, {"epoch": 0}]]}


def test_an_explicit_commit_is_seen_by_committed(client):
    client.invoke(op("assign", ["t0/0"]))
    done = client.invoke(op("commit", [["t0/0", 5], ["t0/2", 6]]))
    assert (done.type, done.value, done.group) == ("ok", [["t0/0", 5], ["t0/2", 6]], "harness")
    assert client.invoke(op("committed", {"group": "harness"})).value == [["t0/0", 5], ["t0/1", None], ["t0/2", 6]]


def test_a_commit_before_any_assign_fails(client):
    assert client.invoke(op("commit", [["t0/0", 5]])).type == "fail"


def test_committed_waits_for_the_coordinator_to_settle(client, mock):
    mock.push(Api.OFFSET_FETCH, 16, 16)  # NOT_COORDINATOR
    assert client.invoke(op("committed", {"group": "other"})).value == [[key, None] for key in KEYS]


def test_group_events_tell_process_member_generation_and_keys(mock, opened):
    events = []
    client = opened(ConfluentClients(SCENARIO, mock.bootstrap, on_event=events.append), 5)
    join(client)
    client.close()
    assert len(events) >= 2, "close() returned before the group was left"
    assigned, revoked = events[0], events[-1]
    assert (assigned.process, assigned.type, assigned.f) == ("group", "info", "rebalance")
    assert assigned.time > 0
    assert (assigned.value["process"], assigned.value["group"]) == (5, "harness")
    assert sorted(assigned.value["assigned"]) == KEYS
    assert assigned.value["generation"] >= 1
    assert assigned.value["member"]
    assert sorted(revoked.value["revoked"]) == KEYS
    assert (revoked.value["assigned"], revoked.value["lost"]) == ([], [])


def test_a_member_that_leaves_before_it_heard_of_its_keys_is_told_of_both(mock):
    events = []
    member = Membership(0, "harness", time.monotonic_ns, on_event=events.append, on_keys=lambda *_: None)
    consumer = Consumer({"bootstrap.servers": mock.bootstrap, "group.id": "harness", "log_level": 0})
    mock.track()
    consumer.subscribe(["t0"], on_assign=member.assigned, on_revoke=member.revoked, on_lost=member.lost)
    deadline = time.monotonic() + WAIT_S
    while not mock.requests().get(Api.HEARTBEAT) and time.monotonic() < deadline:
        threading.Event().wait(0.05)  # no poll: what the group dealt out waits for one
    leave(consumer)
    assert [kind for event in events for kind in ("assigned", "revoked", "lost") if event.value[kind]] == [
        "assigned",
        "revoked",
    ]


def test_close_leaves_the_group(client, mock):
    mock.track()
    join(client)
    client.close()
    assert mock.requests()[Api.LEAVE_GROUP] == 1


def test_an_assignment_after_a_subscription_keeps_the_position_of_retained_keys(client):
    client.invoke(send(("t0/0", 1)))
    client.invoke(op("subscribe", ["t0/0"]))
    assert polled(until(client, polled)) == {"t0/0": [[0, 1, {"epoch": 0}]]}
    client.invoke(op("assign", ["t0/0"]))
    client.invoke(send(("t0/0", 2)))
    assert polled(until(client, polled)) == {"t0/0": [[1, 2, {"epoch": 0}]]}


def test_callbacks_of_a_consumer_that_was_given_up_change_nothing(mock, opened):
    events = []
    client = opened(ConfluentClients(SCENARIO, mock.bootstrap, on_event=events.append))
    join(client)
    client.invoke(op("assign", ["t0/0", "t0/1"]))
    done = until(client, lambda _: len(events) == 2)  # the group took the keys back, in the thread that closes
    assert events[1].value["revoked"]
    assert (client._reader.held, done.rebalance_log) == (["t0/0", "t0/1"], None)


def test_generation_and_member_are_read_from_librdkafkas_own_bytes():
    metadata = b"CGMDv2:" + struct.pack("=i", 7) + b"group\0member-1\0\x01"
    assert generation_and_member(metadata) == (7, "member-1")
    assert generation_and_member(b"CGMDv2:" + struct.pack("=i", -1) + b"g\0\0\x01") == (-1, None)
    assert generation_and_member(b"CGMDv9:whatever") == (None, None)
    assert generation_and_member(None) == (None, None)


@pytest.mark.parametrize(
    ("told", "type_"),
    [
        ([{1}, {1}], "ok"),
        ([{1}, {2}], "fail"),  # it moved while it was asked
        ([{1}, {1, 2}], "fail"),  # one that was cut off or stopped calls itself the coordinator
        ([{1, 2}], "fail"),
        ([{1, None}], "fail"),  # one is there and says nothing
        ([set()], "fail"),
    ],
)
def test_committed_counts_only_while_all_nodes_name_one_coordinator(client, monkeypatch, told, type_):
    answers = iter(told)
    monkeypatch.setattr(groups, "_named", lambda config, deadline: next(answers))
    done = client.invoke(op("committed", {"group": "harness"}))
    assert (done.type, (done.error or {}).get("name")) == (type_, None if type_ == "ok" else "NOT_COORDINATOR")
    assert next(answers, None) is None, "a read that can't count is not made"


def config(bootstrap):
    return {"bootstrap.servers": bootstrap, "group.id": "harness"}


def test_a_dead_node_has_no_say_and_a_silent_one_casts_doubt():
    dead, silent = socket.socket(), socket.socket()
    with dead, silent:
        dead.bind(("127.0.0.1", 0))  # bound, and nobody listens: connections are refused
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        gone, mute = (f"127.0.0.1:{one.getsockname()[1]}" for one in (dead, silent))
        assert groups._named(config(gone), Deadline(5)) == set()
        assert groups._named(config(f"{gone},{mute}"), Deadline(0.2)) == {None}
