"""What this node tells the controller about its logs when nobody is eligible to lead (KIP-966; GetReplicaLogInfo).

The answer names the registration and the leader epochs that it is given for: a controller that knows others drops it.
"""

from __future__ import annotations

from broker.core.errors import Code
from broker.core.replication.replicas import Replicas
from broker.wire.messages.get_replica_log_info import (
    GetReplicaLogInfoRequest,
    GetReplicaLogInfoResponse,
    PartitionLogInfo,
    TopicPartitionLogInfo,
)


def tell(replicas: Replicas, request: GetReplicaLogInfoRequest) -> GetReplicaLogInfoResponse:
    """Return the newest epoch and the end of each log that is asked for."""
    return GetReplicaLogInfoResponse(
        broker_epoch=replicas.broker_epoch,
        topic_partition_log_info_list=tuple(
            TopicPartitionLogInfo(
                topic_id=topic.topic_id,
                partition_log_info=tuple(_info(replicas, topic.topic_id.hex(), index) for index in topic.partitions),
            )
            for topic in request.topic_partitions or ()
        ),
    )


def _info(replicas: Replicas, topic_id: str, index: int) -> PartitionLogInfo:
    replica = replicas.get((topic_id, index))
    if replica is None:
        return PartitionLogInfo(partition=index, error_code=Code.UNKNOWN_TOPIC_OR_PARTITION)
    return PartitionLogInfo(
        partition=index,
        last_written_leader_epoch=replica.log.epochs.latest,
        current_leader_epoch=replica.leader_epoch,
        log_end_offset=replica.log.end,
    )
