"""What time a node says it is: the time that it gives, as the leader, to a record with LogAppendTime.

Nothing else that every Kafka answers tells the clock on its wall. So the first question makes a topic, one partition
on each broker and no other replica, and each question appends a record of some bytes to the asked node's. The answer is
how far its time lies from the time between question and answer, which bounds it from below: a slow answer can hide a
clock that is wrong, and can't make a right one look so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from broker.wire import record
from broker.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from broker.wire.messages.metadata import MetadataResponse
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData

if TYPE_CHECKING:
    from harness.cluster.observer import ClusterObserver
    from harness.cluster.probe import Probe

TOPIC: Final = "harness-clocks"
TIMEOUT_MS: Final = 1000
SETTINGS: Final = {"message.timestamp.type": "LogAppendTime", "min.insync.replicas": "1", "retention.ms": "-1"}
LEADER_ONLY: Final = 1
"""acks: nobody else has the record."""


def clock_off_ms(observer: ClusterObserver, name: str, now_ms: Callable[[], float]) -> int | None:
    """Return how far off the node's clock is at least, in ms; None: it does not say, or not yet.

    now_ms: a right clock on the wall.
    """
    ids = {node.name: node.id for node in observer.brokers()}
    if name not in ids:
        return None
    told = observer.ask_node(name, lambda probe: probe.metadata([TOPIC]))
    place = _led_by(ids[name], told) if told is not None else None
    if place is None:
        if told is not None and not any(topic.partitions for topic in told.topics):
            observer.ask_node(name, lambda probe: probe.ask(_creation(sorted(ids.values()))))
        return None
    return observer.ask_node(name, lambda probe: _appended(probe, *place, now_ms))


def _creation(ids: Sequence[int]) -> CreateTopicsRequest:
    topic = CreatableTopic(
        name=TOPIC,
        num_partitions=-1,
        replication_factor=-1,
        assignments=tuple(
            CreatableReplicaAssignment(partition_index=i, broker_ids=(id_,)) for i, id_ in enumerate(ids)
        ),
        configs=tuple(CreatableTopicConfig(name=name, value=value) for name, value in SETTINGS.items()),
    )
    return CreateTopicsRequest(topics=(topic,), timeout_ms=TIMEOUT_MS)


def _led_by(node_id: int, told: MetadataResponse) -> tuple[bytes, int] | None:
    """Return the topic's id and the partition that the node leads."""
    for topic in told.topics:
        for part in topic.partitions:
            if part.leader_id == node_id:
                return topic.topic_id, part.partition_index
    return None


def _appended(probe: Probe, topic_id: bytes, index: int, now_ms: Callable[[], float]) -> int | None:
    data = PartitionProduceData(index=index, records=record.batch_of([(None, b"")], timestamp_ms=int(now_ms())))
    topic = TopicProduceData(name=TOPIC, topic_id=topic_id, partition_data=(data,))
    asked_ms = now_ms()
    answer: Any = probe.ask(ProduceRequest(acks=LEADER_ONLY, timeout_ms=TIMEOUT_MS, topic_data=(topic,)))
    answered_ms = now_ms()
    for one in answer.responses:
        for part in one.partition_responses:
            if part.error_code == 0 and part.log_append_time_ms >= 0:
                return beyond(part.log_append_time_ms, asked_ms, answered_ms)
    return None


def beyond(said_ms: int, asked_ms: float, answered_ms: float) -> int:
    """Return how far the time that a node said lies from the span in which it said it; 0 within."""
    return min(0, said_ms - int(asked_ms)) or max(0, said_ms - int(answered_ms))
