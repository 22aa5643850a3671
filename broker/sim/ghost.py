"""What was ever committed to one log: the batches below any replica's high watermark, by offset, epoch and checksum.

Each replica's log is read once, from where it was last read up to its high watermark; what nobody has committed before
is remembered, everything else must be equal. A compacted log may lack batches and records, so there a batch counts as
another one only if it has as many records and still differs. A batch with tombstones or a marker is written anew when
it is first cleaned, with the time when they may go, which is each replica's own: its checksum is not compared.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.core.log.partition_log import PartitionLog
from broker.core.storage import Storage
from broker.wire import batch
from broker.wire.batch import BatchHeader, CorruptBatchError


class Mark(NamedTuple):
    """What two copies of a batch must agree on."""

    next_offset: int
    epoch: int
    checksum: int | None
    """None: cleaning has written the batch anew."""
    records: int


class Ghost:
    """See the module. `end` is the offset after everything that was committed."""

    def __init__(self, *, compacted: bool) -> None:
        self.end = 0
        self._compacted = compacted
        self._marks: dict[int, Mark] = {}

    def read(self, log: PartitionLog, storage: Storage, start: int, end: int) -> str:
        """Compare the log's batches in [start, end) and remember the new ones; return what is wrong, or nothing."""
        expected = start
        for header in headers(log, storage, start, end):
            if header.base_offset < start:  # the first one may begin before: it was read already
                expected = header.next_offset
                continue
            if header.base_offset != expected and not self._compacted:
                return f"a hole from {expected} to {header.base_offset}"
            wrong = self._compare(header)
            if wrong:
                return wrong
            expected = header.next_offset
        if expected < end and not self._compacted:
            return f"nothing from {expected} to {end}"
        self.end = max(self.end, end)
        return ""

    def _compare(self, header: BatchHeader) -> str:
        mark = self._mark(header)
        known = self._marks.setdefault(header.base_offset, mark)
        return "" if self._agree(known, mark) else f"at offset {header.base_offset} {mark}, but {known} was committed"

    def contradicts(self, header: BatchHeader) -> bool:
        """Return whether another batch was committed in this one's place."""
        known = self._marks.get(header.base_offset)
        return known is not None and not self._agree(known, self._mark(header))

    def _mark(self, header: BatchHeader) -> Mark:
        checksum = None if self._compacted and header.delete_horizon_ms is not None else header.crc
        return Mark(header.next_offset, header.leader_epoch, checksum, header.record_count)

    def _agree(self, known: Mark, mark: Mark) -> bool:
        if known == mark or (self._compacted and known.records != mark.records):
            return True
        return None in {known.checksum, mark.checksum} and known._replace(checksum=mark.checksum) == mark

    def cut(self, end: int) -> None:
        """Forget what lies at or after `end`: it was lost in a way that is legal."""
        if end < self.end:
            self.end = end
            self._marks = {base: mark for base, mark in self._marks.items() if mark.next_offset <= end}


def headers(log: PartitionLog, storage: Storage, start: int, end: int) -> list[BatchHeader]:
    """Return the headers of the log's batches that reach into [start, end)."""
    found: list[BatchHeader] = []
    for segment in log.segments:
        if segment.next_offset <= start or segment.base >= end:
            continue
        position = segment.position_of(max(start, segment.base))
        size = segment.position_from(end) - position
        if size > 0:
            try:
                data = storage.read(log.name, segment.base, position, size)
                found += [header for _, header in batch.parse(data) if header.base_offset < end]
            except CorruptBatchError:
                break  # the reader finds the hole
    return found
