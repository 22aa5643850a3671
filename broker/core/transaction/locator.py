"""FindCoordinator: the leader of the id's partition of the internal topic, which is made when first asked for."""

from __future__ import annotations

from collections.abc import Callable

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.group.coordinator import TOPIC as GROUP_TOPIC
from broker.core.metadata.image import Image
from broker.core.share.coordinator import TOPIC as SHARE_TOPIC
from broker.core.share.state import is_coordinator_key
from broker.core.transaction.coordinator import TOPIC as TRANSACTION_TOPIC
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from broker.wire.messages.find_coordinator import Coordinator, FindCoordinatorRequest, FindCoordinatorResponse

TOPICS = {0: GROUP_TOPIC, 1: TRANSACTION_TOPIC}
"""By the key type of the request."""
SHARE = 2
"""The key type of share coordinators, where share groups are on (KIP-932)."""


def find(
    config: BrokerConfig, image: Image, request: FindCoordinatorRequest, create: Callable[[CreateTopicsRequest], None]
) -> FindCoordinatorResponse:
    """Return who coordinates the keys; `create` is called with the topic to make if it is missing."""
    keys = request.coordinator_keys or (request.key,)
    found = tuple(_find_one(image, request.key_type, key) for key in keys)
    topic = _topic(image, request.key_type)
    if topic is not None and image.topic(topic) is None:
        create(wanted(config, topic))
    if request.coordinator_keys:
        return FindCoordinatorResponse(coordinators=found)
    one = found[0]
    return FindCoordinatorResponse(
        error_code=one.error_code, error_message=one.error_message, node_id=one.node_id, host=one.host, port=one.port
    )


def _topic(image: Image, key_type: int) -> str | None:
    return SHARE_TOPIC if key_type == SHARE and image.has_shares else TOPICS.get(key_type)


def _find_one(image: Image, key_type: int, key: str) -> Coordinator:
    name = _topic(image, key_type)
    if name is None or (name == SHARE_TOPIC and not is_coordinator_key(key)):
        return _nobody(key, Code.INVALID_REQUEST, f"key type {key_type}")
    topic = image.topic(name)
    state = None if topic is None else topic.partitions.get(partition_for(key, len(topic.partitions)))
    broker = None if state is None else image.brokers.get(state.leader)
    if broker is None:
        return _nobody(key, Code.COORDINATOR_NOT_AVAILABLE, f"the partition of {key!r} has no leader")
    host, port = (broker.endpoints[0].host, broker.endpoints[0].port) if broker.endpoints else ("", -1)
    return Coordinator(key=key, node_id=broker.id, host=host, port=port)


def _nobody(key: str, code: Code, message: str) -> Coordinator:
    return Coordinator(key=key, node_id=-1, port=-1, error_code=code, error_message=message)


def wanted(config: BrokerConfig, name: str) -> CreateTopicsRequest:
    """Return the wish for an internal topic."""
    return CreateTopicsRequest(topics=(_internal_topic(config, name),))


def _internal_topic(config: BrokerConfig, name: str) -> CreatableTopic:
    settings = {"cleanup.policy": "compact"}
    partitions, wished = config.offsets_partitions, config.offsets_replication_factor
    if name == TRANSACTION_TOPIC:
        partitions, wished = config.transaction_partitions, config.transaction_replication_factor
    elif name == SHARE_TOPIC:
        partitions, wished = config.share_partitions, config.share_replication_factor
    factor = min(wished, len(config.voters)) if config.node_id in config.voters else wished
    if name == TRANSACTION_TOPIC:
        settings["min.insync.replicas"] = str(min(config.transaction_min_isr, factor))
    elif name == SHARE_TOPIC:  # its coordinators delete what is not needed
        settings = {
            "cleanup.policy": "delete",
            "retention.ms": "-1",
            "segment.bytes": str(config.share_segment_bytes),
            "min.insync.replicas": str(min(config.share_min_isr, factor)),
        }
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=factor,
        configs=tuple(CreatableTopicConfig(name=key, value=value) for key, value in settings.items()),
    )
