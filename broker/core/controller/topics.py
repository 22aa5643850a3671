"""Topics as a whole: created, deleted, grown.

Placement goes round the active nodes from a drawn start, so that leaders and replicas spread; a given assignment is
taken as it is. A deleted topic's settings go with it. A topic id is drawn from the node's seed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from typing import TypeVar

from broker.core import topic_settings
from broker.core.controller.pipeline import Pipeline
from broker.core.describe.configs import of_new_topic
from broker.core.errors import Code, Refused
from broker.core.metadata.image import Topic
from broker.core.metadata.records import NO_LEADER, ConfigSet, PartitionState, TopicCreated, TopicDeleted
from broker.core.topic_names import METADATA_LOG, is_valid_name, what_is_wrong
from broker.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from broker.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from broker.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)
from broker.wire.primitives import NO_UUID

MAX_PARTITIONS_PER_REQUEST = 10_000
"""As in Kafka: a batch of records must stay small."""
_TWICE = "Duplicate topic name."

T = TypeVar("T", bound=Hashable)


def more_than_once(items: Iterable[T]) -> dict[T, None]:
    """Return what is there several times: a request that names something so does not say what it wants."""
    return {item: None for item, count in Counter(items).items() if count > 1}


def _too_many(factor: int, nodes: int) -> str:
    if factor <= 0:
        return "Replication factor must be larger than 0, or -1 to use the default value."
    return (
        f"Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be "
        f"reached because only {nodes} broker(s) are registered."
    )


def _too_few(wanted: int, given: int) -> str:
    return f"Attempted to add {wanted} additional partition(s), but only {given} assignment(s) were specified."


def what_is_wrong_with(replicas: tuple[int, ...], brokers: Collection[int]) -> str | None:
    """Say why these can't be a partition's replicas, in Kafka's words; None where they can."""
    if not replicas:
        return "The manual partition assignment includes an empty replica list."
    for replica in replicas:
        if replica not in brokers:
            return f"The manual partition assignment includes broker {replica}, but no such broker is registered."
        if replicas.count(replica) > 1:
            return f"The manual partition assignment includes the broker {replica} more than once."
    return None


def _no_growth(name: str, present: int, wanted: int) -> str:
    if wanted == present:
        return f"Topic already has {present} partition(s)."
    if wanted < present:
        return f"The topic {name} currently has {present} partition(s); {wanted} would not be an increase."
    return f"no more than {MAX_PARTITIONS_PER_REQUEST} partitions"


class Topics:
    """See the module."""

    def __init__(self, pipeline: Pipeline, rng: random.Random) -> None:
        self._pipeline, self._rng = pipeline, rng

    def create(self, request: CreateTopicsRequest, now_ms: int) -> CreateTopicsResponse:
        """Create what can be created."""
        twice = more_than_once(topic.name for topic in request.topics)
        results = [
            CreatableTopicResult(name=name, error_code=Code.INVALID_REQUEST, error_message=_TWICE) for name in twice
        ]
        for topic in request.topics:
            if topic.name in twice:
                continue
            try:
                result = self._create_one(topic, validate_only=request.validate_only)
            except Refused as refused:
                result = CreatableTopicResult(name=topic.name, error_code=refused.code, error_message=refused.message)
            results.append(result)
            self._pipeline.commit(now_ms)
        return CreateTopicsResponse(topics=tuple(results))

    def _create_one(self, topic: CreatableTopic, *, validate_only: bool) -> CreatableTopicResult:
        pipeline = self._pipeline
        if topic.name == METADATA_LOG:
            raise Refused(Code.INVALID_REQUEST, f"Creation of internal topic {METADATA_LOG} is prohibited.")
        if not is_valid_name(topic.name):
            raise Refused(Code.INVALID_TOPIC_EXCEPTION, what_is_wrong(topic.name))
        if pipeline.image.topic(topic.name) is not None:
            raise Refused(Code.TOPIC_ALREADY_EXISTS, f"Topic '{topic.name}' already exists.")
        other = self._collides(topic.name)
        if other is not None:
            raise Refused(Code.INVALID_TOPIC_EXCEPTION, f"Topic '{topic.name}' collides with existing topic: {other}")
        own: dict[str, str] = {}
        for setting in topic.configs:
            if setting.value is None:
                raise Refused(Code.INVALID_CONFIG, f"Null value not supported for {setting.name}")
            own[setting.name] = topic_settings.plain(setting.name, setting.value)
            topic_settings.check(setting.name, own[setting.name])
        placement = self._given(topic) if topic.assignments else self._drawn(topic)
        topic_id = f"{self._rng.getrandbits(127) + 1:032x}"
        if not validate_only:
            pipeline.stage(TopicCreated(topic_id, topic.name))
            for name, value in own.items():
                pipeline.stage(ConfigSet("topic", topic.name, name, value))
            self._place(topic_id, 0, placement)
        return CreatableTopicResult(
            name=topic.name,
            topic_id=bytes(16) if validate_only else bytes.fromhex(topic_id),
            num_partitions=len(placement),
            replication_factor=len(placement[0]),
            configs=of_new_topic(pipeline.config, pipeline.image, own),
        )

    def _collides(self, name: str) -> str | None:
        """Return a topic whose name metrics can't tell from this one: they write dots as underscores."""
        if "." not in name and "_" not in name:
            return None
        written = name.replace(".", "_")
        return next((one for one in self._pipeline.image.topic_ids if one.replace(".", "_") == written), None)

    def delete(self, request: DeleteTopicsRequest, now_ms: int) -> DeleteTopicsResponse:
        """Delete topics, by name or id."""
        asked = request.topics or tuple(DeleteTopicState(name=name) for name in request.topic_names)
        twice = more_than_once(asked)
        given = {ask.topic_id.hex() for ask in asked if ask.name is None}
        results: list[DeletableTopicResult] = []
        found: dict[str, Code] = {}
        for ask in dict.fromkeys(asked):
            try:
                topic = self._to_delete(ask, twice=ask in twice)
                both = ask.name is not None and topic.id in given
                found[topic.id] = Code.INVALID_REQUEST if both else found.get(topic.id, Code.NONE)
            except Refused as refused:
                message = refused.message or None
                results.append(
                    DeletableTopicResult(
                        name=ask.name, topic_id=ask.topic_id, error_code=refused.code, error_message=message
                    )
                )
        for topic_id, code in found.items():
            name = self._pipeline.image.topics[topic_id].name
            message = "The provided topic name maps to an ID that was already supplied." if code else None
            results.append(
                DeletableTopicResult(
                    name=name, topic_id=bytes.fromhex(topic_id), error_code=code, error_message=message
                )
            )
            if not code:
                self._pipeline.stage(TopicDeleted(topic_id))
        self._pipeline.commit(now_ms)
        return DeleteTopicsResponse(responses=tuple(results))

    def _to_delete(self, ask: DeleteTopicState, *, twice: bool) -> Topic:
        image = self._pipeline.image
        by_id = ask.topic_id != NO_UUID
        if by_id is (ask.name is not None):
            why = "Both topic name and id are given." if by_id else "Neither topic name nor id were specified."
            raise Refused(Code.INVALID_REQUEST, why)
        if twice:
            raise Refused(Code.INVALID_REQUEST, "Duplicate topic id." if by_id else _TWICE)
        topic = image.topics.get(ask.topic_id.hex()) if by_id else image.topic(ask.name or "")
        if topic is None:
            raise Refused(Code.UNKNOWN_TOPIC_ID if by_id else Code.UNKNOWN_TOPIC_OR_PARTITION)
        return topic

    def grow(self, request: CreatePartitionsRequest, now_ms: int) -> CreatePartitionsResponse:
        """Add partitions to topics."""
        twice = more_than_once(ask.name for ask in request.topics)
        results = [
            CreatePartitionsTopicResult(name=name, error_code=Code.INVALID_REQUEST, error_message=_TWICE)
            for name in twice
        ]
        for ask in request.topics:
            if ask.name in twice:
                continue
            code, message = Code.NONE, None
            try:
                self._grow_one(ask, validate_only=request.validate_only)
            except Refused as refused:
                code, message = refused.code, refused.message
            results.append(CreatePartitionsTopicResult(name=ask.name, error_code=code, error_message=message))
        self._pipeline.commit(now_ms)
        return CreatePartitionsResponse(results=tuple(results))

    def _grow_one(self, ask: CreatePartitionsTopic, *, validate_only: bool) -> None:
        image = self._pipeline.image
        topic = image.topic(ask.name)
        if topic is None:
            raise Refused(Code.UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition.")
        present = len(topic.partitions)
        if not present < ask.count <= MAX_PARTITIONS_PER_REQUEST:
            raise Refused(Code.INVALID_PARTITIONS, _no_growth(ask.name, present, ask.count))
        factor = len(topic.partitions[0].replicas)
        if ask.assignments is None:
            placement = self._spread(ask.count - present, factor)
        else:
            placement = [item.broker_ids for item in ask.assignments]
            if len(placement) != ask.count - present:
                raise Refused(Code.INVALID_REPLICA_ASSIGNMENT, _too_few(ask.count - present, len(placement)))
            self._check_placement(placement, factor)
        if not validate_only:
            self._place(topic.id, present, placement)

    def _place(self, topic_id: str, first: int, placement: list[tuple[int, ...]]) -> None:
        image = self._pipeline.image
        for index, replicas in enumerate(placement, first):
            isr = tuple(replica for replica in replicas if image.is_active(replica))
            leader = isr[0] if isr else NO_LEADER
            state = PartitionState(topic_id=topic_id, index=index, replicas=replicas, isr=isr, leader=leader)
            self._pipeline.stage(state)

    def _drawn(self, topic: CreatableTopic) -> list[tuple[int, ...]]:
        config = self._pipeline.config
        partitions = config.default_partitions if topic.num_partitions == -1 else topic.num_partitions
        factor = config.default_replication_factor if topic.replication_factor == -1 else topic.replication_factor
        if not 0 < partitions <= MAX_PARTITIONS_PER_REQUEST:
            why = "Number of partitions was set to an invalid non-positive value." if partitions <= 0 else ""
            raise Refused(Code.INVALID_PARTITIONS, why or f"no more than {MAX_PARTITIONS_PER_REQUEST} at once")
        return self._spread(partitions, factor)

    def _spread(self, partitions: int, factor: int) -> list[tuple[int, ...]]:
        """Place replicas in turn; those that are away at the moment stand last, where the others do not suffice."""
        brokers = self._pipeline.image.brokers
        alive = sorted(broker.id for broker in brokers.values() if broker.is_active)
        if not 0 < factor <= len(brokers):
            raise Refused(Code.INVALID_REPLICATION_FACTOR, _too_many(factor, len(brokers)))
        if not alive:
            raise Refused(Code.INVALID_REPLICATION_FACTOR, "no node is alive")
        away = sorted(brokers.keys() - set(alive))
        start = self._rng.randrange(len(alive))

        def turn(nodes: list[int], first: int, count: int) -> tuple[int, ...]:
            return tuple(nodes[(first + r) % len(nodes)] for r in range(min(count, len(nodes))))

        return [
            (*turn(alive, start + p, factor), *turn(away, start + p, max(0, factor - len(alive))))
            for p in range(partitions)
        ]

    def _given(self, topic: CreatableTopic) -> list[tuple[int, ...]]:
        if topic.num_partitions != -1 or topic.replication_factor != -1:
            raise Refused(Code.INVALID_REQUEST, "an assignment excludes partition count and replication factor")
        placed = {item.partition_index: item.broker_ids for item in topic.assignments}
        if sorted(placed) != list(range(len(topic.assignments))):
            raise Refused(
                Code.INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence"
            )
        self._check_placement(list(placed.values()), len(placed[0]))
        return [placed[index] for index in range(len(placed))]

    def _check_placement(self, placement: list[tuple[int, ...]], factor: int) -> None:
        brokers = self._pipeline.image.brokers
        for replicas in placement:
            wrong = what_is_wrong_with(replicas, brokers)
            if wrong is None and len(replicas) != factor:
                wrong = (
                    f"The manual partition assignment includes a partition with {len(replicas)} replica(s), but this "
                    f"is not consistent with previous partitions, which have {factor} replica(s)."
                )
            if wrong is not None:
                raise Refused(Code.INVALID_REPLICA_ASSIGNMENT, wrong)
            if not any(self._pipeline.image.is_active(replica) for replica in replicas):
                raise Refused(Code.INVALID_REPLICA_ASSIGNMENT, f"none of {replicas} is alive")
