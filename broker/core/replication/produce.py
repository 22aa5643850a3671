"""Produce: check a batch by its header, append it, answer when as many replicas have it as `acks` asks for.

A request with acks=all parks in every partition that must replicate it and is answered once, when the last of them is
decided; its deadline stands in one heap with all others. Transactional batches are refused until this node has a
transaction coordinator to verify them with (KIP-890).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication.replica import Awaiting, Replica
from broker.core.replication.replicas import Replicas
from broker.wire import batch
from broker.wire.batch import Buffer, CorruptBatchError
from broker.wire.messages.produce import (
    LeaderIdAndEpoch,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from broker.wire.primitives import NO_UUID

ALL = -1


class _Pending:
    """A request that waits for replication; answers by (topic, partition) position."""

    def __init__(self, request_id: object, request: ProduceRequest, deadline_ms: int) -> None:
        self.request_id, self.request, self.deadline_ms = request_id, request, deadline_ms
        self.answers: list[list[PartitionProduceResponse | None]] = [
            [None] * len(t.partition_data) for t in request.topic_data
        ]
        self.open = sum(map(len, self.answers))

    def settle(self, topic: int, partition: int, answer: PartitionProduceResponse) -> bool:
        """Note one answer; return whether it was the last."""
        if self.answers[topic][partition] is not None:
            return False
        self.answers[topic][partition] = answer
        self.open -= 1
        return self.open == 0

    def response(self) -> ProduceResponse:
        """Return the whole answer; what is undecided has timed out."""
        responses = []
        for topic, answers in zip(self.request.topic_data, self.answers, strict=True):
            filled = tuple(
                answer or PartitionProduceResponse(index=data.index, error_code=Code.REQUEST_TIMED_OUT)
                for data, answer in zip(topic.partition_data, answers, strict=True)
            )
            responses.append(TopicProduceResponse(name=topic.name, topic_id=topic.topic_id, partition_responses=filled))
        return ProduceResponse(responses=tuple(responses))


class Producing:
    """See the module. `appended` is told of every append, so that waiting fetches are answered."""

    def __init__(
        self, replicas: Replicas, image: Callable[[], Image], out: Outbox, appended: Callable[[Replica], None]
    ) -> None:
        self._replicas, self._image, self._out, self._appended = replicas, image, out, appended
        self._deadlines: list[tuple[int, int, _Pending]] = []
        self._order = count()

    @property
    def deadline_ms(self) -> int:
        """When the next parked request times out."""
        while self._deadlines and not self._deadlines[0][2].open:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else 1 << 62

    def handle(self, request_id: object, request: ProduceRequest, now_ms: int) -> None:
        """Append and answer, now or when replicated; acks=0 gets no answer."""
        pending = _Pending(request_id, request, now_ms + request.timeout_ms)
        for t, topic in enumerate(request.topic_data):
            for p, data in enumerate(topic.partition_data):
                self._append(pending, (t, p), topic, data, now_ms)
        if not pending.open and not request.topic_data and request.acks:
            self._out.replies.append(Reply(request_id, pending.response()))
        elif pending.open:
            heapq.heappush(self._deadlines, (pending.deadline_ms, next(self._order), pending))

    def _append(
        self,
        pending: _Pending,
        place: tuple[int, int],
        topic: TopicProduceData,
        data: PartitionProduceData,
        now_ms: int,
    ) -> None:
        acks = pending.request.acks
        replica = None
        try:
            replica = self._find(topic, data.index)
            first, required = self._append_batch(replica, data.records, acks, now_ms)
        except Refused as refused:
            self._settle(pending, place, self._refusal(data.index, refused, replica))
            return
        log = replica.log
        answer = PartitionProduceResponse(
            index=data.index,
            base_offset=first,
            log_append_time_ms=now_ms if replica.config.log.append_time else -1,
            log_start_offset=log.start,
        )
        self._replicas.advance(replica, now_ms)
        self._appended(replica)
        if acks != ALL or required <= log.high_watermark:
            self._settle(pending, place, answer)
            return

        def done(code: Code) -> None:
            final = answer if code is Code.NONE else PartitionProduceResponse(index=data.index, error_code=code)
            self._settle(pending, place, final)

        replica.awaiting.append(Awaiting(required, done))

    def _find(self, topic: TopicProduceData, index: int) -> Replica:
        image = self._image()
        topic_id = topic.topic_id.hex() if topic.topic_id != NO_UUID else image.topic_ids.get(topic.name, "")
        if image.partition(topic_id, index) is None:
            by_id = topic.topic_id != NO_UUID
            raise Refused(Code.UNKNOWN_TOPIC_ID if by_id else Code.UNKNOWN_TOPIC_OR_PARTITION)
        replica = self._replicas.get((topic_id, index))
        if replica is None or replica.leader is None:
            raise Refused(Code.NOT_LEADER_OR_FOLLOWER)
        return replica

    def _append_batch(self, replica: Replica, records: Buffer | None, acks: int, now_ms: int) -> tuple[int, int]:
        """Check and append; return (first offset, the offset that the high watermark must reach)."""
        leader = replica.leader
        assert leader is not None
        if acks not in {0, 1, ALL}:
            raise Refused(Code.INVALID_REQUIRED_ACKS, f"acks={acks}")
        if acks == ALL and not leader.has_min_isr(replica.config.min_isr):
            raise Refused(Code.NOT_ENOUGH_REPLICAS, f"the ISR of {replica.log.name} is {leader.state.isr}")
        log = replica.log
        buffer = records if isinstance(records, bytearray | memoryview) else bytearray(records or b"")
        header = self._check_batch(buffer, replica.config.log.max_message_bytes)
        if header.producer_id >= 0:
            repeated = log.producers.check(header)
            if repeated is not None:
                return repeated.base_offset, repeated.last_offset + 1
        first = log.append(buffer, [header], leader.epoch, now_ms)
        return first, log.end

    def _check_batch(self, buffer: Buffer, max_bytes: int) -> batch.BatchHeader:
        """Return the header of the one good batch that a client may send."""
        try:
            found = list(batch.parse(buffer))
            if len(found) != 1 or found[0][1].size != len(buffer):
                raise Refused(Code.INVALID_RECORD, "a partition takes exactly one record batch per request")
            header = found[0][1]
            if header.size > max_bytes:
                raise Refused(Code.MESSAGE_TOO_LARGE, f"the batch has {header.size} bytes, {max_bytes} are allowed")
            batch.check(buffer, 0, header)
        except CorruptBatchError as error:
            raise Refused(Code.CORRUPT_MESSAGE, str(error)) from error
        if header.is_control or header.record_count < 1 or header.last_offset_delta != header.record_count - 1:
            raise Refused(Code.INVALID_RECORD, f"{header.record_count} records to offset +{header.last_offset_delta}")
        if header.is_transactional:
            raise Refused(Code.INVALID_TXN_STATE, "this node has no transaction coordinator")
        return header

    def _refusal(self, index: int, refused: Refused, replica: Replica | None) -> PartitionProduceResponse:
        current = LeaderIdAndEpoch()
        if replica is not None and replica.state is not None:
            current = LeaderIdAndEpoch(leader_id=replica.state.leader, leader_epoch=replica.state.leader_epoch)
        return PartitionProduceResponse(
            index=index, error_code=refused.code, error_message=refused.message, current_leader=current
        )

    def _settle(self, pending: _Pending, place: tuple[int, int], answer: PartitionProduceResponse) -> None:
        if pending.settle(*place, answer) and pending.request.acks != 0:
            self._out.replies.append(Reply(pending.request_id, pending.response()))

    def tick(self, now_ms: int) -> None:
        """Answer what has waited too long; its records stay."""
        while self.deadline_ms <= now_ms:
            pending = heapq.heappop(self._deadlines)[2]
            pending.open = 0
            self._out.replies.append(Reply(pending.request_id, pending.response()))
