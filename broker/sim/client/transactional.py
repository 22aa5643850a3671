"""A transactional producer, by protocol v1 (librdkafka, older Java clients) and v2 (Java 4.x, KIP-890).

    NEW --init--> READY --begin--> OPEN --commit/abort--> READY
                                    |---> ABORTABLE (an error of the body) --abort--> READY
    any --fenced, or refused for ever--> FATAL

v1: each partition and each group is added to the transaction before its first record or offset; the epoch stays. v2:
leaders add them; EndTxn tells the identity for the next transaction, whose sequences begin at 0. A transaction that
touched nothing ends without a request. After a batch was given up, v1 asks for a risen epoch once the abort is through
(KIP-360); v2 has it from the abort anyway.

A call that passes its deadline raises _TIMED_OUT: `requires_abort` says that EndTxn was not sent yet, `retriable` that
its end is unknown, and the producer then only good for the same call again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from broker.sim.client.config import ProducerConfig
from broker.sim.client.coordinator import Coordinator
from broker.sim.client.errors import (
    FENCED,
    FENCES,
    LOST,
    PURGE_INFLIGHT,
    PURGE_QUEUE,
    STATE,
    TIMED_OUT,
    ClientError,
)
from broker.sim.client.lane import Batch, Lane
from broker.sim.client.metadata import Partition
from broker.sim.client.producer import INIT_VERSION, Producer
from broker.sim.connections import Network
from broker.sim.loop import Future, Loop, Task
from broker.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopic,
)
from broker.wire.messages.end_txn import EndTxnRequest
from broker.wire.messages.find_coordinator import GROUP, TRANSACTION
from broker.wire.messages.init_producer_id import InitProducerIdRequest
from broker.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)

ADD_VERSION: Final = 3
OFFSET_COMMIT_VERSIONS: Final = {1: 3, 2: 5}
END_VERSIONS: Final = {1: 3, 2: 5}
BUSY: Final = frozenset({"CONCURRENT_TRANSACTIONS"})
MAPPING: Final = frozenset({"UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_ID_MAPPING"})
MEMBER: Final = frozenset({"UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "FENCED_INSTANCE_ID", "REBALANCE_IN_PROGRESS"})
ABORTABLE: Final = MAPPING | MEMBER | {"TRANSACTION_ABORTABLE", "INVALID_TXN_STATE", "UNKNOWN_TOPIC_OR_PARTITION"}


class Phase(Enum):
    """See the module; FATAL and ABORTABLE are told by `error`."""

    NEW = "new"
    READY = "ready"
    OPEN = "open"
    ENDING = "ending"
    """EndTxn was sent and its end is not known."""


@dataclass(frozen=True, slots=True)
class GroupMetadata:
    """A consumer's place in its group, for the offsets that a transaction commits (KIP-447)."""

    group_id: str
    generation: int = -1
    member_id: str = ""
    epochs: Mapping[Partition, int] = field(default_factory=dict)
    """Leader epochs of the records before its positions, which are committed with them (KIP-320)."""


class TransactionalProducer(Producer):
    """See the module."""

    def __init__(self, loop: Loop, network: Network, config: ProducerConfig) -> None:
        """Prepare; nothing connects yet."""
        assert config.transactional_id is not None, "a transactional producer has a transactional id"
        super().__init__(loop, network, config)
        self._name = config.transactional_id
        self._version = config.transaction_version
        self._coordinator = Coordinator(self.contact, TRANSACTION, self._name)
        self._groups: dict[str, Coordinator] = {}
        self._phase = Phase.NEW
        self._added: dict[Partition, tuple[Task[None], Future[None]]] = {}
        self._touched = False
        """Whether the coordinator may know of the transaction."""
        self._needs_bump = False
        self.end_attempts = 0
        """How often the end of this transaction was asked for."""

    # The transaction's steps.

    async def init(self, deadline_ms: float) -> None:
        """Take the transactional id: fences the session that had it, ends its transaction."""
        self._expect(Phase.NEW)
        await self._initialise(deadline_ms, (-1, -1))
        self._phase = Phase.READY

    def begin(self) -> None:
        """Begin a transaction; nothing is sent."""
        self._expect(Phase.READY)
        self._phase, self._touched, self._added, self.end_attempts = Phase.OPEN, False, {}, 0

    async def send_offsets(self, offsets: Mapping[Partition, int], group: GroupMetadata, deadline_ms: float) -> None:
        """Commit next offsets for a group with the transaction."""
        self._expect(Phase.OPEN)
        try:
            await self._send_offsets(offsets, group, deadline_ms)
        except ClientError as error:
            raise self._stop(error) from error

    async def commit(self, deadline_ms: float) -> None:
        """Commit; see the module for what a deadline that passes means."""
        if self._phase is not Phase.ENDING:
            self._expect(Phase.OPEN)
            try:
                await self.flush(deadline_ms)
            except ClientError as error:
                raise self._stop(ClientError(TIMED_OUT, f"flush: {error.message}")) from error
            if self.error is not None:
                raise self.error
        await self._end(deadline_ms, commit=True)

    async def abort(self, deadline_ms: float) -> None:
        """Abort: give up what waits, let what flies land, then end the transaction."""
        if self.error is not None and self.error.fatal:
            raise self.error
        if self._phase is Phase.ENDING:
            raise ClientError("_CONFLICT", "a commit is under way")
        if self._phase is not Phase.OPEN:
            raise ClientError(STATE, f"abort of a producer that is {self._phase.value}")
        self.error = self.error or ClientError(PURGE_QUEUE, "the transaction is being aborted")
        self._purge()
        await self.flush(deadline_ms)
        await self._end(deadline_ms, commit=False)

    # How they are done.

    def _expect(self, phase: Phase) -> None:
        if self.error is not None:
            raise self.error
        if self._phase is not phase:
            raise ClientError(STATE, f"the producer is {self._phase.value}, not {phase.value}")

    def _stop(self, error: ClientError) -> ClientError:
        """Note why the transaction can't commit, the first reason only; return it."""
        if self.error is None or error.fatal:
            self.error = error
            if not error.fatal:
                self.error = ClientError(error.name, error.message, requires_abort=True)
        return self.error

    async def _initialise(self, deadline_ms: float, identity: tuple[int, int]) -> None:
        ask = InitProducerIdRequest(
            transactional_id=self._name,
            transaction_timeout_ms=self.config.transaction_timeout_ms,
            producer_id=identity[0],
            producer_epoch=identity[1],
        )
        try:
            answer = await self._coordinator.ask(ask, INIT_VERSION, deadline_ms, lambda one: one.error_code, BUSY)
        except ClientError as error:
            if error.name in LOST:
                raise
            raise self._stop(_judged(error)) from error
        self.identity = (answer.producer_id, answer.producer_epoch)
        self._needs_bump = False
        self._renumber()

    def _renumber(self) -> None:
        for lane in self._lanes.values():
            lane.begin_anew()

    async def _end(self, deadline_ms: float, *, commit: bool) -> None:
        if self._touched or self._phase is Phase.ENDING:
            assert self.identity is not None
            ask = EndTxnRequest(
                transactional_id=self._name,
                producer_id=self.identity[0],
                producer_epoch=self.identity[1],
                committed=commit,
            )
            self._phase = Phase.ENDING if commit else Phase.OPEN
            before = self._coordinator.asked
            try:
                answer = await self._coordinator.ask(
                    ask, END_VERSIONS[self._version], deadline_ms, lambda one: one.error_code, BUSY
                )
            except ClientError as error:
                raise self._ended_badly(error) from error
            finally:
                self.end_attempts += self._coordinator.asked - before
            if self._version == 2:
                self.identity = (answer.producer_id, answer.producer_epoch)
                self._needs_bump = False
                self._renumber()
        if self._needs_bump:
            assert self.identity is not None
            await self._initialise(deadline_ms, self.identity)
        self._phase, self.error = Phase.READY, None

    def _ended_badly(self, error: ClientError) -> ClientError:
        if error.name in LOST:
            return error
        judged = _judged(error)
        if judged.fatal or self._phase is not Phase.ENDING or error.name == "INVALID_TXN_STATE":
            self.error = ClientError(judged.name, judged.message, fatal=True)
            return self.error
        self._phase = Phase.OPEN
        self._needs_bump = self._needs_bump or error.name in MAPPING
        return self._stop(judged)

    async def _send_offsets(self, offsets: Mapping[Partition, int], group: GroupMetadata, deadline_ms: float) -> None:
        assert self.identity is not None
        producer_id, epoch = self.identity
        self._touched = True
        if self._version == 1:
            add = AddOffsetsToTxnRequest(
                transactional_id=self._name, producer_id=producer_id, producer_epoch=epoch, group_id=group.group_id
            )
            await self._ask(self._coordinator, add, ADD_VERSION, deadline_ms, lambda one: one.error_code)
        by_topic: dict[str, list[TxnOffsetCommitRequestPartition]] = {}
        for (topic, index), offset in offsets.items():
            part = TxnOffsetCommitRequestPartition(
                partition_index=index,
                committed_offset=offset,
                committed_leader_epoch=group.epochs.get((topic, index), -1),
            )
            by_topic.setdefault(topic, []).append(part)
        ask = TxnOffsetCommitRequest(
            transactional_id=self._name,
            group_id=group.group_id,
            producer_id=producer_id,
            producer_epoch=epoch,
            generation_id=group.generation,
            member_id=group.member_id,
            topics=tuple(
                TxnOffsetCommitRequestTopic(name=name, partitions=tuple(parts)) for name, parts in by_topic.items()
            ),
        )
        coordinator = self._groups.get(group.group_id)
        if coordinator is None:
            coordinator = self._groups[group.group_id] = Coordinator(self.contact, GROUP, group.group_id)
        version = OFFSET_COMMIT_VERSIONS[self._version]
        await self._ask(coordinator, ask, version, deadline_ms, _worst)

    async def _ask(self, coordinator: Coordinator, ask: Any, version: int, deadline_ms: float, code_of: Any) -> None:
        """Ask for a step of the body; raises ClientError, judged."""
        try:
            await coordinator.ask(ask, version, deadline_ms, code_of, BUSY)
        except ClientError as error:
            self._needs_bump = self._needs_bump or error.name in MAPPING
            raise _judged(error) from error

    # What the plain producer leaves open.

    def _check_produce(self) -> None:
        if self._phase is not Phase.OPEN:
            raise ClientError(STATE, f"the producer is {self._phase.value}: no transaction is open")

    async def _before(self, lane: Lane, batch: Batch) -> None:
        """By protocol v1, add the partition; batches of one partition wait for the same request."""
        self._touched = True
        if self._version == 2:
            return
        known = self._added.get(lane.key)
        if known is None:
            added: Future[None] = self.loop.future()
            task = self.contact.spawn(self._add(lane.key, batch.deadline_ms, added), f"{self._name} adds {lane.key}")
            self._added[lane.key] = task, added
        else:
            added = known[1]
        await added

    async def _add(self, key: Partition, deadline_ms: float, added: Future[None]) -> None:
        assert self.identity is not None
        ask = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self._name,
            v3_and_below_producer_id=self.identity[0],
            v3_and_below_producer_epoch=self.identity[1],
            v3_and_below_topics=(AddPartitionsToTxnTopic(name=key[0], partitions=(key[1],)),),
        )
        try:
            await self._ask(self._coordinator, ask, ADD_VERSION, deadline_ms, _added_code)
        except ClientError as error:
            self._added.pop(key, None)
            added.fail(error)
        else:
            added.set(None)

    def _final(self, error: ClientError) -> ClientError:
        return _judged(error)

    def _gave_up(self, error: ClientError) -> None:
        if self.error is None or error.fatal:
            self._stop(error)
        self._needs_bump = True

    def _settle_identity(self) -> None:
        """The epoch rises with the abort, not before."""

    def _purge(self) -> None:
        """Give up what is not under way."""
        for task, added in self._added.values():
            if not added.done:
                task.cancel()
                added.fail(ClientError(PURGE_INFLIGHT, "the transaction is being aborted"))
        for lane in self._lanes.values():
            for message in lane.waiting:
                message.fail(ClientError(PURGE_QUEUE, "the transaction is being aborted"))
            lane.waiting.clear()
            for batch in lane.again:
                self._needs_bump = True
                for message in batch.messages:
                    message.fail(ClientError(PURGE_INFLIGHT, "the transaction is being aborted"))
            lane.again.clear()
        self._tell_idle()


def _judged(error: ClientError) -> ClientError:
    """Return what an answer means for the transaction: fenced for ever, to be aborted, or lost."""
    if error.name in FENCES:
        return ClientError(FENCED, f"{error.name}: a newer producer has the transactional id", fatal=True)
    if error.name in ABORTABLE:
        return ClientError(error.name, error.message, requires_abort=True)
    if error.retriable or error.name.startswith("_"):
        return error
    return ClientError(error.name, error.message, fatal=True)


def _added_code(answer: AddPartitionsToTxnResponse) -> int:
    return answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code


def _worst(answer: Any) -> int:
    return next((part.error_code for topic in answer.topics for part in topic.partitions if part.error_code), 0)
