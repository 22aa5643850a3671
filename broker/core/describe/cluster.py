"""Metadata, DescribeCluster, DescribeTopicPartitions, ListPartitionReassignments: from the image alone.

A topic that is asked for by a name that can be none is INVALID_TOPIC_EXCEPTION, one that is not there
UNKNOWN_TOPIC_OR_PARTITION. DescribeTopicPartitions goes by topic name, page by page; its arrays are never null: clients
iterate over them. Kafka: KRaftMetadataCache, DescribeTopicPartitionsRequestHandler.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from broker.core.errors import Code
from broker.core.metadata.image import Broker, Image, Topic
from broker.core.metadata.records import NO_LEADER, PartitionState
from broker.core.topic_names import INTERNAL, is_valid_name
from broker.wire.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)
from broker.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)
from broker.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment,
    OngoingTopicReassignment,
)
from broker.wire.messages.metadata import (
    NOT_ASKED,
    MetadataRequest,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from broker.wire.primitives import NO_UUID

BROKERS = 1
"""The endpoint type of DescribeCluster that this broker can tell."""
PAGE_PARTITIONS = 2000
"""max.request.partition.size.limit: no page of DescribeTopicPartitions is larger."""
CLUSTER_OPERATIONS = sum(1 << operation for operation in (5, 7, 8, 9, 10, 11, 12))
TOPIC_OPERATIONS = sum(1 << operation for operation in (3, 4, 5, 6, 7, 8, 10, 11))
"""What Kafka reports as allowed where no authorizer is configured: bits of AclOperation."""


def _alive(image: Image) -> dict[int, Broker]:
    return {one.id: one for one in image.brokers.values() if not one.fenced}


def _controller(leader_id: int, alive: Collection[int]) -> int:
    """Return a live node: any can pass a request on."""
    return leader_id if leader_id in alive else next(iter(alive), -1)


# Metadata


def metadata(image: Image, request: MetadataRequest, *, cluster_id: str, leader_id: int) -> MetadataResponse:
    """Return brokers and topics."""
    alive = _alive(image)
    allowed = TOPIC_OPERATIONS if request.include_topic_authorized_operations else NOT_ASKED
    if request.topics is None:
        topics = [_topic(topic, alive, allowed) for topic in image.topics.values()]
    else:
        topics = []
        for asked in request.topics:
            by_id = asked.topic_id != NO_UUID or asked.name is None  # with an id, the name may be empty or null
            found = image.topics.get(asked.topic_id.hex()) if by_id else image.topic(asked.name or "")
            missing = None if by_id else asked.name
            topics.append(_missing(missing, asked.topic_id) if found is None else _topic(found, alive, allowed))
    return MetadataResponse(
        brokers=tuple(
            MetadataResponseBroker(node_id=one.id, host=place.host, port=place.port, rack=one.rack)
            for one in alive.values()
            for place in one.endpoints[:1]
        ),
        cluster_id=cluster_id,
        controller_id=_controller(leader_id, alive),
        topics=tuple(topics),
        cluster_authorized_operations=CLUSTER_OPERATIONS
        if request.include_cluster_authorized_operations
        else NOT_ASKED,
    )


def _missing(name: str | None, topic_id: bytes) -> MetadataResponseTopic:
    if name is None:
        return MetadataResponseTopic(error_code=Code.UNKNOWN_TOPIC_ID, name=None, topic_id=topic_id)
    code = Code.UNKNOWN_TOPIC_OR_PARTITION if is_valid_name(name) else Code.INVALID_TOPIC_EXCEPTION
    return MetadataResponseTopic(error_code=code, name=name, topic_id=NO_UUID)


def _topic(topic: Topic, alive: Collection[int], allowed: int) -> MetadataResponseTopic:
    return MetadataResponseTopic(
        name=topic.name,
        topic_id=bytes.fromhex(topic.id),
        is_internal=topic.name in INTERNAL,
        partitions=tuple(_partition(state, alive) for _, state in sorted(topic.partitions.items())),
        topic_authorized_operations=allowed,
    )


def _has_leader(state: PartitionState, alive: Collection[int]) -> bool:
    return state.leader != NO_LEADER and state.leader in alive


def _partition(state: PartitionState, alive: Collection[int]) -> MetadataResponsePartition:
    has_leader = _has_leader(state, alive)
    return MetadataResponsePartition(
        error_code=Code.NONE if has_leader else Code.LEADER_NOT_AVAILABLE,
        partition_index=state.index,
        leader_id=state.leader if has_leader else NO_LEADER,
        leader_epoch=state.leader_epoch,
        replica_nodes=state.replicas,
        isr_nodes=state.isr,
        offline_replicas=tuple(replica for replica in state.replicas if replica not in alive),
    )


def without_partitions(answer: MetadataResponse) -> MetadataResponse:
    """Return the answer of a node that does not know yet who leads what: clients look again."""
    topics = tuple(
        MetadataResponseTopic(error_code=Code.LEADER_NOT_AVAILABLE, name=topic.name, topic_id=topic.topic_id)
        for topic in answer.topics
    )
    return msgspec.structs.replace(answer, topics=topics)


def describe_cluster(
    image: Image, request: DescribeClusterRequest, *, cluster_id: str, leader_id: int
) -> DescribeClusterResponse:
    """Return the nodes."""
    if request.endpoint_type != BROKERS:
        return DescribeClusterResponse(
            error_code=Code.MISMATCHED_ENDPOINT_TYPE,
            error_message="this listener is for clients of brokers, not of controllers",
            cluster_id=cluster_id,
        )
    alive = _alive(image)
    return DescribeClusterResponse(
        cluster_id=cluster_id,
        controller_id=_controller(leader_id, alive),
        brokers=tuple(
            DescribeClusterBroker(
                broker_id=one.id, host=place.host, port=place.port, rack=one.rack, is_fenced=one.fenced
            )
            for one in image.brokers.values()
            if request.include_fenced_brokers or not one.fenced
            for place in one.endpoints[:1]
        ),
        cluster_authorized_operations=CLUSTER_OPERATIONS
        if request.include_cluster_authorized_operations
        else NOT_ASKED,
    )


# DescribeTopicPartitions


def describe_topic_partitions(image: Image, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse:
    """Return a page of partitions, by topic name, from the cursor on."""
    cursor = request.cursor or Cursor()
    left = max(1, min(request.response_partition_limit, PAGE_PARTITIONS))
    names = sorted({topic.name for topic in request.topics} or image.topic_ids)
    alive, found = _alive(image), list[DescribeTopicPartitionsResponseTopic]()
    for name in names:
        if name < cursor.topic_name:
            continue
        if left == 0:
            return _page(found, Cursor(topic_name=name))
        topic = image.topic(name)
        if topic is None:
            found.append(_no_topic(name))
            continue
        first = cursor.partition_index if name == cursor.topic_name else 0
        states = [state for index, state in sorted(topic.partitions.items()) if index >= first]
        found.append(
            DescribeTopicPartitionsResponseTopic(
                name=name,
                topic_id=bytes.fromhex(topic.id),
                is_internal=name in INTERNAL,
                partitions=tuple(_described(state, alive) for state in states[:left]),
                topic_authorized_operations=TOPIC_OPERATIONS,
            )
        )
        if len(states) > left:
            return _page(found, Cursor(topic_name=name, partition_index=states[left].index))
        left -= len(states)
    return _page(found, None)


def _page(topics: list[DescribeTopicPartitionsResponseTopic], cursor: Cursor | None) -> DescribeTopicPartitionsResponse:
    return DescribeTopicPartitionsResponse(topics=tuple(topics), next_cursor=cursor)


def _no_topic(name: str) -> DescribeTopicPartitionsResponseTopic:
    code = Code.UNKNOWN_TOPIC_OR_PARTITION if is_valid_name(name) else Code.INVALID_TOPIC_EXCEPTION
    return DescribeTopicPartitionsResponseTopic(error_code=code, name=name)


def _described(state: PartitionState, alive: Collection[int]) -> DescribeTopicPartitionsResponsePartition:
    has_leader = _has_leader(state, alive)
    last_known = state.last_known_elr or ((state.last_leader,) if state.last_leader != NO_LEADER else ())
    return DescribeTopicPartitionsResponsePartition(
        error_code=Code.NONE if has_leader else Code.LEADER_NOT_AVAILABLE,
        partition_index=state.index,
        leader_id=state.leader if has_leader else NO_LEADER,
        leader_epoch=state.leader_epoch,
        replica_nodes=state.replicas,
        isr_nodes=state.isr,
        eligible_leader_replicas=state.elr,
        last_known_elr=last_known,
        offline_replicas=tuple(replica for replica in state.replicas if replica not in alive),
    )


# ListPartitionReassignments


def list_reassignments(image: Image, request: ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse:
    """Return what is being moved, of the partitions asked for."""
    moving: dict[str, list[OngoingPartitionReassignment]] = {}
    for name, state in _asked(image, request):
        if state.adding or state.removing:
            moving.setdefault(name, []).append(
                OngoingPartitionReassignment(
                    partition_index=state.index,
                    replicas=state.replicas,
                    adding_replicas=state.adding,
                    removing_replicas=state.removing,
                )
            )
    topics = tuple(OngoingTopicReassignment(name=name, partitions=tuple(found)) for name, found in moving.items())
    return ListPartitionReassignmentsResponse(topics=topics)


def _asked(image: Image, request: ListPartitionReassignmentsRequest) -> Iterator[tuple[str, PartitionState]]:
    if request.topics is None:
        for topic in image.topics.values():
            yield from ((topic.name, state) for state in topic.partitions.values())
        return
    for asked in request.topics:
        known = image.topic(asked.name)
        for index in asked.partition_indexes if known is not None else ():
            if known is not None and index in known.partitions:
                yield asked.name, known.partitions[index]
