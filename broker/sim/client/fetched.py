"""What a fetched buffer holds for a consumer: records, without control records and without aborted transactions.

With read_committed the leader names the transactions that it aborted, by producer id and first offset; from there to
the producer's next abort marker its transactional batches are skipped (Kafka: CompletedFetch, FetchedRecords).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from broker.wire import batch as wire_batch
from broker.wire.batch import Buffer
from broker.wire.messages.fetch import AbortedTransaction
from broker.wire.record import ABORT, Headers, control_type, decode


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


def records_of(
    topic: str, partition: int, data: Buffer, position: int, aborted: Sequence[AbortedTransaction]
) -> tuple[list[ConsumedRecord], int]:
    """Return the records from offset `position` on, and the position behind all that was looked at.

    Raises CorruptBatchError when a checksum does not hold.
    """
    coming = [(one.first_offset, one.producer_id) for one in aborted]
    heapq.heapify(coming)
    open_aborts: dict[int, None] = {}
    found: list[ConsumedRecord] = []
    following = position
    for at, header in wire_batch.parse(data):
        wire_batch.check(data, at, header)
        while coming and coming[0][0] <= header.last_offset:
            open_aborts[heapq.heappop(coming)[1]] = None
        if header.is_control:
            if header.producer_id in open_aborts and control_type(data, at, header)[0] == ABORT:
                del open_aborts[header.producer_id]
        elif not (header.is_transactional and header.producer_id in open_aborts):
            epoch = header.leader_epoch
            found += [
                ConsumedRecord(topic, partition, one.offset, one.key, one.value, epoch, one.timestamp_ms, one.headers)
                for one in decode(data, at, header)
                if one.offset >= position
            ]
        following = max(following, header.next_offset)
    return found, following
