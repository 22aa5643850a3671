"""A coordinator whose partition is moved to other nodes: what it knew is of the past, and it says so."""

from __future__ import annotations

from broker.core.describe.transactions import describe
from broker.core.errors import Code
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from broker.wire.messages.describe_transactions import DescribeTransactionsRequest
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.heartbeat import HeartbeatRequest
from broker.wire.messages.init_producer_id import InitProducerIdRequest
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from broker.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics
from tests.broker.core.test_broker import cluster, create, healthy, image
from tests.broker.core.test_group_coordinator import SETTINGS, call, commit, committed, coordinator, joined


def ready():
    network = cluster(4, 1, **SETTINGS, offsets_replication_factor=2, transaction_replication_factor=2)
    create(network)
    return network


def move_away(network, topic, key):
    """Move the partition to the nodes that do not have it; return its old leader."""
    placed = image(network).topic(topic)
    index = partition_for(key, len(placed.partitions))
    state = placed.partitions[index]
    others = tuple(node for node in network.nodes if node not in state.replicas)
    ask = ReassignableTopic(name=topic, partitions=(ReassignablePartition(partition_index=index, replicas=others),))
    network.send(1, AlterPartitionReassignmentsRequest(topics=(ask,)))
    place = image(network).topic_ids[topic], index
    assert network.run(until=lambda: image(network).partition(*place).leader in others and healthy(network))
    return state.leader


def test_a_coordinator_whose_partition_is_moved_away_tells_no_offsets_of_the_past():
    network = ready()
    assert commit(network, 5) == Code.NONE
    old = move_away(network, "__consumer_offsets", "g")
    assert commit(network, 9) == Code.NONE
    topic = OffsetFetchRequestTopics(name="t", partition_indexes=(0,))
    message = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id="g", topics=(topic,)),))
    assert call(network, old, message).groups[0].error_code == Code.NOT_COORDINATOR
    assert committed(network) == 9


def test_members_of_a_group_that_is_moved_away_hear_of_it():
    network = ready()
    member = joined(network)
    old = coordinator(network)
    protocols = (JoinGroupRequestProtocol(name="range", metadata=b"m"),)
    join = JoinGroupRequest(
        group_id="g",
        session_timeout_ms=60_000,
        rebalance_timeout_ms=60_000,
        protocol_type="consumer",
        protocols=protocols,
    )
    waiting = network.send(old, join, version=3)
    network.run(20)
    assert waiting not in network.client_replies, "it waits for the member that is there"
    assert move_away(network, "__consumer_offsets", "g") == old
    assert network.client_replies[waiting].error_code == Code.NOT_COORDINATOR
    beat = HeartbeatRequest(group_id="g", generation_id=member.generation_id, member_id=member.member_id)
    assert call(network, old, beat).error_code == Code.NOT_COORDINATOR


def test_a_transaction_coordinator_whose_partition_is_moved_away_says_so():
    network = ready()
    init = InitProducerIdRequest(transactional_id="x", transaction_timeout_ms=60_000)
    find = FindCoordinatorRequest(key_type=1, coordinator_keys=("x",))
    call(network, 1, find)  # has the topic made
    assert network.run(until=lambda: call(network, 1, find).coordinators[0].error_code == Code.NONE)
    node = call(network, 1, find).coordinators[0].node_id
    assert network.run(until=lambda: call(network, node, init).error_code == Code.NONE)
    assert network.run(until=lambda: healthy(network))
    old = move_away(network, "__transaction_state", "x")
    ask = DescribeTransactionsRequest(transactional_ids=("x",))
    described = describe(network.nodes[old].transactions, ask).transaction_states[0]
    assert described.error_code == Code.NOT_COORDINATOR
