"""What clients of older versions hear instead of an answer that they would not understand.

Each API has the version from which on its clients know an error; those before it hear the one that it came out of.
Kafka: KafkaApis, where it answers InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit,
ListOffsets, DescribeGroups.
"""

from __future__ import annotations

import msgspec

from broker.core.errors import Code
from broker.wire.message import Response
from broker.wire.messages.add_offsets_to_txn import AddOffsetsToTxnResponse
from broker.wire.messages.add_partitions_to_txn import AddPartitionsToTxnResponse
from broker.wire.messages.describe_groups import DescribedGroup, DescribeGroupsResponse
from broker.wire.messages.end_txn import EndTxnResponse
from broker.wire.messages.init_producer_id import InitProducerIdResponse
from broker.wire.messages.join_group import JoinGroupResponse
from broker.wire.messages.list_offsets import ListOffsetsResponse
from broker.wire.messages.metadata import MetadataResponse
from broker.wire.messages.txn_offset_commit import TxnOffsetCommitResponse

_FENCED = {int(Code.PRODUCER_FENCED): int(Code.INVALID_PRODUCER_EPOCH)}
_LOADING = {int(Code.COORDINATOR_LOAD_IN_PROGRESS): int(Code.COORDINATOR_NOT_AVAILABLE)}
_NEWER: dict[type[Response], tuple[int, dict[int, int]]] = {
    InitProducerIdResponse: (4, _FENCED),
    AddPartitionsToTxnResponse: (2, _FENCED),
    AddOffsetsToTxnResponse: (2, _FENCED),
    EndTxnResponse: (2, _FENCED),
    TxnOffsetCommitResponse: (2, _LOADING),
    JoinGroupResponse: (7, {}),
    DescribeGroupsResponse: (6, {}),
    MetadataResponse: (12, {}),
    ListOffsetsResponse: (5, {int(Code.OFFSET_NOT_AVAILABLE): int(Code.LEADER_NOT_AVAILABLE)}),
}
"""Answer -> (version from which on it is understood as it is, error -> error before that)."""
_PLAIN = InitProducerIdResponse | AddOffsetsToTxnResponse | EndTxnResponse


def _described(group: DescribedGroup) -> DescribedGroup:
    """A group that is not there was one that is dead."""
    if group.error_code != Code.GROUP_ID_NOT_FOUND:
        return group
    return msgspec.structs.replace(group, error_code=Code.NONE, error_message=None)


def understood(message: Response, version: int) -> Response:
    """Return the answer as a client that asked in this version understands it."""
    newer = _NEWER.get(type(message))
    if newer is None or version >= newer[0]:
        return message
    codes = newer[1]
    replace = msgspec.structs.replace
    if isinstance(message, JoinGroupResponse):  # null is for clients from version 7 on
        return replace(message, protocol_name="") if message.protocol_name is None else message
    if isinstance(message, MetadataResponse):  # null is for clients from version 12 on, as topics by id are
        named = (one if one.name is not None else replace(one, name="") for one in message.topics)
        return replace(message, topics=tuple(named))
    if isinstance(message, DescribeGroupsResponse):
        return replace(message, groups=tuple(map(_described, message.groups)))
    if isinstance(message, _PLAIN):
        code = codes.get(message.error_code)
        return message if code is None else replace(message, error_code=code)
    if isinstance(message, AddPartitionsToTxnResponse):
        parts = [
            replace(
                topic,
                results_by_partition=tuple(
                    replace(one, partition_error_code=codes.get(one.partition_error_code, one.partition_error_code))
                    for one in topic.results_by_partition
                ),
            )
            for topic in message.results_by_topic_v3_and_below
        ]
        return replace(message, results_by_topic_v3_and_below=tuple(parts))
    assert isinstance(message, TxnOffsetCommitResponse | ListOffsetsResponse), message
    topics = [
        replace(
            topic,
            partitions=tuple(
                replace(one, error_code=codes.get(one.error_code, one.error_code)) for one in topic.partitions
            ),
        )
        for topic in message.topics
    ]
    return replace(message, topics=tuple(topics))
