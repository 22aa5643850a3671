"""Full reads held against each other: `isolation-mismatch` (T3) and the reading half of `stale-poll`.

A *scan* is what one process read of a key from an assign with seek-to-beginning on, by ok polls one after another; it
covers every offset up to the last one that it read. It ends where the process assigns, subscribes or crashes, and
before its first poll that is not ok or saw a rebalance.

* A read_committed scan must hold every committed value that a read_uncommitted reader saw in what it covers; a
  read_uncommitted scan every value that a read_committed reader saw there. Whoever read past an offset had the last
  stable offset behind it, so that nothing there can still change.
* Where the final reading of a run of ours by read_uncommitted processes came less far than the read_committed one, the
  verdict is at best unknown: the rest was not held against anything.
* With `--fresh`, a scan must hold every value whose acks=all send had been acknowledged when its assign was invoked.

Places below a log start that was seen count for nobody; compacted topics are not judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.case import Case
from checkers.columns import Bools, Ints
from checkers.findings import Findings
from checkers.log_view import READ_COMMITTED, READ_UNCOMMITTED, TYPE_INFO, TYPE_OK
from checkers.placement import NOWHERE

ISOLATION, STALE = "isolation-mismatch", "stale-poll"
MOST_NAMED = 8
"""Keys that a sentence names."""


@dataclass(frozen=True, slots=True)
class Scans:
    """One row per scan and key."""

    assign: Ints
    """The call that began it."""
    key: Ints
    last: Ints
    """The highest offset read."""
    slot: Ints
    """Sorted codes scan * slots + slot of what was read."""

    @property
    def size(self) -> int:
        """Return the number of scans."""
        return len(self.assign)


def scans_of(case: Case) -> Scans:
    """Return the scans of a history."""
    view = case.view
    calls, assigns, records = view.calls, view.assigns, view.records
    none = np.empty(0, np.int64)
    begins = assigns.call[assigns.seeks & (calls.type[assigns.call] == TYPE_OK)]
    if not len(begins) or not len(records.call):
        return Scans(none, none, none, none)
    _, process = np.unique(calls.process, return_inverse=True)
    span = calls.size + 1
    ends = np.sort((process * span + np.arange(calls.size))[_breaks(case)])
    starts = np.sort(process[begins] * span + begins)
    rows = np.flatnonzero((calls.type[records.call] == TYPE_OK) & (case.placement.record_slot >= 0))
    code = process[records.call[rows]] * span + records.call[rows]
    mine = np.searchsorted(starts, code) - 1
    begun = starts[np.maximum(mine, 0)]
    inside = (mine >= 0) & (begun // span == code // span)
    # a break after the beginning and up to the poll itself ends the scan; the beginning is an assign, thus a break too
    inside &= np.searchsorted(ends, code, side="right") == np.searchsorted(ends, begun, side="right")
    rows, assign = rows[inside], (begun % span)[inside]
    named = assigns.member_call * max(1, len(view.keys)) + assigns.member_key
    pair = assign * max(1, len(view.keys)) + records.key[rows]
    held = np.isin(pair, named)
    rows, pair = rows[held], pair[held]
    scans, rank = np.unique(pair, return_inverse=True)
    last = np.full(len(scans), NOWHERE, np.int64)
    np.maximum.at(last, rank, records.offset[rows])
    slots = max(1, case.placement.slots.size)
    return Scans(
        scans // max(1, len(view.keys)),
        scans % max(1, len(view.keys)),
        last,
        np.unique(rank * slots + case.placement.record_slot[rows]),
    )


def _breaks(case: Case) -> Bools:
    """Return per call whether it ends the scans of its process."""
    view = case.view
    calls = view.calls
    breaks = calls.type != TYPE_OK
    breaks[view.assigns.call] = True
    breaks[view.rebalanced_call] = True
    return np.asarray(breaks)


def isolation_mismatches(case: Case, findings: Findings) -> None:
    """Report scans that lack what a reader of the other isolation shows to be there."""
    calls, records = case.view.calls, case.view.records
    committed = calls.isolation == READ_COMMITTED
    if case.options.forgets or committed.all() or not committed.any():
        findings.not_checked.append(ISOLATION)
        return
    _second_readings(case, findings)
    scans = scans_of(case)
    rc_scan = calls.isolation[scans.assign] == READ_COMMITTED
    seen = {}
    for isolation in (READ_COMMITTED, READ_UNCOMMITTED):
        seen[isolation] = np.zeros(case.placement.slots.size, np.bool_)
        reads = (calls.isolation[records.call] == isolation) & (case.placement.record_slot >= 0)
        seen[isolation][case.placement.record_slot[reads]] = True
    expected_rc = seen[READ_UNCOMMITTED] & _certainly_committed(case)
    if not (rc_scan.any() and seen[READ_UNCOMMITTED].any()) and not ((~rc_scan).any() and seen[READ_COMMITTED].any()):
        findings.not_checked.append(ISOLATION)
        return
    for mine, expected, other in (
        (rc_scan, expected_rc, READ_UNCOMMITTED),
        (~rc_scan, seen[READ_COMMITTED], READ_COMMITTED),
    ):
        for scan in np.flatnonzero(mine).tolist():
            covered = _covered(case, scans, scan)
            slot = _lacking(case, scans, scan, covered, expected[covered])
            if slot is not None and findings.room(ISOLATION):
                _tell_mismatch(case, findings, scans, scan, (slot, _reader_of(case, slot, other)))
            elif slot is not None:
                findings.count(ISOLATION, 1)


def _second_readings(case: Case, findings: Findings) -> None:
    """Say of which keys the final reading by read_uncommitted processes came less far than the read_committed one."""
    view = case.view
    last = np.full((2, len(view.keys)), NOWHERE, np.int64)
    for isolation in (READ_COMMITTED, READ_UNCOMMITTED):
        readers = case.final_reader & (view.calls.isolation == isolation)
        if not readers.any():
            return
        rows = readers[view.records.call]
        np.maximum.at(last[isolation], view.records.key[rows], view.records.offset[rows])
    short = np.flatnonzero(last[READ_UNCOMMITTED] < last[READ_COMMITTED])
    if len(short):
        some = ", ".join(str(case.key(code)) for code in short[:MOST_NAMED])
        others = " and others" if len(short) > MOST_NAMED else ""
        findings.reasons.append(
            f"The final reads by read_uncommitted consumers of {some}{others} did not come as far as those by "
            "read_committed ones: what lies beyond was not held against them."
        )


def stale_scans(case: Case, findings: Findings) -> bool:
    """Report scans that passed over what had been acknowledged before they began; return whether there was one."""
    view, sends = case.view, case.view.sends
    scans = scans_of(case)
    if case.options.forgets or case.options.acks != "all" or not scans.size or not view.has_invocations:
        return False
    uncommitted = view.calls.isolation[scans.assign] == READ_UNCOMMITTED
    acked = np.full(case.placement.slots.size, np.iinfo(np.int64).max)
    rows = np.flatnonzero(case.placement.acknowledged & (case.placement.send_slot >= 0))
    np.minimum.at(acked, case.placement.send_slot[rows], view.calls.done_row[sends.call[rows]])
    for scan in np.flatnonzero(uncommitted).tolist():
        begun = int(view.calls.invoke_row[scans.assign[scan]])
        inside = _covered(case, scans, scan)
        slot = _lacking(case, scans, scan, inside, acked[inside] < begun)
        if slot is None:
            continue
        if findings.room(STALE):
            writer = int(sends.call[rows[np.flatnonzero(case.placement.send_slot[rows] == slot)[0]]])
            reader, assign = last_reader(case, scans, scan), int(scans.assign[scan])
            offset = case.slot_offset(slot)
            key = case.key(scans.key[scan])
            findings.add(
                STALE,
                [view.op(writer), view.op(assign), view.op(reader)],
                f"Offset {offset} of {key} was acknowledged in {case.name(writer)} before {case.name(assign)} began to "
                f"read from the beginning; {case.name(reader)} read on at offset {int(scans.last[scan])}, and {offset} "
                "was passed over.",
                key=key,
                offset=offset,
            )
        else:
            findings.count(STALE, 1)
    return bool(uncommitted.any())


def _covered(case: Case, scans: Scans, scan: int) -> slice:
    """Return the slots that a scan came by: those of its key up to the last that it read."""
    slots, key = case.placement.slots, int(scans.key[scan])
    first, last = np.searchsorted(slots.first, (key, key + 1)).tolist()
    return slice(first, first + int(np.searchsorted(slots.second[first:last], scans.last[scan], side="right")))


def _lacking(case: Case, scans: Scans, scan: int, covered: slice, expected: Bools) -> int | None:
    """Return the first slot that a scan did not read of those that are expected among the ones that it covers."""
    size = max(1, case.placement.slots.size)
    low, high = np.searchsorted(scans.slot, (scan * size, (scan + 1) * size))
    lacking = expected & ~case.gone[covered]
    lacking[scans.slot[low:high] - scan * size - covered.start] = False
    return covered.start + int(np.argmax(lacking)) if lacking.any() else None


def _certainly_committed(case: Case) -> Bools:
    """Return per slot whether its value must be visible to read_committed readers."""
    placement, view = case.placement, case.view
    sure = np.zeros(placement.vids.size, np.bool_)
    type_ = view.calls.type[view.sends.call]
    sure[placement.send_vid[placement.acknowledged]] = True
    sure[placement.send_vid[(type_ == TYPE_INFO) & placement.committed_rc[view.sends.call]]] = True
    return np.asarray((sure & ~placement.twice)[placement.slot_vid])


def _reader_of(case: Case, slot: int, isolation: int) -> int:
    records = case.view.records
    rows = np.flatnonzero(case.placement.record_slot == slot)
    rows = rows[case.view.calls.isolation[records.call[rows]] == isolation]
    return int(records.call[rows[0]])


def last_reader(case: Case, scans: Scans, scan: int) -> int:
    """Return the call of a scan's process that read its last offset."""
    records, calls = case.view.records, case.view.calls
    rows = np.flatnonzero((records.key == scans.key[scan]) & (records.offset == scans.last[scan]))
    rows = rows[calls.process[records.call[rows]] == calls.process[scans.assign[scan]]]
    return int(records.call[rows[records.call[rows] > scans.assign[scan]][0]])


def _tell_mismatch(case: Case, findings: Findings, scans: Scans, scan: int, shown: tuple[int, int]) -> None:
    slot, witness = shown
    assign, reader = int(scans.assign[scan]), last_reader(case, scans, scan)
    key, offset = case.key(scans.key[scan]), case.slot_offset(slot)
    rc = case.view.calls.isolation[assign] == READ_COMMITTED
    mine, other = ("read_committed", "read_uncommitted") if rc else ("read_uncommitted", "read_committed")
    value = case.vid_value(int(case.placement.slot_vid[slot]))
    findings.add(
        ISOLATION,
        [case.view.op(witness), case.view.op(assign), case.view.op(reader)],
        f"{case.name(witness)} ({other}) polled {value!r} at offset {offset} of {key}, which is committed; the {mine} "
        f"read of {key} from its beginning ({case.name(assign)}) went on to offset {int(scans.last[scan])} "
        f"({case.name(reader)}) without it.",
        key=key,
        offset=offset,
        value=value,
    )
