"""One led partition of `__transaction_state`: its transactional ids, loaded from the log, changed through the log.

A change counts when its record is replicated to all in-sync replicas; until then the id is busy. Records are keyed by
transactional id (the topic is compacted), the value is our own JSON.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from broker.core.errors import Code
from broker.core.replication.replica import Replica
from broker.core.replication.state_log import StateLog
from broker.core.storage import Storage
from broker.core.transaction.state import Place, Transaction
from broker.wire import record
from broker.wire.batch import BatchHeader


class Waiting(msgspec.Struct, frozen=True):
    """A request that waits for its id to be free, with the time when its patience ends."""

    deadline_ms: int
    retry: Callable[[int, bool], None]
    """Called with the time, and whether it may wait again."""


class Entry:
    """One transactional id. `value` is None until its first record is replicated."""

    def __init__(self, value: Transaction | None, changed_ms: int = -1) -> None:
        self.value = value
        self.changed_ms = changed_ms
        self.busy = False
        self.unmarked: dict[Place, None] = {}
        self.waiting: list[Waiting] = []


class Shard:
    """See the module. Lives for one leader epoch, which is also the coordinator epoch in markers."""

    def __init__(self, replica: Replica, storage: Storage) -> None:
        self.log = StateLog(replica, storage)
        self.entries: dict[str, Entry] = {}

    @property
    def epoch(self) -> int:
        """The leader epoch."""
        return self.log.epoch

    def apply(self, header: BatchHeader, item: record.Record) -> None:
        """Take a record of the log."""
        name = (item.key or b"").decode()
        if item.value is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = Entry(msgspec.json.decode(item.value, type=Transaction), header.max_timestamp)

    def end(self, header: BatchHeader, *, commit: bool) -> None:
        """Take a marker: this log has none."""

    def write(self, value: Transaction, now_ms: int, done: Callable[[Code], None]) -> None:
        """Append the new value; `done` is told when it is replicated, or why that is unknown. Raise Refused at once."""
        data = record.batch_of([(value.id.encode(), msgspec.json.encode(value))], timestamp_ms=now_ms)
        self.log.write(data, now_ms, done)

    def forget(self, name: str, now_ms: int, done: Callable[[Code], None]) -> None:
        """Append that an id is gone; as `write`."""
        self.log.write(record.batch_of([(name.encode(), None)], timestamp_ms=now_ms), now_ms, done)
