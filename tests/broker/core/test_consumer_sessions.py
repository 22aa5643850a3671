"""Incremental fetches of consumers (KIP-227): they name and hear what changes, and miss nothing."""

import random

import pytest

from broker.core.errors import Code, Refused
from broker.core.replication import consumer_sessions
from broker.core.replication.consumer_sessions import MAX_EPOCH, ConsumerSessions
from broker.wire import batch, record
from broker.wire.messages.delete_topics import DeleteTopicsRequest
from broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic, ForgottenTopic
from broker.wire.primitives import NO_UUID
from tests.broker.core import test_broker as small

PARTITIONS = 3
NEWEST = 18
BY_NAME = 12
ID = bytes(15) + b"\1"


class Consumer:
    """Speaks to one node of its own, in a session; `told`: what it heard of each partition, newest last."""

    def __init__(self, **settings):
        self.network = small.cluster(size=1, **settings)
        self.key = small.create(self.network, partitions=PARTITIONS, factor=1)
        self.session, self.epoch, self.version = 0, 0, NEWEST

    def topic(self, asks):
        named = {"topic": "t"} if self.version < 13 else {"topic_id": bytes.fromhex(self.key[0])}
        return FetchTopic(**named, partitions=asks)

    def send(self, offsets=(), forget=(), *, wait_ms=0, max_bytes=1 << 20, partition_bytes=1 << 20):
        """Ask; return the request's id."""
        asks = tuple(
            FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=partition_bytes)
            for index, offset in dict(offsets).items()
        )
        gone = ForgottenTopic(topic_id=bytes.fromhex(self.key[0]), partitions=tuple(forget))
        request = FetchRequest(
            max_wait_ms=wait_ms,
            min_bytes=1,
            max_bytes=max_bytes,
            session_id=self.session,
            session_epoch=self.epoch,
            topics=(self.topic(asks),) if asks else (),
            forgotten_topics_data=(gone,) if forget else (),
        )
        return self.network.send(1, request, version=self.version)

    def hear(self, asked):
        """Return the answer: (code, {partition: (error, high watermark, values)}) in its order."""
        assert self.network.run(until=lambda: asked in self.network.client_replies)
        answer = self.network.client_replies[asked]
        if not answer.error_code:
            self.session, self.epoch = answer.session_id, self.epoch + 1
        found = {
            data.partition_index: (data.error_code, data.high_watermark, values(data))
            for topic in answer.responses
            for data in topic.partitions
        }
        return answer.error_code, found

    def ask(self, *args, **kwargs):
        return self.hear(self.send(*args, **kwargs))

    def write(self, partition, value):
        assert small.produced(self.network, (self.key[0], partition), value).error_code == Code.NONE


def values(data):
    return [
        one.value
        for position, header in batch.parse(data.records or b"")
        for one in record.decode(data.records, position, header)
    ]


def begun(**settings):
    consumer = Consumer(**settings)
    consumer.write(1, b"a")
    code, found = consumer.ask({0: 0, 1: 0, 2: 0})
    assert code == Code.NONE
    assert found == {0: (0, 0, []), 1: (0, 1, [b"a"]), 2: (0, 0, [])}
    assert consumer.session > 0
    return consumer


def test_a_session_hears_only_of_what_has_changed():
    consumer = begun()
    assert consumer.ask({1: 1}) == (Code.NONE, {})
    consumer.write(2, b"b")
    assert consumer.ask() == (Code.NONE, {2: (0, 1, [b"b"])})
    assert consumer.ask({2: 1}) == (Code.NONE, {})


def test_records_that_were_not_taken_are_told_again():
    consumer = begun()
    assert consumer.ask() == (Code.NONE, {1: (0, 1, [b"a"])})


def test_a_session_by_name_works_as_one_by_id():
    consumer = Consumer()
    consumer.version = BY_NAME
    consumer.write(1, b"a")
    assert consumer.ask({0: 0, 1: 0})[1] == {0: (0, 0, []), 1: (0, 1, [b"a"])}
    assert consumer.session > 0
    assert consumer.ask({1: 1}) == (Code.NONE, {})


def test_a_request_that_names_nothing_waits_for_all_of_its_session():
    consumer = begun()
    consumer.ask({1: 1})
    asked = consumer.send(wait_ms=10_000)
    consumer.network.run(50)
    assert asked not in consumer.network.client_replies
    consumer.write(2, b"b")
    assert consumer.hear(asked) == (Code.NONE, {2: (0, 1, [b"b"])})


def test_a_high_watermark_is_told_although_there_was_no_room_for_its_records():
    consumer = begun()
    consumer.write(0, b"c")
    consumer.write(1, b"b")
    code, found = consumer.ask({1: 1}, max_bytes=1)
    assert (code, found[0], found[1]) == (Code.NONE, (0, 1, [b"c"]), (0, 2, []))


def test_partitions_take_turns_when_an_answer_is_full():
    consumer = begun()
    consumer.ask({1: 1})
    for partition in range(PARTITIONS):
        for _ in range(3):
            consumer.write(partition, b"x")
    offsets, turns = {0: 0, 1: 1, 2: 0}, []
    for _ in range(2 * PARTITIONS):
        _, found = consumer.ask(offsets, max_bytes=1, partition_bytes=1)
        (served,) = [partition for partition, (_, _, got) in found.items() if got]
        turns.append(served)
        offsets[served] += 1
    assert sorted(turns[:PARTITIONS]) == sorted(turns[PARTITIONS:]) == list(range(PARTITIONS))


def test_what_is_forgotten_is_not_told_any_more():
    consumer = begun()
    consumer.ask({1: 1}, forget=[2])
    consumer.write(2, b"b")
    consumer.write(0, b"c")
    assert consumer.ask() == (Code.NONE, {0: (0, 1, [b"c"])})


def test_a_fetch_that_asks_for_nothing_waits_for_nothing():
    network = small.cluster(1)
    small.create(network, factor=1)
    for epoch in (0, -1):
        close = FetchRequest(session_epoch=epoch, max_wait_ms=60_000, min_bytes=1)
        request_id = network.send(1, close, version=13)
        assert network.run(until=lambda at=request_id: at in network.client_replies, limit_ms=1000)


def test_a_session_of_nothing_is_over():
    consumer = begun()
    assert consumer.ask(forget=[0, 1, 2]) == (Code.NONE, {})
    assert consumer.session == 0


def test_an_error_is_told_each_time_and_so_is_its_end():
    consumer = begun()
    assert consumer.ask({1: 9})[1][1][0] == Code.OFFSET_OUT_OF_RANGE
    assert consumer.ask()[1][1][0] == Code.OFFSET_OUT_OF_RANGE
    assert consumer.ask({1: 1}) == (Code.NONE, {1: (0, 1, [])})


def test_a_deleted_topic_is_told():
    consumer = begun()
    network = consumer.network
    deleted = network.send(1, DeleteTopicsRequest(topic_names=("t",)))
    assert network.run(until=lambda: deleted in network.client_replies and not network.nodes[1].image.topics)
    code, found = consumer.ask()
    assert code == Code.NONE
    assert [error for error, _, _ in found.values()] == [Code.UNKNOWN_TOPIC_ID] * PARTITIONS


def test_two_consumers_have_a_session_each():
    consumer = begun()
    mine = consumer.session, consumer.epoch
    consumer.session, consumer.epoch = 0, 0
    assert consumer.ask({1: 1})[1] == {1: (0, 1, [])}
    assert consumer.session not in {0, mine[0]}
    assert consumer.ask() == (Code.NONE, {})
    consumer.session, consumer.epoch = mine
    assert consumer.ask({1: 1}) == (Code.NONE, {})


@pytest.mark.parametrize(
    ("session", "epoch", "version", "code"),
    [
        (1, 0, NEWEST, Code.FETCH_SESSION_ID_NOT_FOUND),
        (0, 1, NEWEST, Code.INVALID_FETCH_SESSION_EPOCH),
        (0, -3, NEWEST, Code.INVALID_FETCH_SESSION_EPOCH),
        (0, 0, BY_NAME, Code.FETCH_SESSION_TOPIC_ID_ERROR),
    ],
)
def test_a_request_that_does_not_fit_its_session_is_refused_and_the_session_stays(session, epoch, version, code):
    consumer = begun()
    right = consumer.session, consumer.epoch
    consumer.session, consumer.epoch, consumer.version = right[0] + session, right[1] + epoch, version
    assert consumer.ask() == (code, {})
    consumer.session, consumer.epoch, consumer.version = *right, NEWEST
    assert consumer.ask({1: 1}) == (Code.NONE, {})


@pytest.mark.parametrize("epoch", [-1, 0])
def test_a_full_request_ends_the_session_that_it_names(epoch):
    consumer = begun()
    old = consumer.session
    consumer.epoch = epoch
    assert consumer.ask({1: 0}) == (Code.NONE, {1: (0, 1, [b"a"])})
    assert (consumer.session == 0) == (epoch == -1)
    consumer.session, consumer.epoch = old, 2
    assert consumer.ask() == (Code.FETCH_SESSION_ID_NOT_FOUND, {})


@pytest.mark.parametrize("settings", [{"fetch_session_slots": 0}, {"has_authorizer": True}])
def test_who_gets_no_session_is_answered_in_full(settings):
    consumer = Consumer(**settings)
    assert consumer.ask({0: 0, 1: 0}) == (Code.NONE, {0: (0, 0, []), 1: (0, 0, [])})
    assert consumer.session == 0


# Bounds.


def full(size, first=0):
    asks = tuple(FetchPartition(partition=first + index) for index in range(size))
    return FetchRequest(session_epoch=0, topics=(FetchTopic(topic_id=ID, partitions=asks),))


def sessions(slots=2):
    return ConsumerSessions(random.Random(1), slots=slots, eviction_ms=100)


def enter(cache, request, now_ms):
    return cache.enter(request, now_ms, by_id=True)


def following(session, **fields):
    return FetchRequest(session_id=session.id, session_epoch=session.epoch, **fields)


def test_a_session_that_was_used_lately_keeps_its_place():
    cache = sessions()
    first, second = enter(cache, full(5), 0), enter(cache, full(5), 10)
    assert enter(cache, full(5), 99) is None
    assert cache.is_open(first)
    assert cache.is_open(second)


def test_the_session_that_rested_longest_gives_way():
    cache = sessions()
    first, second = enter(cache, full(5), 0), enter(cache, full(5), 0)
    enter(cache, following(first), 50)
    assert enter(cache, full(1), 101) is not None
    assert cache.is_open(first)
    assert not cache.is_open(second)


def test_the_smallest_of_the_older_ones_gives_way_to_a_larger_one():
    cache = sessions()
    large, small_one = enter(cache, full(5), 0), enter(cache, full(2), 0)
    for session in (large, small_one):
        enter(cache, following(session), 100)
    assert enter(cache, full(2), 150) is None
    assert enter(cache, full(3), 150) is not None
    assert cache.is_open(large)
    assert not cache.is_open(small_one)


def test_sessions_hold_so_many_partitions_and_no_more(monkeypatch):
    monkeypatch.setattr(consumer_sessions, "MAX_PARTITIONS", 10)
    cache = sessions(slots=100)
    first = enter(cache, full(8), 0)
    assert enter(cache, full(3), 0) is None
    second = enter(cache, full(2), 0)
    assert cache.is_open(second)
    enter(cache, following(second, topics=full(1, first=7).topics), 0)
    assert not cache.is_open(second), "it grew past the bound"
    enter(cache, FetchRequest(session_id=first.id, session_epoch=-1), 0)
    assert len(cache) == 0
    assert enter(cache, full(10), 0) is not None


def test_a_request_without_partitions_begins_no_session():
    assert enter(sessions(), FetchRequest(session_epoch=0), 0) is None


def test_epochs_begin_again_after_the_last():
    cache = sessions()
    session = enter(cache, full(1), 0)
    session.epoch = MAX_EPOCH
    enter(cache, following(session), 0)
    assert session.epoch == 1
    with pytest.raises(Refused):
        enter(cache, FetchRequest(session_id=session.id, session_epoch=MAX_EPOCH), 0)


def test_a_topic_without_an_id_is_answered_and_harms_nobody():
    consumer = Consumer()
    asks = (FetchPartition(partition=0, partition_max_bytes=1),)
    request = FetchRequest(session_epoch=0, topics=(FetchTopic(topic_id=NO_UUID, partitions=asks),))
    asked = consumer.network.send(1, request, version=NEWEST)
    assert consumer.hear(asked)[1][0][0] in {Code.UNKNOWN_TOPIC_ID, Code.UNKNOWN_TOPIC_OR_PARTITION}
