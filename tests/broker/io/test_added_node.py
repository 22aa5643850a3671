"""A broker that joins a running node, takes its partitions over and is let go again: as processes, found by registration."""

from __future__ import annotations

import struct

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from broker.wire import codec
from broker.wire.frame import frame
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignableTopic,
)
from broker.wire.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse
from harness.cluster.probe import Probe
from tests.broker.io.process import NodeProcess, until

WITHIN_S = 60.0
VALUE = bytes(1000)


@pytest.fixture
def nodes(tmp_path):
    first = NodeProcess(tmp_path / "first")
    made = (first, NodeProcess(tmp_path / "second", joins=first))
    yield made
    for one in made:
        if one.process is not None:
            one.kill()


def ask(node, message, kind, version=0):
    with node.connect() as connection, connection.makefile("rb") as answers:
        connection.sendall(frame(codec.encode_request(message, version, correlation_id=1, client_id="test")))
        size = struct.unpack(">i", answers.read(4))[0]
        return codec.decode_response(kind, version, memoryview(answers.read(size)))[1]


def move(node, *replicas):
    partition = ReassignablePartition(partition_index=0, replicas=replicas)
    request = AlterPartitionReassignmentsRequest(topics=(ReassignableTopic(name="t", partitions=(partition,)),))
    answer = ask(node, request, AlterPartitionReassignmentsResponse)
    assert (answer.error_code, answer.responses[0].partitions[0].error_code) == (0, 0)


def replicas(node):
    with Probe("127.0.0.1", node.port) as probe:
        (partition,) = probe.metadata(("t",)).topics[0].partitions
    return partition.leader_id, tuple(partition.replica_nodes), tuple(partition.isr_nodes)


def send(node, count):
    acked = []
    producer = Producer({"bootstrap.servers": node.address, "acks": "all", "log_level": 0})
    for _ in range(count):
        producer.produce("t", VALUE, on_delivery=lambda error, _: acked.append(error))
    assert producer.flush(WITHIN_S) == 0
    assert acked == [None] * count


def test_a_broker_joins_takes_a_partition_over_and_is_let_go(nodes):
    first, second = nodes
    first.start()
    admin = AdminClient({"bootstrap.servers": first.address, "log_level": 0})
    for created in admin.create_topics([NewTopic("t", 1, 1)]).values():
        created.result(WITHIN_S)
    send(first, 100)
    second.start()
    move(first, 2)
    until(lambda: replicas(first) == (2, (2,), (2,)), WITHIN_S)
    send(second, 100)
    with Probe("127.0.0.1", second.port) as probe:
        quorum = probe.describe_quorum()
    assert [one.replica_id for one in quorum.current_voters] == [1]
    move(second, 1)
    until(lambda: replicas(first) == (1, (1,), (1,)), WITHIN_S)
    assert second.stop() == 0
    assert second.log().rstrip().endswith("stopped"), second.log()
    assert ask(first, UnregisterBrokerRequest(broker_id=2), UnregisterBrokerResponse).error_code == 0
    send(first, 100)
    size = sum(file.stat().st_size for file in (first.data / "t-0").glob("*.log"))
    assert size > 300 * len(VALUE), "all that was written on either node is here"
