"""Index of aborted transactions in one log: what a read_committed consumer must filter out of a fetched range.

One entry per abort marker, in the order of the markers: producer id, first offset of the transaction, offset of the
marker, and the last stable offset at that moment (a search may stop once this passes the range's end). Kafka:
AbortedTxn, TransactionIndex, TxnIndexSearchResult.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec


class AbortedTransaction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One aborted transaction."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class AbortedIndex:
    """The entries of a whole log, by marker offset."""

    __slots__ = ("_entries", "_lasts")

    def __init__(self) -> None:
        self._entries: list[AbortedTransaction] = []
        self._lasts: list[int] = []

    def add(self, entry: AbortedTransaction) -> None:
        """Add an entry; one that is there already (recovery replays) changes nothing."""
        index = bisect_left(self._lasts, entry.last_offset)
        if index < len(self._lasts) and self._lasts[index] == entry.last_offset:
            return
        self._entries.insert(index, entry)
        self._lasts.insert(index, entry.last_offset)

    def overlapping(self, start: int, end: int) -> list[AbortedTransaction]:
        """Return the aborted transactions that may have records in [start, end)."""
        found = []
        for index in range(bisect_left(self._lasts, start), len(self._entries)):
            entry = self._entries[index]
            if entry.first_offset < end:
                found.append(entry)
            if entry.last_stable_offset >= end:
                break
        return found

    def between(self, start: int, end: int) -> list[AbortedTransaction]:
        """Return the entries whose markers lie in [start, end)."""
        return self._entries[bisect_left(self._lasts, start) : bisect_left(self._lasts, end)]

    def forget(self, marker: int) -> None:
        """Forget the transaction that the marker at this offset ended: neither it nor any record is there any more."""
        index = bisect_left(self._lasts, marker)
        if index < len(self._lasts) and self._lasts[index] == marker:
            del self._entries[index], self._lasts[index]

    def truncate_end(self, offset: int) -> None:
        """Forget markers at or after `offset`."""
        count = bisect_left(self._lasts, offset)
        del self._entries[count:], self._lasts[count:]

    def truncate_start(self, offset: int) -> None:
        """Forget transactions that ended before `offset`."""
        count = bisect_left(self._lasts, offset)
        del self._entries[:count], self._lasts[:count]


def dump(entries: list[AbortedTransaction]) -> bytes:
    """Return a segment's entries as a small file."""
    return msgspec.json.encode(entries)


def load(data: bytes) -> list[AbortedTransaction]:
    """Return the entries of `dump`; raises msgspec.MsgspecError on a damaged file."""
    return msgspec.json.decode(data, type=list[AbortedTransaction])
