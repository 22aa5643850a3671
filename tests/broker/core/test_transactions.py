"""Transactions in whole clusters, by both protocols: atomic, fenced, and never stuck."""

from __future__ import annotations

import random

import msgspec
import pytest

from broker.core.broker import Broker
from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.ready import Outbox
from broker.core.transaction.coordinator import PATIENCE_MS, TOPIC
from broker.core.transaction.state import LAST_EPOCH, State
from broker.core.transaction.transaction_hash import partition_for
from broker.wire import batch, record
from broker.wire.messages.add_partitions_to_txn import AddPartitionsToTxnRequest, AddPartitionsToTxnTopic
from broker.wire.messages.end_txn import EndTxnRequest
from broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.init_producer_id import InitProducerIdRequest
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from tests.broker.core.test_broker import cluster, create, healthy, image, logs_agree, newest_leader
from tests.broker.network import Network

SWEEP_MS = 200


class RefusedError(Exception):
    """The cluster refused or did not answer."""


def added(answer):
    return answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code


class Producer:
    """A transactional producer of one protocol; every call runs the cluster until it is answered."""

    def __init__(self, network, name, *, v2, timeout_ms=5000):
        self.network, self.name, self.v2, self.timeout_ms = network, name, v2, timeout_ms
        self.id, self.epoch, self.sequences = -1, -1, {}

    def call(self, node, message, version, limit_ms=1500):
        request_id = self.network.send(node, message, version=version)
        if not self.network.run(until=lambda: request_id in self.network.client_replies, limit_ms=limit_ms):
            raise RefusedError("no answer")
        return self.network.client_replies[request_id]

    def coordinator(self):
        for _ in range(20):
            if not self.network.nodes:
                raise RefusedError("nobody is up")
            node = min(self.network.nodes)
            found = self.call(node, FindCoordinatorRequest(key_type=1, coordinator_keys=(self.name,)), 4).coordinators[
                0
            ]
            if found.error_code == Code.NONE:
                return found.node_id
            self.network.run(50)
        raise RefusedError("no coordinator")

    def patiently(self, ask, code_of, tries=20):
        """Ask again while the answer says that it is worth it."""
        again = {
            Code.COORDINATOR_LOAD_IN_PROGRESS,
            Code.NOT_COORDINATOR,
            Code.COORDINATOR_NOT_AVAILABLE,
            Code.CONCURRENT_TRANSACTIONS,
        }
        again |= {
            Code.NOT_LEADER_OR_FOLLOWER,
            Code.NOT_ENOUGH_REPLICAS,
            Code.REQUEST_TIMED_OUT,
            Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        }
        for _ in range(tries):
            answer = ask()
            if code_of(answer) not in again:
                if code_of(answer) != Code.NONE:
                    raise RefusedError(Code(code_of(answer)).name)
                return answer
            self.network.run(30)
        raise RefusedError(Code(code_of(answer)).name)

    def init(self):
        message = InitProducerIdRequest(transactional_id=self.name, transaction_timeout_ms=self.timeout_ms)
        answer = self.patiently(lambda: self.call(self.coordinator(), message, 5), lambda a: a.error_code)
        self.id, self.epoch, self.sequences = answer.producer_id, answer.producer_epoch, {}
        return self

    def add(self, key):
        message = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self.name,
            v3_and_below_producer_id=self.id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=(AddPartitionsToTxnTopic(name="t", partitions=(key[1],)),),
        )
        self.patiently(lambda: self.call(self.coordinator(), message, 0), added)

    def send(self, key, value):
        if not self.v2:
            self.add(key)
        return self.produce(key, value)

    def produce_request(self, key, value, sequence):
        data = record.batch_of(
            [(None, value)],
            timestamp_ms=self.network.now_ms,
            producer_id=self.id,
            producer_epoch=self.epoch,
            base_sequence=sequence,
            transactional=True,
        )
        partition = PartitionProduceData(index=key[1], records=bytes(data))
        topic = TopicProduceData(topic_id=bytes.fromhex(key[0]), partition_data=(partition,))
        return ProduceRequest(transactional_id=self.name, acks=-1, timeout_ms=1000, topic_data=(topic,))

    def produce(self, key, value):
        sequence = self.sequences.get(key, 0)
        message = self.produce_request(key, value, sequence)

        def ask():
            leader = newest_leader(self.network, key)[0]
            if leader is None:
                raise RefusedError("no leader")
            return self.call(leader, message, 12 if self.v2 else 10)

        answer = self.patiently(ask, lambda a: a.responses[0].partition_responses[0].error_code)
        self.sequences[key] = sequence + 1
        return answer.responses[0].partition_responses[0].base_offset

    def end(self, *, commit):
        message = EndTxnRequest(
            transactional_id=self.name, producer_id=self.id, producer_epoch=self.epoch, committed=commit
        )
        answer = self.patiently(
            lambda: self.call(self.coordinator(), message, 5 if self.v2 else 1), lambda a: a.error_code
        )
        if self.v2:
            if answer.producer_epoch != self.epoch or answer.producer_id != self.id:
                self.sequences = {}
            self.id, self.epoch = answer.producer_id, answer.producer_epoch
        return answer


def committed(network, key):
    """What a read_committed consumer gets, aborted data filtered as clients do."""
    leader, replica = newest_leader(network, key)
    values, offset, aborting = [], 0, set()
    while offset < replica.log.last_stable:
        ask = FetchPartition(partition=key[1], fetch_offset=offset, partition_max_bytes=1 << 20)
        topic = FetchTopic(topic_id=bytes.fromhex(key[0]), partitions=(ask,))
        request_id = network.send(leader, FetchRequest(isolation_level=1, topics=(topic,)))
        assert network.run(until=lambda request_id=request_id: request_id in network.client_replies, limit_ms=500)
        data = network.client_replies[request_id].responses[0].partitions[0]
        assert data.error_code == Code.NONE
        starts = sorted((a.first_offset, a.producer_id) for a in data.aborted_transactions)
        for position, header in batch.parse(data.records):
            while starts and starts[0][0] <= header.base_offset:
                aborting.add(starts.pop(0)[1])
            if header.is_control:
                aborting.discard(header.producer_id)
            elif header.producer_id not in aborting:
                values += [r.value for r in record.decode(data.records, position, header)]
            offset = header.next_offset
    return values


def ready(seed=1, **settings):
    network = cluster(3, seed, transaction_partitions=2, transaction_sweep_ms=SWEEP_MS, **settings)
    key = create(network, partitions=2, min_insync_replicas=2)
    assert network.run(until=lambda: newest_leader(network, (key[0], 1))[0] is not None)
    return network, key, (key[0], 1)


both = pytest.mark.parametrize("v2", [False, True], ids=["v1", "v2"])


@both
def test_a_transaction_is_seen_whole_or_not_at_all(v2):
    network, one, other = ready()
    producer = Producer(network, "x", v2=v2).init()
    producer.send(one, b"a")
    producer.send(other, b"b")
    assert committed(network, one) == []
    producer.end(commit=True)
    assert (committed(network, one), committed(network, other)) == ([b"a"], [b"b"])
    producer.send(one, b"c")
    producer.end(commit=False)
    producer.send(one, b"d")
    producer.end(commit=True)
    assert committed(network, one) == [b"a", b"d"]
    logs_agree(network)


@both
def test_end_is_answered_after_its_markers(v2):
    network, key, _ = ready()
    producer = Producer(network, "x", v2=v2).init()
    producer.send(key, b"a")
    before = network.now_ms
    producer.end(commit=True)
    replica = newest_leader(network, key)[1]
    assert replica.log.last_stable == replica.log.high_watermark == replica.log.end == 2
    assert network.now_ms - before < 2 * PATIENCE_MS


def test_v2_raises_the_epoch_with_every_transaction():
    network, key, _ = ready()
    producer = Producer(network, "x", v2=True).init()
    for number in range(3):
        producer.send(key, b"%d" % number)
        producer.end(commit=number != 1)
    assert producer.epoch == 3
    assert committed(network, key) == [b"0", b"2"]


@both
def test_a_new_producer_aborts_and_fences_the_old_one(v2):
    network, key, _ = ready()
    old = Producer(network, "x", v2=v2).init()
    old.send(key, b"old")
    new = Producer(network, "x", v2=v2).init()
    assert new.epoch > old.epoch
    with pytest.raises(RefusedError, match=r"INVALID_PRODUCER_EPOCH|PRODUCER_FENCED"):
        old.produce(key, b"late")
    with pytest.raises(RefusedError, match="PRODUCER_FENCED"):
        old.end(commit=True)
    new.send(key, b"new")
    new.end(commit=True)
    assert committed(network, key) == [b"new"]


@both
def test_an_abandoned_transaction_is_aborted_in_time(v2):
    network, key, _ = ready()
    producer = Producer(network, "x", v2=v2, timeout_ms=500).init()
    producer.send(key, b"a")
    replica = newest_leader(network, key)[1]
    assert replica.log.last_stable == 0
    assert network.run(until=lambda: replica.log.last_stable == replica.log.end == 2, limit_ms=500 + SWEEP_MS + 300)
    with pytest.raises(RefusedError, match="PRODUCER_FENCED"):
        producer.end(commit=True)
    assert committed(network, key) == []


def test_an_abandoned_transaction_is_aborted_at_its_time_out_once_a_sweep_has_seen_it():
    """A client that waits for the open offsets of a dead one has as much time as the transaction: no interval more."""
    network, key, _ = ready()
    timeout_ms = 10 * SWEEP_MS + SWEEP_MS // 2
    producer = Producer(network, "x", v2=True, timeout_ms=timeout_ms).init()
    began_ms = network.now_ms
    producer.send(key, b"a")
    replica = newest_leader(network, key)[1]
    assert network.run(until=lambda: replica.log.last_stable == replica.log.end == 2, limit_ms=2 * timeout_ms)
    assert timeout_ms <= network.now_ms - began_ms < timeout_ms + SWEEP_MS // 4


def test_a_v1_batch_outside_of_any_transaction_is_refused():
    network, key, _ = ready()
    producer = Producer(network, "x", v2=False).init()
    with pytest.raises(RefusedError, match="INVALID_TXN_STATE"):
        producer.produce(key, b"never added")
    assert newest_leader(network, key)[1].log.end == 0


@both
def test_a_coordinator_failover_completes_what_was_decided(v2):
    network, key, _ = ready()
    producer = Producer(network, "x", v2=v2).init()
    producer.send(key, b"a")
    coordinator = producer.coordinator()
    message = EndTxnRequest(
        transactional_id="x", producer_id=producer.id, producer_epoch=producer.epoch, committed=True
    )
    network.send(coordinator, message, version=5 if v2 else 1)
    topic = image(network).topic_ids[TOPIC]
    shard = network.nodes[coordinator].transactions._shards[partition_for("x", 2)]
    assert network.run(until=lambda: shard.entries["x"].value.state is State.PREPARE_COMMIT, limit_ms=500)
    network.crash(coordinator, power=False)
    assert network.run(
        until=lambda: newest_leader(network, (topic, partition_for("x", 2)))[0] not in {None, coordinator},
        limit_ms=3000,
    )
    assert network.run(
        until=lambda: newest_leader(network, key)[0] and newest_leader(network, key)[1].log.last_stable == 2,
        limit_ms=5000,
    )
    assert committed(network, key) == [b"a"]


def test_near_the_last_epoch_the_producer_id_changes_and_nothing_is_lost():
    network, key, _ = ready()
    producer = Producer(network, "x", v2=True).init()
    first = producer.id
    for shard in [s for node in network.nodes.values() for s in node.transactions._shards.values()]:
        if "x" in shard.entries:
            shard.entries["x"].value = msgspec.structs.replace(shard.entries["x"].value, epoch=LAST_EPOCH - 3)
    producer.epoch = LAST_EPOCH - 3
    for number in range(6):
        producer.send(key, b"%d" % number)
        producer.end(commit=True)
    assert producer.id != first
    assert committed(network, key) == [b"%d" % number for number in range(6)]


def at_the_last_epoch(network, producer):
    """Go on as if the producer had used up all epochs but one."""
    for shard in [s for node in network.nodes.values() for s in node.transactions._shards.values()]:
        if producer.name in shard.entries:
            entry = shard.entries[producer.name]
            entry.value = msgspec.structs.replace(entry.value, epoch=LAST_EPOCH - 1)
    producer.epoch = LAST_EPOCH - 1


@both
def test_at_the_last_epoch_an_abandoned_transaction_is_aborted_and_the_next_producer_has_another_id(v2):
    network, key, _ = ready()
    old = Producer(network, "x", v2=v2, timeout_ms=500).init()
    at_the_last_epoch(network, old)
    old.send(key, b"old")
    replica = newest_leader(network, key)[1]
    assert network.run(until=lambda: replica.log.last_stable == replica.log.end == 2, limit_ms=500 + SWEEP_MS + 300)
    with pytest.raises(RefusedError, match="PRODUCER_FENCED"):
        old.end(commit=True)
    with pytest.raises(RefusedError, match=r"INVALID_PRODUCER_EPOCH|PRODUCER_FENCED"):
        old.produce(key, b"late")
    new = Producer(network, "x", v2=v2).init()
    assert (new.id != old.id, new.epoch) == (True, 0)
    new.send(key, b"new")
    new.end(commit=True)
    assert committed(network, key) == [b"new"]


@both
def test_at_the_last_epoch_a_new_producer_aborts_and_fences_the_old_one(v2):
    network, key, _ = ready()
    old = Producer(network, "x", v2=v2).init()
    at_the_last_epoch(network, old)
    old.send(key, b"old")
    new = Producer(network, "x", v2=v2).init()
    assert (new.id != old.id, new.epoch) == (True, 0)
    with pytest.raises(RefusedError, match=r"INVALID_PRODUCER_EPOCH|INVALID_PRODUCER_ID_MAPPING|INVALID_TXN_STATE"):
        old.produce(key, b"late")
    with pytest.raises(RefusedError, match=r"INVALID_PRODUCER_ID_MAPPING|INVALID_TXN_STATE"):
        old.end(commit=True)
    new.send(key, b"new")
    new.end(commit=True)
    assert committed(network, key) == [b"new"]


def test_v1_gets_another_id_by_the_init_that_has_no_epoch_left():
    network, key, _ = ready()
    one = Producer(network, "x", v2=False).init()
    at_the_last_epoch(network, one)
    one.send(key, b"one")
    one.end(commit=True)
    other = Producer(network, "x", v2=False).init()
    assert (other.id != one.id, other.epoch) == (True, 0)
    other.send(key, b"other")
    other.end(commit=True)
    assert committed(network, key) == [b"one", b"other"]


def test_a_repeated_end_at_the_last_epoch_hears_the_same_new_identity():
    network, key, _ = ready()
    producer = Producer(network, "x", v2=True).init()
    at_the_last_epoch(network, producer)
    producer.send(key, b"a")
    before = (producer.id, producer.epoch)
    first = producer.end(commit=True)
    assert (first.producer_id != before[0], first.producer_epoch) == (True, 0)
    producer.id, producer.epoch = before
    again = producer.end(commit=True)
    assert (again.producer_id, again.producer_epoch) == (first.producer_id, first.producer_epoch)
    producer.send(key, b"b")
    producer.end(commit=True)
    assert committed(network, key) == [b"a", b"b"]


def test_a_v2_transaction_starts_at_sequence_0():
    network, key, _ = ready()
    producer = Producer(network, "x", v2=True).init()
    producer.sequences[key] = 1
    with pytest.raises(RefusedError, match="OUT_OF_ORDER_SEQUENCE_NUMBER"):
        producer.send(key, b"second")


def test_a_producer_without_transactions_gets_an_id_of_its_own():
    network, _, _ = ready()
    ids = set()
    for node in (1, 2, 3):
        for _ in range(2):
            request_id = network.send(node, InitProducerIdRequest())
            assert network.run(until=lambda request_id=request_id: request_id in network.client_replies)
            ids.add(network.client_replies[request_id].producer_id)
    assert len(ids) == 6


@pytest.mark.parametrize("seed", range(5))
def test_transactions_are_atomic_whatever_happens(seed):
    rng = random.Random(seed)
    v2 = rng.random() < 0.5
    network, one, other = ready(seed)
    nodes = tuple(network.disks)
    fates, count, producers = {}, 0, {}
    for _ in range(12):
        name = rng.choice(["x", "y"])
        action = rng.random()
        if action < 0.25 and len(network.nodes) == 3:
            network.crash(rng.choice(nodes), power=False)
        elif action < 0.6:
            for node in nodes:
                if node not in network.nodes:
                    network.start(node)
        values = [b"%d" % (count + n) for n in range(3)]
        count += 3
        outcome = "abort"
        try:
            producer = producers.get(name) or Producer(network, name, v2=v2).init()
            producers[name] = producer
            for value, key in zip(values, (one, other, one), strict=True):
                producer.send(key, value)
            wish = rng.choice(["commit", "commit", "abort", "leave"])
            if wish == "leave":
                producers.pop(name)
            else:
                outcome = "unknown"
                producer.end(commit=wish == "commit")
                outcome = wish
        except RefusedError:
            producers.pop(name, None)
        fates[tuple(values)] = outcome
        network.run(rng.randint(1, 200))
    for node in nodes:
        if node not in network.nodes:
            network.start(node)
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)
    network.run(5000 + SWEEP_MS + 1000)
    for key in (one, other):
        replica = newest_leader(network, key)[1]
        assert replica.log.last_stable == replica.log.end, "a transaction hangs"
    seen = committed(network, one) + committed(network, other)
    assert len(set(seen)) == len(seen)
    for values, outcome in fates.items():
        found = sum(value in seen for value in values)
        if outcome == "commit":
            assert found == 3, f"{values} was committed, {found} of 3 are seen"
        elif outcome == "abort":
            assert found == 0, f"{values} was aborted, {found} of 3 are seen"
        else:
            assert found in {0, 3}, f"{values} is torn"
    logs_agree(network)


@both
def test_a_driver_may_answer_the_end_before_the_markers_of_a_node_that_is_alone(v2):
    early = []

    def send(out):
        early.append((out.replies.pop().message, [item.log for item in out.writes]))

    def start(node_id, disk, seed, now_ms):
        config = BrokerConfig(
            node_id=node_id,
            voters=(1,),
            transaction_replication_factor=1,
            transaction_partitions=1,
            transaction_min_isr=1,
        )
        return Broker(config, disk, seed, now_ms, Outbox(send))

    network = Network((1,), start, seed=1)
    assert network.run(until=lambda: healthy(network), limit_ms=10_000)
    key = create(network, factor=1)
    producer = Producer(network, "x", v2=v2).init()
    for done in range(3):
        producer.send(key, b"a")
        with pytest.raises(RefusedError, match="no answer"):  # the driver has it already
            producer.end(commit=done != 1)
        replica = newest_leader(network, key)[1]
        assert replica.log.last_stable == replica.log.end == 2 * done + 2
        answer, logs = early.pop()
        assert (answer.error_code, logs, early) == (Code.NONE, [f"{TOPIC}-0"], [])
        if v2:
            producer.epoch, producer.sequences = answer.producer_epoch, {}


@both
def test_with_followers_nothing_is_answered_before_the_markers(v2):
    network, key, _ = ready()
    early = []
    for node in network.nodes.values():
        node.transactions._out.early = early.append
    producer = Producer(network, "x", v2=v2).init()
    producer.send(key, b"a")
    producer.end(commit=True)
    assert early == []
