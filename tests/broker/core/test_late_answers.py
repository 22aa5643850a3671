"""An answer to what is not asked any more is passed over: no warning, no rest, nothing twice, no hole."""

from types import SimpleNamespace

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.ready import Outbox
from broker.core.replication.fetcher import Fetchers
from broker.core.throttled import NOBODY
from broker.wire import batch, record
from broker.wire.messages.fetch import FetchableTopicResponse, FetchPartition, FetchResponse, PartitionData
from tests.broker.core import test_broker as small

TOPIC, KEY, OTHER = b"t" * 16, ((b"t" * 16).hex(), 0), ((b"t" * 16).hex(), 1)
SESSION = 7


class Follower:
    """A replica whose log is an end and the bases of what it took."""

    leader = None
    config = SimpleNamespace(throttled_followers=NOBODY)

    def __init__(self, key, leader, epoch, end):
        self.key, self.state, self.leader_epoch = key, SimpleNamespace(leader=leader), epoch
        self.log, self.taken = SimpleNamespace(start=0, end=end, high_watermark=0), []

    def next_fetch(self, max_bytes):
        return FetchPartition(
            partition=self.key[1],
            current_leader_epoch=self.leader_epoch,
            fetch_offset=self.log.end,
            last_fetched_epoch=1,
            partition_max_bytes=max_bytes,
        )

    def take(self, data):
        if data.records:
            self.taken.append(batch.last_offset_at(data.records, 0))
            self.log.end = self.taken[-1] + 1
        self.log.high_watermark = data.high_watermark
        return ""


class Scene:
    """The fetchers of a node, and what they have sent."""

    def __init__(self):
        self.replicas = {
            KEY: Follower(KEY, leader=1, epoch=1, end=5),
            OTHER: Follower(OTHER, leader=1, epoch=1, end=0),
        }
        config = BrokerConfig(node_id=3, voters=(1, 2, 3))
        self.out = Outbox()
        known = SimpleNamespace(get=self.replicas.get, broker_epoch=1, renew=lambda: None, fell=lambda _: None)
        self.fetchers = Fetchers(config, known, self.out)
        self.follow(KEY)
        self.answer(self.sent())

    def follow(self, key):
        self.fetchers.follow(self.replicas[key], 0)

    def moved(self, leader, epoch, end):
        """Let the partition have another leader, and this replica's log another end."""
        replica = self.replicas[KEY]
        replica.state, replica.leader_epoch, replica.log.end = SimpleNamespace(leader=leader), epoch, end
        self.follow(KEY)

    def sent(self):
        """Return the token of the request that was sent last."""
        return self.out.requests[-1].token

    def answer(self, token, *data):
        topic = FetchableTopicResponse(topic_id=TOPIC, partitions=data)
        self.fetchers.answered(token, FetchResponse(session_id=SESSION, responses=(topic,) if data else ()), 0)


def data(base=-1, **fields):
    """What a leader says of the partition, with a record at `base`."""
    records = None
    if base >= 0:
        one = record.batch_of([(None, b"v")], timestamp_ms=1)
        batch.patch(one, 0, base, 1)
        records = bytes(one)
    return PartitionData(partition_index=0, records=records, **fields)


def test_an_answer_to_what_was_asked_before_the_log_was_cut_leaves_no_hole():
    scene = Scene()
    replica, waiting = scene.replicas[KEY], scene.sent()
    scene.moved(leader=2, epoch=2, end=4)
    scene.moved(leader=1, epoch=3, end=4)
    asked = scene.sent()
    assert asked != waiting, "the one that waits is overtaken"
    scene.answer(waiting, data(5, high_watermark=5))
    assert (replica.taken, replica.log.high_watermark) == ([], 0)
    scene.answer(asked, data(4, high_watermark=5))
    assert replica.taken == [4]


def test_an_error_that_belongs_to_an_earlier_request_lets_nothing_rest():
    scene = Scene()
    waiting = scene.sent()
    scene.moved(leader=1, epoch=2, end=5)
    scene.answer(waiting, data(error_code=Code.FENCED_LEADER_EPOCH))
    assert scene.fetchers.deadline_ms == 1 << 62


def test_what_another_answer_has_brought_is_not_taken_twice():
    scene = Scene()
    replica, first = scene.replicas[KEY], scene.sent()
    scene.follow(OTHER)
    second = scene.sent()
    scene.answer(first, data(5))
    scene.answer(second, data(5))
    assert replica.taken == [5]
    scene.answer(scene.sent(), data(6))
    assert replica.taken == [5, 6]


def test_the_same_question_asked_again_is_answered_by_the_first_answer():
    scene = Scene()
    replica, waiting = scene.replicas[KEY], scene.sent()
    scene.follow(KEY)
    assert scene.sent() != waiting
    scene.answer(waiting, data(5, high_watermark=5))
    assert (replica.taken, replica.log.high_watermark) == ([5], 5)


def test_followers_of_many_partitions_under_load_are_told_nothing_twice():
    network = small.cluster()
    key = small.create(network, partitions=6, min_insync_replicas=2)
    warned = []
    for node in network.nodes.values():
        step = node.step

        def stepping(event, now_ms, step=step):
            ready = step(event, now_ms)
            warned.extend(ready.warnings)
            return ready

        node.step = stepping
    sent = [small.produce(network, (key[0], index % 6), b"%d" % index) for index in range(120)]
    assert network.run(until=lambda: all(one in network.client_replies for one in sent), limit_ms=20_000)
    assert network.run(until=lambda: small.healthy(network))
    assert [warning for warning in warned if "fetched offset" in warning] == []
