"""A wish for a larger ISR that the controller refuses: nobody waits for who was not added."""

from __future__ import annotations

from broker.core.errors import Code
from broker.core.ready import PeerReply
from broker.wire.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    PartitionState,
    TopicState,
)
from tests.broker.core.test_broker import answer, cluster, create, newest_leader, produce, produced


def test_an_append_that_waited_for_who_was_not_added_is_answered_at_once():
    network = cluster(3, replica_lag_ms=60_000)
    key = create(network, factor=2)
    assert produced(network, key, b"0").error_code == Code.NONE
    number, replica = newest_leader(network, key)
    (other,) = set(replica.state.replicas) - {number}
    network.crash(other, power=False)
    assert network.run(until=lambda: replica.leader.state.isr == (number,), limit_ms=5000)
    network.run(100)
    node, held, usual = network.nodes[number], [], network._request
    node.isr._controller = lambda: 9  # one that takes its time
    network._request = lambda of, request: held.append(request) if request.peer == 9 else usual(of, request)
    network.start(other)
    assert network.run(until=lambda: bool(held), limit_ms=5000)
    assert isinstance(held[0].message, AlterPartitionRequest)
    network.crash(other, power=False)
    request_id = produce(network, key, b"1")
    assert network.run(until=lambda: not node.image.is_active(other), limit_ms=5000)
    network.run(50)
    assert request_id not in network.client_replies, "it waits for who may have been added"
    refused = PartitionState(partition_index=key[1], error_code=Code.INELIGIBLE_REPLICA)
    topic = TopicState(topic_id=bytes.fromhex(key[0]), partitions=(refused,))
    network.step(number, PeerReply(held[0].token, AlterPartitionResponse(topics=(topic,))))
    assert answer(network, request_id).error_code == Code.NONE
