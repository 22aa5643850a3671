"""TxnOffsetCommit: offsets that count when a transaction commits (KIP-98, KIP-447, KIP-890).

The group coordinator is here a partition leader like any other: it asks the transaction coordinator before the first
write of a transaction, writes the offsets as a transactional batch, and learns from the marker what becomes of them.
A producer that shows its consumer's group metadata is fenced with the consumer.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.errors import Code, Refused
from broker.core.group.coordinator import NO_GENERATION, TOPIC, GroupCoordinator
from broker.core.group.group_records import Offset, OffsetKey, encode_key, encode_offset
from broker.core.group.group_shard import GroupShard
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication.replicas import Replicas
from broker.core.transaction.verifier import Verifier
from broker.wire import record
from broker.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)

V2_FROM_COMMIT = 5
"""From this version on the producer leaves it to the group coordinator to add itself to the transaction."""


class TransactionalOffsets:
    """See the module."""

    def __init__(
        self,
        groups: GroupCoordinator,
        verifier: Verifier,
        replicas: Replicas,
        out: Outbox,
        *,
        image: Callable[[], Image],
    ) -> None:
        self._groups, self._verifier, self._replicas, self._out, self._image = groups, verifier, replicas, out, image

    def handle(self, request_id: object, message: TxnOffsetCommitRequest, version: int, now_ms: int) -> None:
        """Write the offsets, answer when they are replicated."""

        def answer(code: Code) -> None:
            self._out.replies.append(Reply(request_id, self._response(message, code)))

        try:
            shard = self._groups.shard(message.group_id)
            self._check(shard, message)
            self._verify(shard, message, answer, now_ms, v2=version >= V2_FROM_COMMIT)
        except Refused as refused:
            answer(refused.code)

    def _check(self, shard: GroupShard, message: TxnOffsetCommitRequest) -> None:
        """Raise Refused if a newer producer was here, or the consumer is of another generation."""
        known = shard.log.replica.log.producers.get(message.producer_id)
        if known is not None and message.producer_epoch < known.epoch:
            raise Refused(Code.INVALID_PRODUCER_EPOCH, f"epoch {message.producer_epoch} is older than {known.epoch}")
        if message.generation_id != NO_GENERATION or message.member_id or message.group_instance_id is not None:
            who = (message.member_id, message.group_instance_id, message.generation_id)
            try:
                self._groups.check_commit(shard, message.group_id, who, transactional=True)
            except Refused as refused:
                if refused.code is not Code.STALE_MEMBER_EPOCH:
                    raise
                raise Refused(Code.ILLEGAL_GENERATION, refused.message) from refused  # all that this request knows

    def _verify(
        self,
        shard: GroupShard,
        message: TxnOffsetCommitRequest,
        answer: Callable[[Code], None],
        now_ms: int,
        *,
        v2: bool,
    ) -> None:
        producers, producer_id = shard.log.replica.log.producers, message.producer_id
        if producers.is_open(producer_id, message.producer_epoch):
            self._write(shard, message, answer, now_ms)
            return
        guard = producers.start_verification(producer_id, message.producer_epoch, v2=v2)

        def verified(code: Code, then_ms: int) -> None:
            ended = shard.log.replica.log.producers.end_verification(producer_id, guard)
            code = code or (ended if shard.log.is_current else Code.NOT_COORDINATOR)
            try:
                if not code:
                    self._check(shard, message)
                    self._write(shard, message, answer, then_ms)
                    return
            except Refused as refused:
                code = refused.code
            answer(Code.COORDINATOR_NOT_AVAILABLE if code is Code.NOT_ENOUGH_REPLICAS else code)

        identity, place = (producer_id, message.producer_epoch), (TOPIC, shard.log.replica.key[1])
        self._verifier.ask(message.transactional_id, identity, place, verified, now_ms, add=v2)

    def _write(
        self, shard: GroupShard, message: TxnOffsetCommitRequest, answer: Callable[[Code], None], now_ms: int
    ) -> None:
        offsets = {
            OffsetKey(message.group_id, topic.name, partition.partition_index): Offset(
                partition.committed_offset,
                partition.committed_leader_epoch,
                partition.committed_metadata or "",
                now_ms,
                shard.log.replica.log.end,
            )
            for topic in message.topics
            for partition in topic.partitions
            if self._exists(topic.name, partition.partition_index)
        }
        if not offsets:
            answer(Code.NONE)
            return

        def written(code: Code) -> None:
            if code is Code.NOT_LEADER_OR_FOLLOWER:
                answer(Code.NOT_COORDINATOR)
                return
            shard.hold(message.producer_id, offsets)
            answer(Code.NONE)

        data = record.batch_of(
            [(encode_key(key), encode_offset(value)) for key, value in offsets.items()],
            timestamp_ms=now_ms,
            producer_id=message.producer_id,
            producer_epoch=message.producer_epoch,
            transactional=True,
        )
        at = shard.log.replica.log.end
        shard.log.write(data, now_ms, written)
        shard.note_write(offsets, at)
        self._replicas.appended(shard.log.replica, now_ms)

    def _exists(self, name: str, index: int) -> bool:
        topic = self._image().topic(name)
        return topic is not None and index in topic.partitions

    def _response(self, message: TxnOffsetCommitRequest, code: Code) -> TxnOffsetCommitResponse:
        topics = tuple(
            TxnOffsetCommitResponseTopic(
                name=topic.name,
                topic_id=topic.topic_id,
                partitions=tuple(
                    TxnOffsetCommitResponsePartition(
                        partition_index=partition.partition_index,
                        error_code=code
                        if code or self._exists(topic.name, partition.partition_index)
                        else Code.UNKNOWN_TOPIC_OR_PARTITION,
                    )
                    for partition in topic.partitions
                ),
            )
            for topic in message.topics
        )
        return TxnOffsetCommitResponse(topics=topics)
