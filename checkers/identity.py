"""One offset, one value; one value, one offset: `inconsistent-offsets` and `duplicate` (ANOMALIES.md, section 1; L1).

Both are root causes: the version order is arbitrary where they occur, so everything about order is read after them.
"""

from __future__ import annotations

import numpy as np

from checkers.case import Case
from checkers.columns import Ints
from checkers.findings import Findings, shorten
from checkers.log_view import READ_UNCOMMITTED

WITNESSES = 4
"""Values at one offset, or offsets of one value, of which is told who saw them."""


def inconsistent_offsets(case: Case, findings: Findings) -> None:
    """Report every offset at which two values were seen, by acknowledgement or by poll."""
    placement = case.placement
    for slot in placement.inconsistent[: findings.room("inconsistent-offsets")]:
        vids, witnesses, polled = _seen_at(case, int(slot))
        values = [case.vid_value(vid) for vid in vids]
        key, offset = case.key(placement.slots.first[slot]), case.slot_offset(slot)
        told = ", ".join(
            f"{case.name(call)} {'read' if read else 'wrote'} {value!r}"
            for call, read, value in zip(witnesses, polled, values, strict=False)
        )
        findings.add(
            "inconsistent-offsets",
            [case.view.op(call) for call in witnesses],
            f"Offset {offset} of {key} holds {len(values)} different values: {told}.",
            key=key,
            offset=offset,
            index=int(placement.place[slot]),
            values=shorten(values),
        )
    findings.count(
        "inconsistent-offsets", max(0, len(placement.inconsistent) - findings.examples("inconsistent-offsets"))
    )


def duplicates(case: Case, findings: Findings) -> None:
    """Report every value that lies at two offsets of its key."""
    placement = case.placement
    for vid in placement.duplicated[: findings.room("duplicate")]:
        rows = np.flatnonzero(placement.entry_vid == vid)
        slots, first = np.unique(placement.entry_slot[rows], return_index=True)
        witnesses = [_entry_call(case, int(rows[row])) for row in first[:WITNESSES]]
        key, value = case.vid_key(vid), case.vid_value(vid)
        offsets = [case.slot_offset(slot) for slot in slots]
        told = ", ".join(
            f"at offset {offset} by {case.name(call)}" for offset, call in zip(offsets, witnesses, strict=False)
        )
        findings.add(
            "duplicate",
            [case.view.op(call) for call in witnesses],
            f"{value!r} was sent once to {key} but lies there {len(offsets)} times: seen {told}.",
            key=key,
            value=value,
            count=len(offsets),
            offsets=shorten(offsets),
        )
    findings.count("duplicate", max(0, len(placement.duplicated) - findings.examples("duplicate")))


def rolled_back_offsets(case: Case, findings: Findings) -> None:
    """Report acknowledged sends whose value is found, but only at other offsets than the one acknowledged (L1)."""
    placement, sends, records = case.placement, case.view.sends, case.view.records
    acknowledged = np.flatnonzero(placement.acknowledged & (placement.send_slot >= 0))
    moved = acknowledged[np.isin(placement.send_vid[acknowledged], placement.duplicated)]
    told = 0
    for row in moved:
        vid = int(placement.send_vid[row])
        seen = case.records_of_vid.rows(vid)
        seen = seen[records.offset[seen] >= 0]
        if not len(seen) or (records.offset[seen] == sends.offset[row]).any():
            continue
        told += 1
        if not findings.room("rolled-back-offset"):
            continue
        writer, reader = int(sends.call[row]), int(records.call[seen[0]])
        key, value = case.vid_key(vid), case.vid_value(vid)
        findings.add(
            "rolled-back-offset",
            [case.view.op(writer), case.view.op(reader)],
            f"{case.name(writer)} was told that {value!r} lies at offset {int(sends.offset[row])} of {key}, but "
            f"{case.name(reader)} found it at {int(records.offset[seen[0]])}.",
            key=key,
            value=value,
            offsets=[int(sends.offset[row]), int(records.offset[seen[0]])],
        )
    findings.count("rolled-back-offset", told - findings.examples("rolled-back-offset"))


def reads_disagree(case: Case) -> bool:
    """Return whether two *polls* show different values at one offset: no acks setting permits that."""
    placement = case.placement
    known = placement.record_slot >= 0
    slots, vids = placement.record_slot[known], placement.record_vid[known]
    committed_reads = case.view.calls.isolation[case.view.records.call[known]] != READ_UNCOMMITTED
    slots, vids = slots[committed_reads], vids[committed_reads]
    one = np.full(placement.slots.size, -1, np.int64)
    one[slots] = vids
    return bool((one[slots] != vids).any())


def _seen_at(case: Case, slot: int) -> tuple[list[int], list[int], list[bool]]:
    """Return the distinct vids at a slot, and for WITNESSES of them the first call that saw it, and if that polled."""
    rows = np.flatnonzero(case.placement.entry_slot == slot)
    vids, first = np.unique(case.placement.entry_vid[rows], return_index=True)
    entries = [int(rows[row]) for row in first[:WITNESSES]]
    sends = _send_entries(case)
    return (
        [int(vid) for vid in vids],
        [_entry_call(case, row) for row in entries],
        [row >= len(sends) for row in entries],
    )


def _send_entries(case: Case) -> Ints:
    """Return the send rows behind the first entries of the log (the others are polled records)."""
    return np.flatnonzero(case.placement.send_slot >= 0)


def _entry_call(case: Case, entry: int) -> int:
    sends = _send_entries(case)
    if entry < len(sends):
        return int(case.view.sends.call[sends[entry]])
    records = np.flatnonzero(case.placement.record_slot >= 0)
    return int(case.view.records.call[records[entry - len(sends)]])
