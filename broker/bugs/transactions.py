"""Bugs of transactions: their coordinator, their markers, their fencing."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from broker.bugs.planting import Replacement
from broker.core.errors import Code, Refused
from broker.core.group.group_records import Offset, OffsetKey
from broker.core.group.group_shard import GroupShard
from broker.core.log.producers import Producer, Producers
from broker.core.transaction import state
from broker.core.transaction.shard import Shard
from broker.core.transaction.state import LAST_EPOCH, End, State, Transaction
from broker.wire import record
from broker.wire.batch import BatchHeader


def no_epoch_bump_at_end() -> tuple[Replacement, ...]:
    """Protocol v2 ends a transaction as v1 does: its requests fit the next transaction too."""

    def prepare(old: Transaction, wanted: State, _ask: End, _new_id: int) -> Transaction:
        return old.to(wanted)

    return (Replacement(state, "_prepare", prepare),)


def stale_marker_accepted() -> tuple[Replacement, ...]:
    """A marker is appended whatever its producer epoch and its coordinator's."""

    def check_marker(_self: Producers, _header: BatchHeader, _coordinator_epoch: int, _version: int = 0) -> None:
        return

    return (Replacement(Producers, "check_marker", check_marker),)


def fencing_ignored() -> tuple[Replacement, ...]:
    """Coordinator and partitions take requests of any epoch of a producer id: a zombie goes on."""

    def check(old: Transaction, producer_id: int, epoch: int) -> None:
        del epoch
        if producer_id != old.producer_id:
            raise Refused(Code.INVALID_PRODUCER_ID_MAPPING, f"{old.id} belongs to producer {old.producer_id}")

    def check_epoch(_self: Producers, _producer: Producer, _epoch: int) -> None:
        return

    return (Replacement(state, "_check", check), Replacement(Producers, "_check_epoch", check_epoch))


def timeout_that_commits() -> tuple[Replacement, ...]:
    """A transaction that was open for too long is committed."""

    def timed_out(old: Transaction) -> Transaction:
        return old.to(State.PREPARE_COMMIT, epoch=min(old.epoch + 1, LAST_EPOCH), last_epoch=-1)

    return (Replacement(state, "timed_out", timed_out),)


def open_transactions_forgotten_on_failover() -> tuple[Replacement, ...]:
    """A new coordinator takes every open transaction for ended: nobody will write its markers."""
    apply = Shard.apply

    def forgetful(self: Shard, header: BatchHeader, item: record.Record) -> None:
        apply(self, header, item)
        entry = self.entries.get((item.key or b"").decode())
        if entry is not None and entry.value is not None and entry.value.state is State.ONGOING:
            entry.value = msgspec.structs.replace(entry.value, state=State.COMPLETE_ABORT, partitions=(), start_ms=-1)

    return (Replacement(Shard, "apply", forgetful),)


def offsets_outside_the_transaction() -> tuple[Replacement, ...]:
    """Offsets that are sent to a transaction count at once, and stay when it aborts."""

    def hold(self: GroupShard, _producer_id: int, offsets: Mapping[OffsetKey, Offset]) -> None:
        self.offsets.update(offsets)

    return (Replacement(GroupShard, "hold", hold),)
