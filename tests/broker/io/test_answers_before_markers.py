"""A node that is alone answers the end of a transaction before it writes the markers; nobody can tell."""

from types import SimpleNamespace

import pytest
from confluent_kafka import Producer

from broker.core.ready import Outbox, Reply
from broker.io.node import Node
from broker.wire import codec
from broker.wire.frame import frame
from broker.wire.messages.end_txn import EndTxnResponse
from broker.wire.messages.list_offsets import (
    LATEST,
    READ_COMMITTED,
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from tests.broker.io.process import NodeProcess
from tests.broker.io.test_node import WITHIN_S, create, receive

ALONE = {
    f"transaction_state_log_{name}": value
    for name, value in {"replication_factor": 1, "min_isr": 1, "num_partitions": 1}.items()
}
VERSION = 4


def last_stable(connection):
    partition = ListOffsetsPartition(partition_index=0, timestamp=LATEST)
    topic = ListOffsetsTopic(name="t", partitions=(partition,))
    request = ListOffsetsRequest(replica_id=-1, isolation_level=READ_COMMITTED, topics=(topic,))
    connection.sendall(frame(codec.encode_request(request, VERSION, correlation_id=1, client_id="test")))
    answer = codec.decode_response(ListOffsetsResponse, VERSION, receive(connection))[1]
    return answer.topics[0].partitions[0].offset


@pytest.mark.parametrize("flush", [None, 1], ids=["page-cache", "synced"])
def test_whoever_asks_after_the_answer_finds_the_transaction_ended(tmp_path, flush):
    node = NodeProcess(tmp_path / "node", **ALONE, **({} if flush is None else {"log_flush_interval_messages": flush}))
    node.start()
    try:
        create(node)
        producer = Producer({"bootstrap.servers": node.address, "transactional.id": "x", "log_level": 0})
        producer.init_transactions(WITHIN_S)
        with node.connect() as other:
            for done in range(20):
                producer.begin_transaction()
                producer.produce("t", b"x", partition=0)
                assert producer.flush(WITHIN_S) == 0
                assert last_stable(other) == 2 * done
                end = producer.abort_transaction if done % 3 == 2 else producer.commit_transaction
                end(WITHIN_S)
                assert last_stable(other) == 2 * done + 2
        node.kill()
        node.start()
        with node.connect() as other:
            assert last_stable(other) in {40, 41}  # the last marker is written again where only its decision was saved
    finally:
        node.kill()


@pytest.mark.parametrize("is_paused", [False, True])
def test_no_step_begins_within_a_step(is_paused):
    """A connection that waits for room would go on with its next request as soon as an answer is sent."""
    sent = []
    node = SimpleNamespace(
        _syncing=False, _sync={}, disk=SimpleNamespace(write=sent.append), _send=lambda replies, _: sent.append(replies)
    )
    out = Outbox()
    reply = Reply(SimpleNamespace(connection=SimpleNamespace(is_paused=is_paused)), EndTxnResponse())
    out.replies.append(reply)
    Node._send_early(node, out)
    assert sent == ([] if is_paused else [[], [reply]])
    assert out.replies == ([reply] if is_paused else [])
