"""What a replica can tell of its log: DescribeProducers, OffsetForLeaderEpoch, DescribeLogDirs, AlterReplicaLogDirs.

An epoch's end is the start of the next one, for the newest the log's end, even past the high watermark (an uncommitted
tail may vanish). An epoch that is newer than all has no end; one that is older ends where the log's first one starts.
Kafka: LeaderEpochFileCache.endOffsetFor, ReplicaManager.
"""

from __future__ import annotations

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.metadata.image import Image
from broker.core.replication.replica import Replica
from broker.core.replication.replicas import Replicas
from broker.wire.messages.alter_replica_log_dirs import (
    AlterReplicaLogDirPartitionResult,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
    AlterReplicaLogDirTopicResult,
)
from broker.wire.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)
from broker.wire.messages.describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)
from broker.wire.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)


def hosted(image: Image, replicas: Replicas, name: str, index: int) -> tuple[Code, Replica | None]:
    """Return the replica of a partition, or why there is none here."""
    topic_id = image.topic_ids.get(name, "")
    if image.partition(topic_id, index) is None:
        return Code.UNKNOWN_TOPIC_OR_PARTITION, None
    replica = replicas.get((topic_id, index))
    return (Code.NONE, replica) if replica is not None else (Code.NOT_LEADER_OR_FOLLOWER, None)


def describe_producers(
    image: Image, replicas: Replicas, request: DescribeProducersRequest
) -> DescribeProducersResponse:
    """Return the producers that the logs remember."""
    return DescribeProducersResponse(
        topics=tuple(
            TopicResponse(
                name=topic.name,
                partitions=tuple(
                    _producers(index, *hosted(image, replicas, topic.name, index)) for index in topic.partition_indexes
                ),
            )
            for topic in request.topics
        )
    )


def _producers(index: int, code: Code, replica: Replica | None) -> PartitionResponse:
    if replica is None:
        return PartitionResponse(partition_index=index, error_code=code)
    return PartitionResponse(
        partition_index=index,
        active_producers=tuple(
            ProducerState(
                producer_id=one.producer_id,
                producer_epoch=one.epoch,
                last_sequence=one.last_sequence,
                last_timestamp=one.last_timestamp,
                coordinator_epoch=one.coordinator_epoch,
                current_txn_start_offset=-1 if one.first_offset is None else one.first_offset,
            )
            for one in replica.log.producers.all()
        ),
    )


def epoch_ends(image: Image, replicas: Replicas, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse:
    """Return where leader epochs end."""
    return OffsetForLeaderEpochResponse(
        topics=tuple(
            OffsetForLeaderTopicResult(
                topic=topic.topic,
                partitions=tuple(
                    _epoch_end(ask, *hosted(image, replicas, topic.topic, ask.partition)) for ask in topic.partitions
                ),
            )
            for topic in request.topics
        )
    )


def _epoch_end(ask: OffsetForLeaderPartition, code: Code, replica: Replica | None) -> EpochEndOffset:
    if replica is None:
        return EpochEndOffset(partition=ask.partition, error_code=code)
    code = replica.check_epoch(ask.current_leader_epoch)
    if code or replica.leader is None:
        return EpochEndOffset(partition=ask.partition, error_code=code or Code.NOT_LEADER_OR_FOLLOWER)
    epochs = replica.log.epochs
    if ask.leader_epoch > epochs.latest:
        return EpochEndOffset(partition=ask.partition)
    epoch, end = epochs.end_of(ask.leader_epoch, replica.log.end)
    if epoch < 0:
        epoch, end = ask.leader_epoch, epochs.entries()[0][1]
    return EpochEndOffset(partition=ask.partition, leader_epoch=epoch, end_offset=end)


def describe_log_dirs(
    config: BrokerConfig, replicas: Replicas, request: DescribeLogDirsRequest
) -> DescribeLogDirsResponse:
    """Return the sizes of the replicas on this node."""
    wanted = None
    if request.topics is not None:
        wanted = {(topic.topic, index) for topic in request.topics for index in topic.partitions}
    found: dict[str, list[DescribeLogDirsPartition]] = {}
    for replica in replicas:
        if wanted is None or (replica.name, replica.key[1]) in wanted:
            log = replica.log
            size = DescribeLogDirsPartition(
                partition_index=replica.key[1],
                partition_size=log.size,
                offset_lag=max(0, log.high_watermark - log.end),
            )
            found.setdefault(replica.name, []).append(size)
    topics = tuple(DescribeLogDirsTopic(name=name, partitions=tuple(sizes)) for name, sizes in found.items())
    return DescribeLogDirsResponse(results=(DescribeLogDirsResult(log_dir=_folder(config), topics=topics),))


def _folder(config: BrokerConfig) -> str:
    return config.properties.get("log.dirs", "")


def alter_log_dirs(
    config: BrokerConfig, image: Image, replicas: Replicas, request: AlterReplicaLogDirsRequest
) -> AlterReplicaLogDirsResponse:
    """Answer a wish to move replicas: a node has one folder, and a replica that is here lies in it."""

    def result(path: str, name: str, index: int) -> AlterReplicaLogDirPartitionResult:
        code, replica = Code.LOG_DIR_NOT_FOUND, None
        if path.rstrip("/") == _folder(config).rstrip("/"):
            code, replica = hosted(image, replicas, name, index)
        if replica is None and code is Code.NOT_LEADER_OR_FOLLOWER:
            code = Code.REPLICA_NOT_AVAILABLE
        return AlterReplicaLogDirPartitionResult(partition_index=index, error_code=code)

    return AlterReplicaLogDirsResponse(
        results=tuple(
            AlterReplicaLogDirTopicResult(
                topic_name=topic.name,
                partitions=tuple(result(folder.path, topic.name, index) for index in topic.partitions),
            )
            for folder in request.dirs
            for topic in folder.topics
        )
    )
