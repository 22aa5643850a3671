"""Questions: what is answered from the state as it is, without changing it. ListOffsets and DescribeQuorum stand here.

`answer` returns the response, or None for what is no such question. Metadata that names a topic which is to be created
is none. DescribeQuorum is answered by the active controller; elsewhere it is to be forwarded (`is_forwarded`).
ListOffsets goes to the leader: the end is the high watermark (the last stable offset for read_committed), unknown until
this leader's epoch is committed. Kafka: Partition.fetchOffsetForTimestamp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from broker.core.broker import Broker
from broker.core.describe import cluster, configs, partitions, quotas, security, transactions
from broker.core.errors import Code
from broker.core.log.time_lookup import first_at
from broker.core.quorum.state import Progress
from broker.core.replication.replica import Replica
from broker.core.storage import Storage
from broker.core.topic_creation import missing
from broker.wire.message import Request, Response
from broker.wire.messages.alter_replica_log_dirs import AlterReplicaLogDirsRequest
from broker.wire.messages.create_acls import CreateAclsRequest
from broker.wire.messages.delete_acls import DeleteAclsRequest
from broker.wire.messages.describe_acls import DescribeAclsRequest
from broker.wire.messages.describe_client_quotas import DescribeClientQuotasRequest
from broker.wire.messages.describe_cluster import DescribeClusterRequest
from broker.wire.messages.describe_configs import DescribeConfigsRequest
from broker.wire.messages.describe_log_dirs import DescribeLogDirsRequest
from broker.wire.messages.describe_producers import DescribeProducersRequest
from broker.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    PartitionData,
    QuorumListener,
    QuorumNode,
    ReplicaState,
    TopicData,
)
from broker.wire.messages.describe_topic_partitions import DescribeTopicPartitionsRequest
from broker.wire.messages.describe_transactions import DescribeTransactionsRequest
from broker.wire.messages.describe_user_scram_credentials import DescribeUserScramCredentialsRequest
from broker.wire.messages.list_config_resources import ListConfigResourcesRequest
from broker.wire.messages.list_offsets import (
    EARLIEST,
    LATEST,
    READ_COMMITTED,
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from broker.wire.messages.list_partition_reassignments import ListPartitionReassignmentsRequest
from broker.wire.messages.list_transactions import ListTransactionsRequest
from broker.wire.messages.metadata import MetadataRequest
from broker.wire.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest
from broker.wire.messages.quorum import METADATA_TOPIC

UNKNOWN = -1
"""The quorum's high watermark, until its leader has committed something of its own epoch (Kafka: LeaderState)."""
MAX_TIMESTAMP = -3
"""Asks for the record with the greatest timestamp (KIP-734)."""
LOCAL_EARLIEST = -4
"""The start of what is on local disks (KIP-405): all of it."""

LATEST_TIERED = -5
"""The end of what is in remote storage (KIP-1005)."""

_SIMPLE: dict[type, Callable[[Broker, Any], Response | None]] = {
    DescribeClusterRequest: lambda broker, message: cluster.describe_cluster(
        broker.image, message, cluster_id=broker.config.cluster_id, leader_id=broker.quorum.leader_id
    ),
    DescribeTopicPartitionsRequest: lambda broker, message: cluster.describe_topic_partitions(broker.image, message),
    ListPartitionReassignmentsRequest: lambda broker, message: cluster.list_reassignments(broker.image, message),
    DescribeConfigsRequest: lambda broker, message: configs.describe(broker.config, broker.image, message),
    ListConfigResourcesRequest: lambda broker, message: configs.list_resources(broker.image, message),
    DescribeProducersRequest: lambda broker, message: partitions.describe_producers(
        broker.image, broker.replicas, message
    ),
    OffsetForLeaderEpochRequest: lambda broker, message: partitions.epoch_ends(broker.image, broker.replicas, message),
    DescribeLogDirsRequest: lambda broker, message: partitions.describe_log_dirs(
        broker.config, broker.replicas, message
    ),
    AlterReplicaLogDirsRequest: lambda broker, message: partitions.alter_log_dirs(
        broker.config, broker.image, broker.replicas, message
    ),
    DescribeTransactionsRequest: lambda broker, message: transactions.describe(broker.transactions, message),
    DescribeAclsRequest: lambda broker, message: security.describe_acls(broker.config, broker.image, message),
    CreateAclsRequest: lambda broker, message: security.create_acls(broker.config, message),
    DeleteAclsRequest: lambda broker, message: security.delete_acls(broker.config, message),
    DescribeClientQuotasRequest: lambda broker, message: quotas.describe(broker.image, message),
    DescribeUserScramCredentialsRequest: lambda broker, message: security.describe_scram(broker.image, message),
}
"""Questions that need the node's state, but neither its disk nor the time."""
_OTHERS = {MetadataRequest, ListOffsetsRequest, ListTransactionsRequest, DescribeQuorumRequest}
QUESTIONS = frozenset({*_SIMPLE, *_OTHERS})
"""All that may be answered here."""


def answer(broker: Broker, storage: Storage, message: Request, now_ms: int) -> Response | None:
    """Return the answer to a question, None for any other request."""
    simple = _SIMPLE.get(type(message))
    if simple is not None:
        return simple(broker, message)
    if type(message) not in _OTHERS:
        return None
    match message:
        case MetadataRequest() if not missing(broker.config, broker.image, message):
            return broker.metadata(message)
        case ListOffsetsRequest():
            return _list_offsets(broker, storage, message)
        case ListTransactionsRequest():
            return transactions.list_all(broker.transactions, message, now_ms)
        case DescribeQuorumRequest():
            return _describe_quorum(broker, now_ms)
        case _:
            return None


def is_forwarded(broker: Broker, message: Request) -> bool:
    """Return whether another node has the answer: the active controller, `broker.quorum.leader_id`."""
    return isinstance(message, DescribeQuorumRequest) and not broker.quorum.is_leader


# ListOffsets


def _list_offsets(broker: Broker, storage: Storage, request: ListOffsetsRequest) -> ListOffsetsResponse:
    committed = request.isolation_level == READ_COMMITTED
    topics = []
    for topic in request.topics:
        topic_id = broker.image.topic_ids.get(topic.name, "")
        answers = []
        for ask in topic.partitions:
            replica = broker.replicas.get((topic_id, ask.partition_index))
            code = _refusal(broker, topic_id, ask, replica)
            if code or replica is None:
                answers.append(ListOffsetsPartitionResponse(partition_index=ask.partition_index, error_code=code))
            else:
                answers.append(_find(storage, replica, ask, committed=committed))
        topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=tuple(answers)))
    return ListOffsetsResponse(topics=tuple(topics))


def _refusal(broker: Broker, topic_id: str, ask: ListOffsetsPartition, replica: Replica | None) -> Code:
    if broker.image.partition(topic_id, ask.partition_index) is None:
        return Code.UNKNOWN_TOPIC_OR_PARTITION
    if replica is None:
        return Code.NOT_LEADER_OR_FOLLOWER
    code = replica.check_epoch(ask.current_leader_epoch)
    if code:
        return code
    if replica.leader is None:
        return Code.NOT_LEADER_OR_FOLLOWER
    if ask.timestamp not in {EARLIEST, LOCAL_EARLIEST} and replica.leader.epoch_start > replica.log.high_watermark:
        return Code.OFFSET_NOT_AVAILABLE  # KIP-207: the end may fall back to what is not known here yet
    return Code.NONE


def _find(
    storage: Storage, replica: Replica, ask: ListOffsetsPartition, *, committed: bool
) -> ListOffsetsPartitionResponse:
    log = replica.log
    end = log.last_stable if committed else log.high_watermark
    timestamp = -1
    if ask.timestamp == LATEST:
        offset = end
    elif ask.timestamp in {EARLIEST, LOCAL_EARLIEST}:
        offset = log.start
    elif ask.timestamp >= 0 or ask.timestamp == MAX_TIMESTAMP:
        wanted = max((one.max_timestamp for one in log.segments), default=-1)
        wanted = wanted if ask.timestamp == MAX_TIMESTAMP else ask.timestamp
        offset, timestamp = first_at(storage, log, wanted, end) if wanted >= 0 else (-1, -1)
    elif ask.timestamp == LATEST_TIERED:  # there is no remote storage
        offset = -1
    else:
        return ListOffsetsPartitionResponse(
            partition_index=ask.partition_index, error_code=Code.UNSUPPORTED_FOR_MESSAGE_FORMAT
        )
    epoch = replica.leader_epoch if ask.timestamp == LATEST else log.epochs.epoch_at(offset)
    return ListOffsetsPartitionResponse(
        partition_index=ask.partition_index,
        timestamp=timestamp,
        offset=offset,
        leader_epoch=epoch if offset >= 0 else -1,
    )


# DescribeQuorum


def _describe_quorum(broker: Broker, now_ms: int) -> DescribeQuorumResponse:
    quorum = broker.quorum
    if quorum.leadership is None:
        return DescribeQuorumResponse(
            error_code=Code.NOT_LEADER_OR_FOLLOWER, error_message=f"node {quorum.leader_id} leads the quorum"
        )

    def state(replica: int, progress: Progress) -> ReplicaState:
        return ReplicaState(
            replica_id=replica,
            log_end_offset=progress.end,
            last_fetch_timestamp=progress.fetched_ms,
            last_caught_up_timestamp=progress.caught_up_ms,
        )

    own = Progress(end=quorum.metadata.end, fetched_ms=now_ms, caught_up_ms=now_ms)
    others = quorum.leadership.progress()
    voters = [(broker.config.node_id, own), *((replica, one) for replica, one, votes in others if votes)]
    partition = PartitionData(
        leader_id=broker.config.node_id,
        leader_epoch=quorum.epoch,
        high_watermark=quorum.high_watermark if quorum.high_watermark > quorum.leadership.epoch_start else UNKNOWN,
        current_voters=tuple(state(*pair) for pair in sorted(voters, key=lambda pair: pair[0])),
        observers=tuple(state(replica, one) for replica, one, votes in others if not votes),
    )
    return DescribeQuorumResponse(
        topics=(TopicData(topic_name=METADATA_TOPIC, partitions=(partition,)),), nodes=tuple(_voters(broker))
    )


def _voters(broker: Broker) -> Iterator[QuorumNode]:
    """Yield where voters listen: those that are brokers, too, and have registered it."""
    for voter in broker.config.voters:
        known = broker.image.brokers.get(voter)
        for place in known.endpoints[1:2] if known is not None else ():
            listener = QuorumListener(name=place.name, host=place.host, port=place.port)
            yield QuorumNode(node_id=voter, listeners=(listener,))
