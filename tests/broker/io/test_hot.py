"""The hand-written record path says the same as the codec, in every version that is served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.io import hot
from broker.io.door import close_frame
from broker.io.served import SERVED
from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.errors import WireError
from broker.wire.frame import LENGTH
from broker.wire.header import read_request_header
from broker.wire.messages import fetch
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
NAMES = st.text("abc.-_", max_size=8)
IDS = st.binary(min_size=16, max_size=16)
BYTES = st.binary(max_size=300)


def versions(api):
    served = SERVED[api]
    return st.integers(served.lowest, served.highest)


@st.composite
def produce_requests(draw):
    version = draw(versions(Api.PRODUCE))
    topics = []
    for _ in range(draw(st.integers(0, 3))):
        partitions = draw(
            st.lists(st.builds(PartitionProduceData, index=INT32, records=st.none() | BYTES), max_size=3).map(tuple)
        )
        named = {"topic_id": draw(IDS)} if version >= 13 else {"name": draw(NAMES)}
        topics.append(TopicProduceData(partition_data=partitions, **named))
    request = ProduceRequest(
        transactional_id=draw(st.none() | NAMES),
        acks=draw(st.sampled_from([-1, 0, 1])),
        timeout_ms=draw(INT32),
        topic_data=tuple(topics),
    )
    return version, request


@given(produce_requests())
def test_a_produce_request_reads_as_the_codec_wrote_it_without_a_copy_of_its_records(case):
    version, request = case
    payload = memoryview(bytearray(codec.encode_request(request, version, correlation_id=1, client_id="c")))
    read = hot.read_produce(payload, read_request_header(payload).body_at, version)
    assert read == request
    for topic in read.topic_data:
        for data in topic.partition_data:
            assert data.records is None or data.records.obj is payload.obj


@given(produce_requests(), st.data())
def test_a_broken_produce_request_is_a_wire_error_or_another_request(case, data):
    version, request = case
    payload = bytearray(codec.encode_request(request, version, correlation_id=1, client_id="c"))
    at = read_request_header(payload).body_at
    del payload[data.draw(st.integers(at, len(payload))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if len(payload) > at:
            payload[data.draw(st.integers(at, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = hot.read_produce(memoryview(payload), at, version)
    except WireError:
        return
    assert isinstance(read, ProduceRequest)


@st.composite
def fetch_responses(draw):
    version = draw(versions(Api.FETCH))
    aborted = st.builds(fetch.AbortedTransaction, producer_id=INT64, first_offset=INT64)
    partitions = st.builds(
        fetch.PartitionData,
        partition_index=INT32,
        error_code=st.integers(-1, 120),
        high_watermark=INT64,
        last_stable_offset=INT64,
        log_start_offset=INT64 if version >= 5 else st.just(-1),
        aborted_transactions=st.none() | st.lists(aborted, max_size=2).map(tuple),
        preferred_read_replica=INT32 if version >= 11 else st.just(-1),
        records=BYTES,
    )
    named = {"topic_id": IDS} if version >= 13 else {"topic": NAMES}
    topics = st.builds(fetch.FetchableTopicResponse, partitions=st.lists(partitions, max_size=3).map(tuple), **named)
    message = fetch.FetchResponse(
        throttle_time_ms=draw(INT32),
        error_code=draw(st.integers(-1, 120)) if version >= 7 else 0,
        session_id=draw(INT32) if version >= 7 else 0,
        responses=tuple(draw(st.lists(topics, max_size=3))),
    )
    return version, message


@given(fetch_responses())
def test_a_fetch_response_reads_in_the_codec_as_it_was_written(case):
    version, message = case
    data = b"".join(hot.write_fetch(message, version, 7, lambda _: b""))
    assert LENGTH.unpack_from(data)[0] == len(data) - 4
    assert codec.decode_response(fetch.FetchResponse, version, data[4:]) == (7, message)


class Source:
    """Has the same bytes for every region."""

    def __init__(self):
        self.asked = []

    def bytes_of(self, region):
        self.asked.append(region)
        return b"xyz"

    chunk_of = bytes_of


def region_message(**partition):
    region = fetch.Region("t-0", 0, 5, 3)
    data = fetch.PartitionData(records=region, **partition)
    return fetch.FetchResponse(responses=(fetch.FetchableTopicResponse(topic_id=bytes(16), partitions=(data,)),))


@pytest.mark.parametrize("partition", [{}, {"diverging_epoch": fetch.EpochEndOffset(epoch=1, end_offset=2)}])
def test_a_region_is_read_from_its_segment(partition):
    source = Source()
    message = region_message(**partition)
    data = b"".join(close_frame(message, 18, 7, source))
    _, answer = codec.decode_response(fetch.FetchResponse, 18, data[4:])
    assert answer.responses[0].partitions[0].records == b"xyz"
    assert source.asked == [message.responses[0].partitions[0].records]


@pytest.mark.parametrize("leader", [fetch.LeaderIdAndEpoch(), fetch.LeaderIdAndEpoch(leader_id=2, leader_epoch=1)])
def test_no_records_are_empty_on_the_wire_and_never_null(leader):
    data = fetch.PartitionData(records=None, current_leader=leader)
    message = fetch.FetchResponse(responses=(fetch.FetchableTopicResponse(topic="t", partitions=(data,)),))
    payload = b"".join(close_frame(message, 12, 7, Source()))[4:]
    assert codec.decode_response(fetch.FetchResponse, 12, payload)[1].responses[0].partitions[0].records == b""
