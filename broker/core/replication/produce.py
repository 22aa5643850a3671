"""Produce: check a batch by its header, append it, answer when as many replicas have it as `acks` asks for.

A request with acks=all parks in every partition that must replicate it and is answered once, when the last of them is
decided; its deadline stands in one heap with all others. With acks=0 only a refusal is answered, for the driver, which
closes the connection: so its client hears of it, and looks for the leader anew, as in Kafka.

The first batch of a transaction waits until the coordinator has the partition in that transaction (KIP-890); batches
of the same producer that come meanwhile wait behind it, in order, for the same answer. A guard in the log proves that
no marker of this transaction came between the coordinator's answer and the append; that of the one before may
(KAFKA-18654).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Protocol

from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication import intake
from broker.core.replication.intake import RefusedRecords, Writable
from broker.core.replication.replica import Awaiting, Key, Replica
from broker.core.replication.replicas import Replicas
from broker.core.topic_names import INTERNAL
from broker.core.topic_settings import CODECS
from broker.wire import batch
from broker.wire.batch import Buffer
from broker.wire.messages.produce import (
    BatchIndexAndErrorMessage,
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
ZSTD_FROM_PRODUCE = 7
"""From this version on a producer may use zstd: whoever reads in older ones does not know it (KIP-110)."""
V2_FROM_PRODUCE = 12
"""From this version on a producer leaves it to the leader to add the partition to its transaction."""
_NOT_VERIFIED = "not part of an ongoing transaction, or its coordinator can't be asked"
_ENDED = "the transaction ended while its coordinator was asked"
_Step = Callable[[Refused | None, int], None]


class Verify(Protocol):
    """Asks the transaction coordinator (`broker.core.transaction.verifier`)."""

    def ask(
        self,
        name: str,
        identity: tuple[int, int],
        place: tuple[str, int],
        done: Callable[[Code, int], None],
        now_ms: int,
        *,
        add: bool,
    ) -> None:
        """Add or verify a partition; `done` gets the code and the time."""
        ...

    def here(self, name: str, identity: tuple[int, int], place: tuple[str, int]) -> Code | None:
        """Verify a partition where the coordinator is on this node; None: it is not, `ask`."""
        ...


class _Pending:
    """A request that waits for replication; answers by (topic, partition) position."""

    def __init__(self, request_id: object, request: ProduceRequest, deadline_ms: int) -> None:
        self.request_id, self.request, self.deadline_ms = request_id, request, deadline_ms
        self.answers: list[list[PartitionProduceResponse | None]] = [
            [None] * len(t.partition_data) for t in request.topic_data
        ]
        self.open = sum(map(len, self.answers))
        self.v2 = False
        self.may_zstd = True

    def settle(self, topic: int, partition: int, answer: PartitionProduceResponse) -> bool:
        """Note one answer; return whether it was the last."""
        if self.answers[topic][partition] is not None:
            return False
        self.answers[topic][partition] = answer
        self.open -= 1
        return self.open == 0

    @property
    def is_heard(self) -> bool:
        """Whether the client, or with acks=0 the driver, wants to hear of the outcome."""
        return self.request.acks != 0 or any(one and one.error_code for answers in self.answers for one in answers)

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
        self,
        replicas: Replicas,
        image: Callable[[], Image],
        out: Outbox,
        *,
        appended: Callable[[Replica], None],
        verify: Verify,
    ) -> None:
        self._replicas, self._image, self._out, self._appended = replicas, image, out, appended
        self._verify = verify
        self._verifying: dict[tuple[Key, int, int], list[_Step]] = {}  # (partition, identity) -> batches that wait
        self._deadlines: list[tuple[int, int, _Pending]] = []
        self._order = count()

    @property
    def deadline_ms(self) -> int:
        """When the next parked request times out."""
        while self._deadlines and not self._deadlines[0][2].open:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else 1 << 62

    def handle(self, request_id: object, request: ProduceRequest, version: int, now_ms: int) -> None:
        """Append and answer, now or when replicated; acks=0 gets no answer but a refusal."""
        pending = _Pending(request_id, request, now_ms + request.timeout_ms)
        pending.v2, pending.may_zstd = version >= V2_FROM_PRODUCE, version >= ZSTD_FROM_PRODUCE
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
        replica = None
        try:
            replica = self._find(topic, data.index)
            buffer, header = self._check(replica, data.records, pending, now_ms)
            if header.is_transactional and self._must_wait(pending, replica, header):
                self._wait(pending, place, replica, bytearray(buffer), now_ms)
            else:
                self._write(pending, place, replica, (buffer, header), now_ms)
        except Refused as refused:
            self._settle(pending, place, self._refusal(data.index, refused, replica))

    def _write(
        self,
        pending: _Pending,
        place: tuple[int, int],
        replica: Replica,
        checked: tuple[Writable, batch.BatchHeader],
        now_ms: int,
    ) -> None:
        """Append a checked batch, or find that it repeats one; settle now, or when it is replicated."""
        log, leader, index = replica.log, replica.leader, replica.key[1]
        if leader is None:
            raise Refused(Code.NOT_LEADER_OR_FOLLOWER)
        wall_ms = self._replicas.wall_ms(now_ms)
        buffer, header = checked
        strict = pending.v2 and header.is_transactional  # v2 starts every transaction at sequence 0
        repeated = log.producers.check(header, strict_start=strict) if header.producer_id >= 0 else None
        if repeated is not None:
            first, required = repeated.base_offset, repeated.last_offset + 1
        else:
            first, required = log.append(buffer, [header], leader.epoch, wall_ms), log.end
        answer = PartitionProduceResponse(
            index=index,
            base_offset=first,
            log_append_time_ms=wall_ms if replica.config.log.append_time else -1,
            log_start_offset=log.start,
        )
        self._replicas.advance(replica, now_ms)
        self._appended(replica)
        if pending.request.acks != ALL or required <= log.high_watermark:
            self._settle(pending, place, answer)
            return

        def done(code: Code) -> None:
            final = answer if code is Code.NONE else PartitionProduceResponse(index=index, error_code=code)
            self._settle(pending, place, final)

        replica.awaiting.append(Awaiting(required, done))

    # The first batch of a transaction.

    def _must_wait(self, pending: _Pending, replica: Replica, header: batch.BatchHeader) -> bool:
        """Return whether the coordinator must be asked first, or is being asked for a batch before this one.

        One on this node says at once whether it knows the partition: raises Refused if not.
        """
        if (replica.key, header.producer_id, header.producer_epoch) in self._verifying:
            return True
        producers = replica.log.producers
        is_open = producers.is_open(header.producer_id, header.producer_epoch)
        if is_open or producers.check(header) is not None:
            return False
        if pending.v2:
            return True
        identity, at = (header.producer_id, header.producer_epoch), (replica.name, replica.key[1])
        code = self._verify.here(pending.request.transactional_id or "", identity, at)
        if code:
            raise Refused(code, _NOT_VERIFIED)
        return code is None

    def _wait(
        self, pending: _Pending, place: tuple[int, int], replica: Replica, buffer: bytearray, now_ms: int
    ) -> None:
        """Ask the coordinator; the batch (a copy: requests' buffers are reused) waits for the answer."""
        header = batch.parse_header(buffer, 0)
        producer_id, epoch = header.producer_id, header.producer_epoch

        def step(refused: Refused | None, then_ms: int) -> None:
            try:
                if refused is None:
                    self._write(pending, place, replica, (buffer, header), then_ms)
                    return
            except Refused as late:
                refused = late
            self._settle(pending, place, self._refusal(replica.key[1], refused, replica))

        at = (replica.key, producer_id, epoch)
        if at in self._verifying:
            self._verifying[at].append(step)
            return
        waiting = self._verifying[at] = [step]
        guard = replica.log.producers.start_verification(producer_id, epoch, v2=pending.v2)
        leadership = replica.leader

        def answered(code: Code, then_ms: int) -> None:
            del self._verifying[at]
            ended = replica.log.producers.end_verification(producer_id, guard)
            refused = None
            if replica.leader is not leadership:  # what was cut and appended since says nothing of the transaction
                refused = Refused(Code.NOT_LEADER_OR_FOLLOWER)
            elif code or ended:
                refused = Refused(code, _NOT_VERIFIED) if code else Refused(ended, _ENDED)
            for one in waiting:
                one(refused, then_ms)

        name = pending.request.transactional_id or ""
        identity, place_ = (producer_id, epoch), (replica.name, replica.key[1])
        self._verify.ask(name, identity, place_, answered, now_ms, add=pending.v2)

    def _find(self, topic: TopicProduceData, index: int) -> Replica:
        image = self._image()
        topic_id = topic.topic_id.hex() if topic.topic_id != NO_UUID else image.topic_ids.get(topic.name, "")
        if image.partition(topic_id, index) is None:
            by_id = topic.topic_id != NO_UUID
            raise Refused(Code.UNKNOWN_TOPIC_ID if by_id else Code.UNKNOWN_TOPIC_OR_PARTITION)
        replica = self._replicas.get((topic_id, index))
        if replica is None or replica.leader is None:
            raise Refused(Code.NOT_LEADER_OR_FOLLOWER)
        if replica.name in INTERNAL:
            raise Refused(Code.INVALID_TOPIC_EXCEPTION, f"{replica.name} is written by coordinators only")
        return replica

    def _check(
        self, replica: Replica, records: Buffer | None, pending: _Pending, now_ms: int
    ) -> tuple[Writable, batch.BatchHeader]:
        """Return the batch, writable, and its header, if this replica may append it now."""
        leader, acks = replica.leader, pending.request.acks
        assert leader is not None
        if acks not in {0, 1, ALL}:
            raise Refused(Code.INVALID_REQUIRED_ACKS, f"acks={acks}")
        if acks == ALL and not leader.has_min_isr(replica.config.min_isr):
            raise Refused(Code.NOT_ENOUGH_REPLICAS, f"the ISR of {replica.log.name} is {leader.state.isr}")
        buffer, header = intake.take(
            records, replica.config, self._replicas.wall_ms(now_ms), (replica.name, replica.key[1])
        )
        if not pending.may_zstd and header.compression == CODECS["zstd"]:
            raise Refused(Code.UNSUPPORTED_COMPRESSION_TYPE, f"zstd needs Produce {ZSTD_FROM_PRODUCE}")
        return buffer, header

    def _refusal(self, index: int, refused: Refused, replica: Replica | None) -> PartitionProduceResponse:
        current = LeaderIdAndEpoch()
        if replica is not None and replica.state is not None:
            current = LeaderIdAndEpoch(leader_id=replica.state.leader, leader_epoch=replica.state.leader_epoch)
        bad = refused.records if isinstance(refused, RefusedRecords) else ()
        return PartitionProduceResponse(
            index=index,
            error_code=refused.code,
            record_errors=tuple(
                BatchIndexAndErrorMessage(batch_index=place, batch_index_error_message=text) for place, text in bad
            ),
            error_message=refused.message,
            current_leader=current,
        )

    def _settle(self, pending: _Pending, place: tuple[int, int], answer: PartitionProduceResponse) -> None:
        if pending.settle(*place, answer) and pending.is_heard:
            self._out.replies.append(Reply(pending.request_id, pending.response()))

    def tick(self, now_ms: int) -> None:
        """Answer what has waited too long; its records stay."""
        while self.deadline_ms <= now_ms:
            pending = heapq.heappop(self._deadlines)[2]
            pending.open = 0
            if pending.request.acks != 0:
                self._out.replies.append(Reply(pending.request_id, pending.response()))
