"""Transactions by hand say what the codec says of all that is usual, and leave the rest, damage included, to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.io import hot, hot_transactions, older
from broker.io.door import close_frame
from broker.io.served import SERVED
from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.errors import WireError
from broker.wire.frame import frame
from broker.wire.header import read_request_header
from broker.wire.messages import produce
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopic,
)
from broker.wire.messages.end_txn import EndTxnRequest, EndTxnResponse
from broker.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from tests.broker.wire.messages import messages

APIS = st.sampled_from([(Api.END_TXN, EndTxnRequest), (Api.ADD_PARTITIONS_TO_TXN, AddPartitionsToTxnRequest)])
ANSWERS = st.sampled_from([EndTxnResponse, AddPartitionsToTxnResponse, produce.ProduceResponse])


def versions(api):
    return st.integers(SERVED[api].lowest, SERVED[api].highest)


def encoded(request, version):
    payload = memoryview(bytearray(codec.encode_request(request, version, correlation_id=7, client_id="c")))
    return payload, read_request_header(payload).body_at


def as_the_codec_reads(kind, payload, at, version):
    try:
        return codec.decode_body(kind, version, payload, at, exact=False)
    except WireError:
        return None


@given(st.data())
def test_no_request_is_read_otherwise_than_by_the_codec(data):
    api, kind = data.draw(APIS)
    version = data.draw(versions(api))
    request = data.draw(messages(kind, version))
    found = hot_transactions.read(api, *encoded(request, version), version)
    assert found in (None, request)


@given(st.data())
def test_a_broken_request_is_left_to_the_codec_or_read_as_by_it(data):
    api, kind = data.draw(APIS)
    version = data.draw(versions(api))
    payload, at = encoded(data.draw(messages(kind, version)), version)
    broken = bytearray(payload)
    del broken[data.draw(st.integers(at, len(broken))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if len(broken) > at:
            broken[data.draw(st.integers(at, len(broken) - 1))] = data.draw(st.integers(0, 255))
    found = hot_transactions.read(api, memoryview(broken), at, version)
    assert found is None or found == as_the_codec_reads(kind, memoryview(broken), at, version)


@pytest.mark.parametrize("version", range(6))
def test_the_end_of_a_transaction_is_read_in_every_version(version):
    request = EndTxnRequest(transactional_id="t-1", producer_id=1 << 40, producer_epoch=3, committed=True)
    assert hot_transactions.read(Api.END_TXN, *encoded(request, version), version) == request


@pytest.mark.parametrize("version", range(3))
def test_what_librdkafka_adds_to_a_transaction_is_read(version):
    topics = (AddPartitionsToTxnTopic(name="a", partitions=(0, 7)), AddPartitionsToTxnTopic(name="b"))
    request = AddPartitionsToTxnRequest(
        v3_and_below_transactional_id="t-1",
        v3_and_below_producer_id=1 << 40,
        v3_and_below_producer_epoch=3,
        v3_and_below_topics=topics,
    )
    assert hot_transactions.read(Api.ADD_PARTITIONS_TO_TXN, *encoded(request, version), version) == request


def test_other_requests_are_left_to_the_codec():
    payload, at = encoded(InitProducerIdRequest(), 2)
    assert hot_transactions.read(Api.INIT_PRODUCER_ID, payload, at, 2) is None
    assert hot_transactions.write(InitProducerIdResponse(), 2, 7) is None


@given(st.data())
def test_every_answer_is_written_as_the_codec_writes_it(data):
    kind = data.draw(ANSWERS)
    version = data.draw(versions(kind.api))
    answer = data.draw(messages(kind, version))
    (written,) = close_frame(answer, version, 7, None)
    assert written == frame(codec.encode_response(older.understood(answer, version), version, correlation_id=7))


@pytest.mark.parametrize("version", range(9, SERVED[Api.PRODUCE].highest + 1))
def test_an_answer_that_says_only_offsets_is_written_by_hand(version):
    named = {"topic_id": b"i" * 16} if version >= 13 else {"name": "topic"}
    one = produce.PartitionProduceResponse(index=3, base_offset=1 << 40, log_append_time_ms=5, log_start_offset=2)
    topic = produce.TopicProduceResponse(partition_responses=(one, one), **named)
    answer = produce.ProduceResponse(responses=(topic, topic), throttle_time_ms=9)
    expected = frame(codec.encode_response(answer, version, correlation_id=7))
    assert hot.write_produced(answer, version, 7) == expected
