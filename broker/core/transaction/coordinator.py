"""The coordinator of the transactional ids whose partition of `__transaction_state` this node leads.

What a request does is decided by `state`, made durable by the id's `Shard`, and answered when it is replicated. An id
has one change on its way at a time. EndTxn is answered when the markers are written (a client would otherwise run into
CONCURRENT_TRANSACTIONS and lose tens of milliseconds), or after `PATIENCE_MS` if a partition can't take its marker;
requests that meet a busy id wait as long. Where this node alone has the partitions the driver may answer first
(`Outbox.early`): nobody comes between. Timed-out transactions are aborted by a sweep.

That all markers are written is known in memory first, and written to the log `UNSAVED_MS` later, or never when the next
change comes before: who finds the decision alone in the log writes the markers again, which does no harm. No producer
waits for that record, and one that goes on at once saves it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication.replica import Replica
from broker.core.replication.replicas import Replicas
from broker.core.storage import Storage
from broker.core.transaction import admission, state
from broker.core.transaction.markers import MarkerSender, Write
from broker.core.transaction.producer_ids import ProducerIds
from broker.core.transaction.shard import Entry, Shard, Waiting
from broker.core.transaction.state import Place, State, Transaction
from broker.core.transaction.sweeper import Sweeper
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest, AddOffsetsToTxnResponse
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult,
)
from broker.wire.messages.end_txn import EndTxnRequest, EndTxnResponse
from broker.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

TOPIC = "__transaction_state"
OFFSETS_TOPIC = "__consumer_offsets"
PATIENCE_MS = 100
"""How long a request may wait for markers: longer than replication takes, shorter than a client's retry loop bears."""
UNSAVED_MS = 500
"""Longer than a busy producer takes to its next transaction; markers that a failover repeats are few."""
V2_FROM_END_TXN = 5
"""EndTxn says by its version which protocol the client speaks."""

OF_STATE = {Code.INVALID_TXN_STATE, Code.PRODUCER_FENCED, Code.INVALID_PRODUCER_ID_MAPPING, Code.TRANSACTION_ABORTABLE}
"""What a coordinator that may be deposed does not say: its successor may know better, and a client would give up."""

Handler = Callable[[Shard, Entry, int], None]


class TransactionCoordinator:
    """See the module."""

    def __init__(
        self,
        config: BrokerConfig,
        replicas: Replicas,
        storage: Storage,
        out: Outbox,
        *,
        image: Callable[[], Image],
        ids: ProducerIds,
        write_marker: Write,
        may_be_fenced: Callable[[int], bool],
    ) -> None:
        self._config, self._replicas, self._storage, self._out = config, replicas, storage, out
        self._may_be_fenced = may_be_fenced
        self._image, self._ids = image, ids
        self._shards: dict[int, Shard] = {}
        self._loading: list[Shard] = []
        self._patience: list[tuple[int, int, Entry]] = []
        self._unsaved: dict[Entry, tuple[Shard, int]] = {}  # completed in memory only, and when to write that
        self._order = count()
        self._sweeper = Sweeper(config, replicas, out, change=self._change, retry=self._retry)
        self._sweep_at_ms = 0
        self.markers = MarkerSender(config, out, image=image, write=write_marker, completed=self._completed)

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        if self._loading and any(shard.log.is_due for shard in self._loading):
            return 0
        deadline_ms = self.markers.deadline_ms if self.markers.jobs else 1 << 62
        if self._shards:
            deadline_ms = min(deadline_ms, self._sweep_at_ms)
        for _, due_ms in self._unsaved.values():
            deadline_ms = min(deadline_ms, due_ms)
            break  # the first is the oldest
        while self._patience and not self._patience[0][2].waiting:
            heapq.heappop(self._patience)
        return min(deadline_ms, self._patience[0][0]) if self._patience else deadline_ms

    def role_changed(self, replica: Replica) -> None:
        """Load a partition of the state topic that this node now leads, let go of one that it does not."""
        index, shard = replica.key[1], self._shards.get(replica.key[1])
        leads = replica.leader is not None
        if shard is not None and (not leads or replica.leader is None or replica.leader.epoch != shard.epoch):
            del self._shards[index]
            self._loading = [loading for loading in self._loading if loading is not shard]
            self.markers.drop(shard)
            self._unsaved = {entry: item for entry, item in self._unsaved.items() if item[0] is not shard}
            for entry in shard.entries.values():
                self._retry(entry, 1 << 61)
            shard = None
        if leads and shard is None:
            self._shards[index] = Shard(replica, self._storage)
            self._loading.append(self._shards[index])

    def handle(self, request_id: object, message: Any, version: int, now_ms: int) -> None:
        """Answer a request, now or when its change is replicated."""
        match message:
            case InitProducerIdRequest(transactional_id=None):
                self._ids.take(lambda new, _: self._reply_init(request_id, Code.NONE, new, 0), now_ms)
            case InitProducerIdRequest():
                self._init(request_id, message, now_ms)
            case EndTxnRequest():
                self._end(request_id, message, now_ms, v2=version >= V2_FROM_END_TXN)
            case AddOffsetsToTxnRequest():
                self._add_offsets(request_id, message, now_ms)
            case AddPartitionsToTxnRequest() if message.transactions:
                self._add_for_leaders(request_id, message, now_ms)
            case AddPartitionsToTxnRequest():
                self._add_for_client(request_id, message, now_ms)

    def find(self, name: str) -> Transaction:
        """Return an id's newest transaction; raise Refused when there is none here."""
        entry = self._shard(name).entries.get(name)
        if entry is None or entry.value is None:
            raise Refused(Code.TRANSACTIONAL_ID_NOT_FOUND, f"{name!r} is unknown")
        return entry.value

    def all(self) -> list[Transaction]:
        """Return all that this node coordinates; raise Refused while it is still reading."""
        if self._loading:
            raise Refused(Code.COORDINATOR_LOAD_IN_PROGRESS, "the coordinator is reading its log")
        values = (entry.value for shard in self._shards.values() for entry in shard.entries.values())
        return [value for value in values if value is not None]

    # Finding the id, and waiting for it.

    def _shard(self, name: str) -> Shard:
        topic = self._image().topic(TOPIC)
        shard = None if topic is None else self._shards.get(partition_for(name, len(topic.partitions)))
        if shard is None:
            raise Refused(Code.NOT_COORDINATOR, f"another node coordinates {name!r}")
        if not shard.log.is_loaded:
            raise Refused(Code.COORDINATOR_LOAD_IN_PROGRESS, "the coordinator is reading its log")
        return shard

    def _with(
        self, name: str, refuse: Callable[[Code], None], act: Handler, now_ms: int, *, patient: bool = True
    ) -> None:
        """Call `act` with the id's entry when no change is on its way; `refuse` with what stands against it."""
        entry = None
        try:
            shard = self._shard(name)
            entry = shard.entries.get(name)
            if entry is None:
                refuse(self._sure(Code.INVALID_PRODUCER_ID_MAPPING, now_ms))
                return
            if not entry.busy:
                act(shard, entry, now_ms)
                return
            code = Code.CONCURRENT_TRANSACTIONS
        except Refused as refused:
            code = self._sure(refused.code, now_ms)
        if code is not Code.CONCURRENT_TRANSACTIONS or entry is None or not patient:
            refuse(code)
            return

        def retry(then_ms: int, may_wait: bool) -> None:  # noqa: FBT001 - the type of Waiting.retry
            self._with(name, refuse, act, then_ms, patient=may_wait)

        self._wait(entry, retry, now_ms)

    def _sure(self, code: Code, now_ms: int) -> Code:
        """Return the answer; where another node may coordinate by now, its state is the one that counts."""
        return Code.NOT_COORDINATOR if code in OF_STATE and self._may_be_fenced(now_ms) else code

    def _wait(self, entry: Entry, retry: Callable[[int, bool], None], now_ms: int) -> None:
        entry.waiting.append(Waiting(now_ms + PATIENCE_MS, retry))
        heapq.heappush(self._patience, (now_ms + PATIENCE_MS, next(self._order), entry))

    def _retry(self, entry: Entry, now_ms: int) -> None:
        """The id is free, or the patience of some is at its end: let them try again."""
        waiting, entry.waiting = entry.waiting, []
        for item in waiting:
            if now_ms >= item.deadline_ms or not entry.busy:
                item.retry(now_ms, now_ms < item.deadline_ms)
            else:
                entry.waiting.append(item)

    def _change(
        self, shard: Shard, entry: Entry, value: Transaction, now_ms: int, done: Callable[[Code], None]
    ) -> None:
        """Write a new value; `done` when it counts. A shard of an epoch that is over leaves it to the next one's."""

        def written(code: Code) -> None:
            entry.busy = False
            lost = code is Code.NOT_LEADER_OR_FOLLOWER or not shard.log.is_current
            if not lost:  # replicated; that the ISR is too small now does not undo it
                entry.value, entry.changed_ms = value, self._replicas.wall_ms(now_ms)
                if value.state.is_prepared:
                    entry.busy = True
                    self.markers.start(shard, entry)
            done(Code.NOT_COORDINATOR if lost else Code.NONE)
            if not entry.busy:
                self._retry(entry, self._replicas.now_ms)

        entry.busy = True
        try:
            shard.write(value, now_ms, written)
        except Refused:
            entry.busy = False
            raise
        self._unsaved.pop(entry, None)
        self._replicas.appended(shard.log.replica, now_ms)

    def _completed(self, shard: Shard, entry: Entry, now_ms: int) -> None:
        """All markers are written: let those who wait go on; the log hears of it later."""
        assert entry.value is not None
        entry.value = state.complete(entry.value)
        entry.busy = False
        self._unsaved[entry] = (shard, now_ms + UNSAVED_MS)
        self._retry(entry, now_ms)

    def _save_completed(self, now_ms: int) -> None:
        """Write down the completions that no later change has overtaken."""
        if next(iter(self._unsaved.values()))[1] > now_ms:
            return  # the first is the oldest
        due = [entry for entry, (_, due_ms) in self._unsaved.items() if due_ms <= now_ms]
        for entry in due:
            shard, _ = self._unsaved.pop(entry)
            assert entry.value is not None
            try:
                if not entry.busy:  # else an id is being fetched for it
                    self._change(shard, entry, entry.value, now_ms, lambda _: None)
                    continue
            except Refused:
                pass
            self._unsaved[entry] = (shard, now_ms + UNSAVED_MS)

    # InitProducerId.

    def _reply_init(self, request_id: object, code: Code, producer_id: int = -1, epoch: int = -1) -> None:
        message = InitProducerIdResponse(error_code=code, producer_id=producer_id, producer_epoch=epoch)
        self._out.replies.append(Reply(request_id, message))

    def _init(self, request_id: object, message: InitProducerIdRequest, now_ms: int) -> None:
        name = message.transactional_id
        assert name is not None

        def refuse(code: Code) -> None:
            self._reply_init(request_id, code)

        if not name:
            refuse(Code.INVALID_REQUEST)
        elif not 0 < message.transaction_timeout_ms <= self._config.transaction_max_timeout_ms:
            refuse(Code.INVALID_TRANSACTION_TIMEOUT)
        else:
            ask = state.Init(message.producer_id, message.producer_epoch, message.transaction_timeout_ms)

            def act(shard: Shard, entry: Entry, at_ms: int) -> None:
                self._init_entry(request_id, shard, (name, entry), ask, at_ms)

            try:
                self._shard(name).entries.setdefault(name, Entry(None))
            except Refused as refused:
                refuse(refused.code)
                return
            self._with(name, refuse, act, now_ms)

    def _init_entry(
        self, request_id: object, shard: Shard, named: tuple[str, Entry], ask: state.Init, now_ms: int
    ) -> None:
        name, entry = named

        def decide(new_id: int, at_ms: int) -> None:
            old = entry.value or Transaction(id=name, producer_id=new_id, epoch=-1, timeout_ms=ask.timeout_ms)
            entry.busy = False
            try:
                value = state.init(old, ask, new_id)
                self._change(shard, entry, value, at_ms, lambda code: done(code, value))
            except Refused as refused:
                self._reply_init(request_id, self._sure(refused.code, at_ms))
                return
            if new_id != value.producer_id:
                self._ids.give_back(new_id)

        def done(code: Code, value: Transaction) -> None:
            if code or value.state is not State.PREPARE_ABORT:
                self._reply_init(request_id, code, value.producer_id, value.epoch)
                return

            def again(found: Shard, free: Entry, at_ms: int) -> None:
                self._init_entry(request_id, found, (name, free), ask, at_ms)

            self._with(name, lambda refused: self._reply_init(request_id, refused), again, self._replicas.now_ms)

        entry.busy = True  # nobody may come between while an id is fetched
        self._ids.take(decide, now_ms)

    # AddPartitionsToTxn.

    def _add_for_client(self, request_id: object, message: AddPartitionsToTxnRequest, now_ms: int) -> None:
        topics = message.v3_and_below_topics

        def answer(results: admission.Results) -> None:
            response = AddPartitionsToTxnResponse(results_by_topic_v3_and_below=results)
            self._out.replies.append(Reply(request_id, response))

        def done(code: Code) -> None:
            answer(admission.alike(topics, code))

        if (refusal := admission.refusal(self._image(), topics, of_client=True)) is not None:
            answer(refusal)
            return
        name, places = message.v3_and_below_transactional_id, admission.places(topics)
        identity = (message.v3_and_below_producer_id, message.v3_and_below_producer_epoch)
        self._add(name, identity, places, done, now_ms, patient=True)

    def _add_offsets(self, request_id: object, message: AddOffsetsToTxnRequest, now_ms: int) -> None:
        """Add the partition of `__consumer_offsets` that the group belongs to."""

        def done(code: Code) -> None:
            self._out.replies.append(Reply(request_id, AddOffsetsToTxnResponse(error_code=code)))

        topic = self._image().topic(OFFSETS_TOPIC)
        if topic is None:
            done(Code.COORDINATOR_NOT_AVAILABLE)
            return
        places = ((OFFSETS_TOPIC, partition_for(message.group_id, len(topic.partitions))),)
        identity = (message.producer_id, message.producer_epoch)
        self._add(message.transactional_id, identity, places, done, now_ms, patient=True)

    def _add_for_leaders(self, request_id: object, message: AddPartitionsToTxnRequest, now_ms: int) -> None:
        answers: list[AddPartitionsToTxnResult] = []

        def settle(name: str, results: admission.Results) -> None:
            answers.append(AddPartitionsToTxnResult(transactional_id=name, topic_results=results))
            if len(answers) == len(message.transactions):
                response = AddPartitionsToTxnResponse(results_by_transaction=tuple(answers))
                self._out.replies.append(Reply(request_id, response))

        def settler(name: str, topics: admission.Topics) -> Callable[[Code], None]:
            return lambda code: settle(name, admission.alike(topics, code))

        for ask in message.transactions:
            identity, places = (ask.producer_id, ask.producer_epoch), admission.places(ask.topics)
            done = settler(ask.transactional_id, ask.topics)
            if (refusal := admission.refusal(self._image(), ask.topics, of_client=False)) is not None:
                settle(ask.transactional_id, refusal)
            elif ask.verify_only:
                done(self.verify(ask.transactional_id, identity, places, now_ms))
            else:
                self._add(ask.transactional_id, identity, places, done, now_ms, patient=True)

    def join(
        self,
        name: str,
        identity: tuple[int, int],
        place: Place,
        done: Callable[[Code], None],
        now_ms: int,
        *,
        add: bool,
    ) -> None:
        """Do for a leader on this node what `_add_for_leaders` does for others."""
        if add:
            self._add(name, identity, (place,), done, now_ms, patient=True)
        else:
            done(self.verify(name, identity, (place,), now_ms))

    def verify(self, name: str, identity: tuple[int, int], places: tuple[Place, ...], now_ms: int) -> Code:
        """Return what stands against writing to the partitions in the producer's transaction; a successor may know."""
        if self._may_be_fenced(now_ms):
            return Code.NOT_COORDINATOR
        try:
            entry = self._shard(name).entries.get(name)
            if entry is None or entry.value is None:
                return Code.INVALID_PRODUCER_ID_MAPPING
            state.verify(entry.value, *identity, places)
        except Refused as refused:
            return refused.code
        return Code.NONE

    def _add(
        self,
        name: str,
        identity: tuple[int, int],
        places: tuple[Place, ...],
        done: Callable[[Code], None],
        now_ms: int,
        *,
        patient: bool,
    ) -> None:
        def act(shard: Shard, entry: Entry, at_ms: int) -> None:
            if entry.value is None:
                raise Refused(Code.INVALID_PRODUCER_ID_MAPPING, f"{name!r} is unknown")
            value = state.add(entry.value, *identity, places, self._replicas.wall_ms(at_ms))
            if value is entry.value:
                done(Code.NONE)
            else:
                self._change(shard, entry, value, at_ms, done)

        self._with(name, done, act, now_ms, patient=patient)

    # EndTxn.

    def _end(self, request_id: object, message: EndTxnRequest, now_ms: int, *, v2: bool) -> None:
        ask = state.End(message.producer_id, message.producer_epoch, message.committed, v2)

        def answer(code: Code, value: Transaction | None = None) -> None:
            identity = (value.producer_id, value.epoch) if value is not None and v2 and not code else (-1, -1)
            response = EndTxnResponse(error_code=code, producer_id=identity[0], producer_epoch=identity[1])
            self._out.replies.append(Reply(request_id, response))

        def act(shard: Shard, entry: Entry, at_ms: int) -> None:
            if entry.value is None:
                raise Refused(Code.INVALID_PRODUCER_ID_MAPPING, f"{message.transactional_id!r} is unknown")
            if not v2 or not entry.value.is_exhausted or entry.value.state.is_prepared:
                self._end_entry(shard, entry, (ask, -1), answer, at_ms)
                return
            entry.busy = True  # nobody may come between while an id is fetched

            def resume(new_id: int, then_ms: int) -> None:
                entry.busy = False
                try:
                    self._end_entry(shard, entry, (ask, new_id), answer, then_ms)
                except Refused as refused:
                    answer(self._sure(refused.code, then_ms))

            self._ids.take(resume, at_ms)

        self._with(message.transactional_id, answer, act, now_ms)

    def _end_entry(
        self,
        shard: Shard,
        entry: Entry,
        ask: tuple[state.End, int],
        answer: Callable[[Code, Transaction | None], None],
        now_ms: int,
    ) -> None:
        assert entry.value is not None
        value = state.end(entry.value, *ask, self._replicas.wall_ms(now_ms))
        if value is entry.value:
            answer(Code.NOT_COORDINATOR if self._may_be_fenced(now_ms) else Code.NONE, value)
            return

        def decided(code: Code) -> None:
            if code:
                answer(code, None)
                return
            after = state.complete(value)
            if self._out.early is not None and self.markers.are_here(entry):
                answer(Code.NONE, after)  # no request comes between that and the markers
                self._out.early(self._out)
            else:  # whether the markers are done by then or not: it is decided
                self._wait(entry, lambda _now, _may: answer(Code.NONE, after), self._replicas.now_ms)

        self._change(shard, entry, value, now_ms, decided)

    # Time.

    def tick(self, now_ms: int) -> None:
        """Load, sweep, send markers, end the patience of who waited long enough."""
        if self._loading:
            self._load()
        while self._patience and self._patience[0][0] <= now_ms:
            self._retry(heapq.heappop(self._patience)[2], now_ms)
        if now_ms >= self._sweep_at_ms:
            self._sweep_at_ms = self._sweeper.sweep(self._shards.values(), self._unsaved.keys(), now_ms)
        if self.markers.jobs:
            self.markers.send(now_ms)
        if self._unsaved:
            self._save_completed(now_ms)

    def _load(self) -> None:
        for shard in list(self._loading):
            if shard.log.load_slice(shard):
                self._loading.remove(shard)
                self._resume(shard)

    def _resume(self, shard: Shard) -> None:
        """Go on with what the last coordinator had decided."""
        for entry in shard.entries.values():
            if entry.value is not None and entry.value.state.is_prepared:
                entry.busy = True
                self.markers.start(shard, entry)
