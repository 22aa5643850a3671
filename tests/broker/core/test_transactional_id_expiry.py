"""Transactional ids that nobody uses are forgotten, on all nodes and for good; those in use never are."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.transaction.coordinator import TOPIC
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages.end_txn import EndTxnRequest
from tests.broker.core.test_broker import healthy, image, newest_leader
from tests.broker.core.test_transactions import Producer, RefusedError, both, committed, ready

UNUSED_MS = 2000


def known(network, name):
    """Whether the coordinator of the name knows it."""
    place = (image(network).topic_ids[TOPIC], partition_for(name, 2))
    node, _ = newest_leader(network, place)
    shard = network.nodes[node].transactions._shards[place[1]]
    return name in shard.entries


@both
def test_an_id_that_is_not_used_is_forgotten_and_begins_anew_with_another_producer_id(v2):
    network, key, _ = ready(transactional_id_expiration_ms=UNUSED_MS)
    producer = Producer(network, "x", v2=v2).init()
    producer.send(key, b"a")
    producer.end(commit=True)
    assert known(network, "x")
    network.run(UNUSED_MS - 500)
    assert known(network, "x"), "it was used a moment ago"
    assert network.run(until=lambda: not known(network, "x"), limit_ms=3000)
    with pytest.raises(RefusedError, match="INVALID_PRODUCER_ID_MAPPING"):
        producer.end(commit=True)
    other = Producer(network, "x", v2=v2).init()
    assert (other.id != producer.id, other.epoch) == (True, 0)
    other.send(key, b"b")
    other.end(commit=True)
    assert committed(network, key) == [b"a", b"b"]


def test_an_id_in_use_and_an_open_transaction_are_never_forgotten():
    network, key, _ = ready(transactional_id_expiration_ms=UNUSED_MS)
    busy = Producer(network, "busy", v2=True).init()
    idle = Producer(network, "open", v2=True, timeout_ms=600_000).init()
    idle.send(key, b"open")
    for number in range(8):
        busy.send(key, b"%d" % number)
        busy.end(commit=True)
        network.run(UNUSED_MS // 2)
    assert known(network, "busy")
    assert known(network, "open")
    idle.end(commit=True)
    assert committed(network, key)[0] == b"open"


def test_what_was_forgotten_stays_so_after_a_failover_of_its_coordinator():
    network, key, _ = ready(transactional_id_expiration_ms=UNUSED_MS)
    gone = Producer(network, "gone", v2=True).init()
    gone.send(key, b"a")
    gone.end(commit=True)
    assert network.run(until=lambda: not known(network, "gone"), limit_ms=5000)
    old = gone.coordinator()
    network.crash(old, power=False)
    network.start(old)
    assert network.run(until=lambda: healthy(network), limit_ms=10_000)
    network.run(500)
    assert not known(network, "gone")
    message = EndTxnRequest(transactional_id="gone", producer_id=gone.id, producer_epoch=gone.epoch, committed=True)
    answer = gone.call(gone.coordinator(), message, 5)
    assert answer.error_code == Code.INVALID_PRODUCER_ID_MAPPING
