"""Which machine answers which request: two tables by message class, so that a request costs one lookup.

`at_once` returns the answer; `later` gets the request's id and answers when it can. What is in neither is for the
active controller. `is_hot` tells the events of which there are many, `role_changed` finds a partition's coordinator,
`askers` are those who wait for answers of peers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from broker.core.controller.recovery import WhileLeading
from broker.core.group import group_admin, offset_delete
from broker.core.group.consumer import describe as consumer_describe
from broker.core.group.coordinator import TOPIC as GROUP_TOPIC
from broker.core.group.members import Sender
from broker.core.group.share import describe as share_describe
from broker.core.quorum.follower import METADATA_TOPIC_ID
from broker.core.ready import Event, PeerReply, Request
from broker.core.replication import log_info
from broker.core.replication.replica import Replica
from broker.core.share.coordinator import TOPIC as SHARE_TOPIC
from broker.core.transaction import locator
from broker.core.transaction.coordinator import TOPIC as TRANSACTION_TOPIC
from broker.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from broker.wire.messages.add_partitions_to_txn import AddPartitionsToTxnRequest
from broker.wire.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from broker.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from broker.wire.messages.delete_groups import DeleteGroupsRequest
from broker.wire.messages.delete_records import DeleteRecordsRequest
from broker.wire.messages.describe_groups import DescribeGroupsRequest
from broker.wire.messages.end_txn import EndTxnRequest
from broker.wire.messages.fetch import FetchRequest
from broker.wire.messages.fetch_snapshot import FetchSnapshotRequest
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.get_replica_log_info import GetReplicaLogInfoRequest
from broker.wire.messages.heartbeat import HeartbeatRequest
from broker.wire.messages.init_producer_id import InitProducerIdRequest
from broker.wire.messages.join_group import JoinGroupRequest
from broker.wire.messages.leave_group import LeaveGroupRequest
from broker.wire.messages.list_groups import ListGroupsRequest
from broker.wire.messages.metadata import MetadataRequest
from broker.wire.messages.offset_commit import OffsetCommitRequest
from broker.wire.messages.offset_delete import OffsetDeleteRequest
from broker.wire.messages.offset_fetch import OffsetFetchRequest
from broker.wire.messages.produce import ProduceRequest
from broker.wire.messages.quorum import BeginQuorumEpochRequest, EndQuorumEpochRequest, VoteRequest
from broker.wire.messages.share_acknowledge import ShareAcknowledgeRequest
from broker.wire.messages.share_fetch import ShareFetchRequest
from broker.wire.messages.share_group_describe import ShareGroupDescribeRequest
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatRequest
from broker.wire.messages.share_group_offsets import (
    AlterShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsRequest,
    DescribeShareGroupOffsetsRequest,
)
from broker.wire.messages.share_group_state import (
    DeleteShareGroupStateRequest,
    InitializeShareGroupStateRequest,
    ReadShareGroupStateRequest,
    ReadShareGroupStateSummaryRequest,
    WriteShareGroupStateRequest,
)
from broker.wire.messages.sync_group import SyncGroupRequest
from broker.wire.messages.txn_offset_commit import TxnOffsetCommitRequest
from broker.wire.messages.write_txn_markers import WriteTxnMarkersRequest

if TYPE_CHECKING:
    from broker.core.broker import Asker, Broker

AtOnce = dict[type, Callable[[Any, int], Any]]
Later = dict[type, Callable[[Request, int], None]]


_HOT = frozenset(
    {
        ProduceRequest,
        AddPartitionsToTxnRequest,
        AddOffsetsToTxnRequest,
        TxnOffsetCommitRequest,
        EndTxnRequest,
        WriteTxnMarkersRequest,
    }
)


def is_hot(broker: Broker, event: Event) -> bool:
    """Return whether the event is one of the many: records, whoever asks for them, and their transactions.

    They change no deadline of quorum, controller, life, and cleaning.
    """
    if isinstance(event, Request):
        message = event.message
        kind = type(message)
        if kind is FetchRequest:
            return not message.topics or message.topics[0].topic_id != METADATA_TOPIC_ID
        return kind in _HOT
    if isinstance(event, PeerReply):
        token = event.token
        return broker.fetchers.owns(token) or broker.verifier.owns(token) or broker.transactions.markers.owns(token)
    return False


def role_changed(broker: Broker, replica: Replica) -> None:
    """Tell the coordinator whose topic it is that this node leads the partition, or does so no more."""
    if replica.name == TRANSACTION_TOPIC:
        broker.transactions.role_changed(replica)
    elif replica.name == GROUP_TOPIC:
        broker.groups.role_changed(replica)
    elif replica.name == SHARE_TOPIC:
        broker.shares.coordinator.role_changed(replica)


def askers(broker: Broker) -> tuple[Asker, ...]:
    """Return the machines that send requests to peers, who asks most first."""
    return (
        broker.fetchers,
        broker.quorum,
        broker.verifier,
        broker.transactions.markers,
        broker.lifecycle,
        broker.isr,
        broker.forwarding,
        broker.ids,
        broker.shares.persister,
        WhileLeading(lambda: broker.controller),
    )


def at_once(broker: Broker) -> AtOnce:
    """Return the requests that need nobody else: class -> (message, time) -> answer."""
    return {
        VoteRequest: broker.quorum.vote,
        BeginQuorumEpochRequest: broker.quorum.begin_epoch,
        EndQuorumEpochRequest: broker.quorum.end_epoch,
        FetchSnapshotRequest: broker.quorum.fetch_snapshot,
        GetReplicaLogInfoRequest: lambda message, _: log_info.tell(broker.replicas, message),
        MetadataRequest: broker.create_and_tell,
        DescribeGroupsRequest: lambda message, _: group_admin.describe(broker.groups, message),
        ConsumerGroupDescribeRequest: lambda message, _: consumer_describe.describe(
            broker.groups, broker.image, message
        ),
        ShareGroupDescribeRequest: lambda message, _: share_describe.describe(broker.groups, broker.image, message),
        ListGroupsRequest: lambda message, _: group_admin.list_all(broker.groups, message),
        FindCoordinatorRequest: lambda message, now_ms: locator.find(
            broker.config, broker.image, message, lambda topic: broker.ask_for_topic(topic, now_ms)
        ),
    }


def _sender(request: Request) -> Sender:
    return Sender(request.client_id, request.host, request.may_describe)


def later(broker: Broker) -> Later:
    """Return the requests that are answered when they can be: class -> (request, time)."""

    def fetch(request: Request, now_ms: int) -> None:
        message = request.message
        if request.internal and message.topics and message.topics[0].topic_id == METADATA_TOPIC_ID:
            broker.quorum.fetch(request.id, message, now_ms)
        else:
            broker.fetching.handle(request.id, message, request.version, now_ms)

    def produce(request: Request, now_ms: int) -> None:
        broker.producing.handle(request.id, request.message, request.version, now_ms)

    def transaction(request: Request, now_ms: int) -> None:
        broker.transactions.handle(request.id, request.message, request.version, now_ms)

    def group(request: Request, now_ms: int) -> None:
        broker.groups.handle(request.id, request.message, request.version, _sender(request), now_ms)

    return {
        ProduceRequest: produce,
        FetchRequest: fetch,
        InitProducerIdRequest: transaction,
        AddPartitionsToTxnRequest: transaction,
        AddOffsetsToTxnRequest: transaction,
        EndTxnRequest: transaction,
        WriteTxnMarkersRequest: lambda request, now_ms: broker.markers.handle(request.id, request.message, now_ms),
        TxnOffsetCommitRequest: lambda request, now_ms: broker.offsets.handle(
            request.id, request.message, request.version, now_ms
        ),
        DeleteRecordsRequest: lambda request, now_ms: broker.deleting.handle(request.id, request.message, now_ms),
        OffsetFetchRequest: lambda request, now_ms: broker.groups.stable_offsets.handle(
            request.id, request.message, now_ms
        ),
        OffsetDeleteRequest: lambda request, _: offset_delete.delete(
            broker.groups, broker.image, lambda answer: broker.reply(request.id, answer), request.message
        ),
        DeleteGroupsRequest: lambda request, _: broker.delete_groups(request.id, request.message),
        ConsumerGroupHeartbeatRequest: lambda request, now_ms: broker.groups.beat(
            request.id, request.message, _sender(request), now_ms
        ),
        JoinGroupRequest: group,
        SyncGroupRequest: group,
        HeartbeatRequest: group,
        LeaveGroupRequest: group,
        OffsetCommitRequest: group,
        **_shares(broker),
    }


def _shares(broker: Broker) -> Later:
    """Return the requests of share groups (KIP-932)."""
    offsets, shares = broker.groups.share_offsets, broker.shares
    return {
        ShareGroupHeartbeatRequest: lambda request, now_ms: broker.groups.beat_share(
            request.id, request.message, _sender(request), now_ms
        ),
        ShareFetchRequest: shares.fetch,
        ShareAcknowledgeRequest: shares.acknowledge,
        DescribeShareGroupOffsetsRequest: lambda request, now_ms: offsets.describe(request.id, request.message, now_ms),
        AlterShareGroupOffsetsRequest: lambda request, now_ms: offsets.alter(request.id, request.message, now_ms),
        DeleteShareGroupOffsetsRequest: lambda request, now_ms: offsets.delete(request.id, request.message, now_ms),
        InitializeShareGroupStateRequest: shares.state,
        ReadShareGroupStateRequest: shares.state,
        WriteShareGroupStateRequest: shares.state,
        DeleteShareGroupStateRequest: shares.state,
        ReadShareGroupStateSummaryRequest: shares.state,
    }
