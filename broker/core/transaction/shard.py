"""One led partition of `__transaction_state`: its transactional ids, loaded from the log, changed through the log.

A change counts when its record is replicated to all in-sync replicas; until then the id is busy. The log is read in
slices, one per call, so that a long log does not hold up the node; until it is read, everybody is told to wait. Records
are keyed by transactional id (the topic is compacted), the value is our own JSON.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from broker.core.errors import Code, Refused
from broker.core.replication.replica import Awaiting, Replica
from broker.core.storage import Storage
from broker.core.transaction.state import Place, Transaction
from broker.wire import batch, record

SLICE_BYTES = 1 << 18
"""About a thousand records: a few milliseconds."""


class Waiting(msgspec.Struct, frozen=True):
    """A request that waits for its id to be free, with the time when its patience ends."""

    deadline_ms: int
    retry: Callable[[int, bool], None]
    """Called with the time, and whether it may wait again."""


class Entry:
    """One transactional id. `value` is None until its first record is replicated."""

    def __init__(self, value: Transaction | None) -> None:
        self.value = value
        self.busy = False
        self.unmarked: dict[Place, None] = {}
        self.waiting: list[Waiting] = []


class Shard:
    """See the module. Lives for one leader epoch, which is also the coordinator epoch in markers."""

    def __init__(self, replica: Replica, storage: Storage) -> None:
        assert replica.leader is not None
        self.replica = replica
        self.epoch = replica.leader.epoch
        self.entries: dict[str, Entry] = {}
        self.is_loaded = False
        self._storage = storage
        self._offset = replica.log.start
        self._end = replica.log.end

    def load_slice(self) -> bool:
        """Read on; return whether the shard has just become ready."""
        log = self.replica.log
        if self.is_loaded:
            return False
        region = log.read(self._offset, self._end, SLICE_BYTES) if self._offset < self._end else None
        if region is None:
            self.is_loaded = True
            return True
        data = self._storage.read(region.log, region.base, region.position, region.size)
        for position, header in batch.parse(data):
            if not header.is_control:
                for item in record.decode(data, position, header):
                    self._apply(item)
        self._offset = log.end_of(region)
        return False

    def _apply(self, item: record.Record) -> None:
        name = (item.key or b"").decode()
        if item.value is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = Entry(msgspec.json.decode(item.value, type=Transaction))

    def write(self, value: Transaction, now_ms: int, done: Callable[[Code], None]) -> None:
        """Append the new value; `done` is told when it is replicated, or why that is unknown. Raise Refused at once."""
        leader, log = self.replica.leader, self.replica.log
        if leader is None or leader.epoch != self.epoch:
            raise Refused(Code.NOT_COORDINATOR, "this node leads the partition no more")
        if not leader.has_min_isr(self.replica.config.min_isr):
            raise Refused(Code.COORDINATOR_NOT_AVAILABLE, f"the ISR of {log.name} is {leader.state.isr}")
        data = record.batch_of([(value.id.encode(), msgspec.json.encode(value))], timestamp_ms=now_ms)
        log.append(data, [batch.parse_header(data, 0)], leader.epoch, now_ms)
        self.replica.awaiting.append(Awaiting(log.end, done))
