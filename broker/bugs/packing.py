"""Bugs of packed batches: packed anew by a leader, and by compaction."""

from __future__ import annotations

from broker.bugs.planting import Replacement
from broker.core.cleaning.rewriting import Kept, Rewriter
from broker.core.replication import intake
from broker.wire import batch, compression
from broker.wire.batch import BatchHeader, Buffer
from broker.wire.entries import entries, records_of


def repacked_batch_loses_a_record() -> tuple[Replacement, ...]:
    """Who packs a batch of several records in the topic's codec leaves the last one out; its offset stays a hole."""
    right = intake._packed

    def packed(buffer: Buffer, header: BatchHeader, codec: int) -> bytearray:
        count = header.record_count - 1
        if not count:
            return right(buffer, header, codec)
        body = records_of(buffer, 0, header)
        kept = compression.compress(codec, body[: entries(body, count)[-1].end])
        return batch.rebuild(header, kept, count=count, max_timestamp=header.max_timestamp, compression=codec)

    return (Replacement(intake, "_packed", packed),)


def compaction_drops_packed_batch() -> tuple[Replacement, ...]:
    """A packed batch goes as one: as soon as one of its records is superseded, so are its neighbours."""
    right = Rewriter._data

    def data(self: Rewriter, whole: memoryview, header: BatchHeader) -> Kept:
        kept = right(self, whole, header)
        if not header.compression or kept.data is None:
            return kept
        is_whole = batch.parse_header(kept.data, 0).record_count == header.record_count
        return kept if is_whole else self._emptied(whole, header)

    return (Replacement(Rewriter, "_data", data),)
