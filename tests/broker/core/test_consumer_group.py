"""Groups of the KIP-848 protocol in whole clusters: each partition has one owner, through failover and migration."""

from __future__ import annotations

import random

import pytest

from broker.core.errors import Code
from broker.core.group.consumer.group import ConsumerGroup
from broker.wire.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from broker.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest, TopicPartitions
from broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from broker.wire.messages.delete_groups import DeleteGroupsRequest
from broker.wire.messages.describe_groups import DescribeGroupsRequest
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from broker.wire.messages.list_groups import ListGroupsRequest
from broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from broker.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics
from tests.broker.core.test_broker import cluster, create, healthy, image, newest_leader

SESSION_MS, BEAT_MS = 3000, 300


def ready(size=3, partitions=4, **settings):
    network = cluster(
        size,
        consumer_session_timeout_ms=SESSION_MS,
        consumer_heartbeat_interval_ms=BEAT_MS,
        offsets_partitions=2,
        offsets_replication_factor=size,
        **settings,
    )
    create(network, "t", partitions=partitions, factor=size)
    return network


def coordinator(network, group="g"):
    for _ in range(100):
        answer = call(network, min(network.nodes), FindCoordinatorRequest(coordinator_keys=(group,)))
        if answer is not None and answer.coordinators[0].error_code == Code.NONE:
            return answer.coordinators[0].node_id
        network.run(50)
    raise AssertionError("no coordinator")


def call(network, node, message, version=0):
    request_id = network.send(node, message, version=version)
    network.run(until=lambda: request_id in network.client_replies, limit_ms=2000)
    return network.client_replies.get(request_id)


def ask(network, message, version=0, group="g"):
    """Ask the group's coordinator, again while it moves or loads."""
    for _ in range(100):
        answer = call(network, coordinator(network, group), message, version)
        code = getattr(answer, "error_code", Code.NONE)
        if answer is not None and code not in {
            Code.NOT_COORDINATOR,
            Code.COORDINATOR_LOAD_IN_PROGRESS,
            Code.COORDINATOR_NOT_AVAILABLE,
        }:
            return answer
        network.run(50)
    raise AssertionError("nobody coordinates")


class Consumer:
    """A member that does what clients do: gives up at once what it must, and takes what it gets."""

    def __init__(self, network, name, topics=("t",), group="g", **what):
        self.network, self.id, self.group = network, name, group
        self.what = {"subscribed_topic_names": tuple(topics), "rebalance_timeout_ms": 2000, **what}
        self.epoch, self.owned, self.told, self.stubborn = 0, set(), set(), False

    def beat(self, **changed):
        """One heartbeat; return its error code."""
        topics = {}
        for topic_id, index in sorted(self.owned):
            topics.setdefault(topic_id, []).append(index)
        owned = tuple(TopicPartitions(topic_id=t, partitions=tuple(p)) for t, p in topics.items())
        what = {**(self.what if self.epoch == 0 else {"instance_id": self.what.get("instance_id")}), **changed}
        message = ConsumerGroupHeartbeatRequest(
            **{
                "group_id": self.group,
                "member_id": self.id,
                "member_epoch": self.epoch,
                "topic_partitions": owned,
                **what,
            }
        )
        answer = ask(self.network, message, 1, self.group)
        if answer.error_code == Code.NONE:
            self.epoch = answer.member_epoch
            if answer.assignment is not None:
                self.told = {(t.topic_id, p) for t in answer.assignment.topic_partitions for p in t.partitions}
            if not self.stubborn:
                self.owned = self.told
        return answer.error_code

    def join(self):
        assert self.beat() == Code.NONE
        return self

    def leave(self, epoch=-1):
        self.lose()
        code = self.beat(member_epoch=epoch, topic_partitions=None)
        self.lose()
        return code

    def lose(self):
        """It is out, and owns nothing any more."""
        self.owned, self.told = set(), set()

    def rejoins(self):
        """It has heard, or must suppose, that it is out: it begins anew."""
        self.lose()
        self.epoch = 0

    def commit(self, offset, epoch=None, version=9):
        partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
        message = OffsetCommitRequest(
            group_id=self.group,
            member_id=self.id,
            generation_id_or_member_epoch=self.epoch if epoch is None else epoch,
            topics=(OffsetCommitRequestTopic(name="t", partitions=(partition,)),),
        )
        return ask(self.network, message, version).topics[0].partitions[0].error_code


def settle(network, *consumers, beats=8):
    """Let everybody beat until nothing moves; nothing may ever have two owners."""
    for _ in range(beats):
        for consumer in consumers:
            assert consumer.beat() == Code.NONE
            alone(consumers)
        network.run(BEAT_MS)


def alone(consumers):
    owned = [place for consumer in consumers for place in consumer.owned]
    assert len(owned) == len(set(owned)), "a partition has two owners"


def sizes(*consumers):
    return sorted(len(consumer.owned) for consumer in consumers)


def described(network, group="g"):
    return ask(network, ConsumerGroupDescribeRequest(group_ids=(group,))).groups[0]


def test_who_subscribes_to_an_empty_pattern_joins_and_gets_nothing():
    one = Consumer(ready(1), "one", subscribed_topic_names=None, subscribed_topic_regex="")
    assert one.beat() == Code.NONE
    assert one.owned == set()


def test_partitions_are_shared_and_given_back():
    network = ready()
    one = Consumer(network, "a").join()
    assert sizes(one) == [4]
    other = Consumer(network, "b").join()
    assert other.owned == set(), "they still belong to the first"
    settle(network, one, other)
    assert sizes(one, other) == [2, 2]
    assert described(network).group_state == "Stable"
    assert other.leave() == Code.NONE
    settle(network, one)
    assert sizes(one) == [4]


def test_a_partition_stays_with_its_owner_until_it_lets_go():
    network = ready()
    one = Consumer(network, "a", rebalance_timeout_ms=600_000).join()
    one.stubborn = True
    other = Consumer(network, "b").join()
    settle(network, one, other)
    assert sizes(one, other) == [0, 4]
    group = described(network)
    assert group.group_state == "Reconciling"
    one.stubborn = False
    settle(network, one, other)
    assert sizes(one, other) == [2, 2]


def test_who_does_not_let_go_in_time_is_out():
    network = ready()
    one = Consumer(network, "a", rebalance_timeout_ms=1000).join()
    one.stubborn = True
    other = Consumer(network, "b").join()
    codes = []
    for _ in range(20):
        codes.append(one.beat())
        other.beat()
        network.run(BEAT_MS)
    assert Code.UNKNOWN_MEMBER_ID in codes
    one.lose()
    settle(network, other)
    assert sizes(other) == [4]


def test_who_is_silent_is_out():
    network = ready()
    one, other = Consumer(network, "a").join(), Consumer(network, "b").join()
    settle(network, one, other)
    for _ in range(SESSION_MS // BEAT_MS + 2):
        assert other.beat() == Code.NONE
        network.run(BEAT_MS)
    one.lose()
    assert one.beat() == Code.UNKNOWN_MEMBER_ID
    settle(network, other)
    assert sizes(other) == [4]


def test_only_the_newest_epoch_commits():
    network = ready()
    one = Consumer(network, "a").join()
    assert one.commit(5) == Code.NONE
    Consumer(network, "b").join()
    old = one.epoch
    settle(network, one)
    assert one.epoch > old
    assert one.commit(6, epoch=old) == Code.STALE_MEMBER_EPOCH
    assert one.commit(6, epoch=one.epoch + 1) == Code.STALE_MEMBER_EPOCH
    assert Consumer(network, "nobody").commit(6, epoch=1) == Code.UNKNOWN_MEMBER_ID
    assert one.commit(7) == Code.NONE

    def fetched(member_id, epoch):
        topics = (OffsetFetchRequestTopics(name="t", partition_indexes=(0,)),)
        group = OffsetFetchRequestGroup(group_id="g", member_id=member_id, member_epoch=epoch, topics=topics)
        answer = ask(network, OffsetFetchRequest(groups=(group,)), 9).groups[0]
        return answer.error_code or answer.topics[0].partitions[0].committed_offset

    assert fetched("a", one.epoch) == fetched(None, -1) == 7
    assert fetched("a", old) == Code.STALE_MEMBER_EPOCH


def test_a_heartbeat_of_another_epoch_is_fenced_but_a_repeated_one_is_not():
    network = ready()
    one = Consumer(network, "a").join()
    epoch = one.epoch
    owned = one.owned
    one.rejoins()
    assert one.join().epoch == epoch, "its answer was lost"
    assert one.owned == owned
    assert one.beat(member_epoch=epoch + 1) == Code.FENCED_MEMBER_EPOCH
    Consumer(network, "b").join()
    settle(network, one)
    Consumer(network, "c").join()
    settle(network, one)
    assert one.epoch > epoch + 1
    assert one.beat(member_epoch=epoch) == Code.FENCED_MEMBER_EPOCH


def test_a_static_member_comes_back_to_what_it_had():
    network = ready()
    one, other = Consumer(network, "a", instance_id="i").join(), Consumer(network, "b").join()
    settle(network, one, other)
    had, epoch = set(one.owned), other.epoch
    assert Consumer(network, "c", instance_id="i").beat() == Code.UNRELEASED_INSTANCE_ID
    assert one.leave(epoch=-2) == Code.NONE
    again = Consumer(network, "c", instance_id="i").join()
    assert again.owned == had
    settle(network, again, other)
    assert (again.owned, other.epoch) == (had, epoch), "nobody else noticed"
    one.epoch = epoch
    assert one.beat(instance_id="i") == Code.FENCED_INSTANCE_ID
    assert again.leave() == Code.NONE
    settle(network, other)
    assert sizes(other) == [4]


def test_a_static_member_that_does_not_come_back_is_out_after_its_session():
    network = ready()
    one, other = Consumer(network, "a", instance_id="i").join(), Consumer(network, "b").join()
    settle(network, one, other)
    one.leave(epoch=-2)
    settle(network, other, beats=3)
    assert sizes(other) == [2], "it is waited for"
    settle(network, other, beats=SESSION_MS // BEAT_MS + 2)
    assert sizes(other) == [4]


def test_new_partitions_and_topics_that_match_are_assigned():
    network = ready()
    one = Consumer(network, "a", topics=(), subscribed_topic_regex="t.*").join()
    assert sizes(one) == [4]
    create(network, "tt", partitions=2, factor=3)
    create(network, "xt", partitions=2, factor=3)
    settle(network, one, beats=3)
    assert sizes(one) == [6]
    grow = CreatePartitionsRequest(topics=(CreatePartitionsTopic(name="t", count=5),))
    assert call(network, 1, grow).results[0].error_code == Code.NONE
    assert network.run(until=lambda: healthy(network))
    settle(network, one, beats=3)
    assert sizes(one) == [7]
    assert one.beat(subscribed_topic_regex="(") == Code.INVALID_REGULAR_EXPRESSION
    assert one.beat(subscribed_topic_names=("xt",), subscribed_topic_regex="") == Code.NONE
    settle(network, one)
    assert sizes(one) == [2]


def test_members_choose_the_assignor():
    network = ready(partitions=5)
    wrong = Consumer(network, "x", server_assignor="odd")
    assert wrong.beat() == Code.UNSUPPORTED_ASSIGNOR
    one, other = (Consumer(network, name, server_assignor="range") for name in "ab")
    one.join()
    other.join()
    settle(network, one, other)
    assert sorted(index for _, index in one.owned) == [0, 1, 2]
    assert described(network).assignor_name == "range"


@pytest.mark.parametrize(
    "wrong",
    [
        {"group_id": ""},
        {"member_id": "", "member_epoch": 1},
        {"member_epoch": -3},
        {"member_epoch": -2},
        {"rebalance_timeout_ms": -1},
        {"subscribed_topic_names": None},
        {"instance_id": ""},
        {"topic_partitions": None},
    ],
)
def test_what_no_client_may_send_is_refused(wrong):
    network = ready(1)
    what = {"group_id": "g", "member_id": "a", "rebalance_timeout_ms": 1, "subscribed_topic_names": ("t",)}
    message = ConsumerGroupHeartbeatRequest(**{**what, "topic_partitions": (), **wrong})
    coordinator(network)
    assert call(network, 1, message, 1).error_code == Code.INVALID_REQUEST


def test_a_new_coordinator_goes_on_where_the_old_one_was():
    network = ready()
    one, other = Consumer(network, "a").join(), Consumer(network, "b", instance_id="i").join()
    settle(network, one, other)
    before, had = described(network), (set(one.owned), set(other.owned))
    old = coordinator(network)
    network.crash(old, power=False)
    assert network.run(until=lambda: coordinator(network) != old, limit_ms=5000)
    settle(network, one, other, beats=3)
    after = described(network)
    assert (one.owned, other.owned) == had
    assert (after.group_epoch, after.assignment_epoch, after.members) == (
        before.group_epoch,
        before.assignment_epoch,
        before.members,
    )
    network.start(old)
    other.leave()
    settle(network, one)
    assert sizes(one) == [4]


def test_a_group_is_described_listed_and_deleted_as_what_it_is():
    network = ready()
    one = Consumer(network, "a").join()
    assert one.commit(3) == Code.NONE
    listed = ask(network, ListGroupsRequest(types_filter=("consumer",))).groups
    assert [(group.group_id, group.group_type, group.group_state) for group in listed] == [("g", "consumer", "Stable")]
    assert ask(network, ListGroupsRequest(types_filter=("classic",))).groups == ()
    (classic,) = ask(network, DescribeGroupsRequest(groups=("g",))).groups
    assert (classic.error_code, classic.group_state) == (Code.GROUP_ID_NOT_FOUND, "Dead")
    assert described(network, "g").members[0].subscribed_topic_names == ("t",)
    assert ask(network, ConsumerGroupDescribeRequest(group_ids=("no",)), group="no").groups[0].error_code in {
        Code.GROUP_ID_NOT_FOUND,
        Code.NOT_COORDINATOR,
    }
    deletion = DeleteGroupsRequest(groups_names=("g",))
    assert ask(network, deletion).results[0].error_code == Code.NON_EMPTY_GROUP
    partition = OffsetDeleteRequestPartition(partition_index=0)
    offsets = OffsetDeleteRequest(group_id="g", topics=(OffsetDeleteRequestTopic(name="t", partitions=(partition,)),))
    taken = ask(network, offsets).topics[0].partitions[0].error_code
    assert taken == Code.GROUP_SUBSCRIBED_TO_TOPIC
    one.leave()
    assert ask(network, offsets).topics[0].partitions[0].error_code == Code.NONE
    assert ask(network, deletion).results[0].error_code == Code.NONE
    assert described(network).error_code == Code.GROUP_ID_NOT_FOUND


def joins(network, name="classic", group="g"):
    protocol = JoinGroupRequestProtocol(name="range", metadata=b"")
    message = JoinGroupRequest(
        group_id=group,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=10_000,
        member_id=name,
        protocol_type="consumer",
        protocols=(protocol,),
    )
    return ask(network, message, 3, group)


def test_an_empty_group_changes_its_protocol_and_keeps_its_offsets():
    network = ready(group_initial_delay_ms=0, consumer_migration_policy="disabled")
    one = Consumer(network, "a").join()
    assert one.commit(3) == Code.NONE
    one.leave()
    member_id = joins(network, "").member_id
    (classic,) = ask(network, DescribeGroupsRequest(groups=("g",))).groups
    assert [member.member_id for member in classic.members] == [member_id]
    assert Consumer(network, "b").beat() == Code.GROUP_ID_NOT_FOUND
    network.run(20_000)
    other = Consumer(network, "b").join()
    assert other.owned
    topics = (OffsetFetchRequestTopics(name="t", partition_indexes=(0,)),)
    fetch = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id="g", topics=topics),))
    assert ask(network, fetch, 8).groups[0].topics[0].partitions[0].committed_offset == 3


@pytest.mark.parametrize("seed", range(4))
def test_no_partition_ever_has_two_owners_whatever_happens(seed):
    rng = random.Random(seed)
    network = ready(partitions=6)
    members, count = [], 0
    for _ in range(60):
        action = rng.random()
        if action < 0.15 or not members:
            instance = rng.choice([None, f"i{count}"])
            members.append(Consumer(network, f"m{count}", instance_id=instance).join())
            count += 1
        elif action < 0.2 and len(members) > 1:
            members.pop(rng.randrange(len(members))).leave()
        elif action < 0.25 and len(network.nodes) == 3:
            network.crash(rng.choice(sorted(network.nodes)), power=False)
        elif action < 0.35:
            for node in (1, 2, 3):
                if node not in network.nodes:
                    network.start(node)
        else:
            member = rng.choice(members)
            code = member.beat()
            if code in {Code.UNKNOWN_MEMBER_ID, Code.FENCED_MEMBER_EPOCH}:
                member.rejoins()
        for member in members:
            silent = member.epoch and f"{member.id}" not in known(network)
            if silent:
                member.rejoins()
        alone(members)
        network.run(rng.randrange(150))
    for node in (1, 2, 3):
        if node not in network.nodes:
            network.start(node)
    for _ in range(40):  # a fenced member is let in again when its session is over
        if sum(len(member.owned) for member in members) == 6 and described(network).group_state == "Stable":
            break
        for member in members:
            if member.beat() in {Code.UNKNOWN_MEMBER_ID, Code.FENCED_MEMBER_EPOCH, Code.UNRELEASED_INSTANCE_ID}:
                member.rejoins()
        alone(members)
        network.run(BEAT_MS)
    assert sum(len(member.owned) for member in members) == 6
    assert max(map(len, (member.owned for member in members))) - min(map(len, (m.owned for m in members))) <= 1


def known(network):
    """The members that the newest coordinator knows: who is out has lost its partitions, and will hear it."""
    topic_id = image(network).topic_ids.get("__consumer_offsets", "")
    found = {}
    for index in (0, 1):
        node, _ = newest_leader(network, (topic_id, index))
        shard = network.nodes[node].groups._shards.get(index) if node else None
        for group in shard.consumers.values() if shard else ():
            assert isinstance(group, ConsumerGroup)
            found |= group.members
    return found
