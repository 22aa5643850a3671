"""One hosted partition: its log, and whether this node leads it, follows, or waits to be told.

    offline -> follower | leader      by the metadata image, with rising leader epochs
    leader -> follower                parked produces are refused: another leader decides what becomes of them
    follower: fetches; a leader's answer is records, or where to cut (diverging epoch), or that the log must start anew

Requests park here in offset order until the high watermark passes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from broker.core.config import TopicConfig
from broker.core.errors import Code
from broker.core.log.partition_log import PartitionLog
from broker.core.metadata.records import PartitionState
from broker.core.replication.leader import Leader
from broker.wire.messages.fetch import EpochEndOffset, FetchPartition, PartitionData

Key = tuple[str, int]
"""Topic id (hexadecimal) and partition index."""


class Awaiting(msgspec.Struct, frozen=True):
    """An acks=all append that waits until the high watermark reaches `offset`."""

    offset: int
    done: Callable[[Code], None]


class Replica:
    """See the module."""

    def __init__(self, key: Key, name: str, log: PartitionLog, config: TopicConfig) -> None:
        self.key = key
        self.name = name
        self.log = log
        self.config = config
        self.state: PartitionState | None = None
        self.leader_epoch = -1
        """The newest leader epoch that this replica knows, -1 before the first."""
        self.leader: Leader | None = None
        self.awaiting: deque[Awaiting] = deque()

    def become(self, node_id: int, state: PartitionState, now_ms: int) -> None:
        """Take the role that the metadata gives."""
        old = self.state
        if old is not None and state.partition_epoch <= old.partition_epoch:
            return
        self.state, self.leader_epoch = state, state.leader_epoch
        if state.leader == node_id:
            if self.leader is not None and self.leader.epoch == state.leader_epoch:
                self.leader.update(state, now_ms)
            else:
                self.leader = Leader(node_id, state, self.log, now_ms)
        else:
            self.leader = None
            self.log.end_leadership()
            self.refuse(Code.NOT_LEADER_OR_FOLLOWER)

    def refuse(self, code: Code) -> None:
        """Refuse everything that is parked."""
        waiting, self.awaiting = self.awaiting, deque()
        for item in waiting:
            item.done(code)

    def retire(self) -> None:
        """The partition is no longer hosted here."""
        self.leader, self.state, self.leader_epoch = None, None, -1
        self.refuse(Code.NOT_LEADER_OR_FOLLOWER)

    def release(self) -> None:
        """Answer the appends that the high watermark has passed."""
        leader, awaiting = self.leader, self.awaiting
        while awaiting and awaiting[0].offset <= self.log.high_watermark:
            assert leader is not None
            in_sync = len(leader.maximal_isr)
            enough = in_sync >= self.config.min_isr or in_sync >= len(leader.state.replicas)
            awaiting.popleft().done(Code.NONE if enough else Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND)

    # A leader's answer to a fetch.

    def check_epoch(self, epoch: int) -> Code:
        """Return what is wrong with the leader epoch that a request carries (-1: it carries none)."""
        if epoch < 0 or epoch == self.leader_epoch:
            return Code.NONE
        return Code.FENCED_LEADER_EPOCH if epoch < self.leader_epoch else Code.UNKNOWN_LEADER_EPOCH

    def diverging(self, ask: FetchPartition) -> EpochEndOffset | None:
        """Return where a fetcher whose last record we don't have must cut (KIP-595), None when its log fits ours."""
        log = self.log
        if ask.last_fetched_epoch == log.epochs.latest and ask.fetch_offset <= log.end:
            return None  # nearly always
        if ask.last_fetched_epoch < 0 or ask.fetch_offset < log.start:
            return None  # the latter is out of range
        epoch, end = log.epochs.end_of(ask.last_fetched_epoch, log.end)
        if epoch == ask.last_fetched_epoch and end >= ask.fetch_offset:
            return None
        if epoch < 0:  # older than all we know: everything from our start on is ours, what was below it is gone
            at_our_start = ask.fetch_offset == log.start
            return None if at_our_start else EpochEndOffset(epoch=ask.last_fetched_epoch, end_offset=log.start)
        return EpochEndOffset(epoch=epoch, end_offset=end)

    # A follower's half.

    def next_fetch(self, max_bytes: int) -> FetchPartition:
        """Return what to ask the leader for."""
        log, end = self.log, self.log.end
        return FetchPartition(
            partition=self.key[1],
            current_leader_epoch=self.leader_epoch,
            fetch_offset=end,
            last_fetched_epoch=log.epochs.epoch_at(end - 1) if end > log.start else -1,
            log_start_offset=log.start,
            partition_max_bytes=max_bytes,
        )

    def take(self, data: PartitionData) -> str:
        """Apply a leader's good answer; return a warning, empty when there is none. Raise CorruptBatchError."""
        log = self.log
        if data.diverging_epoch.end_offset >= 0:
            return self._cut(data.diverging_epoch)
        if log.end == log.start:
            log.take_horizon(data.high_watermark)
        if data.records:
            assert isinstance(data.records, bytes | bytearray | memoryview)
            log.append_fetched(data.records)
        log.advance_high_watermark(data.high_watermark)
        if data.log_start_offset > log.start:
            log.advance_start(min(data.log_start_offset, log.end))
        return ""

    def _cut(self, diverging: EpochEndOffset) -> str:
        """Cut where the logs part, or where they may (the next fetch asks again)."""
        log, watermark = self.log, self.log.high_watermark
        epoch, end = log.epochs.end_of(diverging.epoch, log.end)
        offset = log.start if epoch < 0 else max(log.start, min(diverging.end_offset, end))
        log.truncate(offset)
        return f"{log.name}: cut to {offset}, below the high watermark {watermark}" if offset < watermark else ""
