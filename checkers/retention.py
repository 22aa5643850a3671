"""Records that expire: what is younger than its retention must be there, and what is gone must be said (S1, S2).

`premature-deletion`: from the invocation of a record's send to a scan's end less than `retention.ms` have passed; the
scan came to an end behind the offset that was acknowledged, then or later, and does not show it, be it at the log's
begin, in its midst or at its end. (A record's timestamp is taken after its send was invoked, a segment expires with its
youngest record, and whoever deleted it did so before the scan's end: all on one host. What expires while a scan reads
on leaves a hole in it, but none of young records.) The complete final reads of a run of ours are scans, too. What
somebody asked to delete (`delete-records`) may be gone. A record of a transaction counts where the scan shows a later
one: then its last stable offset had passed it. Readers of either isolation are to be shown such records.

`offset-reset-silent`: a consumer that is never moved by itself asked for an offset that had been acknowledged; it was
given a later record, and no word. Offsets of transactions and of compacted topics are not judged: what is missing there
may be a marker, or have a newer value.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate

import numpy as np

from checkers.case import Case
from checkers.columns import Ints
from checkers.compaction import final_scans, scans_of
from checkers.findings import Findings
from checkers.log_view import COMMIT_UNKNOWN, READ_AT, TYPE_OK

PREMATURE, SILENT = "premature-deletion", "offset-reset-silent"
_MS = 1_000_000


def premature_deletions(case: Case, findings: Findings) -> None:
    """Report scans that lack what is too young to be deleted."""
    limit_ms, view = case.options.retention_ms, case.view
    expires = limit_ms is not None and not case.options.compacted
    scans = [*scans_of(case, by_all=True), *final_scans(case, by_all=True)] if expires else []
    if limit_ms is None or not scans:
        findings.not_checked.append(PREMATURE)
        return
    sends, calls = view.sends, view.calls
    rows = np.flatnonzero(case.placement.acknowledged & (sends.offset >= 0))
    plain = calls.commit_time[sends.call] == COMMIT_UNKNOWN
    begins = view.invoke_time()
    sent, asked = _Sent(rows, sends.key[rows], begins[sends.call[rows]]), _Asked(case)
    for scan in scans:
        first, last = (int(scan.offsets[0]), int(scan.offsets.max())) if len(scan.offsets) else (scan.end, -1)
        young = sent.between(scan.key, scan.done_ns - limit_ms * _MS, scan.done_ns)
        missing = young[
            (sends.offset[young] >= asked.before(scan.key, scan.done_ns))
            & (sends.offset[young] < np.where(plain[young], scan.end, last))
        ]
        missing = missing[~np.isin(sends.offset[missing], scan.offsets)]
        if not len(missing):
            continue
        row = int(missing[np.argmax(sends.offset[missing])])
        offset, call = int(sends.offset[row]), int(sends.call[row])
        age_ms = (scan.done_ns - int(begins[call])) / _MS
        findings.add(
            PREMATURE,
            [view.op(call), view.op(scan.call)],
            f"Offset {offset} of {case.key(scan.key)} was sent in {case.name(call)}. {case.name(scan.call)} read the "
            f"partition from its beginning and was complete {age_ms:.0f} ms after that; it begins at offset {first}, "
            f"ends at {scan.end} and does not show it. Records stay for {limit_ms} ms.",
            key=case.key(scan.key),
            offset=offset,
        )


class _Sent:
    """Rows of sends by key, in order of the times at which they were asked for."""

    def __init__(self, rows: Ints, key: Ints, begin: Ints) -> None:
        order = np.lexsort((begin, key))
        self._rows, self._begin = rows[order], begin[order]
        self._starts = np.searchsorted(key[order], np.arange(int(key.max(initial=-1)) + 2))

    def between(self, key: int, after: int, before: int) -> Ints:
        """Return the rows of a key that were asked for between two times, rising."""
        if key + 1 >= len(self._starts):
            return self._rows[:0]
        start, end = self._starts[key : key + 2].tolist()
        low = np.searchsorted(self._begin[start:end], after, side="right")
        high = np.searchsorted(self._begin[start:end], before)
        return np.sort(self._rows[start + low : start + high])


class _Asked:
    """Below which offset somebody had asked to delete, by key and time."""

    def __init__(self, case: Case) -> None:
        asked, by_key = case.view.invoke_time(), defaultdict[int, list[tuple[int, int]]](list)
        for call, key, offset in case.deletions:
            by_key[key].append((int(asked[call]), offset))
        self._times = {key: [time for time, _ in sorted(of_key)] for key, of_key in by_key.items()}
        self._offsets = {
            key: list(accumulate((offset for _, offset in sorted(of_key)), max)) for key, of_key in by_key.items()
        }

    def before(self, key: int, time: int) -> int:
        """Return the highest offset that was asked for before a time, 0 if none was."""
        at = bisect_left(self._times.get(key, []), time)
        return max(0, self._offsets[key][at - 1]) if at else 0


def silent_resets(case: Case, findings: Findings) -> None:
    """Report consumers that were given something later than they asked for, without a word."""
    view, options = case.view, case.options
    code = view.kinds.get(READ_AT)
    if code is None or options.compacted:
        findings.not_checked.append(SILENT)
        return
    calls, sends, records = view.calls, view.sends, view.records
    plain = case.placement.acknowledged & (calls.commit_time[sends.call] == COMMIT_UNKNOWN)
    acked = {
        (int(key), int(offset)): int(call)
        for key, offset, call in zip(sends.key[plain], sends.offset[plain], sends.call[plain], strict=True)
    }
    for row in np.flatnonzero((calls.f[records.call] == code) & (calls.type[records.call] == TYPE_OK)).tolist():
        call = int(records.call[row])
        asked, given = view.call_extras.get(call, {}).get("at"), int(records.offset[row])
        if not isinstance(asked, int) or given <= asked:
            continue
        writer = acked.get((int(records.key[row]), asked))
        if writer is None:
            continue
        findings.add(
            SILENT,
            [view.op(writer), view.op(call)],
            f"{case.name(call)} asked for offset {asked} of {case.key(records.key[row])}, which was acknowledged in "
            f"{case.name(writer)}, and was given offset {given}. It was not told that its offset is out of range.",
            key=case.key(records.key[row]),
            offset=asked,
            given=given,
        )
