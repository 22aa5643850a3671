"""FindCoordinator: the leader of the id's partition of the internal topic, which is made when first asked for."""

from __future__ import annotations

from collections.abc import Callable

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.group.coordinator import TOPIC as GROUP_TOPIC
from broker.core.metadata.image import Image
from broker.core.transaction.coordinator import TOPIC as TRANSACTION_TOPIC
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from broker.wire.messages.find_coordinator import Coordinator, FindCoordinatorRequest, FindCoordinatorResponse

TOPICS = {0: GROUP_TOPIC, 1: TRANSACTION_TOPIC}
"""By the key type of the request."""


def find(
    config: BrokerConfig, image: Image, request: FindCoordinatorRequest, create: Callable[[CreateTopicsRequest], None]
) -> FindCoordinatorResponse:
    """Return who coordinates the keys; `create` is called with the topic to make if it is missing."""
    keys = request.coordinator_keys or (request.key,)
    found = tuple(_find_one(image, request.key_type, key) for key in keys)
    topic = TOPICS.get(request.key_type)
    if topic is not None and image.topic(topic) is None:
        create(CreateTopicsRequest(topics=(_internal_topic(config, topic),)))
    if request.coordinator_keys:
        return FindCoordinatorResponse(coordinators=found)
    one = found[0]
    return FindCoordinatorResponse(
        error_code=one.error_code, error_message=one.error_message, node_id=one.node_id, host=one.host, port=one.port
    )


def _find_one(image: Image, key_type: int, key: str) -> Coordinator:
    name = TOPICS.get(key_type)
    if name is None:
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


def _internal_topic(config: BrokerConfig, name: str) -> CreatableTopic:
    transactions = name == TRANSACTION_TOPIC
    wanted = config.transaction_replication_factor if transactions else config.offsets_replication_factor
    factor = min(wanted, len(config.voters)) if config.node_id in config.voters else wanted
    settings = {"cleanup.policy": "compact"}
    if transactions:
        settings["min.insync.replicas"] = str(min(config.transaction_min_isr, factor))
    return CreatableTopic(
        name=name,
        num_partitions=config.transaction_partitions if transactions else config.offsets_partitions,
        replication_factor=factor,
        configs=tuple(CreatableTopicConfig(name=key, value=value) for key, value in settings.items()),
    )
