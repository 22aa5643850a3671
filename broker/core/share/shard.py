"""One led partition of `__share_group_state`: the states of its keys, loaded from the log, changed through the log.

A change counts at once for whoever comes next, and is answered when it is replicated. Every so many updates a snapshot
is written, so that what came before it is not needed any more: `prune` lets the log begin at the oldest snapshot.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from broker.core.errors import Code
from broker.core.replication.replica import Replica
from broker.core.replication.state_log import StateLog
from broker.core.share import state as records
from broker.core.share.partition import Batch
from broker.core.share.state import ShareKey, ShareState
from broker.core.storage import Storage
from broker.wire import record
from broker.wire.batch import BatchHeader

Done = Callable[[Code], None]


class Entry(msgspec.Struct):
    """A state, where its snapshot stands in the log, and how many updates have followed it.

    `before`: where the log must begin for it as long as the snapshot may still be lost.
    """

    state: ShareState
    snapshot_at: int
    before: int
    updates: int = 0

    def needs(self, high_watermark: int) -> int:
        """Return where the log must begin for the state."""
        return self.snapshot_at if self.snapshot_at < high_watermark else self.before


class ShareShard:
    """See the module. Lives for one leader epoch."""

    def __init__(self, replica: Replica, storage: Storage, updates_per_snapshot: int) -> None:
        self.log = StateLog(replica, storage)
        self.entries: dict[ShareKey, Entry] = {}
        self.shape = -1
        """That of the metadata when deleted topics were last looked for."""
        self._updates_per_snapshot = updates_per_snapshot

    def apply(self, header: BatchHeader, item: record.Record) -> None:
        """Take a record of the log."""
        del header
        found = records.decode_key(item.key or b"\xff\xff\0\0")
        if found is None:
            return
        kind, key = found
        entry = self.entries.get(key)
        if kind == records.UPDATE:
            if entry is not None and item.value is not None:
                entry.state = records.decode_update(item.value, entry.state)
                entry.updates += 1
        elif item.value is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = Entry(records.decode_snapshot(item.value), item.offset, item.offset)

    def end(self, header: BatchHeader, *, commit: bool) -> None:
        """Take a marker: this log has none."""

    def begin(self, key: ShareKey, state_epoch: int, start: int, now_ms: int, done: Done) -> None:
        """Begin a key anew. Raise Refused."""
        old = self.entries.get(key)
        state = ShareState(
            snapshot_epoch=0 if old is None else old.state.snapshot_epoch + 1,
            state_epoch=state_epoch,
            leader_epoch=0 if old is None else old.state.leader_epoch,
            start=start,
            created_ms=now_ms,
            written_ms=now_ms,
        )
        self._snapshot(key, state, now_ms, done)

    def update(  # noqa: PLR0917 - what has changed, and who is told
        self, key: ShareKey, leader_epoch: int, start: int, batches: tuple[Batch, ...], now_ms: int, done: Done
    ) -> None:
        """Change a key that is there. Raise Refused."""
        entry = self.entries[key]
        state = entry.state.updated(leader_epoch, start, batches)
        if entry.updates >= self._updates_per_snapshot:
            fresh = msgspec.structs.replace(state, snapshot_epoch=state.snapshot_epoch + 1, written_ms=now_ms)
            self._snapshot(key, fresh, now_ms, done)
            return
        value = records.encode_update(state.snapshot_epoch, leader_epoch, start, batches)
        self._write(records.encode_key(records.UPDATE, key), value, now_ms, done)
        entry.state = state
        entry.updates += 1

    def forget(self, key: ShareKey, now_ms: int, done: Done) -> None:
        """Delete a key. Raise Refused."""
        self._write(records.encode_key(records.SNAPSHOT, key), None, now_ms, done)
        self.entries.pop(key, None)

    def prune(self, below: int, now_ms: int) -> bool:
        """Write snapshots anew that stand below the offset, and let the log begin at the oldest one. Raise Refused.

        Return whether the log's start has moved.
        """
        log = self.log.replica.log
        watermark = log.high_watermark
        oldest = min((entry.needs(watermark) for entry in self.entries.values()), default=watermark)
        moved = log.advance_start(min(oldest, watermark))
        for key, entry in self.entries.items():
            if entry.snapshot_at < below:
                state = entry.state
                fresh = msgspec.structs.replace(state, snapshot_epoch=state.snapshot_epoch + 1, written_ms=now_ms)
                self._snapshot(key, fresh, now_ms, lambda _: None)
        return moved

    def _snapshot(self, key: ShareKey, state: ShareState, now_ms: int, done: Done) -> None:
        log, old = self.log.replica.log, self.entries.get(key)
        at = log.end
        before = at if old is None else old.needs(log.high_watermark)
        self._write(records.encode_key(records.SNAPSHOT, key), records.encode_snapshot(state), now_ms, done)
        self.entries[key] = Entry(state, at, before)

    def _write(self, key: bytes, value: bytes | None, now_ms: int, done: Done) -> None:
        self.log.write(record.batch_of([(key, value)], timestamp_ms=now_ms), now_ms, done)
