"""A group changes its protocol while its members work: nothing has two owners, and nobody is lost."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.group.consumer_protocol import read_assignment, read_subscription, write_assignment
from broker.wire.messages.describe_groups import DescribeGroupsRequest
from broker.wire.messages.heartbeat import HeartbeatRequest
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from broker.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.broker.core.test_broker import image
from tests.broker.core.test_consumer_group import BEAT_MS, Consumer, alone, ask, described, ready, sizes

PARTITIONS = 4


def subscribe(owned):
    """A consumer's subscription of version 1, to the topic t."""
    data = b"\x00\x01" + b"\x00\x00\x00\x01\x00\x01t" + b"\xff\xff\xff\xff"
    if not owned:
        return data + b"\x00\x00\x00\x00"
    return data + write_assignment({"t": sorted(owned)})[2:-4]


class Classic:
    """A cooperative consumer of the classic protocol; whoever leads assigns round robin."""

    def __init__(self, network, instance_id=None):
        self.network, self.instance_id = network, instance_id
        self.id, self.generation, self.indexes = "", -1, set()

    @property
    def owned(self):
        topic_id = bytes.fromhex(image(self.network).topic_ids["t"])
        return {(topic_id, index) for index in self.indexes}

    def work(self):
        """Beat, and join when told to; return the code."""
        code = self.beat() if self.generation >= 0 else Code.UNKNOWN_MEMBER_ID
        if code == Code.NONE:
            return code
        if code not in {Code.REBALANCE_IN_PROGRESS, Code.ILLEGAL_GENERATION}:
            self.id, self.indexes = "", set()
        return self.join()

    def beat(self):
        message = HeartbeatRequest(
            group_id="g", generation_id=self.generation, member_id=self.id, group_instance_id=self.instance_id
        )
        return ask(self.network, message, 4).error_code

    def join(self):
        for _ in range(5):
            protocol = JoinGroupRequestProtocol(name="cooperative", metadata=subscribe(self.indexes))
            message = JoinGroupRequest(
                group_id="g",
                session_timeout_ms=2000,
                rebalance_timeout_ms=2000,
                member_id=self.id,
                group_instance_id=self.instance_id,
                protocol_type="consumer",
                protocols=(protocol,),
            )
            answer = ask(self.network, message, 5)
            self.id = answer.member_id or self.id
            if answer.error_code == Code.MEMBER_ID_REQUIRED:
                continue
            if answer.error_code:
                return answer.error_code
            self.generation = answer.generation_id
            return self.sync(answer)
        raise AssertionError("no generation")

    def sync(self, joined):
        given = ()
        if joined.leader == self.id:
            members = [member.member_id for member in joined.members]
            given = tuple(
                SyncGroupRequestAssignment(
                    member_id=member, assignment=write_assignment({"t": range(at, PARTITIONS, len(members))})
                )
                for at, member in enumerate(members)
            )
        message = SyncGroupRequest(
            group_id="g",
            generation_id=self.generation,
            member_id=self.id,
            group_instance_id=self.instance_id,
            assignments=given,
        )
        answer = ask(self.network, message, 5)
        if not answer.error_code:
            self.indexes = {index for _, index in read_assignment(answer.assignment)}
        return answer.error_code

    def leave(self):
        self.indexes = set()
        who = MemberIdentity(member_id=self.id, group_instance_id=self.instance_id)
        return ask(self.network, LeaveGroupRequest(group_id="g", members=(who,)), 4).members[0].error_code

    def commit(self):
        partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=1)
        message = OffsetCommitRequest(
            group_id="g",
            member_id=self.id,
            generation_id_or_member_epoch=self.generation,
            topics=(OffsetCommitRequestTopic(name="t", partitions=(partition,)),),
        )
        return ask(self.network, message, 8).topics[0].partitions[0].error_code


def settle(network, *members, rounds=8):
    for _ in range(rounds):
        for member in members:
            member.work() if isinstance(member, Classic) else member.beat()
            alone(members)
        network.run(BEAT_MS)


def started(**settings):
    network = ready(partitions=PARTITIONS, group_initial_delay_ms=0, group_min_session_timeout_ms=100, **settings)
    one = Classic(network)
    assert one.join() == Code.NONE
    assert sizes(one) == [PARTITIONS]
    return network, one


def test_a_consumer_joins_a_classic_group_that_works_on():
    network, one = started()
    assert one.commit() == Code.NONE
    new = Consumer(network, "new").join()
    assert new.owned == set(), "everything is still the classic member's"
    assert one.beat() == Code.REBALANCE_IN_PROGRESS
    settle(network, one, new)
    assert sizes(one, new) == [2, 2]
    assert one.commit() == Code.NONE
    group = described(network)
    assert sorted(member.member_type for member in group.members) == [0, 1]
    assert group.group_state == "Stable"
    one.generation -= 1
    assert one.commit() == Code.ILLEGAL_GENERATION


def test_the_group_survives_its_coordinator_in_the_middle():
    network, one = started()
    new = Consumer(network, "new").join()
    node = next(n for n, node in network.nodes.items() if any("g" in s.consumers for s in node.groups.shards()))
    network.crash(node, power=False)
    settle(network, one, new)
    assert sizes(one, new) == [2, 2]
    network.start(node)


def test_members_move_one_by_one_and_back():
    network, one = started()
    other = Classic(network)
    new = Consumer(network, "new").join()
    settle(network, one, new)
    assert other.join() == Code.NONE
    settle(network, one, new, other, rounds=12)
    assert sizes(one, new, other) == [1, 1, 2]
    assert one.leave() == Code.NONE
    settle(network, new, other)
    assert sizes(new, other) == [2, 2]
    assert new.leave() == Code.NONE
    (classic,) = ask(network, DescribeGroupsRequest(groups=("g",))).groups
    assert [member.member_id for member in classic.members] == [other.id]
    assert other.beat() == Code.REBALANCE_IN_PROGRESS
    settle(network, other)
    assert sizes(other) == [PARTITIONS]


def test_a_static_classic_member_comes_back_to_what_it_had():
    network = ready(partitions=PARTITIONS, group_initial_delay_ms=0, group_min_session_timeout_ms=100)
    one = Classic(network, instance_id="i")
    assert one.join() == Code.NONE
    new = Consumer(network, "new").join()
    settle(network, one, new)
    had = set(one.indexes)
    again = Classic(network, instance_id="i")
    assert again.join() == Code.NONE
    assert again.indexes == had
    assert one.beat() == Code.FENCED_INSTANCE_ID


def test_a_silent_classic_member_is_out():
    network, one = started()
    new = Consumer(network, "new").join()
    settle(network, one, new)
    one.indexes = set()
    for _ in range(12):
        assert new.beat() == Code.NONE
        network.run(BEAT_MS)
    assert sizes(new) == [PARTITIONS]
    assert one.beat() == Code.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("policy", ["disabled", "downgrade"])
def test_no_group_is_migrated_where_it_is_not_allowed(policy):
    network, one = started(consumer_migration_policy=policy)
    assert Consumer(network, "new").beat() == Code.GROUP_ID_NOT_FOUND
    assert one.beat() == Code.NONE


def test_a_group_that_may_not_go_back_stays_what_it_is():
    network, one = started(consumer_migration_policy="upgrade")
    new = Consumer(network, "new").join()
    settle(network, one, new)
    assert new.leave() == Code.NONE
    settle(network, one)
    assert sizes(one) == [PARTITIONS]
    assert len(described(network).members) == 1


def test_what_is_no_subscription_reads_as_nothing():
    assert read_subscription(subscribe({0, 2})).owned == (("t", 0), ("t", 2))
    assert read_subscription(subscribe(set())).topics == ("t",)
    for data in (b"", b"\x00", b"\x00\x01\x7f\xff\xff\xff", b"\x00\x01\x00\x00\x00\x01\xff\xf0", subscribe({1})[:-3]):
        assert read_subscription(data).owned == ()
        assert read_assignment(data) == ()
