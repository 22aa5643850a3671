"""What a probe asks next, by what it was told: answers by hand, in the form of Apache Kafka's."""

from __future__ import annotations

import pytest

from broker.wire import batch, compression, record
from broker.wire.messages.fetch import FetchableTopicResponse, FetchRequest, FetchResponse, PartitionData
from broker.wire.messages.list_offsets import (
    EARLIEST,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from broker.wire.messages.metadata import (
    MetadataRequest,
    MetadataResponse,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from harness.clients.questions import ANY_REPLICA, OUT_OF_RANGE, UnansweredError, fetch, list_offsets, replica_log

START, END = 7, 20


def told(request, *, knows_start):
    """A replica whose log holds nothing but offsets from START to END, without a batch; it says the start or not."""
    match request:
        case MetadataRequest():
            part = MetadataResponsePartition(partition_index=0, leader_id=1, leader_epoch=3, isr_nodes=(1, 2))
            return MetadataResponse(topics=(MetadataResponseTopic(name="t0", partitions=(part,)),))
        case ListOffsetsRequest():
            assert (request.replica_id, request.topics[0].partitions[0].timestamp) == (ANY_REPLICA, EARLIEST)
            part = ListOffsetsPartitionResponse(partition_index=0, offset=START)
            return ListOffsetsResponse(topics=(ListOffsetsTopicResponse(name="t0", partitions=(part,)),))
        case FetchRequest():
            offset = request.topics[0].partitions[0].fetch_offset
            out = not START <= offset <= END
            if out and not knows_start:  # Apache Kafka
                data = PartitionData(error_code=OUT_OF_RANGE, high_watermark=-1, log_start_offset=-1)
            else:
                code = OUT_OF_RANGE if out else 0
                data = PartitionData(error_code=code, high_watermark=END, log_start_offset=START)
            return FetchResponse(responses=(FetchableTopicResponse(topic="t0", partitions=(data,)),))


def fields(answer, question=replica_log, **value):
    asking = question({"key": "t0/0"} | value, str)
    request = next(asking)
    for _ in range(10):
        try:
            request = asking.send(answer(request))
        except StopIteration as end:
            return end.value
    raise AssertionError("it asks for ever")


@pytest.mark.parametrize("knows_start", [True, False])
def test_a_replica_that_no_longer_starts_at_0_is_read_from_its_start(knows_start):
    found = fields(lambda request: told(request, knows_start=knows_start))
    assert (found["log-start"], found["from"], found["isr"]) == (START, START, ["1", "2"])


@pytest.mark.parametrize("codec", range(5))
def test_a_byte_that_changed_inside_a_batch_makes_it_another_one(codec):
    """The header, and so the checksum in it, is the same."""
    body, count = record.encode([(None, b"one"), (None, b"two"), (None, b"three")])
    whole = batch.build(compression.compress(codec, body), count=count, base_offset=START, compression=codec)
    changed = bytearray(whole)
    changed[-2] ^= 4

    def logged(content):
        def answer(request):
            if not isinstance(request, FetchRequest) or request.topics[0].partitions[0].fetch_offset != START:
                return told(request, knows_start=True)
            data = PartitionData(high_watermark=START + count, log_start_offset=START, records=content)
            return FetchResponse(responses=(FetchableTopicResponse(topic="t0", partitions=(data,)),))

        return fields(answer)["batches"]

    assert logged(bytes(whole)) == [[START, START + 2, batch.parse_header(whole, 0).crc]]
    assert batch.parse_header(changed, 0) == batch.parse_header(whole, 0)
    assert logged(bytes(changed))[0][:2] == [START, START + 2]
    assert logged(bytes(changed)) != logged(bytes(whole))


def test_a_start_that_nobody_tells_is_no_answer():
    def answer(request):
        if isinstance(request, ListOffsetsRequest):
            part = ListOffsetsPartitionResponse(partition_index=0, error_code=6)
            return ListOffsetsResponse(topics=(ListOffsetsTopicResponse(name="t0", partitions=(part,)),))
        return told(request, knows_start=False)

    with pytest.raises(UnansweredError, match="NOT_LEADER_OR_FOLLOWER"):
        fields(answer)


def leader(epochs, ends, last=None):
    """A leader that answers with these epochs and ends, one after the other, and shows a record at an offset."""
    epochs, ends = iter(epochs), iter(ends)
    records = bytearray(batch.build(b"x", count=1, base_timestamp=1, max_timestamp=1))
    batch.patch(records, 0, last or 0, 3)

    def answer(request):
        match request:
            case ListOffsetsRequest():
                part = ListOffsetsPartitionResponse(partition_index=0, offset=next(ends), leader_epoch=next(epochs))
                return ListOffsetsResponse(topics=(ListOffsetsTopicResponse(name="t0", partitions=(part,)),))
            case FetchRequest():
                data = PartitionData(high_watermark=4, last_stable_offset=2, log_start_offset=0, records=bytes(records))
                return FetchResponse(responses=(FetchableTopicResponse(topic="t0", partitions=(data,)),))
        return told(request, knows_start=True)

    return answer


def test_ends_of_two_epochs_are_no_answer():
    assert fields(leader((3, 3, 1), (5, 6, 0)), list_offsets) == {"lso": 5, "hw": 6, "log-start": 0, "epoch": 3}
    with pytest.raises(UnansweredError, match="in epoch 3, and then in epoch 5"):
        fields(leader((3, 5, 1), (5, 6, 0)), list_offsets)


def test_leader_is_asked_again_where_its_records_reach_the_watermark():
    usual = {"hw": 4, "lso": 2, "epoch": 3}
    assert fields(leader((3, 1), (4, 0), last=3), fetch) == usual | {"last-offset": 3}
    assert fields(leader((3, 1, 3), (4, 0, 6), last=4), fetch) == usual | {"last-offset": 4, "again": 6}
    found = fields(leader((3, 1, 3), (4, 0, 5), last=3), fetch, isolation="read_committed")
    assert found == usual | {"last-offset": 3, "again": 5}
