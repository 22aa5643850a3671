"""What a member of a share group gets of one partition: batches as they lie in the log, and which records are its own.

The batches are sent from the file, as with Fetch; what of them is not acquired the member passes over. With
`share.isolation.level=read_committed` it gets nothing past the last stable offset, and records of aborted transactions
are done with at once. Kafka: SharePartition.acquire, ShareFetchUtils.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from broker.core.log.aborted import AbortedTransaction
from broker.core.log.partition_log import PartitionLog
from broker.core.share.partition import Acquired, SharePartition, Want
from broker.core.storage import Storage
from broker.wire import batch
from broker.wire.messages.fetch import Region

MAX_LOOKS = 16
"""Regions that may hold nothing but aborted records, before the member is sent away with nothing."""


class Limits(msgspec.Struct, frozen=True):
    """What a member may get: up to this offset, so many bytes, one batch in any case, records locked until then."""

    offset: int
    max_bytes: int
    max_locks: int
    until_ms: int
    committed: bool


class Got(msgspec.Struct, frozen=True):
    """What it got; nothing without a region. `archived`: something has to be written."""

    region: Region | None = None
    acquired: tuple[Acquired, ...] = ()
    archived: bool = False


def acquire(  # noqa: PLR0917 - where the records lie, and who gets which
    storage: Storage, log: PartitionLog, partition: SharePartition, member: str, want: Want, limits: Limits
) -> Got:
    """Give a member what it can get."""
    partition.deleted(log.start)
    archived = False
    for _ in range(MAX_LOOKS):
        at = partition.next_offset
        if at >= limits.offset or not partition.may_acquire(limits.max_locks):
            break
        # A batch has an offset at the least: what is further on can't be acquired now.
        upper = min(limits.offset, partition.end + limits.max_locks)
        region = log.read(at, upper, limits.max_bytes)
        if region is None:
            break
        batches = log.batches_of(region)
        acquired = partition.acquire(batches, at, member, want, limits.max_locks, limits.until_ms)
        if limits.committed and acquired and (aborted := log.aborted_in(at, region)):
            gone = list(_aborted(storage, region, aborted))
            for first, last in gone:
                partition.archive(max(first, partition.start), last, member)
                acquired = _without(acquired, first, last)
            archived = archived or bool(gone)
        if acquired:
            kept = log.read(acquired[0].first, acquired[-1].last + 1, limits.max_bytes)
            return Got(kept, tuple(acquired), archived)
    return Got(archived=archived)


def _aborted(storage: Storage, region: Region, aborted: list[AbortedTransaction]) -> Iterable[tuple[int, int]]:
    """Yield first and last offset of each batch of an aborted transaction.

    A marker that this very step has written is not in the file yet; what it aborts is.
    """
    data = storage.read(region.log, region.base, region.position, region.size)
    for _, header in batch.parse(data):
        if header.is_transactional and not header.is_control:
            mine = (one for one in aborted if one.producer_id == header.producer_id)
            if any(one.first_offset <= header.base_offset < one.last_offset for one in mine):
                yield header.base_offset, header.last_offset


def _without(acquired: list[Acquired], first: int, last: int) -> list[Acquired]:
    found = []
    for one in acquired:
        if one.last < first or one.first > last:
            found.append(one)
            continue
        if one.first < first:
            found.append(Acquired(one.first, first - 1, one.count))
        if one.last > last:
            found.append(Acquired(last + 1, one.last, one.count))
    return found
