"""Incremental fetches of followers: they name and hear what moves, miss nothing, and survive the end of a session."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.quorum.follower import METADATA_TOPIC_ID
from broker.core.ready import Outbox, Request
from broker.core.replication.fetch import Fetching
from broker.core.replication.sessions import FULL_PASS_MS, Sessions
from broker.wire.messages.fetch import (
    EpochEndOffset,
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ForgottenTopic,
    PartitionData,
    Region,
    ReplicaState,
)
from tests.broker.core.test_broker import cluster, create, healthy, newest_leader, produced
from tests.broker.network import Network

TOPIC = bytes(15) + b"\1"
PARTITIONS = 40


class Log:
    """A partition of the source: `end` bytes, of which batches of 10 are read."""

    def __init__(self):
        self.end = self.high_watermark = 0
        self.error = Code.NONE
        self.diverging = EpochEndOffset()


class Source:
    """Stands for the leader's partitions; notes what was looked at."""

    def __init__(self, count):
        self.logs = {index: Log() for index in range(count)}
        self.looked, self.noted = [], []

    def note(self, key, follower, ask, now_ms):
        self.noted.append((key[1], ask.fetch_offset))
        assert follower == (2, 7)
        assert now_ms >= 0

    def look(self, key, topic, ask, replica_id, limits):
        assert (key, topic.topic_id, replica_id) == ((TOPIC.hex(), ask.partition), TOPIC, 2)
        self.looked.append(ask.partition)
        log = self.logs[ask.partition]
        size = min(log.end - ask.fetch_offset, ask.partition_max_bytes)
        left, is_first = limits
        size = size if size <= left else 10 if is_first else left - left % 10
        records = Region("t", 0, ask.fetch_offset, size) if size > 0 else None
        return PartitionData(
            partition_index=ask.partition,
            error_code=log.error,
            high_watermark=log.high_watermark,
            diverging_epoch=log.diverging,
            records=records,
        )

    def must_hear(self, ask, data):
        del ask, data
        return False

    def has_more(self, key, ask):
        return self.logs[key[1]].end > ask.fetch_offset

    def quiet(self, key, ask, replica_id):
        log = self.logs[key[1]]
        assert replica_id == 2
        return None if log.error or log.end > ask.fetch_offset else (log.high_watermark, -1)


class Leader:
    """Sessions over a source, one follower, and what it hears."""

    def __init__(self, count):
        self.source, self.out = Source(count), Outbox()
        self.sessions = Sessions(self.source, self.out)
        self.now_ms = 0

    def ask(self, session, offsets, *, max_bytes=1 << 20, wait_ms=500, forgotten=(), epoch=0):
        asks = tuple(
            FetchPartition(partition=i, fetch_offset=o, partition_max_bytes=1000, current_leader_epoch=epoch)
            for i, o in offsets.items()
        )
        request = FetchRequest(
            replica_state=ReplicaState(replica_id=2, replica_epoch=7),
            session_id=session[0],
            session_epoch=session[1],
            max_wait_ms=wait_ms,
            min_bytes=1,
            max_bytes=max_bytes,
            topics=(FetchTopic(topic_id=TOPIC, partitions=asks),) if asks else (),
            forgotten_topics_data=(ForgottenTopic(topic_id=TOPIC, partitions=forgotten),) if forgotten else (),
        )
        self.source.looked.clear()
        self.sessions.handle(len(self.out.replies), request, self.now_ms)
        return self.heard()

    def heard(self):
        """The answers since the last call: (session id, error, {partition: bytes of records or None})."""
        replies, self.out.replies = self.out.replies, []
        return [
            (
                reply.message.session_id,
                reply.message.error_code,
                {
                    data.partition_index: data.records.size if data.records else None
                    for topic in reply.message.responses
                    for data in topic.partitions
                },
            )
            for reply in replies
        ]

    def append(self, index, size=10):
        log = self.source.logs[index]
        log.end += size
        self.sessions.wake(type("Replica", (), {"key": (TOPIC.hex(), index)})())
        self.source.looked.clear()
        self.sessions.flush()
        return self.heard()


@pytest.fixture
def leader():
    made = Leader(PARTITIONS)
    first = made.ask((0, 0), dict.fromkeys(range(PARTITIONS), 0), wait_ms=0)
    assert first == [(1, 0, dict.fromkeys(range(PARTITIONS)))]
    return made


def test_an_answer_holds_and_costs_what_moved(leader):
    assert leader.ask((1, 1), {}) == [], "it waits"
    assert leader.source.looked == []
    assert leader.append(7) == [(1, 0, {7: 10})]
    assert leader.source.looked == [7]
    assert leader.ask((1, 2), {7: 10}) == []
    assert leader.source.looked == [], "a follower that has all there is costs no look"
    assert leader.append(7) == [(1, 0, {7: 10})]


def test_a_high_watermark_is_told_once_and_with_the_next_records(leader):
    leader.ask((1, 1), {})
    leader.source.logs[3].high_watermark = 5
    leader.source.logs[3].end = 0
    assert leader.append(3, size=0) == [], "a high watermark alone is worth no answer"
    assert leader.append(7) == [(1, 0, {3: None, 7: 10})]
    assert leader.ask((1, 2), {7: 10}, wait_ms=0) == [(1, 0, {})]


def test_no_partition_starves_when_an_answer_takes_less_than_there_is(leader):
    for index in range(PARTITIONS):
        leader.append(index, size=100)
    offsets = dict.fromkeys(range(PARTITIONS), 0)
    named, epoch = {}, 1
    while any(offset < 100 for offset in offsets.values()):
        ((_, error, found),) = leader.ask((1, epoch), named, max_bytes=95, wait_ms=0)
        assert not error
        assert any(found.values()), f"nothing came although {offsets} are behind"
        for index, size in found.items():
            offsets[index] += size or 0
        named = {index: offsets[index] for index, size in found.items() if size}
        epoch += 1
        assert epoch < 200


def test_now_and_then_a_request_counts_for_all_partitions(leader):
    leader.source.noted.clear()
    leader.ask((1, 1), {}, wait_ms=0)
    assert leader.source.noted == []
    leader.now_ms += FULL_PASS_MS
    leader.source.logs[9].end = 10  # nobody has said so
    assert leader.ask((1, 2), {}) == [(1, 0, {9: 10})]
    assert leader.source.noted == [(index, 0) for index in range(PARTITIONS)]


def test_what_is_forgotten_is_heard_no_more(leader):
    leader.ask((1, 1), {}, forgotten=(7,))
    assert leader.append(7) == []
    assert leader.append(8) == [(1, 0, {8: 10})]


def test_a_follower_that_asks_in_another_leader_epoch_hears_the_high_watermark_again(leader):
    ((session_id, _, _),) = leader.ask((0, 0), {0: 0}, wait_ms=0)
    leader.source.logs[0].high_watermark = 5
    assert leader.ask((session_id, 1), {0: 0}, wait_ms=0) == [(session_id, 0, {0: None})]
    assert leader.ask((session_id, 2), {0: 0}, wait_ms=0) == [(session_id, 0, {})]
    assert leader.ask((session_id, 3), {0: 0}, wait_ms=0, epoch=1) == [(session_id, 0, {0: None})]
    assert leader.ask((session_id, 4), {0: 0}, wait_ms=0, epoch=1) == [(session_id, 0, {})]


def test_a_follower_that_had_to_cut_hears_the_high_watermark_afterwards(leader):
    log = leader.source.logs[0]
    log.high_watermark, log.diverging = 5, EpochEndOffset(epoch=1, end_offset=3)
    assert leader.ask((1, 1), {0: 9}, wait_ms=0) == [(1, 0, {0: None})]
    log.diverging = EpochEndOffset()
    assert leader.ask((1, 2), {0: 3}, wait_ms=0) == [(1, 0, {0: None})]
    assert leader.ask((1, 3), {0: 3}, wait_ms=0) == [(1, 0, {})]


def test_a_second_request_ends_the_waiting_of_the_first(leader):
    assert leader.ask((1, 1), {}) == []
    leader.append(5, size=0)
    assert leader.ask((1, 2), {6: 0}) == [(1, 0, {})]
    leader.now_ms += 500
    leader.sessions.tick(leader.now_ms)
    assert leader.heard() == [(1, 0, {})]
    assert leader.sessions.deadline_ms == 1 << 62


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ((2, 1), Code.FETCH_SESSION_ID_NOT_FOUND),
        ((1, 2), Code.INVALID_FETCH_SESSION_EPOCH),
        ((0, 1), Code.FETCH_SESSION_ID_NOT_FOUND),
    ],
)
def test_another_session_or_a_request_out_of_turn_is_refused(leader, session, code):
    assert leader.ask(session, {}) == [(0, code, {})]
    assert leader.ask((0, 0), {3: 0}, wait_ms=0) == [(2, 0, {3: None})], "a full request always begins one"
    assert leader.append(4) == []


class Watched(Network):
    """Counts the partitions that followers name."""

    named = 0

    def step(self, node, event):
        if isinstance(event, Request) and event.internal and isinstance(event.message, FetchRequest):
            topics = [topic for topic in event.message.topics if topic.topic_id != METADATA_TOPIC_ID]
            self.named += sum(len(topic.partitions) for topic in topics)
        super().step(node, event)


def test_followers_of_many_partitions_name_the_one_that_is_written(monkeypatch):
    monkeypatch.setattr("tests.broker.core.test_broker.Network", Watched)
    network = cluster()
    key = create(network, partitions=PARTITIONS)
    assert network.run(until=lambda: healthy(network))
    network.run(duration_ms=500)
    network.named = 0
    for number in range(20):
        assert produced(network, key, b"%d" % number).error_code == Code.NONE
    assert network.named == 2 * 20, "two followers, once for each record"


def test_a_leader_that_started_anew_is_followed_in_a_new_session():
    network = cluster(seed=3)
    key = create(network, partitions=5)
    assert network.run(until=lambda: healthy(network))
    for number in range(6):
        assert produced(network, key, b"%d" % number).error_code == Code.NONE
        node, _ = newest_leader(network, key)
        network.crash(node, power=False)
        network.start(node)
        assert network.run(until=lambda: healthy(network)), "replication stands still"


@pytest.mark.parametrize("seed", range(3))
def test_where_a_follower_is_said_to_have_all_a_look_finds_nothing_more(monkeypatch, seed):
    quiet, said = Fetching.quiet, []

    def checked(self, key, ask, replica_id):
        heard = quiet(self, key, ask, replica_id)
        topic = FetchTopic(topic_id=bytes.fromhex(key[0]), partitions=(ask,))
        data = self.look(key, topic, ask, replica_id, (1 << 20, True))
        if heard is not None:
            assert (data.high_watermark, data.log_start_offset) == heard
            assert (data.error_code, data.records, data.diverging_epoch) == (Code.NONE, None, EpochEndOffset())
            assert not self.must_hear(ask, data)
        said.append((heard is None, data.records is None))
        return heard

    monkeypatch.setattr(Fetching, "quiet", checked)
    network = cluster(seed=seed)
    key = create(network, partitions=5)
    for number in range(8):
        assert network.run(until=lambda: healthy(network))
        assert produced(network, key, b"%d" % number).error_code == Code.NONE
        node, _ = newest_leader(network, key)
        network.crash(node, power=number % 2 == 1)
        network.start(node)
    assert network.run(until=lambda: healthy(network))
    assert {(False, True), (True, False)} <= set(said), "both were asked about"


def test_a_follower_that_was_quiet_for_long_is_in_sync_when_a_record_comes():
    network = cluster(seed=5, replica_lag_ms=1000)
    key = create(network, partitions=3)
    assert network.run(until=lambda: healthy(network))
    network.run(duration_ms=20_000)
    node, replica = newest_leader(network, key)
    assert produced(network, key, b"x", acks=1).error_code == Code.NONE
    now_ms = network.now_ms
    assert replica.leader.shrunk(1000, now_ms) == replica.leader.state.isr
    assert {f.caught_up_ms >= now_ms - 1000 for f in replica.leader.followers.values()} == {True}
    assert network.nodes[node].replicas.get(key) is replica
