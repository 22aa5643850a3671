"""Bugs of a replica's log: producer state, recovery after a crash, segments, syncs."""

from __future__ import annotations

from bisect import bisect_right

from broker.bugs.planting import Replacement
from broker.core.log.aborted import AbortedIndex
from broker.core.log.partition_log import PartitionLog
from broker.core.log.producers import Producer, Producers, Written
from broker.core.log.recovery import Report, _Recovery
from broker.core.log.segment import Segment
from broker.core.metadata.records import PartitionState
from broker.core.quorum.metadata_log import LOG as METADATA_LOG
from broker.core.replication.leader import Leader
from broker.wire.batch import BatchHeader

FOREVER_MS = 1 << 62


def sequence_not_checked() -> tuple[Replacement, ...]:
    """A batch is appended whatever its sequence: a retry is appended again."""

    def check(self: Producers, header: BatchHeader, *, strict_start: bool = False) -> Written | None:
        del strict_start
        producer = self.get(header.producer_id)
        if producer is not None:
            self._check_epoch(producer, header.producer_epoch)
        return None

    return (Replacement(Producers, "check", check),)


def dedupe_state_lost_on_leader_change() -> tuple[Replacement, ...]:
    """A new leader knows only the producers with an open transaction."""
    begin = Leader.__init__

    def forgetful(self: Leader, node_id: int, state: PartitionState, log: PartitionLog, now_ms: int) -> None:
        begin(self, node_id, state, log, now_ms)
        log.producers.expire(FOREVER_MS, 0)

    return (Replacement(Leader, "__init__", forgetful),)


def producer_state_expires_too_early() -> tuple[Replacement, ...]:
    """The next checkpoint forgets every producer without an open transaction, however recent."""

    def is_expired(_self: Producers, producer: Producer, _now_ms: int, _expiration_ms: int) -> bool:
        return producer.first_offset is None

    return (Replacement(Producers, "is_expired", is_expired),)


def aborted_index_lost_on_restart() -> tuple[Replacement, ...]:
    """A log that was recovered knows no aborted transaction."""
    run = _Recovery.run

    def losing(self: _Recovery) -> tuple[PartitionLog, Report]:
        log, report = run(self)
        log.aborted = AbortedIndex()
        return log, report

    return (Replacement(_Recovery, "run", losing),)


def recovery_drops_a_good_tail() -> tuple[Replacement, ...]:
    """Recovery after a crash takes the last batch for a torn one."""
    run = _Recovery.run

    def cutting(self: _Recovery) -> tuple[PartitionLog, Report]:
        log, report = run(self)
        if self._name != METADATA_LOG and not self._checkpoint.clean and log.end > log.start:
            last = log.segments[-1]
            log.truncate(last.offset_at(last.position_of(last.next_offset - 1)))
        return log, report

    return (Replacement(_Recovery, "run", cutting),)


def fetch_from_the_wrong_segment() -> tuple[Replacement, ...]:
    """Who asks for the last batch of a sealed segment is given the next segment."""

    def segment_at(self: PartitionLog, offset: int) -> Segment:
        index = max(bisect_right(self.segments, offset, key=lambda segment: segment.base) - 1, 0)
        segment = self.segments[index]
        if index + 1 < len(self.segments):
            last_batch = segment.position_of(segment.next_offset - 1)
            if segment.position_of(offset) >= last_batch:
                return self.segments[index + 1]
        return segment

    return (Replacement(PartitionLog, "segment_at", segment_at),)


def ack_before_sync() -> tuple[Replacement, ...]:
    """flush.messages means nothing: acknowledged records wait for the segment's end to be synced."""
    return (Replacement(PartitionLog, "_flush_if_due", lambda _self: None),)
