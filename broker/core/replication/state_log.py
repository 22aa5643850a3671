"""A led partition of an internal topic, as the log of a state machine: read once, then written through.

It lives for one leader epoch. Reading goes in slices, one per call, so that a long log does not hold up the node. Until
it is read, and all that was read is replicated, everybody is told to wait: what this node alone has may be lost,
and nothing must be answered from that. A write is done when all in-sync replicas have it; if the leadership is lost
before, nobody can say whether it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from broker.core.errors import Code, Refused
from broker.core.replication.replica import Awaiting, Replica
from broker.core.storage import Storage
from broker.wire import batch, record
from broker.wire.batch import BatchHeader, CorruptBatchError

SLICE_BYTES = 1 << 18
"""About a thousand records: a few milliseconds."""
MOST_SHORT_READS = 1000
"""What was appended in this step is in the log, and not in the storage before the step has ended."""


class Replay(Protocol):
    """What is read, in the order of the log."""

    def apply(self, header: BatchHeader, item: record.Record) -> None:
        """Take a record."""
        ...

    def end(self, header: BatchHeader, *, commit: bool) -> None:
        """Take a transaction marker."""
        ...


class StateLog:
    """See the module."""

    def __init__(self, replica: Replica, storage: Storage) -> None:
        assert replica.leader is not None
        self.replica = replica
        self.epoch = replica.leader.epoch
        self.is_loaded = False
        self._storage = storage
        self._offset = replica.log.start
        self._short_reads = 0

    @property
    def is_current(self) -> bool:
        """Whether the node still leads the partition, in this epoch."""
        leader = self.replica.leader
        return leader is not None and leader.epoch == self.epoch

    @property
    def is_due(self) -> bool:
        """Whether `load_slice` gets any further now, or has to wait for other replicas."""
        log = self.replica.log
        return self._offset < log.end or log.high_watermark >= log.end

    def load_slice(self, replay: Replay) -> bool:
        """Read on; return whether the log has just been read to its end, and all of it is replicated."""
        log = self.replica.log
        if self.is_loaded or not self.is_due:
            return False
        region = log.read(self._offset, log.end, SLICE_BYTES) if self._offset < log.end else None
        if region is None:
            self._offset = log.end
            self.is_loaded = self.is_due
            return self.is_loaded
        data = self._storage.read(region.log, region.base, region.position, region.size)
        read = 0
        for position, header in batch.parse(data):
            if header.is_control:
                replay.end(header, commit=record.control_type(data, position, header)[0] == record.COMMIT)
            else:
                for item in record.decode(data, position, header):
                    replay.apply(header, item)
            read, self._offset = position + header.size, header.last_offset + 1
        if read == region.size:
            self._offset = log.end_of(region)  # what follows may begin later: in the next segment, after a gap
            self._short_reads = 0
            return False
        self._short_reads += 1
        if self._short_reads > MOST_SHORT_READS:
            raise CorruptBatchError(f"{log.name}: {read} of {region.size} bytes are there at offset {self._offset}")
        return False

    def write(self, data: bytearray, now_ms: int, done: Callable[[Code], None]) -> None:
        """Append a batch; `done` is told when it is replicated, or why that is unknown. Raise Refused at once."""
        leader, log = self.replica.leader, self.replica.log
        if leader is None or not self.is_current:
            raise Refused(Code.NOT_COORDINATOR, "this node leads the partition no more")
        if not leader.has_min_isr(self.replica.config.min_isr):
            raise Refused(Code.COORDINATOR_NOT_AVAILABLE, f"the ISR of {log.name} is {leader.state.isr}")
        log.append(data, [batch.parse_header(data, 0)], leader.epoch, now_ms)
        self.replica.awaiting.append(Awaiting(log.end, done))

    def when_replicated(self, done: Callable[[Code], None]) -> None:
        """Call `done` when everything written so far is replicated, at once if it is."""
        log = self.replica.log
        if log.end <= log.high_watermark:
            done(Code.NONE)
        else:
            self.replica.awaiting.append(Awaiting(log.end, done))
