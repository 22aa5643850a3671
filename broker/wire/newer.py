"""Message definitions that kio does not have yet, in the form of its classes; facts of Kafka's message definitions."""

from dataclasses import field, make_dataclass
from typing import Any

_GET_REPLICA_LOG_INFO = 93


def _structure(name: str, **fields: tuple[Any, str]) -> type:
    """Return a structure of version 0, which is flexible: field -> (type, Kafka's name of it; "" for a structure)."""
    return make_dataclass(
        name,
        [
            (one, kind, field(metadata={"kafka_type": kafka_type} if kafka_type else {}))
            for one, (kind, kafka_type) in fields.items()
        ],
        namespace={"__version__": 0, "__flexible__": True},
        kw_only=True,
    )


_topic: Any = _structure("TopicPartitions", topic_id=(bytes, "uuid"), partitions=(tuple[int, ...], "int32"))
_info: Any = _structure(
    "PartitionLogInfo",
    partition=(int, "int32"),
    last_written_leader_epoch=(int, "int32"),
    current_leader_epoch=(int, "int32"),
    log_end_offset=(int, "int64"),
    error_code=(int, "error_code"),
)
_topic_info: Any = _structure(
    "TopicPartitionLogInfo", topic_id=(bytes, "uuid"), partition_log_info=(tuple[_info, ...], "")
)

DEFINITIONS: dict[tuple[int, bool], type] = {
    (_GET_REPLICA_LOG_INFO, True): _structure(
        "GetReplicaLogInfoRequest", topic_partitions=(tuple[_topic, ...] | None, "")
    ),
    (_GET_REPLICA_LOG_INFO, False): _structure(
        "GetReplicaLogInfoResponse",
        throttle_time=(int, "timedelta_i32"),
        broker_epoch=(int, "int64"),
        truncated=(bool, "bool"),
        topic_partition_log_info_list=(tuple[_topic_info, ...], ""),
    ),
}
"""API key and whether it is the request -> version 0, the only one."""
