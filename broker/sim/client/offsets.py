"""A group's committed offsets: to commit them outside transactions, and to ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.sim.client.config import CLASSIC, CONSUMER
from broker.sim.client.contact import Contact
from broker.sim.client.coordinator import Coordinator
from broker.sim.client.metadata import Partition
from broker.sim.client.transactional import GroupMetadata
from broker.wire.messages.find_coordinator import GROUP
from broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from broker.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)

COMMIT_VERSION: Final = {CLASSIC: 8, CONSUMER: 9}
"""From 9 on the generation may be a member's epoch (KIP-848)."""
FETCH_VERSION: Final = 8
UNSTABLE: Final = frozenset({"UNSTABLE_OFFSET_COMMIT"})
"""A transaction over the offset is open: wait for its end."""


class Offsets:
    """Those of one group."""

    def __init__(self, contact: Contact, group_id: str, protocol: str = CLASSIC) -> None:
        """Prepare; the coordinator is found when it is needed."""
        self._version = COMMIT_VERSION[protocol]
        self.coordinator = Coordinator(contact, GROUP, group_id)
        self._group_id, self._contact = group_id, contact

    async def commit(self, offsets: Mapping[Partition, int], who: GroupMetadata, deadline_ms: float) -> None:
        """Commit next offsets; raises ClientError, _TIMED_OUT when it is not known whether they are committed."""
        topics = tuple(
            OffsetCommitRequestTopic(
                name=topic,
                partitions=tuple(
                    OffsetCommitRequestPartition(
                        partition_index=index,
                        committed_offset=offsets[topic, index],
                        committed_leader_epoch=who.epochs.get((topic, index), -1),
                    )
                    for index in indexes
                ),
            )
            for topic, indexes in _by_topic(list(offsets)).items()
        )
        ask = OffsetCommitRequest(
            group_id=self._group_id,
            generation_id_or_member_epoch=who.generation,
            member_id=who.member_id,
            topics=topics,
        )
        await self.coordinator.ask(ask, self._version, deadline_ms, _worst)

    async def committed(self, keys: Sequence[Partition], deadline_ms: float) -> dict[Partition, int | None]:
        """Return the stable next offsets, None where the group has none; raises ClientError.

        Whoever led before what is committed was written is not believed to lead any more (KIP-320): its log may end
        before it.
        """
        topics = tuple(
            OffsetFetchRequestTopics(name=topic, partition_indexes=tuple(indexes))
            for topic, indexes in _by_topic(keys).items()
        )
        group = OffsetFetchRequestGroup(group_id=self._group_id, topics=topics)
        ask = OffsetFetchRequest(groups=(group,), require_stable=True)
        answer = await self.coordinator.ask(ask, FETCH_VERSION, deadline_ms, _worst_fetched, UNSTABLE)
        found: dict[Partition, int] = {}
        for topic in answer.groups[0].topics:
            for part in topic.partitions:
                key = (topic.name, part.partition_index)
                found[key] = part.committed_offset
                self._contact.metadata.seen(key, part.committed_leader_epoch)
        return {key: found[key] if found.get(key, -1) >= 0 else None for key in keys}


def _by_topic(keys: Sequence[Partition]) -> dict[str, list[int]]:
    by_topic: dict[str, list[int]] = {}
    for topic, index in keys:
        by_topic.setdefault(topic, []).append(index)
    return by_topic


def _worst(answer: Any) -> int:
    return next((part.error_code for topic in answer.topics for part in topic.partitions if part.error_code), 0)


def _worst_fetched(answer: Any) -> int:
    group = answer.groups[0]
    return group.error_code or _worst(group)
