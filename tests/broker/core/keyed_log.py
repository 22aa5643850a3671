"""A compacted log on a disk in memory, what a consumer reads of it, and what it should read: a model by brute force."""

from __future__ import annotations

from broker.core.cleaning.compaction import Compaction, dirt
from broker.core.config import CleanupConfig
from broker.core.log.partition_log import LogConfig, PartitionLog
from broker.core.log.recovery import Checkpoint, recover
from broker.core.ready import Outbox
from broker.sim.disk import Disk
from broker.wire import batch, compression, entries, record

NAME = "t-0"
DELETE_RETENTION_MS = 1000


def keyed_batch(records, *, pid=-1, epoch=-1, sequence=-1, transactional=False, timestamp=1000, codec=0):
    body, count = record.encode(records)
    return batch.build(
        compression.compress(codec, body),
        count=count,
        base_timestamp=timestamp,
        max_timestamp=timestamp,
        producer_id=pid,
        producer_epoch=epoch,
        base_sequence=sequence,
        transactional=transactional,
        compression=codec,
    )


class KeyedLog:
    """Appends, compacts, restarts; `written` is every record: (offset, key, value, timestamp, pid or None)."""

    def __init__(self, *, segment_bytes=300, cleanup=None, make=Compaction):
        self.disk, self.out = Disk(), Outbox()
        self.config = LogConfig(segment_bytes=segment_bytes)
        self.cleanup = cleanup or CleanupConfig(compact=True, delete=False, delete_retention_ms=DELETE_RETENTION_MS)
        self.log = PartitionLog(NAME, self.config, self.disk, self.out)
        self.now_ms = 10_000
        self.written = []
        self.fate = {}  # (pid, transaction number) -> "commit" | "abort"; missing: open
        self.transaction = {}  # pid -> number of its transaction in progress
        self.sequence = {}
        self.make = make

    def flush(self):
        self.disk.perform(self.out.take(None))

    def _append(self, data, *, epoch=0):
        first = self.log.append(data, [batch.parse_header(data, 0)], epoch, self.now_ms)
        self.log.advance_high_watermark(self.log.end)
        self.flush()
        return first

    def send(self, *records, pid=None, transactional=False, codec=0):
        """Append one batch of (key, value); return its first offset."""
        sequence = self.sequence.get(pid, 0) if pid is not None else -1
        data = keyed_batch(
            records,
            pid=-1 if pid is None else pid,
            epoch=-1 if pid is None else 0,
            sequence=sequence,
            transactional=transactional,
            timestamp=self.now_ms,
            codec=codec,
        )
        first = self._append(data)
        if pid is not None:
            self.sequence[pid] = sequence + len(records)
        number = self.transaction.setdefault(pid, 0) if transactional else None
        for index, (key, value) in enumerate(records):
            self.written.append((first + index, key, value, self.now_ms, None if number is None else (pid, number)))
        return first

    def end(self, pid, *, commit):
        """End the producer's transaction."""
        kind = {"producer_id": pid, "producer_epoch": 0, "coordinator_epoch": 0, "timestamp_ms": self.now_ms}
        offset = self._append(record.marker(commit=commit, **kind))
        number = self.transaction.get(pid, 0)
        self.fate[pid, number] = "commit" if commit else "abort"
        self.transaction[pid] = number + 1
        return offset

    def roll(self):
        if len(self.log.segments[-1]):
            self.log.roll()
            self.flush()

    def compact(self, *, budget=1 << 30, forget_below=None, steps=1 << 30):
        """Run a compaction, or some slices of it; return it."""
        found = dirt(self.log, self.cleanup, self.now_ms)
        compaction = self.make(
            self.log,
            self.cleanup,
            self.disk,
            self.out,
            end=found.end,
            now_ms=self.now_ms,
            forget_below=self.log.end if forget_below is None else forget_below,
        )
        while not compaction.is_over and steps:
            compaction.step(budget)
            self.flush()
            steps -= 1
        return compaction

    def restart(self, *, power=False, rng=None):
        log = self.log
        checkpoint = Checkpoint(start=log.start, recovery_point=log.recovery_point, high_watermark=log.high_watermark)
        self.disk.crash(rng, power=power)
        self.log, report = recover(NAME, self.config, self.disk, self.out, checkpoint)
        self.flush()
        self.log.advance_high_watermark(self.log.end)
        return report

    # What is there.

    def batches(self):
        """Return (header, bytes) of every batch, by offset."""
        found = []
        for segment in self.log.segments:
            data = self.disk.read(NAME, segment.base, 0, segment.size) if segment.size else b""
            for position, header in batch.parse(data):
                batch.check(data, position, header)
                found.append((header, data[position : position + header.size]))
        return found

    def records(self, data, header):
        """Return (offset, key, value, timestamp) of each record of a batch."""
        body = entries.records_of(data, 0, header)
        plain = batch.rebuild(
            header, body, count=header.record_count, max_timestamp=header.max_timestamp, compression=0
        )
        return [
            (r.offset, r.key, r.value, r.timestamp_ms) for r in record.decode(plain, 0, batch.parse_header(plain, 0))
        ]

    def consume(self, *, max_bytes=200):
        """Read as a read_committed consumer does; return (offset, key, value, timestamp)."""
        log, offset, found = self.log, self.log.start, []
        for _ in range(10_000):
            region = log.read(offset, log.last_stable, max_bytes)
            if region is None:
                return found
            aborted = sorted((a.first_offset, a.producer_id) for a in log.aborted_in(offset, region))
            found += self._visible(self.disk.fetch(region), offset, aborted)
            offset = log.end_of(region)
        raise AssertionError("reading does not end")

    def _visible(self, data, offset, aborted):
        gone, found = set(), []
        for position, header in batch.parse(data):
            while aborted and aborted[0][0] <= header.last_offset:
                gone.add(aborted.pop(0)[1])
            if header.is_control:
                gone.discard(header.producer_id)
            elif not (header.is_transactional and header.producer_id in gone):
                whole = data[position : position + header.size]
                found += [r for r in self.records(whole, header) if r[0] >= offset]
        return found

    def committed(self):
        """Return what a consumer would read of the log had it never been compacted."""
        stable = self.log.last_stable
        return [
            (offset, key, value, at)
            for offset, key, value, at, transaction in self.written
            if offset < stable and (transaction is None or self.fate.get(transaction) == "commit")
        ]

    def state(self, records=None):
        """Return the last value of each key, without deleted ones."""
        state = {key: value for _, key, value, _ in (self.consume() if records is None else records)}
        return {key: value for key, value in state.items() if value is not None}
