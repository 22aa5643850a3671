"""The requests that need more than one right, or have more than one form: rows of `access` that are functions.

Each is named after its request. Rights and codes are those of Kafka's KafkaApis.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from broker.core.errors import Code
from broker.core.security.acl import CLUSTER_NAME, Operation, ResourceType
from broker.core.security.rules import (
    CLUSTER,
    CODES,
    GROUP,
    TOPIC,
    TRANSACTIONAL_ID,
    May,
    NameOf,
    Narrowed,
    Rule,
    Verdict,
    after,
    shown,
    split,
    topics,
)
from broker.core.transaction import admission
from broker.wire.batch import Buffer
from broker.wire.message import Response
from broker.wire.messages import (
    add_partitions_to_txn,
    consumer_group_heartbeat,
    create_topics,
    delete_topics,
    describe_producers,
    describe_topic_partitions,
    fetch,
    find_coordinator,
    init_producer_id,
    metadata,
    offset_commit,
    offset_delete,
    offset_fetch,
    produce,
    txn_offset_commit,
    write_txn_markers,
)
from broker.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    QuotaResult,
)
from broker.wire.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult,
)
from broker.wire.primitives import NO_UUID

_ATTRIBUTES_AT, _IS_TRANSACTIONAL = 22, 0x10
"""Where a batch says that it is transactional."""


def produce_rule(code: Code | None = None) -> Rule:
    """Need WRITE on each topic; `code`: the refusal of all."""

    def deny(entry: produce.TopicProduceData, refusal: Code) -> produce.TopicProduceResponse:
        partitions = tuple(
            produce.PartitionProduceResponse(index=one.index, error_code=refusal) for one in entry.partition_data
        )
        return produce.TopicProduceResponse(name=entry.name, topic_id=entry.topic_id, partition_responses=partitions)

    return topics(Operation.WRITE, deny, produce.ProduceResponse, field="topic_data", into="responses", code=code)


_named_produce = after([(TRANSACTIONAL_ID, Operation.WRITE, "transactional_id")], produce_rule(), produce_rule)


def transactional_produce(message: produce.ProduceRequest, may: May, name_of: NameOf) -> Verdict:
    """Need WRITE on the transactional id, which whoever writes records of a transaction has to show."""
    named = message.transactional_id
    if named is None and any(_is_transactional(one.records) for t in message.topic_data for one in t.partition_data):
        return produce_rule(CODES[TRANSACTIONAL_ID])(message, may, name_of)
    return _named_produce(message, may, name_of)


def _is_transactional(records: Buffer | None) -> bool:
    return records is not None and len(records) > _ATTRIBUTES_AT and bool(records[_ATTRIBUTES_AT] & _IS_TRANSACTIONAL)


def fetch_rule(entry: fetch.FetchTopic, code: Code) -> fetch.FetchableTopicResponse:
    """Refuse a topic of a Fetch."""
    partitions = tuple(
        fetch.PartitionData(partition_index=one.partition, error_code=code, records=b"") for one in entry.partitions
    )
    return fetch.FetchableTopicResponse(topic=entry.topic, topic_id=entry.topic_id, partitions=partitions)


def metadata_rule(message: metadata.MetadataRequest, may: May, name_of: NameOf) -> Verdict:
    """Show what may be described; who may not create a topic that would be made is refused."""

    def may_see(name: str) -> bool:
        return may(Operation.DESCRIBE, TOPIC, name)

    def is_by_id(asked: metadata.MetadataRequestTopic) -> bool:
        return asked.topic_id != NO_UUID or asked.name is None  # then a name beside it means nothing

    if message.topics is None:

        def finish(given: metadata.MetadataResponse) -> Response:
            shown = tuple(one for one in given.topics if may_see(one.name or ""))
            return msgspec.structs.replace(given, topics=shown)

        return Narrowed(message, finish)
    creates = message.allow_auto_topic_creation and not may(Operation.CREATE, CLUSTER, CLUSTER_NAME)

    def is_kept(asked: metadata.MetadataRequestTopic) -> bool:
        if is_by_id(asked):
            named = name_of(asked.topic_id)
            return not named or may_see(named)
        named = asked.name or ""
        may_be = not creates or bool(name_of(named)) or may(Operation.CREATE, TOPIC, named)
        return may_see(named) and may_be

    kept = tuple(one for one in message.topics if is_kept(one))
    denied = tuple(
        metadata.MetadataResponseTopic(
            error_code=Code.TOPIC_AUTHORIZATION_FAILED,
            name=None if is_by_id(one) else one.name,
            topic_id=one.topic_id,
        )
        for one in message.topics
        if one not in kept
    )
    return Narrowed(
        msgspec.structs.replace(message, topics=kept),
        lambda given: msgspec.structs.replace(given, topics=(*given.topics, *denied)),
    )


def offset_commit_rule(code: Code | None = None) -> Rule:
    """Need READ on each topic; `code`: the refusal of all."""

    def deny(entry: Any, refusal: Code) -> Any:
        partitions = tuple(
            offset_commit.OffsetCommitResponsePartition(partition_index=one.partition_index, error_code=refusal)
            for one in entry.partitions
        )
        return offset_commit.OffsetCommitResponseTopic(name=entry.name, topic_id=entry.topic_id, partitions=partitions)

    return topics(Operation.READ, deny, offset_commit.OffsetCommitResponse, code=code)


def txn_offset_commit_rule(code: Code | None = None) -> Rule:
    """Need READ on each topic; `code`: the refusal of all."""

    def deny(entry: Any, refusal: Code) -> Any:
        partitions = tuple(
            txn_offset_commit.TxnOffsetCommitResponsePartition(partition_index=one.partition_index, error_code=refusal)
            for one in entry.partitions
        )
        return txn_offset_commit.TxnOffsetCommitResponseTopic(
            name=entry.name, topic_id=entry.topic_id, partitions=partitions
        )

    return topics(Operation.READ, deny, txn_offset_commit.TxnOffsetCommitResponse, code=code)


def offset_fetch_rule(message: offset_fetch.OffsetFetchRequest, may: May, name_of: NameOf) -> Verdict:
    """Judge both forms: one group at the top (until version 7), and several."""
    code = Code.GROUP_AUTHORIZATION_FAILED
    if not message.groups:
        if not may(Operation.DESCRIBE, GROUP, message.group_id):
            return offset_fetch.OffsetFetchResponse(error_code=code)
        return Narrowed(message, lambda given: without_hidden(given, may, name_of, named=message.topics is not None))
    denied = tuple(
        offset_fetch.OffsetFetchResponseGroup(group_id=group.group_id, error_code=code)
        for group in message.groups
        if not may(Operation.DESCRIBE, GROUP, group.group_id)
    )
    refused = {group.group_id for group in denied}
    kept = tuple(group for group in message.groups if group.group_id not in refused)
    if not kept:
        return offset_fetch.OffsetFetchResponse(groups=denied)

    named = {group.group_id for group in kept if group.topics is not None}

    def finish(given: offset_fetch.OffsetFetchResponse) -> Response:
        shown = tuple(without_hidden(group, may, name_of, named=group.group_id in named) for group in given.groups)
        return msgspec.structs.replace(given, groups=(*shown, *denied))

    return Narrowed(msgspec.structs.replace(message, groups=kept), finish)


def without_hidden(given: Any, may: May, name_of: NameOf, *, named: bool) -> Any:
    """Replace the offsets of topics that may not be described by the refusal; leave out those that nobody `named`."""
    topics = []
    for topic in given.topics:
        topic_id = getattr(topic, "topic_id", NO_UUID)
        name = topic.name or name_of(topic_id)
        if may(Operation.DESCRIBE, TOPIC, name) or (not name and topic_id != NO_UUID):
            topics.append(topic)
            continue
        if not named:
            continue
        partitions = tuple(
            type(one)(partition_index=one.partition_index, error_code=Code.TOPIC_AUTHORIZATION_FAILED)
            for one in topic.partitions
        )
        topics.append(msgspec.structs.replace(topic, partitions=partitions))
    return msgspec.structs.replace(given, topics=tuple(topics))


def find_coordinator_rule(message: find_coordinator.FindCoordinatorRequest, may: May, _: NameOf) -> Verdict:
    """Need DESCRIBE on the groups or transactional ids."""
    is_group = message.key_type == find_coordinator.GROUP
    kind = GROUP if is_group else TRANSACTIONAL_ID
    if message.key_type == find_coordinator.SHARE:
        allowed = may(Operation.CLUSTER_ACTION, CLUSTER, CLUSTER_NAME)
        return None if allowed else find_coordinator.FindCoordinatorResponse(error_code=CODES[CLUSTER])
    if not message.coordinator_keys:
        allowed = may(Operation.DESCRIBE, kind, message.key)
        return (
            None if allowed else find_coordinator.FindCoordinatorResponse(error_code=CODES[kind], node_id=-1, port=-1)
        )
    return split(
        message,
        "coordinator_keys",
        lambda key: may(Operation.DESCRIBE, kind, key),
        lambda key: find_coordinator.Coordinator(key=key, node_id=-1, port=-1, error_code=CODES[kind]),
        find_coordinator.FindCoordinatorResponse,
        "coordinators",
    )


def init_producer_id_rule(message: init_producer_id.InitProducerIdRequest, may: May, _: NameOf) -> Verdict:
    """Judge the id; without one, whoever may write to any topic may do so with a producer id (KIP-679)."""
    named = message.transactional_id
    if named is not None:
        allowed, kind = may(Operation.WRITE, TRANSACTIONAL_ID, named), TRANSACTIONAL_ID
    else:
        allowed = may(Operation.IDEMPOTENT_WRITE, CLUSTER, CLUSTER_NAME) or may(Operation.WRITE, TOPIC, None)
        kind = CLUSTER
    return None if allowed else init_producer_id.InitProducerIdResponse(error_code=CODES[kind])


def add_partitions(message: add_partitions_to_txn.AddPartitionsToTxnRequest, may: May, _: NameOf) -> Verdict:
    """Judge a client's form (until version 3): all partitions are added, or none."""
    if message.transactions:  # the form of nodes, and of whoever may act as one
        allowed = may(Operation.CLUSTER_ACTION, CLUSTER, CLUSTER_NAME)
        return None if allowed else add_partitions_to_txn.AddPartitionsToTxnResponse(error_code=CODES[CLUSTER])
    topics = message.v3_and_below_topics
    if not may(Operation.WRITE, TRANSACTIONAL_ID, message.v3_and_below_transactional_id):
        codes = dict.fromkeys((topic.name for topic in topics), CODES[TRANSACTIONAL_ID])
    else:
        codes = {
            topic.name: Code.OPERATION_NOT_ATTEMPTED if may(Operation.WRITE, TOPIC, topic.name) else CODES[TOPIC]
            for topic in topics
        }
        if set(codes.values()) <= {Code.OPERATION_NOT_ATTEMPTED}:
            return None
    results = admission.results(topics, lambda place: codes[place[0]])
    return add_partitions_to_txn.AddPartitionsToTxnResponse(results_by_topic_v3_and_below=results)


def create_topics_rule(message: create_topics.CreateTopicsRequest, may: May, _: NameOf) -> Verdict:
    """Need CREATE on the cluster, or on each topic; and DESCRIBE_CONFIGS on a topic to be told what holds for it."""
    verdict = _created(message, may)
    hidden = {topic.name for topic in message.topics if not may(Operation.DESCRIBE_CONFIGS, TOPIC, topic.name)}
    if not hidden or isinstance(verdict, Response):
        return verdict

    def hide(given: create_topics.CreateTopicsResponse) -> Response:
        if isinstance(verdict, Narrowed):
            given = cast("create_topics.CreateTopicsResponse", verdict.finish(given))
        topics = tuple(_hidden(topic) if topic.name in hidden else topic for topic in given.topics)
        return msgspec.structs.replace(given, topics=topics)

    return Narrowed(verdict.message if isinstance(verdict, Narrowed) else message, hide)


def _hidden(topic: create_topics.CreatableTopicResult) -> create_topics.CreatableTopicResult:
    """Return what came of a topic without its settings."""
    if topic.error_code:
        return topic
    return msgspec.structs.replace(
        topic, topic_config_error_code=CODES[TOPIC], configs=None, num_partitions=-1, replication_factor=-1
    )


def _created(message: create_topics.CreateTopicsRequest, may: May) -> Verdict:
    if may(Operation.CREATE, CLUSTER, CLUSTER_NAME):
        return None
    return split(
        message,
        "topics",
        lambda topic: may(Operation.CREATE, TOPIC, topic.name),
        lambda topic: create_topics.CreatableTopicResult(name=topic.name, error_code=CODES[TOPIC]),
        create_topics.CreateTopicsResponse,
        "topics",
    )


def delete_topics_rule(message: delete_topics.DeleteTopicsRequest, may: May, name_of: NameOf) -> Verdict:
    """Need DELETE on the cluster, or on each topic, by name or id."""
    if may(Operation.DELETE, CLUSTER, CLUSTER_NAME):
        return None
    result = delete_topics.DeletableTopicResult
    field = "topic_names" if message.topic_names else "topics"

    def keep(entry: Any) -> bool:
        if isinstance(entry, str) or entry.topic_id == NO_UUID:
            return may(Operation.DELETE, TOPIC, entry if isinstance(entry, str) else entry.name or "")
        named = name_of(entry.topic_id)  # it is what counts, whatever name stands beside it
        return not named or may(Operation.DELETE, TOPIC, named)

    def deny(entry: Any) -> Any:
        if isinstance(entry, str):
            return result(name=entry, error_code=CODES[TOPIC])
        return result(name=entry.name, topic_id=entry.topic_id, error_code=CODES[TOPIC])

    return split(message, field, keep, deny, delete_topics.DeleteTopicsResponse, "responses")


_GROUP_CONFIG = 32
"""Groups among the types of resources that have settings; they have another number among those that have rules."""


def configs(operation: Operation, result: type, answer: type[Response], into: str) -> Rule:
    """Need the right on each topic or group, or on the cluster for what is neither."""

    def rule(message: Any, may: May, _: NameOf) -> Verdict:
        def place(resource: Any) -> tuple[ResourceType, str]:
            if resource.resource_type == ResourceType.TOPIC:
                return TOPIC, resource.resource_name
            if resource.resource_type == _GROUP_CONFIG:
                return GROUP, resource.resource_name
            return CLUSTER, CLUSTER_NAME

        def deny(resource: Any) -> Any:
            return result(
                error_code=CODES[place(resource)[0]],
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
            )

        return split(message, "resources", lambda one: may(operation, *place(one)), deny, answer, into)

    return rule


def write_markers_rule(message: write_txn_markers.WriteTxnMarkersRequest, may: May, _: NameOf) -> Verdict:
    """Need what nodes may do, or ALTER on the cluster."""
    if may(Operation.ALTER, CLUSTER, CLUSTER_NAME) or may(Operation.CLUSTER_ACTION, CLUSTER, CLUSTER_NAME):
        return None
    return write_txn_markers.WriteTxnMarkersResponse(
        markers=tuple(
            write_txn_markers.WritableTxnMarkerResult(
                producer_id=marker.producer_id,
                topics=tuple(
                    write_txn_markers.WritableTxnMarkerTopicResult(
                        name=topic.name,
                        partitions=tuple(
                            write_txn_markers.WritableTxnMarkerPartitionResult(
                                partition_index=index, error_code=CODES[CLUSTER]
                            )
                            for index in topic.partition_indexes
                        ),
                    )
                    for topic in marker.topics
                ),
            )
            for marker in message.markers
        )
    )


def offset_delete_rule(message: offset_delete.OffsetDeleteRequest, may: May, name_of: NameOf) -> Verdict:
    """Need DELETE on the group and READ on each topic."""
    if not may(Operation.DELETE, GROUP, message.group_id):
        return offset_delete.OffsetDeleteResponse(error_code=CODES[GROUP])
    rule = topics(
        Operation.READ,
        partitions(offset_delete.OffsetDeleteResponseTopic, offset_delete.OffsetDeleteResponsePartition),
        offset_delete.OffsetDeleteResponse,
    )
    return rule(message, may, name_of)


def group_heartbeat(message: consumer_group_heartbeat.ConsumerGroupHeartbeatRequest, may: May, _: NameOf) -> Verdict:
    """Need READ on the group and DESCRIBE on the topics that it names."""
    answer = consumer_group_heartbeat.ConsumerGroupHeartbeatResponse
    if not may(Operation.READ, GROUP, message.group_id):
        return answer(error_code=CODES[GROUP])
    hidden = [name for name in message.subscribed_topic_names or () if not may(Operation.DESCRIBE, TOPIC, name)]
    return answer(error_code=CODES[TOPIC], error_message=f"not allowed: {hidden}") if hidden else None


def partitions(topic: type, partition: type, *, name: str = "name", index: str = "partition_index") -> Any:
    """Return what refuses a topic whose partitions are structures with an index."""

    def deny(entry: Any, code: Code) -> Any:
        refused = tuple(partition(**{index: getattr(one, index), "error_code": code}) for one in entry.partitions)
        return topic(**{name: getattr(entry, name), "partitions": refused})

    return deny


def producers(entry: describe_producers.TopicRequest, code: Code) -> describe_producers.TopicResponse:
    """Refuse a topic of DescribeProducers."""
    partitions = tuple(
        describe_producers.PartitionResponse(partition_index=index, error_code=code)
        for index in entry.partition_indexes
    )
    return describe_producers.TopicResponse(name=entry.name, partitions=partitions)


def topic_partitions(message: Any, may: May, name_of: NameOf) -> Verdict:
    """Show what may be described; refuse what was named."""
    answer = describe_topic_partitions.DescribeTopicPartitionsResponse
    if not message.topics:
        return shown(TOPIC, "topics", "name")(message, may, name_of)
    result = describe_topic_partitions.DescribeTopicPartitionsResponseTopic
    return topics(Operation.DESCRIBE, lambda one, code: result(name=one.name, error_code=code), answer)(
        message, may, name_of
    )


def alter_scram(message: AlterUserScramCredentialsRequest, code: Code) -> Response:
    """Refuse each user."""
    users = dict.fromkeys([*(one.name for one in message.deletions), *(one.name for one in message.upsertions)])
    results = tuple(AlterUserScramCredentialsResult(user=user, error_code=code) for user in users)
    return AlterUserScramCredentialsResponse(results=results)


def alter_quotas(message: AlterClientQuotasRequest, code: Code) -> Response:
    """Refuse each entity."""
    results = tuple(QuotaResult(error_code=code, entity=entry.entity) for entry in message.entries)
    return AlterClientQuotasResponse(entries=results)
