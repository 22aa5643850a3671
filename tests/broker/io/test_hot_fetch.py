"""Fetch by hand says what the codec says of all that is usual, and leaves the rest, damage included, to it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.io import hot_fetch
from broker.io.served import SERVED
from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.errors import WireError
from broker.wire.header import read_request_header
from broker.wire.messages import fetch
from broker.wire.primitives import NO_UUID
from tests.broker.wire.messages import messages

NEWEST = SERVED[Api.FETCH].highest
USUAL_VERSIONS = st.integers(hot_fetch.FROM_VERSION, NEWEST)
PLAIN = {"replica_directory_id": NO_UUID, "high_watermark": fetch.FetchPartition().high_watermark}


def usual(request):
    """The request without what the hand-written way leaves to the codec."""
    topics = tuple(
        msgspec.structs.replace(
            topic, partitions=tuple(msgspec.structs.replace(ask, **PLAIN) for ask in topic.partitions)
        )
        for topic in request.topics
    )
    return msgspec.structs.replace(request, topics=topics, cluster_id=None)


def encoded(request, version):
    payload = memoryview(codec.encode_request(request, version, correlation_id=7, client_id="node-1"))
    return payload, read_request_header(payload).body_at


def as_the_codec_reads(payload, at, version):
    try:
        return codec.decode_body(fetch.FetchRequest, version, payload, at, exact=False)
    except WireError:
        return None


@given(st.data(), USUAL_VERSIONS)
def test_a_usual_request_is_read_as_it_was_written(data, version):
    request = usual(data.draw(messages(fetch.FetchRequest, version)))
    assert hot_fetch.read_request(*encoded(request, version), version) == request


@given(st.data(), st.integers(SERVED[Api.FETCH].lowest, NEWEST))
def test_no_request_is_read_otherwise_than_by_the_codec(data, version):
    payload, at = encoded(data.draw(messages(fetch.FetchRequest, version)), version)
    found = hot_fetch.read_request(payload, at, version)
    assert found is None or found == as_the_codec_reads(payload, at, version)


@given(st.data(), USUAL_VERSIONS)
def test_a_broken_request_is_left_to_the_codec_or_read_as_by_it(data, version):
    whole, at = encoded(usual(data.draw(messages(fetch.FetchRequest, version))), version)
    payload = bytearray(whole)
    del payload[data.draw(st.integers(at, len(payload))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if len(payload) > at:
            payload[data.draw(st.integers(at, len(payload) - 1))] = data.draw(st.integers(0, 255))
    found = hot_fetch.read_request(memoryview(payload), at, version)
    assert found is None or found == as_the_codec_reads(payload, at, version)


def test_a_count_that_lies_is_left_to_the_codec():
    payload, at = encoded(fetch.FetchRequest(), NEWEST)
    lie = bytearray(payload)
    lie[at + 21 : at + 22] = b"\xff\xff\xff\xff\x0f"  # the number of topics
    assert hot_fetch.read_request(memoryview(lie), at, NEWEST) is None
    assert as_the_codec_reads(memoryview(lie), at, NEWEST) is None


@given(st.data())
def test_a_follower_s_request_is_written_as_the_codec_writes_it(data):
    request = usual(data.draw(messages(fetch.FetchRequest, NEWEST)))
    written = hot_fetch.write_request(request, NEWEST, 7, "node-1")
    if request.replica_state == fetch.ReplicaState():
        assert written is None
    else:
        assert written == codec.encode_request(request, NEWEST, correlation_id=7, client_id="node-1")


def asking(ask, **fields):
    topics = (fetch.FetchTopic(topic_id=bytes(16), partitions=(ask,)),)
    return fetch.FetchRequest(replica_state=fetch.ReplicaState(replica_id=2), topics=topics, **fields)


@pytest.mark.parametrize(
    "request_",
    [
        asking(fetch.FetchPartition(), cluster_id="c"),
        asking(fetch.FetchPartition(replica_directory_id=b"d" * 16)),
        asking(fetch.FetchPartition(high_watermark=3)),
        asking(fetch.FetchPartition(partition=1 << 40)),
    ],
)
def test_a_request_that_is_not_usual_is_not_written(request_):
    assert hot_fetch.write_request(request_, NEWEST, 7, "node-1") is None


def plain(answer):
    """The answer without tagged fields and aborted transactions."""
    fields = {
        "diverging_epoch": fetch.EpochEndOffset(),
        "current_leader": fetch.LeaderIdAndEpoch(),
        "snapshot_id": fetch.SnapshotId(),
    }
    responses = tuple(
        msgspec.structs.replace(
            topic,
            partitions=tuple(
                msgspec.structs.replace(
                    data, **fields, aborted_transactions=None if data.aborted_transactions is None else ()
                )
                for data in topic.partitions
            ),
        )
        for topic in answer.responses
    )
    return msgspec.structs.replace(answer, responses=responses, node_endpoints=())


@given(st.data(), USUAL_VERSIONS)
def test_a_usual_answer_is_read_as_it_was_written(data, version):
    answer = plain(data.draw(messages(fetch.FetchResponse, version)))
    payload = memoryview(codec.encode_response(answer, version, correlation_id=7))
    assert hot_fetch.read_answer(payload, version) == (7, answer)


@given(st.data(), st.integers(SERVED[Api.FETCH].lowest, NEWEST))
def test_a_broken_answer_is_left_to_the_codec_or_read_as_by_it(data, version):
    answer = data.draw(messages(fetch.FetchResponse, version))
    payload = bytearray(codec.encode_response(answer, version, correlation_id=7))
    for _ in range(data.draw(st.integers(0, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del payload[data.draw(st.integers(0, len(payload))) :]
    found = hot_fetch.read_answer(memoryview(payload), version)
    try:
        theirs = codec.decode_response(fetch.FetchResponse, version, memoryview(payload))
    except WireError:
        theirs = None
    assert found is None or found == theirs
