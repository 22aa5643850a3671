"""Which record is the first of a time or later: exact, also inside compressed batches and after compaction.

The index names the first batch that claims a record so late; the batch is opened to find it. Records below the log's
start do not count, control records and those of aborted transactions do (as in Kafka). A batch that claims what it does
not hold, or can't be opened, costs a look at the next ones, up to a bound. Kafka: FileRecords.searchForTimestamp.
"""

from __future__ import annotations

from broker.core.log.partition_log import PartitionLog
from broker.core.storage import Storage
from broker.wire import batch
from broker.wire.batch import HEADER_SIZE, BatchHeader, CorruptBatchError
from broker.wire.entries import entries, records_of

NOTHING = (-1, -1)
MAX_BATCHES = 1000
"""Batches opened for one question: clients may lie about their greatest timestamp, but not for ever."""


def first_at(storage: Storage, log: PartitionLog, wanted_ms: int, end: int) -> tuple[int, int]:
    """Return (offset, timestamp) of the first record of at least that time below `end`; (-1, -1) for none."""
    opened = 0
    for segment in log.segments:
        position = segment.position_at_time(wanted_ms)
        if position is None:
            continue
        position = max(position, segment.position_of(log.start))
        while position < segment.size and opened < MAX_BATCHES:
            header = batch.parse_header(storage.read(log.name, segment.base, position, HEADER_SIZE), 0)
            if header.base_offset >= end:
                return NOTHING
            if header.max_timestamp >= wanted_ms:
                opened += 1
                data = storage.read(log.name, segment.base, position, header.size)
                found = _first_in(data, header, wanted_ms, log.start)
                if found is not None:
                    return found if found[0] < end else NOTHING
            position += header.size
    return NOTHING


def _first_in(data: bytes, header: BatchHeader, wanted_ms: int, start: int) -> tuple[int, int] | None:
    try:
        for entry in entries(records_of(data, 0, header), header.record_count):
            timestamp = header.base_timestamp + entry.timestamp_delta
            if header.is_log_append_time:
                timestamp = header.max_timestamp
            offset = header.base_offset + entry.offset_delta
            if timestamp >= wanted_ms and offset >= start:
                return offset, timestamp
    except CorruptBatchError:
        return max(header.base_offset, start), header.max_timestamp
    return None
