"""Where nobody is eligible to lead, logs are compared: no record is lost that a replica has which all wait for."""

from __future__ import annotations

import random

import pytest

from broker.core.config import BrokerConfig
from broker.core.controller.partition_change import Election
from broker.core.controller.recovery import MAX_ASKED, Recovery
from broker.core.describe.cluster import describe_topic_partitions
from broker.core.errors import Code
from broker.core.metadata.image import ELR_FEATURE, Image
from broker.core.metadata.records import (
    BrokerChanged,
    BrokerRegistered,
    ConfigSet,
    FeatureSet,
    PartitionState,
    TopicCreated,
    decode,
)
from broker.core.ready import Outbox
from broker.sim.disk import Disk
from broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from broker.wire.messages.describe_topic_partitions import DescribeTopicPartitionsRequest, TopicRequest
from broker.wire.messages.elect_leaders import ElectLeadersRequest
from broker.wire.messages.get_replica_log_info import (
    GetReplicaLogInfoResponse,
    PartitionLogInfo,
    TopicPartitionLogInfo,
)
from broker.wire.messages.unregister_broker import UnregisterBrokerRequest
from tests.broker.core.test_broker import (
    cluster,
    contents,
    controller,
    create,
    healthy,
    image,
    logs_agree,
    newest_leader,
    produce,
    produced,
)

RECORDS = 40


class Scene:
    """Seven nodes, a partition on three of them; two followers are killed, then the leader loses power, and records."""

    def __init__(self, seed=1, **settings):
        self.network = network = cluster(7, seed)
        self.key = create(network, min_insync_replicas=2, **settings)
        for number in range(RECORDS):
            assert produced(network, self.key, b"%d" % number).error_code == Code.NONE
        assert network.run(until=lambda: healthy(network), limit_ms=5000)
        self.last, replica = newest_leader(network, self.key)
        name = replica.log.name
        self.first, self.second = (node for node in replica.state.replicas if node != self.last)
        for follower in (self.first, self.second):
            network.crash(follower, power=False)
            assert network.run(until=lambda follower=follower: follower not in self.state.isr, limit_ms=5000)
        network.crash(self.last, power=True)
        assert network.disks[self.last].dump(name) != network.disks[self.first].dump(name), "it has lost nothing"
        assert network.run(until=lambda: self.state.leader < 0, limit_ms=5000)

    @property
    def state(self):
        return image(self.network).partition(*self.key)

    def starts(self, node):
        """Start a node; return whom the partition is led by when all is done that the node makes possible."""
        self.network.start(node)
        assert self.network.run(until=lambda: image(self.network).is_active(node), limit_ms=5000)
        self.network.run(1000)
        return self.state.leader

    def call(self, message):
        request_id = self.network.send(controller(self.network), message)
        assert self.network.run(until=lambda: request_id in self.network.client_replies, limit_ms=5000)
        return self.network.client_replies[request_id]

    def elect(self):
        return self.call(ElectLeadersRequest(election_type=1, topic_partitions=None))

    def lost(self):
        return RECORDS - len(contents(self.network, self.key))


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_the_last_leader_waits_for_the_one_that_has_what_it_lost(seed):
    scene = Scene(seed)
    assert scene.starts(scene.last) == -1, "the second was eligible until it is struck off"
    assert scene.starts(scene.second) == scene.second
    assert not scene.lost()
    assert scene.starts(scene.first) == scene.second
    assert scene.network.run(until=lambda: healthy(scene.network), limit_ms=5000)
    assert scene.state.last_known_elr == ()
    assert not scene.lost()


def test_who_came_back_first_leads_when_all_are_back_if_it_has_most():
    scene = Scene()
    assert scene.starts(scene.first) == -1, "it was out of the ISR before the others, and is not asked alone"
    assert scene.starts(scene.second) == -1
    assert sorted(scene.state.last_known_elr) == [scene.second]
    assert sorted(scene.state.elr) == [scene.last]
    leader = scene.starts(scene.last)
    assert leader in {scene.first, scene.second}
    assert not scene.lost()


def test_who_is_waited_for_is_told():
    scene = Scene()
    assert scene.starts(scene.second) == -1
    described = describe_topic_partitions(
        image(scene.network), DescribeTopicPartitionsRequest(topics=(TopicRequest(name="t"),))
    )
    (partition,) = described.topics[0].partitions
    assert partition.last_known_elr == (scene.second,)
    assert partition.eligible_leader_replicas == (scene.last,)
    assert partition.leader_id == -1


def test_without_comparison_the_last_leader_leads_and_takes_what_others_have():
    scene = Scene(unclean_recovery_strategy="None")
    assert scene.starts(scene.last) == -1
    assert scene.starts(scene.second) == scene.last
    assert scene.lost()


def test_an_aggressive_recovery_waits_for_nobody():
    scene = Scene(unclean_recovery_strategy="Aggressive")
    assert scene.starts(scene.last) == scene.last
    assert scene.lost()


def test_where_unclean_elections_are_allowed_nobody_is_asked():
    scene = Scene(unclean_leader_election_enable="true")
    assert scene.starts(scene.last) == scene.last
    assert scene.lost()


def test_an_administrator_may_end_the_waiting():
    scene = Scene()
    assert scene.starts(scene.first) == -1
    (result,) = scene.elect().replica_election_results[0].partition_result
    assert result.error_code == Code.NONE
    assert scene.state.leader == scene.first
    assert scene.state.last_known_elr == ()


def test_one_replica_leads_as_soon_as_it_is_back():
    network = cluster(3, session_timeout_ms=600)
    key = create(network, factor=1)
    assert produced(network, key, b"x").error_code == Code.NONE
    leader, _ = newest_leader(network, key)
    network.crash(leader, power=False)
    network.start(leader)
    assert network.run(until=lambda: newest_leader(network, key)[0] == leader, limit_ms=5000)
    assert contents(network, key) == {0: b"x"}


def test_a_node_that_is_unregistered_is_not_waited_for():
    scene = Scene()
    assert scene.starts(scene.last) == -1
    assert scene.call(UnregisterBrokerRequest(broker_id=scene.second)).error_code == Code.NONE
    scene.network.run(500)
    assert scene.state.leader == scene.last
    assert scene.lost()


def test_if_all_who_were_known_are_unregistered_an_administrator_must_say_who_leads():
    scene = Scene()
    assert scene.starts(scene.first) == -1
    for gone in (scene.second, scene.last):
        assert scene.call(UnregisterBrokerRequest(broker_id=gone)).error_code == Code.NONE
    scene.network.run(1000)
    assert scene.state.leader == -1
    scene.elect()
    assert scene.state.leader == scene.first


def test_a_deleted_partition_waits_for_nobody():
    scene = Scene()
    assert scene.starts(scene.last) == -1
    topics = (DeleteTopicState(name="t"),)
    assert scene.call(DeleteTopicsRequest(topics=topics, timeout_ms=1000)).responses[0].error_code == Code.NONE
    scene.network.start(scene.second)
    scene.network.run(1000)
    assert scene.network.nodes[controller(scene.network)].controller._pipeline.leaderless == {}


def test_a_replica_that_lost_its_disk_has_nothing_to_lead_with():
    scene = Scene()
    assert scene.starts(scene.last) == -1
    scene.network.disks[scene.second] = Disk()
    assert scene.starts(scene.second) == scene.last
    assert scene.starts(scene.first) == scene.last


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_another_controller_asks_again(seed):
    scene = Scene(seed)
    assert scene.starts(scene.last) == -1
    network = scene.network
    network.start(scene.second)
    assert network.run(
        until=lambda: any(node.controller and node.controller.recovery._flights for node in network.nodes.values()),
        limit_ms=5000,
    )
    old = controller(network)
    network.cuts |= {pair for node in network.disks for pair in ((old, node), (node, old))}
    network.run(2000)
    network.heal()
    assert network.run(until=lambda: self_elected(scene), limit_ms=10_000)
    assert not scene.lost()


def self_elected(scene):
    return scene.state.leader == scene.second and newest_leader(scene.network, scene.key)[0] == scene.second


@pytest.mark.parametrize("seed", range(16))
def test_nothing_acknowledged_is_lost_while_only_one_node_loses_power(seed):
    """With min.insync.replicas=2 another one has it, whoever is killed, and in whatever order they come back."""
    rng = random.Random(seed)
    size = rng.choice([3, 5])
    network = cluster(size, seed, metadata_snapshot_bytes=rng.choice([3000, 1 << 20]))
    key = create(network, factor=3, min_insync_replicas=2, segment_bytes=rng.choice([300, 1 << 20]))
    weak = rng.choice(image(network).partition(*key).replicas)
    sent, count = {}, 0
    for _ in range(30):
        action = rng.random()
        up, down = sorted(network.nodes), [node for node in network.disks if node not in network.nodes]
        if action < 0.35 and up:
            node = rng.choice([*up, weak] if weak in up else up)
            network.crash(node, power=node == weak)
        elif action < 0.65 and down:
            network.start(rng.choice(down))
        elif action < 0.7:
            network.cut(*rng.sample(sorted(network.disks), 2))
        elif action < 0.8:
            network.heal()
        for _ in range(rng.randint(0, 6)):
            count += 1
            if network.nodes:
                sent[produce(network, key, b"%d" % count)] = b"%d" % count
        network.run(rng.randint(1, 700))
    network.heal()
    for node in network.disks:
        if node not in network.nodes:
            network.start(node)
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)
    logs_agree(network)
    held = contents(network, key)
    for request_id, value in sent.items():
        reply = network.client_replies.get(request_id)
        got = reply.responses[0].partition_responses[0] if reply else None
        if got is not None and got.error_code == Code.NONE:
            assert held.get(got.base_offset) == value, f"{value!r} at {got.base_offset} is lost"


# The controller's half alone.

TOPIC = "ab" * 16


class Decider:
    """Stands for the pipeline: an image, what is leaderless, and whom the recovery elects."""

    def __init__(self, count=1, **fields):
        self.config, self.image = BrokerConfig(node_id=9, voters=(9,)), Image()
        self.image.apply(FeatureSet(ELR_FEATURE, 1))
        self.image.apply(TopicCreated(TOPIC, "t"))
        for node in (1, 2, 3):
            self.back(node, epoch=10 + node)
        waits = {"isr": (), "leader": -1, "leader_epoch": 5, "last_leader": 1, "last_known_elr": (2, 1)} | fields
        for index in range(count):
            self.image.apply(PartitionState(topic_id=TOPIC, index=index, replicas=(1, 2, 3), **waits))
        self.leaderless = {(TOPIC, index): None for index in range(count)}
        self.elected = []
        self.out = Outbox()
        self.recovery = Recovery(self, self.out)

    def back(self, node, epoch):
        self.image.apply(BrokerRegistered(node, epoch, f"life-{epoch}"))
        self.image.apply(BrokerChanged(node, epoch, fenced=False))

    def away(self, node):
        self.image.apply(BrokerChanged(node, self.image.brokers[node].epoch, fenced=True))

    def commit(self, now_ms):
        assert now_ms == 0

    def change(self, state, *, best, election=Election.ONLINE):
        assert election is Election.ONLINE
        self.elected.append((state.index, best))
        self.leaderless.pop((TOPIC, state.index))

    def asked(self):
        """Let a node beat; return whom it makes the controller ask: node -> (token, partitions)."""
        self.recovery.look(0)
        return [
            (one.peer, one.token, sum(len(topic.partitions) for topic in one.message.topic_partitions))
            for one in self.out.take(None).requests
        ]

    def tell(self, token, *, broker, epoch, end, leader_epoch=5, code=Code.NONE):
        info = PartitionLogInfo(
            partition=0,
            last_written_leader_epoch=epoch,
            current_leader_epoch=leader_epoch,
            log_end_offset=end,
            error_code=code,
        )
        answer = GetReplicaLogInfoResponse(
            broker_epoch=broker,
            topic_partition_log_info_list=(
                TopicPartitionLogInfo(topic_id=bytes.fromhex(TOPIC), partition_log_info=(info,)),
            ),
        )
        self.recovery.answered(token, answer, 0)


def tokens(asked):
    return {node: token for node, token, _ in asked}


@pytest.mark.parametrize(
    ("logs", "best"),
    [
        ({1: (4, 90), 2: (4, 100), 3: (4, 99)}, 2),
        ({1: (4, 90), 2: (3, 100), 3: (3, 120)}, 1),
        ({1: (4, 90), 2: (4, 90), 3: (-1, 0)}, 1),
        ({1: (3, 90), 2: (3, 90), 3: (4, 91)}, 3),
    ],
)
def test_the_log_with_the_newest_epoch_and_then_the_greatest_end_wins(logs, best):
    decider = Decider()
    for node, token in tokens(decider.asked()).items():
        assert decider.elected == []
        epoch, end = logs[node]
        decider.tell(token, broker=10 + node, epoch=epoch, end=end)
    assert decider.elected == [(0, best)]
    assert decider.asked() == []


def test_nobody_is_asked_before_all_who_were_known_are_back_and_nobody_twice_at_a_time():
    decider = Decider()
    decider.away(2)
    assert decider.asked() == []
    decider.back(2, epoch=22)
    decider.away(3)
    assert [node for node, _, _ in decider.asked()] == [1, 2], "who was not known is not waited for"
    assert decider.asked() == []
    decider.back(3, epoch=33)
    assert [node for node, _, _ in decider.asked()] == [3], "but asked, where it lives"


@pytest.mark.parametrize(
    "wrong",
    [{"broker": 9}, {"leader_epoch": 4}, {"code": Code.UNKNOWN_TOPIC_OR_PARTITION}],
    ids=lambda one: next(iter(one)),
)
def test_an_answer_that_is_not_of_the_present_is_asked_for_again_with_the_next_beat(wrong):
    decider = Decider()
    asked = tokens(decider.asked())
    right = {"epoch": 4, "end": 100}
    decider.tell(asked[1], broker=11, **right)
    decider.tell(asked[3], broker=13, **right)
    decider.tell(asked[2], **{"broker": 12, "epoch": 4, "end": 200} | wrong)
    assert decider.elected == []
    (again,) = decider.asked()
    assert again[0] == 2
    decider.tell(again[1], broker=12, epoch=4, end=99)
    assert decider.elected == [(0, 1)]


def test_what_a_node_told_before_it_restarted_does_not_count():
    decider = Decider()
    asked = tokens(decider.asked())
    decider.tell(asked[2], broker=12, epoch=4, end=200)
    decider.tell(asked[1], broker=11, epoch=4, end=100)
    decider.back(2, epoch=22)
    decider.tell(asked[3], broker=13, epoch=4, end=99)
    assert decider.elected == []
    (again,) = decider.asked()
    decider.tell(again[1], broker=22, epoch=4, end=50)
    assert decider.elected == [(0, 1)]


def test_a_question_without_an_answer_is_asked_again_with_the_next_beat():
    decider = Decider()
    asked = tokens(decider.asked())
    assert decider.recovery.owns(asked[2])
    decider.recovery.failed(asked[2])
    assert [node for node, _, _ in decider.asked()] == [2]


def test_many_partitions_are_asked_for_in_several_requests():
    decider = Decider(count=MAX_ASKED + 1)
    assert [(node, size) for node, _, size in decider.asked()] == [
        (node, size) for node in (1, 2, 3) for size in (MAX_ASKED, 1)
    ]


def test_a_partition_with_an_eligible_replica_waits_for_it_unless_recovery_is_aggressive():
    decider = Decider(elr=(3,), last_known_elr=(2,))
    decider.away(3)
    assert decider.asked() == []
    decider.image.apply(ConfigSet("topic", "t", "unclean.recovery.strategy", "Aggressive"))
    assert [node for node, _, _ in decider.asked()] == [1, 2]


def test_all_replicas_are_waited_for_where_an_older_log_does_not_say_who_was_known():
    old = (
        b'{"type":"partition","topic_id":"t","index":0,"replicas":[1,2,3],"isr":[],"leader":-1,"leader_epoch":5,'
        b'"partition_epoch":9,"elr":[],"last_leader":1,"adding":[],"removing":[]}'
    )
    assert decode(old).last_known_elr == ()
    decider = Decider(last_known_elr=())
    decider.away(3)
    assert decider.asked() == []
    decider.back(3, epoch=33)
    assert [node for node, _, _ in decider.asked()] == [1, 2, 3]


def test_without_eligible_leader_replicas_there_is_nothing_to_recover():
    decider = Decider()
    decider.image.apply(FeatureSet(ELR_FEATURE, 0))
    assert decider.asked() == []
