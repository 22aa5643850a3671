"""Topics that come into being because somebody asks about them (auto.create.topics.enable).

The asker hears UNKNOWN_TOPIC_OR_PARTITION and asks again; meanwhile the controller decides, by the defaults for
partitions and replicas. One wish per topic and node is on its way at a time, for as long as a client would wait before
it asks again in vain. Internal topics are made by those who need them. Kafka: DefaultAutoTopicCreationManager.
"""

from __future__ import annotations

from broker.core.config import BrokerConfig
from broker.core.metadata.image import Image
from broker.core.topic_names import INTERNAL, METADATA_LOG, is_valid_name
from broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from broker.wire.messages.metadata import MetadataRequest

PATIENCE_MS = 1000
"""Until then a wish for the same topic is not repeated: longer than the controller takes, shorter than a time-out."""


def missing(config: BrokerConfig, image: Image, asked: MetadataRequest) -> list[str]:
    """Return the names that are to be created."""
    if not config.auto_create_topics or not asked.allow_auto_topic_creation:
        return []
    names = [topic.name for topic in asked.topics or () if topic.name is not None]
    reserved = {*INTERNAL, METADATA_LOG}
    return [name for name in names if name not in image.topic_ids and is_valid_name(name) and name not in reserved]


def request(name: str) -> CreateTopicsRequest:
    """Return the wish for a topic."""
    return CreateTopicsRequest(topics=(CreatableTopic(name=name, num_partitions=-1, replication_factor=-1),))


def recent(wishes: dict[str, int], now_ms: int) -> dict[str, int]:
    """Return the wishes that may still be on their way."""
    return {name: at_ms for name, at_ms in wishes.items() if now_ms - at_ms <= PATIENCE_MS}
