"""The share coordinator: keeps what share groups have done in partitions, for their leaders (KIP-932).

A partition's leader reads a state before it serves the group, in its leader epoch, and writes what changes; from then
on leaders of older epochs are fenced, and so is who knows an older state epoch than the administrator has set since. A
write of a start that lies before the known one has been overtaken: it is refused. States of topics that are gone go,
too. Kafka: ShareCoordinatorShard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication.replica import Replica
from broker.core.replication.replicas import Replicas
from broker.core.share.partition import Batch
from broker.core.share.shard import ShareShard
from broker.core.share.state import UNKNOWN_START, ShareKey, ShareState
from broker.core.storage import Storage
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages import share_group_state as wire

TOPIC = "__share_group_state"
NEVER_MS = 1 << 62
PRUNE_FROM = 1000
"""Records in a shard's log, beyond ten for each key, from which on it is worth the while to write snapshots anew."""
_RECORDS_A_KEY = 10

Take = Callable[[Any], None]


class ShareCoordinator:
    """See the module."""

    def __init__(
        self, config: BrokerConfig, replicas: Replicas, storage: Storage, out: Outbox, *, image: Callable[[], Image]
    ) -> None:
        self._config, self._replicas, self._storage, self._out, self._image = config, replicas, storage, out, image
        self._shards: dict[int, ShareShard] = {}
        self._loading: list[ShareShard] = []
        self._prune_at_ms = -1
        self._shape = -1
        self._kinds: dict[type, tuple[Callable[[ShareKey, Any, int, Take], None], tuple[Any, Any, Any]]] = {
            wire.InitializeShareGroupStateRequest: (self._initialize, _INITIALIZE),
            wire.ReadShareGroupStateRequest: (self._read, _READ),
            wire.WriteShareGroupStateRequest: (self._write, _WRITE),
            wire.DeleteShareGroupStateRequest: (self._delete, _DELETE),
            wire.ReadShareGroupStateSummaryRequest: (self._summary, _SUMMARY),
        }

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        if any(shard.log.is_due for shard in self._loading):
            return 0
        return max(self._prune_at_ms, 0) if self._shards else NEVER_MS

    def role_changed(self, replica: Replica) -> None:
        """Load a partition that this node now leads, let go of one that it does not."""
        index, shard, leader = replica.key[1], self._shards.get(replica.key[1]), replica.leader
        if shard is not None and (leader is None or leader.epoch != shard.log.epoch):
            del self._shards[index]
            self._loading = [loading for loading in self._loading if loading is not shard]
            shard = None
        if leader is not None and shard is None:
            self._shards[index] = ShareShard(replica, self._storage, self._config.share_updates_per_snapshot)
            self._loading.append(self._shards[index])
            self._shape = -1

    def tick(self, now_ms: int) -> None:
        """Load; forget what belongs to deleted topics; prune now and then."""
        for shard in list(self._loading):
            if shard.log.load_slice(shard):
                self._loading.remove(shard)
                self._shape = -1
        if self._shape != self._image().shape:
            self._shape = self._image().shape
            for shard in self._shards.values():
                self._forget_deleted(shard, now_ms)
        if self._prune_at_ms < 0:
            self._prune_at_ms = now_ms + self._config.share_prune_interval_ms
        if now_ms >= self._prune_at_ms:
            self._prune_at_ms = now_ms + self._config.share_prune_interval_ms
            for shard in self._shards.values():
                self._prune(shard, now_ms)

    def _forget_deleted(self, shard: ShareShard, now_ms: int) -> None:
        """The image is newer than this leadership, and that than all states in the log: what is missing is deleted."""
        if not shard.log.is_loaded:
            return
        topics = self._image().topics
        try:
            for key in [key for key in shard.entries if key.topic not in topics]:
                shard.forget(key, now_ms, lambda _: None)
            self._replicas.appended(shard.log.replica, now_ms)
        except Refused:
            self._shape = -1  # the ISR is too small: look again with the next step

    def _prune(self, shard: ShareShard, now_ms: int) -> None:
        log = shard.log.replica.log
        if not shard.log.is_loaded:
            return
        is_worth_it = log.end - log.start > PRUNE_FROM + _RECORDS_A_KEY * len(shard.entries)
        try:
            if shard.prune(log.end if is_worth_it else 0, now_ms) or is_worth_it:
                self._replicas.appended(shard.log.replica, now_ms)
        except Refused:
            return

    # Requests.

    def handle(self, request_id: object, message: Any, now_ms: int) -> None:
        """Answer a request when all of its parts are replicated, or refused."""
        one, (result_kind, topic_kind, response_kind) = self._kinds[type(message)]
        results: dict[tuple[bytes, int], Any] = {}
        asks = [(topic.topic_id, ask) for topic in message.topics for ask in topic.partitions]

        def answer() -> None:
            topics = tuple(
                topic_kind(
                    topic_id=topic.topic_id,
                    partitions=tuple(results[topic.topic_id, ask.partition] for ask in topic.partitions),
                )
                for topic in message.topics
            )
            self._out.replies.append(Reply(request_id, response_kind(results=topics)))

        def settler(at: tuple[bytes, int]) -> Take:
            def settle(result: Any) -> None:
                results[at] = result
                if len(results) == len(asks):
                    answer()

            return settle

        if len({(topic_id, ask.partition) for topic_id, ask in asks}) < len(asks) or not asks:
            for topic_id, ask in asks:
                results[topic_id, ask.partition] = _refused(result_kind, ask, Code.INVALID_REQUEST, "a partition twice")
            answer()
            return
        for topic_id, ask in asks:
            settle = settler((topic_id, ask.partition))
            try:
                one(ShareKey(message.group_id, topic_id.hex(), ask.partition), ask, now_ms, settle)
            except Refused as refused:
                settle(_refused(result_kind, ask, refused.code, refused.message))

    def _shard(self, key: ShareKey) -> ShareShard:
        """Return the shard of a key; raise Refused where another node has it, or it is being read."""
        if not key.group or key.partition < 0:
            raise Refused(Code.INVALID_REQUEST, f"a group and a partition: {key}")
        topic = self._image().topic(TOPIC)
        index = -1 if topic is None else partition_for(key.coordinator_key, len(topic.partitions))
        shard = self._shards.get(index)
        if shard is None:
            raise Refused(Code.NOT_COORDINATOR, f"another node coordinates {key.coordinator_key!r}")
        if not shard.log.is_loaded:
            raise Refused(Code.COORDINATOR_LOAD_IN_PROGRESS, "the share coordinator is reading its log")
        return shard

    def _known(self, shard: ShareShard, key: ShareKey, leader_epoch: int) -> ShareState:
        """Return the state of a key; raise Refused for one that is not there, and for leaders of the past."""
        entry = shard.entries.get(key)
        if entry is None:
            raise Refused(Code.INVALID_REQUEST, "the share partition was never initialized")
        if leader_epoch >= 0 and leader_epoch < entry.state.leader_epoch:
            raise Refused(
                Code.FENCED_LEADER_EPOCH, f"epoch {leader_epoch}, a leader of {entry.state.leader_epoch} came"
            )
        self._check_topic(key)
        return entry.state

    def _check_topic(self, key: ShareKey) -> None:
        if self._image().partition(key.topic, key.partition) is None:
            raise Refused(Code.UNKNOWN_TOPIC_OR_PARTITION, "the topic or partition is gone")

    def _appended(self, shard: ShareShard, now_ms: int) -> None:
        self._replicas.appended(shard.log.replica, now_ms)

    def _initialize(self, key: ShareKey, ask: wire.InitializePartition, now_ms: int, settle: Take) -> None:
        shard = self._shard(key)
        self._check_topic(key)
        entry = shard.entries.get(key)
        if entry is not None and ask.state_epoch < entry.state.state_epoch:
            raise Refused(Code.FENCED_STATE_EPOCH, f"state epoch {ask.state_epoch}, it is {entry.state.state_epoch}")

        def done(code: Code) -> None:
            settle(wire.InitializeResult(partition=ask.partition, error_code=_lost(code)))

        if entry is not None and ask.state_epoch == entry.state.state_epoch:  # asked again: it may be in use
            shard.log.when_replicated(done)
            return
        shard.begin(key, ask.state_epoch, ask.start_offset, now_ms, done)
        self._appended(shard, now_ms)

    def _read(self, key: ShareKey, ask: wire.ReadPartition, now_ms: int, settle: Take) -> None:
        shard = self._shard(key)
        state = self._known(shard, key, ask.leader_epoch)

        def done(code: Code) -> None:
            if _lost(code):
                settle(wire.ReadResult(partition=ask.partition, error_code=_lost(code)))
                return
            settle(
                wire.ReadResult(
                    partition=ask.partition,
                    state_epoch=state.state_epoch,
                    start_offset=state.start,
                    state_batches=tuple(
                        wire.StateBatch(
                            first_offset=one.first,
                            last_offset=one.last,
                            delivery_state=one.state,
                            delivery_count=one.count,
                        )
                        for one in state.batches
                    ),
                )
            )

        if ask.leader_epoch > state.leader_epoch:
            shard.update(key, ask.leader_epoch, UNKNOWN_START, (), now_ms, done)
            self._appended(shard, now_ms)
        else:
            shard.log.when_replicated(done)

    def _write(self, key: ShareKey, ask: wire.WritePartition, now_ms: int, settle: Take) -> None:
        shard = self._shard(key)
        state = self._known(shard, key, ask.leader_epoch)
        if ask.state_epoch < state.state_epoch:
            raise Refused(Code.FENCED_STATE_EPOCH, f"state epoch {ask.state_epoch}, it is {state.state_epoch}")
        if 0 <= ask.start_offset < state.start:
            raise Refused(Code.INVALID_REQUEST, f"start {ask.start_offset}, it has come to {state.start}")

        def done(code: Code) -> None:
            settle(wire.WriteResult(partition=ask.partition, error_code=_lost(code)))

        batches = tuple(
            Batch(one.first_offset, one.last_offset, one.delivery_state, one.delivery_count)
            for one in ask.state_batches
        )
        shard.update(key, max(ask.leader_epoch, state.leader_epoch), ask.start_offset, batches, now_ms, done)
        self._appended(shard, now_ms)

    def _delete(self, key: ShareKey, ask: wire.DeletePartition, now_ms: int, settle: Take) -> None:
        shard = self._shard(key)

        def done(code: Code) -> None:
            settle(wire.DeleteResult(partition=ask.partition, error_code=_lost(code)))

        if key in shard.entries:
            shard.forget(key, now_ms, done)
            self._appended(shard, now_ms)
        else:
            shard.log.when_replicated(done)

    def _summary(self, key: ShareKey, ask: wire.SummaryPartition, now_ms: int, settle: Take) -> None:
        del now_ms
        shard = self._shard(key)
        entry = shard.entries.get(key)
        state = ShareState() if entry is None else self._known(shard, key, ask.leader_epoch)

        def done(code: Code) -> None:
            settle(
                wire.SummaryResult(
                    partition=ask.partition,
                    error_code=_lost(code),
                    state_epoch=state.state_epoch,
                    leader_epoch=state.leader_epoch,
                    start_offset=state.start,
                    delivery_complete_count=state.done,
                )
            )

        shard.log.when_replicated(done)


_INITIALIZE = wire.InitializeResult, wire.InitializeTopicResult, wire.InitializeShareGroupStateResponse
_READ = wire.ReadResult, wire.ReadTopicResult, wire.ReadShareGroupStateResponse
_WRITE = wire.WriteResult, wire.WriteTopicResult, wire.WriteShareGroupStateResponse
_DELETE = wire.DeleteResult, wire.DeleteTopicResult, wire.DeleteShareGroupStateResponse
_SUMMARY = wire.SummaryResult, wire.SummaryTopicResult, wire.ReadShareGroupStateSummaryResponse


def _refused(kind: Any, ask: Any, code: Code, message: str) -> Any:
    return kind(partition=ask.partition, error_code=code, error_message=message)


def _lost(code: Code) -> Code:
    """Return what whoever asks must hear: what is written is replicated, whatever became of the ISR since, or lost."""
    return Code.NOT_COORDINATOR if code is Code.NOT_LEADER_OR_FOLLOWER else Code.NONE
