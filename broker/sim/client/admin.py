"""Topics made for a run, and the wait until every partition of them can take writes at full strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from broker.sim.client.contact import METADATA_VERSION, Contact
from broker.sim.client.errors import ClientError
from broker.wire.errors import error_name
from broker.wire.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic

CREATE_VERSION: Final = 7
LOOK_EVERY_MS: Final = 100
EXISTS: Final = "TOPIC_ALREADY_EXISTS"


async def create_topics(
    contact: Contact,
    names: Sequence[str],
    *,
    partitions: int,
    replication: int,
    config: Mapping[str, str],
    deadline_ms: float,
) -> None:
    """Make topics and wait for a leader and the full ISR of each partition; raises ClientError.

    A simulated cluster begins without topics: one that is there already was made by an attempt whose answer was lost,
    ours or that of the node which passed it on to the controller.
    """
    settings = tuple(CreatableTopicConfig(name=name, value=value) for name, value in config.items())
    ask = CreateTopicsRequest(
        topics=tuple(
            CreatableTopic(name=name, num_partitions=partitions, replication_factor=replication, configs=settings)
            for name in names
        )
    )
    loop, attempt = contact.loop, 0
    while True:
        attempt += 1
        try:
            answer = await contact.call(contact.any_node(), ask, CREATE_VERSION)
        except ClientError as error:
            last = error
        else:
            codes = [error_name(topic.error_code) for topic in answer.topics if topic.error_code]
            bad = [name for name in codes if name != EXISTS]
            if not bad:
                break
            last = ClientError(bad[0], answer.topics[0].error_message or "")
            if bad[0] not in {"NOT_CONTROLLER", "REQUEST_TIMED_OUT", "INVALID_REPLICATION_FACTOR"}:
                raise last
        if loop.now_ms >= deadline_ms:
            raise last
        await loop.sleep(contact.backoff_ms(attempt))
    while missing := await _not_ready(contact, names, replication):
        if loop.now_ms >= deadline_ms:
            raise ClientError("_TIMED_OUT", f"without a leader or a full ISR: {', '.join(missing)}")
        await loop.sleep(LOOK_EVERY_MS)


async def _not_ready(contact: Contact, names: Sequence[str], replication: int) -> list[str]:
    """Return the partitions that lack a leader or a replica in the ISR, as one node sees it."""
    topics = tuple(MetadataRequestTopic(name=name) for name in names)
    ask = MetadataRequest(topics=topics, allow_auto_topic_creation=False)
    try:
        answer = await contact.call(contact.any_node(), ask, METADATA_VERSION)
    except ClientError as error:
        return [f"(no metadata: {error})"]
    contact.metadata.merge(answer)
    bad = [topic.name or "?" for topic in answer.topics if topic.error_code]
    return bad + [
        f"{topic.name}/{part.partition_index}"
        for topic in answer.topics
        for part in topic.partitions
        if part.leader_id < 0 or len(part.isr_nodes) < replication
    ]
