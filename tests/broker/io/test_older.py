"""Clients of older versions hear an error that they know; those of newer ones, and of other APIs, what was answered."""

import pytest

from broker.core.errors import Code
from broker.io import older
from broker.io.served import SERVED
from broker.wire.messages.add_offsets_to_txn import AddOffsetsToTxnResponse
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopicResult,
)
from broker.wire.messages.describe_groups import DescribedGroup, DescribeGroupsResponse
from broker.wire.messages.end_txn import EndTxnResponse
from broker.wire.messages.heartbeat import HeartbeatResponse
from broker.wire.messages.init_producer_id import InitProducerIdResponse
from broker.wire.messages.join_group import JoinGroupResponse
from broker.wire.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from broker.wire.messages.metadata import MetadataResponse, MetadataResponseTopic
from broker.wire.messages.txn_offset_commit import (
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)


def test_a_group_that_is_not_there_was_a_dead_one_without_an_error():
    gone = DescribedGroup(group_id="g", group_state="Dead", error_code=Code.GROUP_ID_NOT_FOUND, error_message="no")
    other = DescribedGroup(group_id="h", error_code=Code.NOT_COORDINATOR)
    message = DescribeGroupsResponse(groups=(gone, other))
    assert older.understood(message, 6) is message
    assert older.understood(message, 5).groups == (DescribedGroup(group_id="g", group_state="Dead"), other)


FENCED = (Code.PRODUCER_FENCED, Code.INVALID_PRODUCER_EPOCH)
LOADING = (Code.COORDINATOR_LOAD_IN_PROGRESS, Code.COORDINATOR_NOT_AVAILABLE)


def added(*codes):
    results = tuple(
        AddPartitionsToTxnPartitionResult(partition_index=n, partition_error_code=c) for n, c in enumerate(codes)
    )
    topic = AddPartitionsToTxnTopicResult(name="t", results_by_partition=results)
    return AddPartitionsToTxnResponse(results_by_topic_v3_and_below=(topic,))


def committed(*codes):
    parts = tuple(TxnOffsetCommitResponsePartition(partition_index=n, error_code=c) for n, c in enumerate(codes))
    return TxnOffsetCommitResponse(topics=(TxnOffsetCommitResponseTopic(name="t", partitions=parts),))


def found(*codes):
    parts = tuple(ListOffsetsPartitionResponse(partition_index=n, error_code=c) for n, c in enumerate(codes))
    return ListOffsetsResponse(topics=(ListOffsetsTopicResponse(name="t", partitions=parts),))


def plain(kind):
    return lambda *codes: kind(error_code=codes[-1])


CASES = [
    pytest.param(plain(InitProducerIdResponse), 4, FENCED, id="InitProducerId"),
    pytest.param(added, 2, FENCED, id="AddPartitionsToTxn"),
    pytest.param(plain(AddOffsetsToTxnResponse), 2, FENCED, id="AddOffsetsToTxn"),
    pytest.param(plain(EndTxnResponse), 2, FENCED, id="EndTxn"),
    pytest.param(committed, 2, LOADING, id="TxnOffsetCommit"),
    pytest.param(found, 5, (Code.OFFSET_NOT_AVAILABLE, Code.LEADER_NOT_AVAILABLE), id="ListOffsets"),
]


@pytest.mark.parametrize(("answer", "known_from", "codes"), CASES)
def test_an_error_is_told_as_the_version_knows_it(answer, known_from, codes):
    new, old = codes
    told = answer(Code.NONE, Code.NOT_COORDINATOR, new)
    api = SERVED[told.api]
    assert api.lowest < known_from <= api.highest
    for version in range(api.lowest, api.highest + 1):
        expected = answer(Code.NONE, Code.NOT_COORDINATOR, old) if version < known_from else told
        assert older.understood(told, version) == expected, version


def test_a_group_without_a_protocol_has_an_empty_name_before_version_7():
    assert older.understood(JoinGroupResponse(protocol_name=None), 6).protocol_name == ""
    assert older.understood(JoinGroupResponse(protocol_name=None), 7).protocol_name is None
    assert older.understood(JoinGroupResponse(protocol_name="range"), 6).protocol_name == "range"


def test_a_topic_without_a_name_has_an_empty_one_before_version_12():
    missing = MetadataResponseTopic(error_code=Code.UNKNOWN_TOPIC_ID, name=None, topic_id=bytes(16))
    message = MetadataResponse(topics=(missing, MetadataResponseTopic(name="t")))
    assert older.understood(message, 12) is message
    assert [one.name for one in older.understood(message, 11).topics] == ["", "t"]


def test_other_answers_are_told_as_they_are():
    answer = HeartbeatResponse(error_code=Code.PRODUCER_FENCED)
    assert older.understood(answer, 0) is answer
