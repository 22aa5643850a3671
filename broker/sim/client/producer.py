"""A producer: records into batches, batches to leaders, tried again until they are acknowledged or their time is up.

    produce -> waiting -> flying -> acknowledged
                             |---> again (retriable, in time) -> flying
                             '---> failed (told otherwise, or the delivery time-out)

With idempotence every batch has producer id, epoch and sequence. When a batch that had a sequence is given up, the
leader may lack that sequence for ever: the epoch rises (`_lost_track`), as soon as nothing flies, and numbers begin
anew. What may already be in the log is then given up too, never sent under other numbers: it could come twice.
"""

from __future__ import annotations

from typing import Final

from broker.sim.client.config import ProducerConfig
from broker.sim.client.contact import Contact
from broker.sim.client.errors import COORDINATOR, LOST, MOVED, MSG_TIMED_OUT, PURGE_INFLIGHT, ClientError, of_code
from broker.sim.client.lane import Batch, Lane, Message
from broker.sim.client.metadata import Partition
from broker.sim.connections import Network
from broker.sim.loop import Future, Loop
from broker.wire import batch as wire_batch
from broker.wire import compression
from broker.wire.messages.init_producer_id import InitProducerIdRequest
from broker.wire.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    TopicProduceData,
)
from broker.wire.record import Headers, encode_with_headers

PRODUCE_VERSION: Final = 11
"""By topic name, and not yet transaction protocol v2."""
PRODUCE_VERSION_V2: Final = 12
INIT_VERSION: Final = 5
RETRIABLE: Final = (
    MOVED
    | LOST
    | COORDINATOR
    | {"REQUEST_TIMED_OUT", "NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "CONCURRENT_TRANSACTIONS"}
)
PROVEN: Final = frozenset({"NOT_ENOUGH_REPLICAS", "UNKNOWN_TOPIC_ID", "OUT_OF_ORDER_SEQUENCE_NUMBER"})
"""Refused before the append: this attempt left no doubt."""

Identity = tuple[int, int]
"""Producer id and epoch."""


class Producer:
    """See the module. Used by coroutines of one loop; `close` drops it as a crash would."""

    def __init__(self, loop: Loop, network: Network, config: ProducerConfig) -> None:
        """Prepare; nothing connects yet."""
        self.loop, self.config = loop, config
        self.contact = Contact(loop, network, config.client)
        self.error: ClientError | None = None
        """Why nothing can be produced any more, or only after an abort."""
        self.identity: Identity | None = None
        self._lanes: dict[Partition, Lane] = {}
        self._is_acquiring = False
        self._is_lost = False
        self._idle: list[Future[None]] = []

    @property
    def _is_idempotent(self) -> bool:
        return self.config.idempotence or self.config.transactional_id is not None

    def produce(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> Future[int | None]:
        """Take a record; the future gets its offset, or a ClientError. Raises ClientError when it is refused at once.

        The future must be awaited.
        """
        if self.error is not None:
            raise self.error
        self._check_produce()
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane((topic, partition))
        timeout_ms = self.config.delivery_timeout_ms
        message = Message(value, key, self.loop.now_ms + timeout_ms, self.loop.future(), headers)
        message.timer = self.loop.later(timeout_ms, lambda: self._expire(lane, message))
        lane.waiting.append(message)
        self._pump_soon(lane)
        return message.report

    async def send(self, topic: str, partition: int, value: bytes | None, deadline_ms: float) -> int | None:
        """Produce a record and await its report; raises ClientError, _TIMED_OUT at the deadline."""
        return await self.contact.until(self.produce(topic, partition, value), deadline_ms)

    async def flush(self, deadline_ms: float) -> None:
        """Wait until nothing is under way; raises ClientError _TIMED_OUT."""
        if not self._is_idle():
            idle: Future[None] = self.loop.future()
            self._idle.append(idle)
            await self.contact.until(idle, deadline_ms)

    def close(self) -> None:
        """Drop everything: nothing is flushed, nobody is told."""
        self.contact.close()
        for lane in self._lanes.values():
            for message in [*lane.waiting, *(m for b in (*lane.flying, *lane.again) for m in b.messages)]:
                if message.timer is not None:
                    message.timer.cancel()

    # Hooks of the transactional producer.

    def _check_produce(self) -> None:
        """Raise ClientError if no record may be produced now."""

    async def _before(self, lane: Lane, batch: Batch) -> None:
        """Do what must be done before a batch is sent; raises ClientError."""

    def _gave_up(self, error: ClientError) -> None:
        """Hear of a batch that failed, and that its sequence is lost."""
        self.error = error if error.fatal else None
        self._is_lost = self._is_idempotent

    # Sending.

    def _pump_soon(self, lane: Lane) -> None:
        """Look at the lane when the present event is over, so that records produced together go together."""
        if not lane.pumping:
            lane.pumping = True
            self.loop.soon(lambda: self._pump(lane))

    def _pump(self, lane: Lane) -> None:
        lane.pumping = False
        if self.contact.is_closed or lane.is_idle or not self._may_send():
            return
        config, ordered = self.config, self._is_idempotent
        while (
            batch := lane.take(config.batch_records, self.loop.now_ns, most=config.max_in_flight, ordered=ordered)
        ) is not None:
            self.contact.spawn(self._attempt(lane, batch), f"{config.client.client_id} {lane.key}")

    def _pump_all(self) -> None:
        for lane in self._lanes.values():
            self._pump_soon(lane)

    def _may_send(self) -> bool:
        """Return whether batches may leave now; begin what is needed for that."""
        if self.error is not None or self._is_lost:
            return False
        if self._is_idempotent and self.identity is None:
            if not self._is_acquiring and self.config.transactional_id is None:
                self._is_acquiring = True
                self.contact.spawn(self._acquire(), f"{self.config.client.client_id} id")
            return False
        return True

    async def _acquire(self) -> None:
        """Get a producer id, from any node; end when nobody waits for it any more."""
        attempt = 0
        try:
            while not self._is_idle():
                attempt += 1
                try:
                    answer = await self.contact.call(
                        self.contact.any_node(), InitProducerIdRequest(transactional_id=None), INIT_VERSION
                    )
                except ClientError:
                    answer = None
                if answer is not None and not answer.error_code:
                    self.identity = (answer.producer_id, answer.producer_epoch)
                    return
                await self.loop.sleep(self.contact.backoff_ms(attempt))
        finally:
            self._is_acquiring = False
            self._pump_all()

    async def _attempt(self, lane: Lane, batch: Batch) -> None:
        """Send a batch once, and settle what came of it."""
        try:
            base = await self._deliver(lane, batch)
        except ClientError as error:
            lane.flying.remove(batch)
            self._failed(lane, batch, error)
        else:
            lane.flying.remove(batch)
            for position, message in enumerate(batch.messages):
                message.settle(None if base is None else base + position)
        self._settle_identity()
        self._pump_soon(lane)
        self._tell_idle()

    async def _deliver(self, lane: Lane, batch: Batch) -> int | None:
        await self._before(lane, batch)
        while (leader := self.contact.known_leader(lane.key)) is None:
            await self.contact.until(self.contact.refresh(), batch.deadline_ms)
            if self.error is not None:
                raise ClientError(PURGE_INFLIGHT, str(self.error))
        config, now_ms = self.config, self.loop.now_ms
        data = PartitionProduceData(index=lane.key[1], records=self._encode(batch))
        request = ProduceRequest(
            transactional_id=config.transactional_id,
            acks=config.acks,
            timeout_ms=config.replication_timeout_ms,
            topic_data=(TopicProduceData(name=lane.key[0], partition_data=(data,)),),
        )
        v2 = config.transactional_id is not None and config.transaction_version == 2
        version = PRODUCE_VERSION_V2 if v2 else PRODUCE_VERSION
        if config.acks == 0:
            await self.contact.tell(leader.node, request, version)
            return None
        before, batch.doubtful = batch.doubtful, True
        wait_ms = max(min(config.client.request_timeout_ms, batch.deadline_ms - now_ms), 1)
        answer = await self.contact.call(leader.node, request, version, wait_ms)
        part: PartitionProduceResponse = answer.responses[0].partition_responses[0]
        if not part.error_code:
            return part.base_offset if part.base_offset >= 0 else None
        self.contact.metadata.told(lane.key, part.current_leader.leader_id, part.current_leader.leader_epoch)
        error = of_code(part.error_code, part.error_message or "")
        if error.name in PROVEN:
            batch.doubtful = before
        raise error

    def _encode(self, batch: Batch) -> bytes:
        body, count = encode_with_headers((one.record_key, one.value, one.headers) for one in batch.messages)
        producer_id, epoch = self.identity if self.identity is not None else (-1, -1)
        now_ms = self.loop.wall_ms  # of another time than the brokers' clocks, producers would expire at once
        data = wire_batch.build(
            compression.compress(self.config.compression, body),
            count=count,
            base_timestamp=now_ms,
            max_timestamp=now_ms,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=batch.sequence if self._is_idempotent else -1,
            transactional=self.config.transactional_id is not None,
            compression=self.config.compression,
        )
        return bytes(data)

    # What went wrong.

    def _failed(self, lane: Lane, batch: Batch, error: ClientError) -> None:
        if error.name == "DUPLICATE_SEQUENCE_NUMBER":  # it is there; where, nobody remembers
            for message in batch.messages:
                message.settle(None)
            return
        again = error.name in RETRIABLE
        if error.name == "OUT_OF_ORDER_SEQUENCE_NUMBER":
            again = not lane.is_first(batch)  # the batch before it failed, too: it is sent first
        if again and self.loop.now_ms < batch.deadline_ms and self.error is None:
            batch.attempts, batch.last = batch.attempts + 1, str(error)
            pause_ms = self.contact.backoff_ms(batch.attempts)
            lane.again.append(batch)
            lane.not_before_ns = self.loop.later(pause_ms, lambda: self._pump(lane)).at_ns
            if error.name in MOVED:
                self.contact.refresh()
            return
        if not again:
            told = self._final(error)
        elif self.error is not None:
            told = ClientError(PURGE_INFLIGHT, f"the last attempt: {error}")
        else:
            told = ClientError(MSG_TIMED_OUT, f"the last attempt: {error}")
        for message in batch.messages:
            message.fail(told)
        self._gave_up(told)

    def _final(self, error: ClientError) -> ClientError:
        """Return what an error that is not tried again means for the producer."""
        fatal = error.name in {"OUT_OF_ORDER_SEQUENCE_NUMBER", "INVALID_PRODUCER_EPOCH"}
        return ClientError(error.name, error.message, fatal=fatal)

    def _expire(self, lane: Lane, message: Message) -> None:
        """The record's time is up: give it up unless it is under way; then the attempt's end decides."""
        if message.report.done or self.contact.is_closed:
            return
        error = ClientError(MSG_TIMED_OUT, "not delivered within the delivery time-out")
        if message in lane.waiting:
            lane.waiting.remove(message)
            message.fail(error)
        else:
            batch = next((batch for batch in lane.again if message in batch.messages), None)
            if batch is None:
                return
            lane.drop([batch])
            error = ClientError(MSG_TIMED_OUT, f"the last attempt: {batch.last}")
            for one in batch.messages:
                one.fail(error)
            self._gave_up(error)
            self._settle_identity()
        self._tell_idle()

    def _settle_identity(self) -> None:
        """Raise the epoch, by ourselves as librdkafka and Java do, when a sequence was lost and nothing flies."""
        if not self._is_lost or any(lane.flying for lane in self._lanes.values()):
            return
        self._is_lost = False
        self._bump()
        for lane in self._lanes.values():
            doubtful = [batch for batch in lane.again if batch.doubtful]
            lane.drop(doubtful)
            for batch in doubtful:
                for message in batch.messages:
                    message.fail(ClientError(MSG_TIMED_OUT, "given up: the producer's epoch rose meanwhile"))
            lane.begin_anew()
        self._pump_all()

    def _bump(self) -> None:
        if self.identity is not None:
            producer_id, epoch = self.identity
            self.identity = (producer_id, epoch + 1) if epoch < (1 << 15) - 2 else None

    # Being idle.

    def _is_idle(self) -> bool:
        return all(lane.is_idle for lane in self._lanes.values())

    def _tell_idle(self) -> None:
        if self._idle and self._is_idle():
            idle, self._idle = self._idle, []
            for future in idle:
                future.set(None)
