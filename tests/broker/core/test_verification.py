"""Before a producer's first batch of a transaction its coordinator is asked: what the answer is worth when it comes."""

from __future__ import annotations

import msgspec
import pytest

from broker.core.errors import Code
from broker.core.transaction.coordinator import PATIENCE_MS, TransactionCoordinator
from broker.core.transaction.verifier import Verifier
from broker.wire import record
from broker.wire.messages.end_txn import EndTxnRequest
from broker.wire.messages.write_txn_markers import WriteTxnMarkersRequest
from tests.broker.core.test_broker import newest_leader
from tests.broker.core.test_partition_log import Bench, data_batch
from tests.broker.core.test_transactions import Producer, committed, ready


def test_a_verification_guard_falls_with_the_marker():
    bench = Bench()
    producers = bench.log.producers

    def start(epoch=0):
        return producers.start_verification(1, epoch, v2=False)

    before, early = start(), start()
    assert producers.end_verification(1, early) == Code.NONE
    bench.append(record.marker(producer_id=1, producer_epoch=0, commit=False, coordinator_epoch=0, timestamp_ms=1))
    after = start()
    assert producers.end_verification(1, before) == Code.INVALID_TXN_STATE
    assert producers.end_verification(1, after) == Code.NONE
    assert producers.end_verification(1, after) == Code.INVALID_TXN_STATE
    fenced = start()
    bench.append(record.marker(producer_id=1, producer_epoch=1, commit=False, coordinator_epoch=0, timestamp_ms=1))
    assert producers.end_verification(1, fenced) == Code.INVALID_PRODUCER_EPOCH


def test_a_guard_of_the_next_transaction_stands_when_the_marker_of_the_last_one_comes():
    """By protocol v2 they have the same epoch; the next marker has a higher one (KAFKA-18654)."""
    bench = Bench()
    producers = bench.log.producers
    bench.append(data_batch(1, 1, 0, 0, transactional=True))
    v1, next_, one_more = (producers.start_verification(1, 1, v2=v2) for v2 in (False, True, True))
    bench.append(record.marker(producer_id=1, producer_epoch=1, commit=True, coordinator_epoch=0, timestamp_ms=1))
    assert producers.end_verification(1, v1) == Code.INVALID_TXN_STATE
    assert producers.end_verification(1, next_) == Code.NONE
    bench.append(record.marker(producer_id=1, producer_epoch=2, commit=False, coordinator_epoch=0, timestamp_ms=1))
    assert producers.end_verification(1, one_more) == Code.INVALID_PRODUCER_EPOCH


def test_a_verification_guard_is_worth_nothing_once_the_log_was_cut():
    bench = Bench()
    bench.append(data_batch(1))
    guard = bench.log.producers.start_verification(1, 0, v2=True)
    bench.log.truncate(0)
    bench.log.producers.start_verification(1, 0, v2=True)
    assert bench.log.producers.end_verification(1, guard) == Code.INVALID_TXN_STATE


def send(producer, key, node, value, sequence=0):
    """Send a batch of a transaction to a node; return the id of the request."""
    return producer.network.send(
        node, producer.produce_request(key, value, sequence), version=12 if producer.v2 else 10
    )


def answer(network, request_id):
    assert network.run(until=lambda: request_id in network.client_replies, limit_ms=5000)
    return Code(network.client_replies[request_id].responses[0].partition_responses[0].error_code)


def apart(name, keys, network):
    """A producer whose coordinator is not the leader of one of the partitions; that partition, both nodes."""
    for number in range(20):
        producer = Producer(network, f"{name}{number}", v2=True, timeout_ms=60_000).init()
        coordinator = producer.coordinator()
        for key in keys:
            leader = newest_leader(network, key)[0]
            if leader != coordinator:
                return producer, key, leader, coordinator
    raise AssertionError("one node leads everything")


def once_committed(*, v2):
    """A producer with one committed transaction in a partition, and who leads that."""
    network, key, _ = ready()
    producer = Producer(network, "x", v2=v2, timeout_ms=60_000).init()
    producer.send(key, b"a")
    producer.end(commit=True)
    return network, key, producer, newest_leader(network, key)


def hold_answers(monkeypatch):
    """Ask no coordinator any more; return what waits for their answers."""
    waiting = []
    monkeypatch.setattr(Verifier, "ask", lambda _self, _name, _who, _at, done, _now, **_: waiting.append(done))
    return waiting


def hold_markers(network, monkeypatch):
    """Keep requests for markers back; return those that come."""
    held, send = [], network._request

    def request(node, one):
        if isinstance(one.message, WriteTxnMarkersRequest):
            held.append(one)
        else:
            send(node, one)

    monkeypatch.setattr(network, "_request", request)
    return held


def entry_of(network, node, producer) -> object:
    coordinator: TransactionCoordinator = network.nodes[node].transactions
    return next(s.entries[producer.name] for s in coordinator._shards.values() if producer.name in s.entries)


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_next_transaction_may_begin_while_the_last_one_gets_its_markers(monkeypatch, seed):
    """A lone producer did no wrong, and was told INVALID_TXN_STATE."""
    network, *keys = ready(seed)
    producer, key, leader, coordinator = apart("x", keys, network)
    producer.send(key, b"a")
    held = hold_markers(network, monkeypatch)
    end = EndTxnRequest(
        transactional_id=producer.name, producer_id=producer.id, producer_epoch=producer.epoch, committed=True
    )
    ended = producer.call(coordinator, end, 5, limit_ms=2 * PATIENCE_MS)
    assert ended.error_code == Code.NONE, "decided: the markers will come"
    producer.id, producer.epoch = ended.producer_id, ended.producer_epoch
    entry = entry_of(network, coordinator, producer)
    assert entry.unmarked
    first = send(producer, key, leader, b"b")
    assert network.run(until=lambda: entry.waiting, limit_ms=50), "the leader asks"
    monkeypatch.undo()
    for request in held:
        network._request(coordinator, request)
    said = answer(network, first)
    assert said in {Code.NONE, Code.NOT_ENOUGH_REPLICAS}
    if said is Code.NOT_ENOUGH_REPLICAS:  # asked for longer than anybody's patience
        assert answer(network, send(producer, key, leader, b"b")) is Code.NONE
    producer.end(commit=True)
    assert committed(network, key) == [b"a", b"b"]


@pytest.mark.parametrize("again", [False, True], ids=["follower", "leads-again"])
def test_a_leader_that_was_deposed_while_it_asked_says_so(monkeypatch, again):
    """What its log has lost meanwhile says nothing of the transaction."""
    network, key, producer, (leader, replica) = once_committed(v2=True)
    asked = hold_answers(monkeypatch)
    first = send(producer, key, leader, b"b")
    assert network.run(until=lambda: asked, limit_ms=100)
    state = replica.state
    other = next(node for node in state.isr if node != leader)
    for lead in (other, leader) if again else (other,):
        state = msgspec.structs.replace(
            state, leader=lead, leader_epoch=state.leader_epoch + 1, partition_epoch=state.partition_epoch + 1
        )
        replica.become(leader, state, network.now_ms)
    replica.log.truncate(replica.log.end - 1)  # the marker, and the guard with it
    asked[0](Code.NONE, network.now_ms)
    assert answer(network, first) is Code.NOT_LEADER_OR_FOLLOWER


def test_what_was_sent_after_the_end_is_not_written_by_an_answer_from_before_it(monkeypatch):
    """By protocol v1 nothing else keeps it out, and nobody would end that transaction."""
    network, key, producer, (leader, replica) = once_committed(v2=False)
    monkeypatch.setattr(Verifier, "here", lambda *_: None)
    asked = hold_answers(monkeypatch)
    producer.add(key)
    first = send(producer, key, leader, b"b", 1)
    assert network.run(until=lambda: asked, limit_ms=100)
    producer.end(commit=False)
    second = send(producer, key, leader, b"c", 1)
    network.run(100)
    for done in asked:
        done(Code.NONE, network.now_ms)
    assert (answer(network, first), answer(network, second)) == (Code.INVALID_TXN_STATE, Code.INVALID_TXN_STATE)
    assert replica.log.last_stable == replica.log.end
