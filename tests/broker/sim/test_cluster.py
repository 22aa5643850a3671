"""Nodes on the simulated network: they find each other, replicate, survive kills, and repeat themselves."""

from __future__ import annotations

import hashlib

import pytest

from broker.sim.cluster import Cluster, Nobody, Shape
from broker.sim.loop import Loop
from broker.sim.network import Weather
from broker.sim.node import Speed
from broker.wire import record
from broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData

FAST = {
    "election_timeout_ms": 200,
    "fetch_timeout_ms": 400,
    "session_timeout_ms": 1000,
    "heartbeat_interval_ms": 200,
    "replica_lag_ms": 1000,
}


class Tape(Nobody):
    """Hashes all that the cores do."""

    def __init__(self):
        self.hash = hashlib.sha256()
        self.steps = 0

    def stepped(self, node, event, ready):
        self.steps += 1
        self.hash.update(f"{node.loop.now_ns} {node.name} {type(event).__name__} {ready.wake_at_ms}\n".encode())
        for reply in ready.replies:
            self.hash.update(repr(type(reply.message)).encode())


def start(seed, watch=None, **shape):
    cluster = Cluster(Loop(seed), Shape(settings=FAST, **shape), watch)
    cluster.start()
    assert cluster.until(cluster.is_ready, 30_000)
    return cluster


async def create(cluster, name, replication):
    connection = await cluster.network.connect("c", 1)
    topic = CreatableTopic(name=name, num_partitions=1, replication_factor=replication)
    answer = await connection.call(CreateTopicsRequest(topics=(topic,), timeout_ms=5000))
    assert answer.topics[0].error_code == 0
    while True:
        found = await connection.call(MetadataRequest(topics=(MetadataRequestTopic(name=name),)), version=12)
        leader = found.topics[0].partitions[0].leader_id if found.topics[0].partitions else -1
        if leader > 0:
            return leader
        await cluster.loop.sleep(50)


async def produce(cluster, leader, name, text, timestamp_ms=1000, **producer):
    connection = await cluster.network.connect("c", leader)
    partition = PartitionProduceData(
        index=0, records=record.batch_of([(None, text.encode())], timestamp_ms=timestamp_ms, **producer)
    )
    request = ProduceRequest(
        acks=-1, timeout_ms=5000, topic_data=(TopicProduceData(name=name, partition_data=(partition,)),)
    )
    answer = await connection.call(request, version=9)
    return answer.responses[0].partition_responses[0]


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_a_cluster_comes_up_and_acknowledges_what_all_replicas_have(nodes):
    cluster = start(nodes, nodes=nodes)
    replication = min(3, nodes)
    leader = cluster.loop.run(create(cluster, "t", replication))
    answer = cluster.loop.run(produce(cluster, leader, "t", "hello"))
    assert (answer.error_code, answer.base_offset) == (0, 0)
    held = [node for node in cluster.nodes.values() if b"hello" in node.disk.dump("t-0")]
    assert len(held) == replication


def test_a_killed_leader_is_replaced_and_comes_back():
    cluster = start(3)
    leader = cluster.loop.run(create(cluster, "t", 3))
    cluster.loop.run(produce(cluster, leader, "t", "one"))
    cluster.nodes[leader].kill(power=True)
    other = next(n for n in cluster.nodes if n != leader)

    def led_by_another():
        broker = cluster.nodes[other].broker
        state = next(iter(broker.image.partitions()), None)
        return state is not None and state.leader not in (leader, -1)

    assert cluster.until(led_by_another, 20_000)
    cluster.nodes[leader].start()
    assert cluster.until(lambda: len(cluster.nodes[other].broker.image.partitions()[0].isr) == 3, 20_000)
    assert b"one" in cluster.nodes[leader].disk.dump("t-0")


def test_a_paused_node_does_nothing_and_goes_on_afterwards():
    cluster = start(3)
    cluster.loop.run(create(cluster, "t", 3))
    node = cluster.nodes[2]
    node.pause()
    cluster.loop.run_until(cluster.loop.now_ns + 3_000_000_000)
    assert node.process.is_paused
    node.resume()
    assert cluster.until(cluster.is_ready, 20_000)


def test_clocks_that_drift_do_not_keep_a_cluster_from_working():
    speeds = (Speed(clock_rate=1.05, clock_offset_ms=5000), Speed(clock_rate=0.95), Speed(clock_offset_ms=-3000))
    cluster = start(4, speeds=speeds)
    leader = cluster.loop.run(create(cluster, "t", 3))
    assert cluster.loop.run(produce(cluster, leader, "t", "x")).error_code == 0


def test_the_same_seed_takes_the_same_steps_and_another_seed_others():
    def tape(seed):
        watch = Tape()
        weather = Weather(latency_ms=(0, 20), stall_chance=0.05, loss_chance=0.01)
        cluster = start(seed, watch, weather=weather)
        cluster.nodes[1].kill(power=True)
        cluster.loop.run_until(cluster.loop.now_ns + 2_000_000_000)
        cluster.nodes[1].start()
        cluster.loop.run_until(cluster.loop.now_ns + 5_000_000_000)
        assert watch.steps > 100
        return watch.hash.hexdigest()

    assert tape(5) == tape(5)
    assert tape(5) != tape(6)
