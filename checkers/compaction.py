"""Compacted topics, judged by whole scans: each record key's last word must be what a scan ends with (C1-C3).

A scan read one partition from its beginning to `end`; so did the complete final read of a run of ours. For each record
key, its *last word* before the scan is the committed write of the highest offset, below `end`, that was acknowledged
before the scan began, if no other write could have come after it: nothing that may be committed, was begun before the
scan's end, and has a higher or an unknown offset. (A key that is still being written has none; workloads retire keys
for this.)

* the last word is a tombstone, and scans end with an older value: `tombstone-resurrected`. One scan proves nothing: a
  long one may read the old value, and pass where the tombstone was when it has been forgotten; so may one that goes on
  at another leader, who compacted earlier. A replica that showed it once in a legal way has no old value any more. So
  it takes two scans, one after the other, each shorter than `delete.retention.ms`; or four of any length: with three
  replicas, two of them read the same one. Scans count only when no deposed leader may be alive: one after the other may
  begin at it, as far as it knows of what is committed, and go on at its successor, who has forgotten the tombstone.
* it is a value, and the scan ends with an older one, or with none: `compaction-lost-latest`. A value never goes.
* offsets that do not rise within a scan: `compaction-reordered`.
* a tombstone that is missing although `delete.retention.ms` have not passed since it was sent, or any acknowledged
  record although `min.compaction.lag.ms` have not: `compaction-too-early`. Times are the harness's own: a record's
  timestamp is taken after its op was invoked, and whoever deleted it did so before the scan's end.

What somebody asked to delete (`delete-records`) is not missed, nor, where the topic expires as well
(cleanup.policy=compact,delete), what is older than `retention.ms` by the scan's end.

Values of aborted transactions that a scan shows are `aborted-read` or `G1a`, as for every reader. Scans by
read_uncommitted processes are not judged: they show what is undecided.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Groups, Ints
from checkers.findings import Findings
from checkers.log_view import READ_COMMITTED, SCAN, TYPE_FAIL, TYPE_INFO, TYPE_OK
from checkers.options import CheckOptions
from checkers.phases import deposed_leaders
from harness.history import NEMESIS

LOST, RESURRECTED, REORDERED, EARLY = (
    "compaction-lost-latest",
    "tombstone-resurrected",
    "compaction-reordered",
    "compaction-too-early",
)
CLASSES = (LOST, REORDERED, EARLY, RESURRECTED)
SHORT_WITNESSES = 2
LONG_WITNESSES = 4
_MS = 1_000_000
_NEVER = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Write:
    """One send with a record key. `offset` is -1 where nobody knows it."""

    row: int
    call: int
    offset: int
    tombstone: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A record that a scan found."""

    offset: int
    value: Any
    tombstone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A full read."""

    call: int
    key: int
    end: int
    begin_ns: int
    done_ns: int
    rows: Ints
    """Of the records that it found."""
    offsets: Ints

    @property
    def lasted_ms(self) -> float:
        """How long it took."""
        return (self.done_ns - self.begin_ns) / _MS


def compaction(case: Case, findings: Findings) -> None:
    """Report what scans of compacted topics show and must not."""
    scans = [*scans_of(case), *final_scans(case)] if case.options.compacted else []
    writes = _writes(case) if scans else {}
    if not writes:
        findings.not_checked.extend(CLASSES)
        return
    judge = _Judge(case, findings)
    tables = {key: _Table(case, of_key) for key, of_key in writes.items()}
    for scan in scans:
        judge.scan(scan, tables.get(scan.key))
    judge.finish()


def losses_unjudged(case: Case, findings: Findings) -> None:
    """Say that nothing was judged of what was lost, where topics drop records by themselves and no scan shows them."""
    options = case.options
    scans = scans_of(case, by_all=not options.compacted)
    if options.forgets and case.placement.vids.size and next(scans, None) is None:
        by = " by a read_committed process" if options.compacted else ""
        findings.reasons.append(
            f"The topics drop records by themselves, and no whole read of one (`scan`){by} was complete: what may have "
            "been lost was not judged."
        )


def scans_of(case: Case, *, by_all: bool = False) -> Iterator[Scan]:
    """Yield the complete scans by read_committed processes, or by all, in order of completion."""
    view = case.view
    code = view.kinds.get(SCAN)
    if code is None:
        return
    calls, records = view.calls, view.records
    chosen = (calls.f == code) & (calls.type == TYPE_OK) & (by_all | (calls.isolation == READ_COMMITTED))
    begins, ends = view.invoke_time(), view.done_time()
    timed = dict(zip(view.micro_times.call.tolist(), view.micro_times.start.tolist(), strict=True))
    shown = np.flatnonzero(chosen[records.call])
    rows_of = Groups(records.call[shown])
    for call in np.flatnonzero(chosen).tolist():
        rows, said = shown[rows_of.rows(call)], view.call_extras.get(call, {})
        key = _key_of(case, call, rows)
        if key is not None and isinstance(said.get("end"), int):
            yield Scan(
                call=call,
                key=key,
                end=said["end"],
                begin_ns=timed.get(call, int(begins[call])),
                done_ns=int(ends[call]),
                rows=rows,
                offsets=records.offset[rows],
            )


def final_scans(case: Case, *, by_all: bool = False) -> Iterator[Scan]:
    """Yield the complete final reads of keys as scans: by read_committed processes, or by all.

    One is what a process was shown of a key from its assign on, if none of its polls failed, up to the `drain` event.
    """
    view, drain = case.view, case.phases.row("drain")
    if drain is None:
        return
    calls, records, assigns, reads = view.calls, view.records, view.assigns, case.phases.drains
    rows = np.flatnonzero(np.isin(view.index, [read.op for read in reads.values()]))
    told_at = dict(zip(view.index[rows].tolist(), rows.tolist(), strict=True))
    is_late = calls.invoke_row > drain
    late, shown = np.flatnonzero(is_late), np.flatnonzero(is_late[records.call])
    is_begin = is_late & (calls.type == TYPE_OK) & np.isin(np.arange(calls.size), assigns.call[assigns.seeks])
    begins, dones = view.invoke_time(), view.done_time()
    for name, read in reads.items():
        key, told = view.keys.get(name), told_at[read.op]
        naming = assigns.member_call[assigns.member_key == key]
        naming = naming[is_begin[naming] & (calls.done_row[naming] < told)]
        if not read.complete or read.end is None or key is None or not len(naming):
            continue
        assign = int(naming[-1])
        polls = late[(calls.process[late] == calls.process[assign]) & (calls.invoke_row[late] < told)]
        polls = polls[calls.invoke_row[polls] > calls.done_row[assign]]
        is_over = (calls.type[polls] == TYPE_OK) & (calls.done_row[polls] < told)
        if len(polls) and is_over.all() and (by_all or (calls.isolation[polls] == READ_COMMITTED).all()):
            found = shown[np.isin(records.call[shown], polls) & (records.key[shown] == key)]
            yield Scan(
                call=int(polls[-1]),
                key=key,
                end=read.end,
                begin_ns=int(begins[assign]),
                done_ns=int(dones[polls[-1]]),
                rows=found,
                offsets=records.offset[found],
            )


def _shown(case: Case, scan: Scan) -> dict[str, Shown]:
    """Return per record key the last record that a scan found."""
    records, value_of = case.view.records, case.view.values.value
    shown: dict[str, Shown] = {}
    for row, offset, value in zip(
        scan.rows.tolist(), scan.offsets.tolist(), records.value[scan.rows].tolist(), strict=True
    ):
        seen = records.extras.get(row, {})
        name = seen.get("record-key")
        if name is not None:
            shown[name] = Shown(offset, value_of(value), bool(seen.get("tombstone")))
    return shown


def _key_of(case: Case, call: int, rows: Ints) -> int | None:
    """Return the key that a scan read: that of its records, or, where there are none, the one that it names."""
    if len(rows):
        return int(case.view.records.key[rows[0]])
    named: Any = case.view.call_extras.get(call, {}).get("key")
    return None if named is None else case.view.keys.get(named)


def _writes(case: Case) -> dict[int, dict[str, list[Write]]]:
    """Return key -> record key -> its writes that may have been committed."""
    view = case.view
    sends, calls = view.sends, view.calls
    found: dict[int, dict[str, list[Write]]] = defaultdict(lambda: defaultdict(list))
    for row, seen in view.send_extras.items():
        name = seen.get("record-key") if isinstance(seen, dict) else None
        call = int(sends.call[row])
        if name is None or calls.type[call] == TYPE_FAIL:
            continue
        if calls.type[call] == TYPE_INFO and calls.commit_time[call] == -1:
            continue  # commit was never called: it is not committed
        write = Write(row, call, int(sends.offset[row]), bool(seen.get("tombstone")))
        found[int(sends.key[row])][name].append(write)
    return found


class _Written:
    """The writes of one record key, in the orders in which scans ask for them."""

    def __init__(self, case: Case, writes: list[Write]) -> None:
        begin, done = case.view.invoke_time(), case.view.done_time()
        self._begin = {write.row: int(begin[write.call]) for write in writes}
        certain = (write for write in writes if case.placement.acknowledged[write.row] and write.offset >= 0)
        self._certain = sorted(certain, key=lambda write: int(done[write.call]))
        self._done = [int(done[write.call]) for write in self._certain]
        self._last = list(accumulate(self._certain, _further))
        by_offset = sorted((write for write in writes if write.offset >= 0), key=lambda write: write.offset)
        self._offsets = [write.offset for write in by_offset]
        self._soonest = list(accumulate((self._begin[write.row] for write in reversed(by_offset)), min))[::-1]
        self._unplaced = min((self._begin[write.row] for write in writes if write.offset < 0), default=_NEVER)

    def last(self, scan: Scan) -> Write | None:
        """Return the write of the highest offset that was certain before a scan, and that lies below its end."""
        before = bisect_left(self._done, scan.begin_ns)
        if before and self._last[before - 1].offset < scan.end:
            return self._last[before - 1]
        below = [write for write in self._certain[:before] if write.offset < scan.end]
        return reduce(_further, below) if below else None

    def since(self, scan: Scan, limit_ms: int) -> list[Write]:
        """Return what was certain before a scan, lies below its end, and is younger than a limit at its end."""
        since = scan.done_ns - limit_ms * _MS
        young = self._certain[bisect_right(self._done, since) : bisect_left(self._done, scan.begin_ns)]
        return [write for write in young if self._begin[write.row] > since and write.offset < scan.end]

    def is_followed(self, last: Write, done_ns: int) -> bool:
        """Return whether another write, begun before a time, may lie behind one."""
        behind = bisect_right(self._offsets, last.offset)
        return min(self._unplaced, self._soonest[behind] if behind < len(self._soonest) else _NEVER) < done_ns


def _further(one: Write, other: Write) -> Write:
    return other if other.offset > one.offset else one


class _Table:
    """The writes to one partition as columns, sorted by record key and offset: most say nothing against a scan."""

    def __init__(self, case: Case, writes: dict[str, list[Write]]) -> None:
        self._case, self._writes, self._names = case, writes, list(writes)
        self._written: dict[str, _Written] = {}
        rows = [
            (place, write.offset, write.call, write.tombstone)
            for place, of_key in enumerate(writes.values())
            for write in of_key
            if case.placement.acknowledged[write.row] and write.offset >= 0
        ]
        self._place, self._offset, call, tombstone = np.array(sorted(rows), np.int64).reshape(-1, 4).T
        self._tombstone = tombstone > 0
        self._begin, self._done = case.view.invoke_time()[call], case.view.done_time()[call]

    def written(self, record_key: str) -> _Written:
        """Return the writes of a record key."""
        if record_key not in self._written:
            self._written[record_key] = _Written(self._case, self._writes[record_key])
        return self._written[record_key]

    def doubtful(self, scan: Scan, shown: dict[str, Shown], options: CheckOptions, deleted: int) -> list[str]:
        """Return the record keys that have to be judged: a record is missing that may not simply be gone."""
        before = np.flatnonzero((self._done < scan.begin_ns) & (self._offset < scan.end))
        age = scan.done_ns - self._begin[before]
        place, offset = self._place[before], self._offset[before]
        stays = offset >= deleted
        if options.retention_ms is not None:
            stays &= age < options.retention_ms * _MS
        ends = np.flatnonzero(np.append(place[1:] != place[:-1], np.ones(min(1, len(place)), np.bool_)))
        last = offset == offset[ends][np.searchsorted(place[ends], place)]
        found = np.array([shown[name].offset if name in shown else -1 for name in self._names], np.int64)[place]
        lagging, tombstone = last & (found < offset), self._tombstone[before]
        doubtful = lagging & np.where(tombstone, found >= 0, stays)
        if options.min_compaction_lag_ms:
            young = stays & (age < options.min_compaction_lag_ms * _MS)
            doubtful |= young & ~np.isin(offset, scan.offsets)
        else:
            doubtful |= lagging & tombstone & stays & (age < options.delete_retention_ms * _MS)
        return [self._names[at] for at in np.unique(place[doubtful]).tolist()]


class _Judge:
    """Judges scans against the writes; finds the faults that explain."""

    def __init__(self, case: Case, findings: Findings) -> None:
        self._case, self._findings = case, findings
        self._begin, self._done = case.view.invoke_time(), case.view.done_time()
        self._type = case.view.calls.type
        self._present: frozenset[int] = frozenset()
        """The offsets of the scan that is judged, where min.compaction.lag.ms asks for them."""
        self._deleted: dict[int, int] = defaultdict(int)
        """Per key: below which offset somebody asked to delete."""
        for _, key, offset in case.deletions:
            self._deleted[key] = max(self._deleted[key], offset)
        self._led = list(_led_again(case))
        self._deposed = deposed_leaders(case.phases)
        self._drained_ns = next((time for phase, _, time in case.phases.starts if phase == "drain"), _NEVER)
        self._witnesses: dict[tuple[int, str, Write], list[tuple[Scan, Shown]]] = defaultdict(list)

    def scan(self, scan: Scan, table: _Table | None) -> None:
        """Judge one scan: its order, and each record key that was written to its partition."""
        self._order(scan)
        if table is None:
            return
        self._present = frozenset(scan.offsets.tolist()) if self._case.options.min_compaction_lag_ms else frozenset()
        shown = _shown(self._case, scan)
        for record_key in table.doubtful(scan, shown, self._case.options, self._deleted[scan.key]):
            self._key(scan, record_key, table.written(record_key), shown.get(record_key))

    def _order(self, scan: Scan) -> None:
        """Offsets rise."""
        falls = np.flatnonzero(np.diff(scan.offsets) <= 0)
        if len(falls):
            at = int(falls[0])
            key, one, other = self._case.key(scan.key), int(scan.offsets[at]), int(scan.offsets[at + 1])
            self._findings.add(
                REORDERED,
                [self._case.view.op(scan.call)],
                f"{self._case.name(scan.call)} read {key} from its beginning and got offset {other} after {one}.",
                key=key,
                offset=other,
            )

    def _key(self, scan: Scan, record_key: str, written: _Written, shown: Shown | None) -> None:
        """Judge one record key in one scan."""
        last = written.last(scan)
        if last is None:
            return
        self._early(scan, record_key, written, last, shown)
        if written.is_followed(last, scan.done_ns):
            return
        if shown is not None and shown.offset >= last.offset:
            return
        if last.tombstone:
            if shown is not None and not shown.tombstone and self._has_one_leader(scan):
                self._witnesses[scan.key, record_key, last].append((scan, shown))
        elif not self._may_go(scan, last):
            self._lost(scan, record_key, last, shown)

    def _has_one_leader(self, scan: Scan) -> bool:
        """Return whether no deposed leader can have answered a part of a scan; the final reads wait for that."""
        return scan.begin_ns >= self._drained_ns or not self._deposed.meet(scan.begin_ns, scan.done_ns)

    def _may_go(self, scan: Scan, write: Write) -> bool:
        """Return whether a record may be gone by a scan's end, whatever its key: deleted, or expired."""
        limit_ms = self._case.options.retention_ms
        expired = limit_ms is not None and scan.done_ns - int(self._begin[write.call]) >= limit_ms * _MS
        return expired or write.offset < self._deleted[scan.key]

    def finish(self) -> None:
        """Report the keys that enough scans showed alive."""
        for (_, record_key, last), found in self._witnesses.items():
            short = [one for one in found if one[0].lasted_ms < self._case.options.delete_retention_ms]
            for scans, enough in ((_in_turn(short), SHORT_WITNESSES), (_in_turn(found), LONG_WITNESSES)):
                if len(scans) >= enough:
                    self._resurrected(scans[:enough], record_key, last)
                    break

    def _early(self, scan: Scan, record_key: str, written: _Written, last: Write, shown: Shown | None) -> None:
        options, case = self._case.options, self._case
        limit, name = options.delete_retention_ms, "delete.retention.ms"
        is_gone = last.tombstone and (shown is None or shown.offset < last.offset)
        missing = [last] if is_gone else []
        if options.min_compaction_lag_ms:
            limit, name = options.min_compaction_lag_ms, "min.compaction.lag.ms"
            missing = [write for write in written.since(scan, limit) if write.offset not in self._present]
        for write in missing:
            age_ms = (scan.done_ns - int(self._begin[write.call])) / _MS
            if age_ms < limit and not self._may_go(scan, write):
                what = "tombstone" if write.tombstone else "record"
                self._findings.add(
                    EARLY,
                    [case.view.op(write.call), case.view.op(scan.call)],
                    f"The {what} of {record_key!r} at offset {write.offset} of {case.key(scan.key)} was sent in "
                    f"{case.name(write.call)}; {case.name(scan.call)}, complete {age_ms:.0f} ms after that, read to "
                    f"{scan.end} and it was gone, though it had to stay for {limit} ms ({name}).",
                    key=case.key(scan.key),
                    offset=write.offset,
                    record_key=record_key,
                )

    def _resurrected(self, witnesses: list[tuple[Scan, Shown]], record_key: str, last: Write) -> None:
        case = self._case
        scan, shown = witnesses[-1]
        others = ", ".join(case.name(one.call) for one, _ in witnesses[:-1])
        self._findings.add(
            RESURRECTED,
            [case.view.op(last.call), *(case.view.op(one.call) for one, _ in witnesses)],
            f"{record_key!r} of {case.key(scan.key)} was deleted by the tombstone at offset {last.offset} "
            f"({case.name(last.call)}), and nobody wrote it after that. {case.name(scan.call)}, which read to offset "
            f"{scan.end} in {scan.lasted_ms:.0f} ms, ends with it alive, as {others} before it: {shown.value!r} from "
            f"offset {shown.offset}{self._under(scan)}.",
            key=case.key(scan.key),
            offset=last.offset,
            record_key=record_key,
            shown=[shown.offset, shown.value],
        )

    def _lost(self, scan: Scan, record_key: str, last: Write, shown: Shown | None) -> None:
        case = self._case
        instead = "it is not there at all" if shown is None else f"the last that is there is offset {shown.offset}"
        value = case.view.values.value(int(case.view.sends.value[last.row]))
        self._findings.add(
            LOST,
            [case.view.op(last.call), case.view.op(scan.call)],
            f"The last value of {record_key!r} of {case.key(scan.key)} is {value!r} at offset {last.offset} "
            f"({case.name(last.call)}). {case.name(scan.call)} read to offset {scan.end}, and {instead}"
            f"{self._under(scan)}.",
            key=case.key(scan.key),
            offset=last.offset,
            value=value,
            record_key=record_key,
        )

    def _under(self, scan: Scan) -> str:
        """Return which node a fault had made the leader before the scan, in words."""
        at = bisect_right(self._led, scan.begin_ns, key=lambda each: each[0])
        return f"; {self._led[at - 1][1]}, which had been away, was made the leader before" if at else ""


def _led_again(case: Case) -> Iterator[tuple[int, Any]]:
    """Yield when a fault had made a node the leader that had been away, and its name; times rise."""
    for _, time, line in case.view.marks:
        evidence = line.value.get("evidence") if isinstance(line.value, dict) else None
        if line.process == NEMESIS and isinstance(evidence, dict) and evidence.get("led-again"):
            yield time, evidence["led-again"]


def _in_turn(found: list[tuple[Scan, Shown]]) -> list[tuple[Scan, Shown]]:
    """Return as many as possible of which each began when the one before was complete."""
    chosen: list[tuple[Scan, Shown]] = []
    for one in sorted(found, key=lambda pair: pair[0].done_ns):
        if not chosen or one[0].begin_ns > chosen[-1][0].done_ns:
            chosen.append(one)
    return chosen
