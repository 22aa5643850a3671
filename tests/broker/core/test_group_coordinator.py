"""Groups and committed offsets in a whole cluster: what is acknowledged survives the coordinator."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.ready import Request
from broker.wire.messages.delete_groups import DeleteGroupsRequest
from broker.wire.messages.describe_groups import DescribeGroupsRequest
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.heartbeat import HeartbeatRequest
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from broker.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from broker.wire.messages.list_groups import ListGroupsRequest
from broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from broker.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics
from broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.broker.core.test_broker import cluster, create, healthy

SETTINGS = {"offsets_partitions": 2, "group_initial_delay_ms": 20, "group_min_session_timeout_ms": 100}
AGAIN = {Code.COORDINATOR_NOT_AVAILABLE, Code.NOT_COORDINATOR, Code.COORDINATOR_LOAD_IN_PROGRESS}


def call(network, node, message, version=0):
    request_id = network.send(node, message, version=version)
    assert network.run(until=lambda: request_id in network.client_replies, limit_ms=4000)
    return network.client_replies[request_id]


def coordinator(network, group="g"):
    for _ in range(60):
        found = call(
            network, min(network.nodes), FindCoordinatorRequest(key_type=0, coordinator_keys=(group,))
        ).coordinators[0]
        if found.error_code == Code.NONE and found.node_id in network.nodes:
            return found.node_id
        network.run(50)
    raise AssertionError("no coordinator")


def patiently(network, message, code_of, version=0):
    for _ in range(60):
        answer = call(network, coordinator(network), message, version)
        if code_of(answer) not in AGAIN:
            return answer
        network.run(50)
    raise AssertionError(code_of(answer))


def joined(network, member=""):
    protocols = (JoinGroupRequestProtocol(name="range", metadata=b"m"),)
    message = JoinGroupRequest(
        group_id="g",
        session_timeout_ms=800,
        rebalance_timeout_ms=800,
        member_id=member,
        protocol_type="consumer",
        protocols=protocols,
    )
    answer = patiently(network, message, lambda a: a.error_code, version=3)
    assert answer.error_code == Code.NONE
    given = (SyncGroupRequestAssignment(member_id=answer.member_id, assignment=b"all"),)
    sync = SyncGroupRequest(
        group_id="g", generation_id=answer.generation_id, member_id=answer.member_id, assignments=given
    )
    assert patiently(network, sync, lambda a: a.error_code).assignment == b"all"
    return answer


def commit(network, offset, generation=-1, member=""):
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset, committed_metadata="m")
    topic = OffsetCommitRequestTopic(name="t", partitions=(partition,))
    message = OffsetCommitRequest(
        group_id="g", generation_id_or_member_epoch=generation, member_id=member, topics=(topic,)
    )
    return (
        patiently(network, message, lambda a: a.topics[0].partitions[0].error_code).topics[0].partitions[0].error_code
    )


def committed(network):
    topic = OffsetFetchRequestTopics(name="t", partition_indexes=(0,))
    message = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id="g", topics=(topic,)),), require_stable=True)
    answer = patiently(network, message, lambda a: a.groups[0].error_code).groups[0]
    return answer.topics[0].partitions[0].committed_offset


def ready(seed=1):
    network = cluster(3, seed, **SETTINGS)
    create(network)
    return network


def test_a_member_that_leaves_no_time_for_a_rebalance_does_not_hold_the_node_up():
    network = ready()
    protocols = (JoinGroupRequestProtocol(name="range", metadata=b"m"),)
    for instance in (None, "static"):
        message = JoinGroupRequest(
            group_id="g",
            group_instance_id=instance,
            session_timeout_ms=800,
            rebalance_timeout_ms=0,
            protocol_type="consumer",
            protocols=protocols,
        )
        network.send(coordinator(network), message, version=5)
        network.run(100)
    assert committed(network) == -1


def test_an_unknown_group_has_committed_nothing():
    assert committed(ready()) == -1


def test_a_committed_offset_survives_every_coordinator():
    network = ready()
    for offset in (5, 3, 9):
        assert commit(network, offset) == Code.NONE
        old = coordinator(network)
        network.crash(old, power=False)
        assert committed(network) == offset
        network.start(old)
        assert network.run(until=lambda: healthy(network), limit_ms=10_000)


def test_only_members_of_this_generation_commit():
    network = ready()
    member = joined(network)
    assert commit(network, 4, member.generation_id, member.member_id) == Code.NONE
    assert commit(network, 5, member.generation_id + 1, member.member_id) == Code.ILLEGAL_GENERATION
    assert commit(network, 6, member.generation_id, "stranger") == Code.UNKNOWN_MEMBER_ID
    assert commit(network, 7) == Code.UNKNOWN_MEMBER_ID
    assert committed(network) == 4


def test_a_group_goes_on_at_the_next_coordinator_without_a_rebalance():
    network = ready()
    member = joined(network)
    old = coordinator(network)
    network.crash(old, power=False)
    beat = HeartbeatRequest(group_id="g", generation_id=member.generation_id, member_id=member.member_id)
    assert patiently(network, beat, lambda a: a.error_code).error_code == Code.NONE


def test_a_silent_member_loses_its_group():
    network = ready()
    member = joined(network)
    network.run(1500)
    beat = HeartbeatRequest(group_id="g", generation_id=member.generation_id, member_id=member.member_id)
    assert patiently(network, beat, lambda a: a.error_code).error_code == Code.UNKNOWN_MEMBER_ID
    assert commit(network, 1) == Code.NONE


@pytest.mark.parametrize("bad", ["", "g"])
def test_nonsense_is_refused_and_nobody_falls(bad):
    network = ready()
    coordinator(network)
    message = JoinGroupRequest(group_id=bad, session_timeout_ms=1, protocol_type="consumer")
    code = patiently(network, message, lambda a: a.error_code).error_code
    assert code == (Code.INVALID_SESSION_TIMEOUT if bad else Code.INVALID_GROUP_ID)


def test_groups_are_described_listed_and_deleted():
    network = ready()
    member = joined(network)
    assert commit(network, 4, member.generation_id, member.member_id) == Code.NONE
    described = call(network, coordinator(network), DescribeGroupsRequest(groups=("g", "nobody"))).groups[0]
    assert (described.group_state, described.protocol_data) == ("Stable", "range")
    (unknown,) = call(network, coordinator(network), DescribeGroupsRequest(groups=("nobody",))).groups
    assert (unknown.group_state, unknown.error_code) in {
        ("Dead", Code.GROUP_ID_NOT_FOUND),
        ("", Code.NOT_COORDINATOR),
    }
    assert [(m.member_id, m.member_assignment) for m in described.members] == [(member.member_id, b"all")]
    listed = [item for node in (1, 2, 3) for item in call(network, node, ListGroupsRequest()).groups]
    assert [(item.group_id, item.group_state) for item in listed] == [("g", "Stable")]
    delete = DeleteGroupsRequest(groups_names=("g",))
    assert call(network, coordinator(network), delete).results[0].error_code == Code.NON_EMPTY_GROUP
    leave = LeaveGroupRequest(group_id="g", members=(MemberIdentity(member_id=member.member_id),))
    assert call(network, coordinator(network), leave, 3).members[0].error_code == Code.NONE
    assert call(network, coordinator(network), delete).results[0].error_code == Code.NONE
    assert committed(network) == -1
    assert call(network, coordinator(network), delete).results[0].error_code == Code.GROUP_ID_NOT_FOUND
    network.crash(coordinator(network), power=False)
    assert committed(network) == -1


def test_a_group_that_somebody_joins_while_it_is_deleted_is_another_one():
    network = ready()
    member = joined(network)
    assert commit(network, 4, member.generation_id, member.member_id) == Code.NONE
    node = coordinator(network)
    leave = LeaveGroupRequest(group_id="g", members=(MemberIdentity(member_id=member.member_id),))
    assert call(network, node, leave, 3).members[0].error_code == Code.NONE
    join = JoinGroupRequest(
        group_id="g",
        session_timeout_ms=800,
        rebalance_timeout_ms=800,
        protocol_type="consumer",
        protocols=(JoinGroupRequestProtocol(name="range", metadata=b"m"),),
    )
    for request_id, message in (("delete", DeleteGroupsRequest(groups_names=("g",))), ("join", join)):
        network.deliver(node, Request(("client", request_id), message, version=3))
    assert not network.client_replies.keys() & {("client", "delete"), ("client", "join")}, "nothing is replicated yet"
    assert network.run(until=lambda: network.client_replies.keys() >= {("client", "delete"), ("client", "join")})
    assert network.client_replies["client", "delete"].results[0].error_code == Code.NONE
    assert network.client_replies["client", "join"].generation_id == 1
    assert committed(network) == -1, "as it is for the next coordinator"
    network.crash(node, power=False)
    assert committed(network) == -1
