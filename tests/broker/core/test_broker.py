"""Whole nodes in a small cluster: topics, replication, failover; what Kafka promises holds under faults."""

from __future__ import annotations

import random

import pytest

from broker.core.broker import Broker
from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.lifecycle import Life
from broker.core.metadata.image import Image
from broker.wire import batch, record
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from broker.wire.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from broker.wire.messages.elect_leaders import ElectLeadersRequest
from broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from broker.wire.messages.metadata import MetadataRequest
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from tests.broker.network import Network


def make(voters, **settings):
    fast = {
        "election_timeout_ms": 100,
        "fetch_timeout_ms": 200,
        "session_timeout_ms": 300,
        "heartbeat_interval_ms": 50,
        "replica_lag_ms": 300,
        "replica_fetch_wait_ms": 50,
        "replica_fetch_backoff_ms": 20,
        "checkpoint_interval_ms": 500,
        "request_timeout_ms": 300,
    }

    racks = settings.pop("racks", {})

    def start(node_id, disk, seed, now_ms):
        own = {**fast, "rack": racks.get(node_id), **settings}
        return Broker(BrokerConfig(node_id=node_id, voters=voters, **own), disk, seed, now_ms)

    return start


def controller(network):
    leading = [(node.quorum.epoch, n) for n, node in network.nodes.items() if node.quorum.is_leader]
    return max(leading)[1] if leading else None


def running(network):
    return all(node.lifecycle.life is Life.RUNNING for node in network.nodes.values())


def image(network):
    """The newest committed image that any node has."""
    newest = max(network.nodes.values(), key=lambda node: node.quorum.metadata.applied, default=None)
    return newest.image if newest else Image()


def leaders(network, key):
    return [
        (n, node.replicas.get(key))
        for n, node in network.nodes.items()
        if node.replicas.get(key) and node.replicas.get(key).leader
    ]


def newest_leader(network, key):
    found = leaders(network, key)
    return max(found, key=lambda pair: pair[1].leader.epoch) if found else (None, None)


def healthy(network):
    """All nodes run, every replica is in its ISR, and everything appended is committed everywhere."""
    if not running(network) or controller(network) is None:
        return False
    ends = {node.quorum.metadata.applied for node in network.nodes.values()}
    if len(ends) != 1:
        return False
    for state in image(network).partitions():
        replicas = [network.nodes[r].replicas.get((state.topic_id, state.index)) for r in state.replicas]
        if None in replicas or sorted(state.isr) != sorted(state.replicas) or state.leader < 0:
            return False
        if len({(r.log.end, r.log.high_watermark, r.leader_epoch) for r in replicas}) != 1:
            return False
        if replicas[0].log.end != replicas[0].log.high_watermark:
            return False
    return True


class Invariants:
    """Named after the TLA+ specifications of Kafka's replication: LeaderInIsr, StrongIsr, and one leader per epoch."""

    def __init__(self):
        self.leaders, self.controllers = {}, {}

    def __call__(self, network):
        for node_id, node in network.nodes.items():
            if node.quorum.is_leader:
                assert self.controllers.setdefault(node.quorum.epoch, node_id) == node_id, "two controllers in an epoch"
            for replica in node.replicas:
                assert replica.log.last_stable <= replica.log.high_watermark <= replica.log.end
                if replica.leader:
                    epoch = (replica.key, replica.leader.epoch)
                    assert self.leaders.setdefault(epoch, node_id) == node_id, f"two leaders in {epoch}"
                    self.strong_isr(network, node, replica)

    def strong_isr(self, network, node, replica):
        decided = image(network).partition(*replica.key)
        if decided is None or decided.leader_epoch != replica.leader.epoch:
            return  # deposed, and does not know it yet
        for member in decided.isr:
            other = network.nodes.get(member)
            copy = other.replicas.get(replica.key) if other else None
            if copy is not None and other.lifecycle.epoch == other.replicas.eligible.get(member):
                assert copy.log.end >= replica.log.high_watermark, (
                    f"{replica.key}: node {member} of the ISR lacks records"
                )


def logs_agree(network):
    """LogMatching: below both high watermarks two replicas hold the same bytes."""
    for state in image(network).partitions():
        found = []
        for node_id, node in network.nodes.items():
            replica = node.replicas.get((state.topic_id, state.index))
            if replica is not None:
                data = network.disks[node_id].dump(replica.log.name)
                found.append(
                    [
                        bytes(data[p : p + h.size])
                        for p, h in batch.parse(data)
                        if h.next_offset <= replica.log.high_watermark
                    ]
                )
        for one in found:
            for other in found:
                common = min(len(one), len(other))
                assert one[:common] == other[:common]


def create(network, name="t", partitions=1, factor=3, **configs):
    settings = tuple(CreatableTopicConfig(name=k.replace("_", "."), value=str(v)) for k, v in configs.items())
    topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=factor, configs=settings)
    request_id = network.send(min(network.nodes), CreateTopicsRequest(topics=(topic,)))
    assert network.run(until=lambda: request_id in network.client_replies)
    (result,) = network.client_replies[request_id].topics
    assert result.error_code == Code.NONE, result
    key = (result.topic_id.hex(), 0)
    assert network.run(until=lambda: newest_leader(network, key)[0] is not None)
    return key


def produce(network, key, value, acks=-1, node=None, **producer):
    """Send one record to the leader; return the request's id."""
    data = record.batch_of([(None, value)], timestamp_ms=network.now_ms, **producer)
    topic = TopicProduceData(
        topic_id=bytes.fromhex(key[0]), partition_data=(PartitionProduceData(index=key[1], records=bytes(data)),)
    )
    target = node or newest_leader(network, key)[0] or network.rng.choice(sorted(network.nodes))
    request_id = network.send(target, ProduceRequest(acks=acks, timeout_ms=1000, topic_data=(topic,)))
    network.acks[request_id] = acks
    return request_id


def answer(network, request_id):
    return network.client_replies[request_id].responses[0].partition_responses[0]


def produced(network, key, value, **kwargs):
    request_id = produce(network, key, value, **kwargs)
    assert network.run(until=lambda: request_id in network.client_replies)
    return answer(network, request_id)


def fetch(network, node, key, offset=0, **kwargs):
    ask = FetchPartition(partition=key[1], fetch_offset=offset, partition_max_bytes=1 << 20)
    topic = FetchTopic(topic_id=bytes.fromhex(key[0]), partitions=(ask,))
    return network.send(node, FetchRequest(max_wait_ms=100, min_bytes=1, topics=(topic,), **kwargs))


def contents(network, key):
    """Everything that the leader's log holds, as {offset: value}."""
    node, replica = newest_leader(network, key)
    data = network.disks[node].dump(replica.log.name)
    return {r.offset: r.value for position, header in batch.parse(data) for r in record.decode(data, position, header)}


def cluster(size=3, seed=1, **settings):
    voters = tuple(range(1, size + 1))
    network = Network(voters, make(voters, **settings), seed, Invariants())
    assert network.run(until=lambda: running(network), limit_ms=5000)
    return network


def test_a_cluster_of_three_is_up_within_a_second():
    network = cluster()
    assert network.now_ms - 1_000_000 < 1000


def test_one_node_serves_alone_and_keeps_its_records():
    network = cluster(1)
    key = create(network, factor=1)
    assert produced(network, key, b"x").base_offset == 0
    network.crash(1)
    network.start(1)
    assert network.run(until=lambda: healthy(network) and newest_leader(network, key)[0], limit_ms=2000)
    assert contents(network, key) in ({0: b"x"}, {})
    network.crash(1, power=False)
    network.start(1)
    assert network.run(until=lambda: healthy(network) and newest_leader(network, key)[0], limit_ms=2000)
    assert produced(network, key, b"y").error_code == Code.NONE


def test_an_acknowledged_record_is_on_every_member_of_the_isr():
    network = cluster()
    key = create(network)
    got = produced(network, key, b"x")
    assert (got.error_code, got.base_offset) == (Code.NONE, 0)
    assert all(node.replicas.get(key).log.end == 1 for node in network.nodes.values())
    assert network.run(until=lambda: healthy(network))
    logs_agree(network)


def test_a_killed_leader_is_replaced_and_nothing_is_lost():
    network = cluster()
    key = create(network, min_insync_replicas=2)
    assert produced(network, key, b"x").error_code == Code.NONE
    old, _ = newest_leader(network, key)
    network.crash(old, power=False)
    assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, old}, limit_ms=2000)
    assert produced(network, key, b"y").base_offset == 1
    network.start(old)
    assert network.run(until=lambda: healthy(network), limit_ms=5000)
    assert contents(network, key) == {0: b"x", 1: b"y"}
    logs_agree(network)


def test_acks_all_is_refused_and_the_high_watermark_stands_while_the_isr_is_too_small():
    network = cluster()
    key = create(network, min_insync_replicas=2)
    leader, replica = newest_leader(network, key)
    assert network.run(until=lambda: healthy(network))
    for other in {1, 2, 3} - {leader}:  # they stay in the quorum; only their replication stops
        network.nodes[other].fetchers._fetch = lambda *_: None
    request_id = produce(network, key, b"x", acks=1)
    assert network.run(until=lambda: request_id in network.client_replies)
    assert network.run(until=lambda: replica.leader.state.isr == (leader,), limit_ms=5000)
    assert produced(network, key, b"y").error_code == Code.NOT_ENOUGH_REPLICAS
    assert produced(network, key, b"z", acks=1).error_code == Code.NONE
    network.run(1000)
    assert replica.log.high_watermark == 0
    assert image(network).partition(*key).isr == (leader,)
    assert set(image(network).partition(*key).elr) <= {1, 2, 3} - {leader}


def test_a_consumer_sees_nothing_above_the_high_watermark():
    network = cluster()
    key = create(network)
    assert network.run(until=lambda: healthy(network))
    leader, _replica = newest_leader(network, key)
    for other in {1, 2, 3} - {leader}:
        network.nodes[other].fetchers._fetch = lambda *_: None
    network.run(60)
    request_id = produce(network, key, b"x", acks=1)
    assert network.run(until=lambda: request_id in network.client_replies)
    fetched = fetch(network, leader, key)
    assert network.run(until=lambda: fetched in network.client_replies, limit_ms=150)
    data = network.client_replies[fetched].responses[0].partitions[0]
    assert (data.high_watermark, data.records) == (0, None)


def test_a_waiting_fetch_is_answered_when_records_are_committed():
    network = cluster()
    key = create(network)
    leader, _ = newest_leader(network, key)
    fetched = fetch(network, leader, key)
    network.run(5)
    assert fetched not in network.client_replies
    produce(network, key, b"x")
    assert network.run(until=lambda: fetched in network.client_replies, limit_ms=60)
    data = network.client_replies[fetched].responses[0].partitions[0]
    ((position, header),) = batch.parse(data.records)
    assert [r.value for r in record.decode(data.records, position, header)] == [b"x"]


def test_an_idempotent_retry_gets_its_first_offset_from_the_new_leader_too():
    network = cluster()
    key = create(network)
    producer = {"producer_id": 9, "producer_epoch": 0}
    for sequence in range(3):
        assert produced(network, key, b"%d" % sequence, base_sequence=sequence, **producer).base_offset == sequence
    old, _ = newest_leader(network, key)
    network.crash(old, power=False)
    assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, old}, limit_ms=2000)
    assert produced(network, key, b"2", base_sequence=2, **producer).base_offset == 2
    assert produced(network, key, b"9", base_sequence=9, **producer).error_code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_deposed_leaders_unreplicated_records_are_cut():
    network = cluster()
    key = create(network, min_insync_replicas=2)
    assert produced(network, key, b"kept").error_code == Code.NONE
    assert network.run(until=lambda: healthy(network))
    old, replica = newest_leader(network, key)
    for other in {1, 2, 3} - {old}:
        network.cut(other, old)
        network.cut(old, other)
    request_id = produce(network, key, b"lost", acks=1, node=old)
    assert network.run(until=lambda: request_id in network.client_replies)
    assert answer(network, request_id).error_code == Code.NONE
    assert network.run(until=lambda: newest_leader(network, key)[0] != old, limit_ms=3000)
    assert produced(network, key, b"new").base_offset == 1
    network.heal()
    assert network.run(until=lambda: healthy(network), limit_ms=5000)
    assert contents(network, key) == {0: b"kept", 1: b"new"}
    assert replica.log.end == 2
    logs_agree(network)


def test_an_orderly_stop_hands_over_before_it_ends_and_is_clean():
    network = cluster()
    key = create(network, partitions=3)
    old, _ = newest_leader(network, key)
    node = network.nodes[old]
    node.lifecycle.stop()
    assert network.run(until=lambda: node.is_stopped, limit_ms=1000)
    network.run(5)
    assert all(state.leader not in {old, -1} for state in image(network).partitions())
    epoch = node.lifecycle.epoch
    network.crash(old)
    network.start(old)
    assert network.nodes[old].lifecycle._previous_epoch == epoch
    assert network.run(until=lambda: healthy(network), limit_ms=3000)


def test_a_partition_moves_to_other_nodes():
    network = cluster(5)
    key = create(network, factor=2)
    assert produced(network, key, b"x").error_code == Code.NONE
    state = image(network).partition(*key)
    target = tuple(n for n in (1, 2, 3, 4, 5) if n not in state.replicas)[:2]
    ask = ReassignableTopic(name="t", partitions=(ReassignablePartition(partition_index=0, replicas=target),))
    network.send(1, AlterPartitionReassignmentsRequest(topics=(ask,)))
    assert network.run(
        until=lambda: image(network).partition(*key).replicas == target and healthy(network), limit_ms=5000
    )
    assert contents(network, key) == {0: b"x"}
    assert all(network.nodes[n].replicas.get(key) is None for n in state.replicas)
    assert all(network.disks[n].segments("t-0") == [] for n in state.replicas)


def test_a_move_keeps_the_number_of_replicas_if_it_is_to():
    network = cluster()
    key = create(network, factor=2)

    def moved(*target, may_resize):
        ask = ReassignableTopic(name="t", partitions=(ReassignablePartition(partition_index=0, replicas=target),))
        request = AlterPartitionReassignmentsRequest(topics=(ask,), allow_replication_factor_change=may_resize)
        request_id = network.send(1, request, version=1)
        assert network.run(until=lambda: request_id in network.client_replies)
        answered = network.client_replies[request_id]
        assert answered.allow_replication_factor_change is may_resize
        return answered.responses[0].partitions[0].error_code

    assert moved(1, may_resize=False) == moved(1, 2, 3, may_resize=False) == Code.INVALID_REPLICATION_FACTOR
    assert moved(2, 3, may_resize=False) == Code.NONE
    assert network.run(until=lambda: image(network).partition(*key).replicas == (2, 3) and healthy(network))
    assert moved(1, 2, 3, may_resize=True) == Code.NONE
    assert network.run(until=lambda: len(image(network).partition(*key).replicas) == 3 and healthy(network))


def test_preferred_leaders_come_home_on_request():
    network = cluster()
    key = create(network, partitions=3)
    old, _ = newest_leader(network, key)
    network.crash(old, power=False)
    assert network.run(until=lambda: all(s.leader not in {old, -1} for s in image(network).partitions()), limit_ms=3000)
    network.start(old)
    assert network.run(until=lambda: healthy(network), limit_ms=5000)
    request_id = network.send(1, ElectLeadersRequest(election_type=0))
    assert network.run(until=lambda: request_id in network.client_replies and healthy(network))
    assert all(state.leader == state.replicas[0] for state in image(network).partitions())


def test_preferred_leaders_come_home_by_themselves_unless_that_is_switched_off():
    def comes_home(**settings):
        network = cluster(imbalance_check_s=5, **settings)
        key = create(network)
        preferred, _ = newest_leader(network, key)
        network.crash(preferred, power=False)
        assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, preferred}, limit_ms=3000)
        network.start(preferred)
        return network.run(until=lambda: newest_leader(network, key)[0] == preferred, limit_ms=15_000)

    assert comes_home()
    assert not comes_home(auto_leader_rebalance=False)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_acknowledged_by_all_is_lost_whatever_happens(seed):
    rng = random.Random(seed)
    power = rng.random() < 0.4
    network = cluster(
        rng.choice([3, 3, 5]), seed, elr=rng.random() < 0.7, metadata_snapshot_bytes=rng.choice([3000, 1 << 20])
    )
    settings = {"segment_bytes": rng.choice([300, 1 << 20])} | ({"flush_messages": 1} if power else {})
    key = create(network, factor=3, min_insync_replicas=2, **settings)
    nodes = tuple(network.disks)
    network.drop = rng.choice([0, 0.01, 0.05])
    sent, count = {}, 0
    for _ in range(25):
        action = rng.random()
        up, down = sorted(network.nodes), [n for n in nodes if n not in network.nodes]
        if action < 0.2 and up:
            network.crash(rng.choice(up), power=power)
        elif action < 0.5 and down:
            network.start(rng.choice(down))
        elif action < 0.6:
            network.cut(*rng.sample(nodes, 2))
        elif action < 0.75:
            network.heal()
        for _ in range(rng.randint(0, 4)):
            count += 1
            if network.nodes:
                value = b"%d" % count
                sent[produce(network, key, value, acks=rng.choice([1, -1, -1]))] = value
        network.run(rng.randint(1, 400))
        logs_agree(network)
    network.heal()
    network.drop = 0
    for node in nodes:
        if node not in network.nodes:
            network.start(node)
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)
    network.run(1000)
    logs_agree(network)
    held = contents(network, key)
    for request_id, reply in network.client_replies.items():
        value = sent.get(request_id)
        got = reply.responses[0].partition_responses[0] if value is not None else None
        if got is not None and got.error_code == Code.NONE and network.acks[request_id] == -1:
            assert held.get(got.base_offset) == value, (
                f"record {value!r} at {got.base_offset} was acknowledged and is lost"
            )
    assert len(set(held.values())) == len(held)


def test_the_same_seed_gives_the_same_run():
    def run():
        network = cluster(3, 42)
        key = create(network, partitions=2)
        for number in range(20):
            produce(network, key, b"%d" % number)
            network.run(20)
            if number == 10:
                network.crash(newest_leader(network, key)[0])
        network.run(1000)
        return (
            network.now_ms,
            network.steps,
            {n: disk.dump("t-0") for n, disk in network.disks.items()},
            list(network.client_replies.items()),
        )

    assert run() == run()


def test_a_node_that_came_back_tells_no_leaders_of_the_past():
    network = cluster(metadata_snapshot_bytes=200)
    key = create(network)
    old, _ = newest_leader(network, key)
    network.crash(old, power=False)
    assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, old}, limit_ms=2000)
    epoch = newest_leader(network, key)[1].leader.epoch
    seen = []

    def look(network):
        node = network.nodes.get(old)
        for topic in node.metadata(MetadataRequest()).topics if node else ():
            seen.extend(part.leader_epoch for part in topic.partitions)

    network.check = look
    network.start(old)
    assert network.run(until=lambda: healthy(network), limit_ms=5000)
    assert seen
    assert min(seen) >= epoch
