"""Bugs of replication: what a leader acknowledges and shows, who is in sync, where a follower cuts."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.bugs.planting import Replacement
from broker.core.controller import partition_change
from broker.core.controller.partition_change import Election, Rules
from broker.core.errors import Code
from broker.core.log.partition_log import PartitionLog
from broker.core.metadata.records import PartitionState
from broker.core.replication.fetch import Fetching
from broker.core.replication.leader import Leader
from broker.core.replication.produce import ALL, Producing
from broker.core.replication.replica import Replica
from broker.wire.messages.fetch import EpochEndOffset, FetchPartition
from broker.wire.messages.produce import ProduceRequest


def ack_before_replication() -> tuple[Replacement, ...]:
    """acks=all is answered as acks=1."""
    handle = Producing.handle

    def hasty(self: Producing, request_id: object, request: ProduceRequest, version: int, now_ms: int) -> None:
        acks = 1 if request.acks == ALL else request.acks
        handle(self, request_id, msgspec.structs.replace(request, acks=acks), version, now_ms)

    return (Replacement(Producing, "handle", hasty),)


def deposed_leader_acks() -> tuple[Replacement, ...]:
    """What waits for replication when the leadership is lost is answered as if it had been replicated."""

    def refuse(self: Replica, code: Code) -> None:
        waiting, self.awaiting = self.awaiting, type(self.awaiting)()
        for item in waiting:
            item.done(Code.NONE if code is Code.NOT_LEADER_OR_FOLLOWER else code)

    return (Replacement(Replica, "refuse", refuse),)


def min_isr_ignored() -> tuple[Replacement, ...]:
    """min.insync.replicas means nothing: a leader alone acknowledges acks=all."""
    return (Replacement(Leader, "has_min_isr", lambda _self, _min_isr: True),)


def read_above_high_watermark() -> tuple[Replacement, ...]:
    """A consumer is given everything that the leader has."""

    def limit(_self: Fetching, replica: Replica, _reader: Any) -> int:
        return replica.log.end

    return (Replacement(Fetching, "limit", limit),)


def lso_ignored() -> tuple[Replacement, ...]:
    """A read_committed consumer is given everything below the high watermark, open transactions too."""

    def limit(_self: Fetching, replica: Replica, reader: Any) -> int:
        return replica.log.end if reader.replica_id >= 0 else replica.log.high_watermark

    return (Replacement(Fetching, "limit", limit),)


def no_truncation_after_epoch_change() -> tuple[Replacement, ...]:
    """A leader takes every follower's log for a prefix of its own."""

    def diverging(_self: Replica, _ask: FetchPartition) -> EpochEndOffset | None:
        return None

    return (Replacement(Replica, "diverging", diverging),)


def truncation_below_high_watermark() -> tuple[Replacement, ...]:
    """Who begins to follow cuts to its own high watermark, which lags behind the partition's."""
    become = Replica.become

    def cutting(self: Replica, node_id: int, state: PartitionState, now_ms: int) -> None:
        before = self.leader_epoch
        become(self, node_id, state, now_ms)
        if self.leader is None and self.leader_epoch != before:
            self.log.truncate(self.log.high_watermark)

    return (Replacement(Replica, "become", cutting),)


def high_watermark_of_a_deposed_leader() -> tuple[Replacement, ...]:
    """A new leader takes all that it got from the deposed one for committed."""
    begin = Leader.__init__

    def trusting(self: Leader, node_id: int, state: PartitionState, log: PartitionLog, now_ms: int) -> None:
        begin(self, node_id, state, log, now_ms)
        log.advance_high_watermark(log.end)

    return (Replacement(Leader, "__init__", trusting),)


def isr_expanded_too_early() -> tuple[Replacement, ...]:
    """A follower joins the ISR as soon as it fetches, however far behind it is."""

    def may_join(self: Leader, replica: int, _eligible: dict[int, int]) -> bool:
        return replica not in self.state.isr and replica in self.followers

    return (Replacement(Leader, "may_join", may_join),)


def unclean_election_always() -> tuple[Replacement, ...]:
    """Any live replica is elected where no member of the ISR is alive, whatever the topic's setting."""
    elect = partition_change._elect

    def always(
        old: PartitionState, rules: Rules, eligible: tuple[int, ...], replicas: tuple[int, ...], election: Election
    ) -> tuple[int, bool]:
        chosen = elect(old, rules, eligible, replicas, election)
        if chosen[0] >= 0:
            return chosen
        return elect(old, rules, eligible, replicas, Election.UNCLEAN)

    return (Replacement(partition_change, "_elect", always),)


def two_leaders_in_one_epoch() -> tuple[Replacement, ...]:
    """The leader changes, its epoch does not."""

    def same(old: PartitionState, _new: PartitionState, *, clean: bool) -> int:
        del clean
        return old.leader_epoch

    return (Replacement(partition_change, "_leader_epoch", same),)
