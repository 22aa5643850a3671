"""Keys that the group takes away while an op reads them: what was read is not committed any more. A fake of librdkafka.

`Consumer.consume` serves rebalances as `poll` does, so a key may go after its first record was taken, in one poll.
"""

from __future__ import annotations

import struct

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from harness.clients import reader, scanner, settings
from harness.clients.confluent import ConfluentClients
from harness.clients.errors import FailedError
from harness.clients.membership import Membership
from harness.clients.patience import Deadline
from harness.clients.scanner import Scanner
from tests.harness.clients.conftest import POLL, SCENARIO, op, txn

COPYING = txn(["poll"], *(["send", "t0/0", [None, v, {"copy": True}]] for v in (7, 8)))


def metadata(generation, member):
    return b"CGMDv2:" + struct.pack("=i", generation) + b"harness\0" + member + b"\0\x01"


class Told:
    """A message: a record of the key at offset 0, or an error."""

    def __init__(self, key, error=None):
        self._topic, _, self._partition = key.rpartition("/")
        self._error = error

    def topic(self):
        return self._topic

    def partition(self):
        return int(self._partition)

    def offset(self):
        return 0

    def error(self):
        return self._error

    def value(self):
        return b"?"

    def key(self):
        return None

    def headers(self):
        return None

    def leader_epoch(self):
        return 0


def committed_at(offset):
    return lambda place: TopicPartition(place.topic, place.partition, offset)


def unstable(_):
    raise KafkaException(KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT))


class Member:
    """A consumer that is dealt t0/1 and t0/2; `inner` says what happens within a poll, behind its first record."""

    def __init__(self, _config):
        self.generation, self.commits, self.inner = metadata(3, b"m"), [], lambda _: []
        self.is_dealt = False
        self.answer = committed_at(OFFSET_INVALID)

    def list_topics(self, *_, **__):
        pass

    def subscribe(self, _topics, on_assign, on_revoke, on_lost):
        self.on_assign, self.on_revoke, self.on_lost = on_assign, on_revoke, on_lost

    def poll(self, _timeout_s):
        if not self.is_dealt:
            self.is_dealt = True
            self.on_assign(self, [TopicPartition("t0", 1), TopicPartition("t0", 2)])
        return Told("t0/1")

    def consume(self, _most, timeout):
        return self.inner(self)

    def takes(self, partition):
        self.on_revoke(self, [TopicPartition("t0", partition)])
        return [Told("t0/2")]

    def consumer_group_metadata(self):
        return self.generation

    def commit(self, offsets, asynchronous):
        self.commits.append({f"{one.topic}/{one.partition}": one.offset for one in offsets})
        return []

    def seek(self, _):
        pass

    def committed(self, places, timeout):
        assert timeout <= settings.COMMITTED_S
        (place,) = places
        return [self.answer(place)]

    def rebalances(self):
        """The keys go and come back, t0/2 before anything was read of it."""
        keys = [TopicPartition("t0", 1), TopicPartition("t0", 2)]
        self.on_revoke(self, keys)
        self.on_assign(self, keys)
        return []


class Producing:
    """A sender that notes what is committed and aborted."""

    def __init__(self):
        self.sent, self.ends = [], []

    def init(self, _):
        pass

    def begin(self):
        pass

    def queue(self, *_):
        return []

    def report(self, *_):
        return 0

    def send_offsets(self, offsets, group_metadata, _):
        self.sent.append((dict(offsets), group_metadata))

    def commit(self, _):
        self.ends.append("commit")

    def abort(self, _):
        self.ends.append("abort")

    def drop(self, _):
        pass


@pytest.fixture
def sender(monkeypatch):
    producing = Producing()
    monkeypatch.setattr(ConfluentClients, "new_sender", lambda *_: producing)
    return producing


@pytest.fixture
def client(monkeypatch, sender):
    monkeypatch.setattr(reader, "Consumer", Member)
    client = ConfluentClients(SCENARIO, "nowhere:1").open(0, lambda: 0)
    assert client.invoke(op("subscribe", ["t0/1"])).type == "ok"
    return client


def test_a_consumer_that_still_waits_for_offsets_is_not_subscribed_again_but_replaced(client):
    before = client._reader.consumer
    assert client.invoke(POLL).type == "ok"
    assert client.invoke(op("subscribe", ["t0/1"])).type == "ok"
    assert client._reader.consumer is not before, "t0/2 was dealt, and nothing of it was read"
    before = client._reader.consumer
    before.inner = lambda _: [Told("t0/2")]
    assert client.invoke(POLL).type == "ok"
    assert client.invoke(op("subscribe", ["t0/1"])).type == "ok"
    assert client._reader.consumer is before


@pytest.mark.parametrize("answer", [committed_at(5), committed_at(1), unstable])
def test_a_consumer_that_begins_before_what_its_group_committed_after_a_rebalance_is_replaced(client, sender, answer):
    before = client._reader.consumer
    before.inner = Member.rebalances
    assert client.invoke(POLL).type == "ok"
    before.inner, before.answer = lambda _: [Told("t0/2"), Told("t0/1")], answer
    done = client.invoke(COPYING)
    assert client._reader.consumer is not before
    assert [key for key, _ in done.value[0][1]] == ["t0/1"]
    assert sender.sent == [], "what it had read belongs to the member that was given up"
    assert (done.type, done.error["name"]) == ("fail", reader.TAKEN_AWAY)


@pytest.mark.parametrize("offset", [0, OFFSET_INVALID])
def test_a_consumer_that_begins_where_its_group_committed_after_a_rebalance_is_asked_once_and_kept(client, offset):
    before = client._reader.consumer
    before.inner = Member.rebalances
    assert client.invoke(POLL).type == "ok"
    before.inner, before.answer = lambda _: [Told("t0/2")], committed_at(offset)
    assert client.invoke(POLL).value[0][1][1][0] == "t0/2"
    before.answer = None
    assert client.invoke(POLL).value[0][1][1][0] == "t0/2"
    assert client._reader.consumer is before


def test_a_transaction_does_not_commit_offsets_of_a_key_that_was_taken_after_it_was_read(client, sender):
    client._reader.consumer.inner = lambda member: member.takes(1)
    done = client.invoke(COPYING)
    assert (done.type, done.error["name"], done.error["stage"]) == ("fail", "_ASSIGNMENT_LOST", "send-offsets")
    assert (sender.sent, sender.ends, done.commit_time) == ([], ["abort"], None)


def test_it_commits_what_it_still_holds(client, sender):
    assert client.invoke(COPYING).type == "ok"
    assert (sender.sent, sender.ends) == ([({"t0/1": 1}, metadata(3, b"m"))], ["commit"])
    client._reader.consumer.inner = lambda member: member.takes(1)
    client.invoke(COPYING)
    client._reader.consumer.inner = lambda _: []
    client._reader.consumer.on_assign(client._reader.consumer, [TopicPartition("t0", 1)])
    assert client.invoke(COPYING).type == "ok", "what one op lost does not bind the next"


@pytest.mark.parametrize("now", [metadata(-1, b""), metadata(4, b"m")], ids=["nobody", "the next generation"])
def test_offsets_are_committed_as_the_member_that_was_dealt_the_keys(client, sender, now):
    """What librdkafka hears in the background makes nobody of it, or a member of the next generation: both not fenced."""

    def heard(member):
        member.generation = now
        return []

    client._reader.consumer.inner = heard
    client.invoke(COPYING)
    assert [said for _, said in sender.sent] == [metadata(3, b"m")]


def test_nobody_in_particular_commits_no_offsets(client, sender):
    client._reader.consumer.generation = metadata(-1, b"")
    assert (client.invoke(COPYING).type, sender.sent, sender.ends) == ("fail", [], ["abort"])


def test_a_poll_commits_only_what_was_not_taken_since(client):
    consumer = client._reader.consumer
    consumer.inner = lambda member: member.takes(1)
    done = client.invoke(POLL)
    assert (done.type, done.offsets, consumer.commits) == ("ok", [["t0/2", 1]], [{"t0/2": 1}])
    consumer.inner = lambda member: member.takes(1)[:0]
    done = client.invoke(POLL)
    assert (done.type, done.offsets, done.group, len(consumer.commits)) == ("ok", None, None, 1)


@pytest.mark.parametrize(("metadata_", "generation"), [(metadata(-1, b""), None), (metadata(0, b"m"), 0)])
def test_a_member_that_is_out_before_it_hears_of_its_keys_has_no_generation(metadata_, generation):
    """Two of them would have been dealt the same keys in generation -1: `double-ownership`."""
    events, member = [], Member(None)
    member.generation = metadata_
    heard = Membership(0, "harness", lambda: 0, on_event=events.append, on_keys=lambda *_: None)
    heard.assigned(member, [TopicPartition("t0", 1)])
    assert [event.value["generation"] for event in events] == [generation]


class Complaining:
    """A consumer whose only word is an error."""

    made = 0

    def __init__(self, _config):
        type(self).made += 1

    def list_topics(self, *_, **__):
        pass

    def assign(self, _):
        pass

    def poll(self, _):
        return Told("t0/0", KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))

    def consume(self, *_, **__):
        return []


def test_a_scan_after_an_error_has_a_consumer_of_its_own(monkeypatch):
    monkeypatch.setattr(scanner, "Consumer", Complaining)
    scans = Scanner(dict, lambda: 0)
    for _ in range(2):
        with pytest.raises(FailedError):
            scans.scan("t0/0", Deadline(settings.OP_GRACE_S))
    assert Complaining.made == 2
