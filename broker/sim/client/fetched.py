"""What a fetched buffer holds for a consumer: records, without control records and without aborted transactions.

With read_committed the leader names the transactions that it aborted, by producer id and first offset; from there to
the producer's next abort marker its transactional batches are skipped (Kafka: CompletedFetch, FetchedRecords).
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Sequence
from typing import NamedTuple

from broker.wire import batch as wire_batch
from broker.wire import entries
from broker.wire.batch import Buffer, CorruptBatchError
from broker.wire.messages.fetch import AbortedTransaction
from broker.wire.record import ABORT, Headers, control_type, decode

REMEMBERED = 1024
"""So many batches are decoded once, however many consumers fetch them at about the same time."""


class ConsumedRecord(NamedTuple):
    """A record as the application sees it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    leader_epoch: int
    timestamp_ms: int
    headers: Headers = ()
    damage: str | None = None
    """Why the batch that begins here can't be taken apart: it is no record then."""


def records_of(
    topic: str, partition: int, data: Buffer, position: int, aborted: Sequence[AbortedTransaction]
) -> tuple[list[ConsumedRecord], int]:
    """Return the records from offset `position` on, and the position behind all that was looked at.

    A batch that can't be taken apart ends it. Raises CorruptBatchError when that is the first one.
    """
    coming = [(one.first_offset, one.producer_id) for one in aborted]
    heapq.heapify(coming)
    open_aborts: dict[int, None] = {}
    found: list[ConsumedRecord] = []
    following = position
    try:
        for content in wire_batch.split(data):
            batch = _batch(topic, partition, content)
            while coming and coming[0][0] < batch.next_offset:
                open_aborts[heapq.heappop(coming)[1]] = None
            if batch.is_control:
                if batch.producer_id in open_aborts and _is_abort(content):
                    del open_aborts[batch.producer_id]
            elif not (batch.is_transactional and batch.producer_id in open_aborts):
                records = batch.records
                begun = batch.base_offset < position
                found += [one for one in records if one.offset >= position] if begun else records
            following = max(following, batch.next_offset)
    except CorruptBatchError:
        if following == position:
            raise
    return found, following


class _Batch(NamedTuple):
    """What a consumer needs to know of a batch."""

    base_offset: int
    next_offset: int
    producer_id: int
    is_transactional: bool
    is_control: bool
    records: tuple[ConsumedRecord, ...]
    """None of a control batch."""


@functools.lru_cache(REMEMBERED)
def _batch(topic: str, partition: int, content: bytes) -> _Batch:
    """Return what one batch holds. Raises CorruptBatchError."""
    header = wire_batch.parse_header(content, 0)
    wire_batch.check(content, 0, header)
    records: tuple[ConsumedRecord, ...] = ()
    if not header.is_control:
        epoch = header.leader_epoch
        records = tuple(
            ConsumedRecord(topic, partition, one.offset, one.key, one.value, epoch, one.timestamp_ms, one.headers)
            for one in decode(*entries.unpacked(content, header))
        )
    return _Batch(
        header.base_offset,
        header.next_offset,
        header.producer_id,
        header.is_transactional,
        header.is_control,
        records,
    )


def _is_abort(content: bytes) -> bool:
    return control_type(content, 0, wire_batch.parse_header(content, 0))[0] == ABORT
