"""What a probe asks next, by what it was told: answers by hand, in the form of Apache Kafka's."""

from __future__ import annotations

import pytest

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
from harness.clients.questions import ANY_REPLICA, OUT_OF_RANGE, UnansweredError, replica_log

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


def fields(answer):
    asking = replica_log({"key": "t0/0"}, str)
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


def test_a_start_that_nobody_tells_is_no_answer():
    def answer(request):
        if isinstance(request, ListOffsetsRequest):
            part = ListOffsetsPartitionResponse(partition_index=0, error_code=6)
            return ListOffsetsResponse(topics=(ListOffsetsTopicResponse(name="t0", partitions=(part,)),))
        return told(request, knows_start=False)

    with pytest.raises(UnansweredError, match="NOT_LEADER_OR_FOLLOWER"):
        fields(answer)
