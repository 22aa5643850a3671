"""Records of transactions that came to nothing, or of which nobody knows: they were stored all the same (L1, T3).

An acks=all acknowledgement inside a transaction says that the record lies at its offset on every replica in sync,
whatever becomes of the transaction: an abort adds a marker and takes nothing away. So in a run of ours

* no other record lies there, by anybody's acknowledgement or poll (`inconsistent-offsets`),
* nobody is shown it at another offset (`rolled-back-offset`),
* a whole reading by a read_uncommitted consumer that goes past the offset shows it (`isolation-mismatch`).

What must have committed is judged with all others (`identity`, `loss`, `scans`). Topics that drop records by
themselves, and places below a log start, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.case import Case
from checkers.columns import Groups, Ints
from checkers.findings import Findings
from checkers.log_view import READ_UNCOMMITTED, TYPE_OK
from checkers.placement import NOWHERE
from checkers.scans import ISOLATION, Scans, last_reader, scans_of

INCONSISTENT, ROLLED_BACK = "inconsistent-offsets", "rolled-back-offset"


@dataclass(frozen=True, slots=True)
class _Stored:
    """Sends that were acknowledged in such transactions, sorted by key and offset."""

    send: Ints
    key: Ints
    offset: Ints
    place: Ints
    """Codes of (key, offset), rising."""


def undone_transactions(case: Case, findings: Findings) -> None:
    """Report what contradicts the acknowledgements of transactions that did not, or perhaps not, commit."""
    view, placement = case.view, case.placement
    if not case.phases.ours or case.options.acks != "all":
        return
    sends = view.sends
    send = np.flatnonzero(
        (sends.offset >= 0)
        & case.transactional[sends.call]
        & (view.calls.type[sends.call] != TYPE_OK)
        & (placement.send_slot == NOWHERE)
        & ~placement.twice[placement.send_vid]
    )
    if not len(send):
        return
    span = int(max(sends.offset.max(), view.records.offset.max(initial=0))) + 1
    place = sends.key[send] * span + sends.offset[send]
    order = np.argsort(place, kind="stable")
    send, place = send[order], place[order]
    stored = _Stored(send, sends.key[send], sends.offset[send], place)
    _others_there(case, findings, stored, span)
    _elsewhere(case, findings, stored)
    if not case.options.forgets:
        _passed_over(case, findings, stored)


def _others_there(case: Case, findings: Findings, stored: _Stored, span: int) -> None:
    """Report other records at these offsets, polled or acknowledged."""
    view, placement = case.view, case.placement
    acked = np.flatnonzero(placement.acknowledged & (placement.send_slot >= 0))
    read = np.flatnonzero(view.records.offset >= 0)
    vids = np.concatenate((placement.send_vid[acked], placement.record_vid[read], placement.send_vid[stored.send]))
    calls = np.concatenate((view.sends.call[acked], view.records.call[read], view.sends.call[stored.send]))
    theirs = np.concatenate(
        (
            view.sends.key[acked] * span + view.sends.offset[acked],
            view.records.key[read] * span + view.records.offset[read],
            stored.place,
        )
    )
    at = np.minimum(np.searchsorted(stored.place, theirs), len(stored.place) - 1)  # the first one that is told of there
    other = (stored.place[at] == theirs) & (vids != placement.send_vid[stored.send[at]])
    _, first = np.unique(theirs[other], return_index=True)
    for row in np.flatnonzero(other)[first].tolist():
        send, call = int(stored.send[at[row]]), int(calls[row])
        mine, key = int(view.sends.call[send]), case.key(stored.key[at[row]])
        offset, value = int(stored.offset[at[row]]), case.vid_value(int(placement.send_vid[send]))
        there = case.vid_value(int(vids[row]))
        verb = "polled" if len(acked) <= row < len(acked) + len(read) else "was acknowledged"
        findings.add(
            INCONSISTENT,
            [view.op(mine), view.op(call)],
            f"Offset {offset} of {key} holds 2 different values: {case.name(mine)} was acknowledged {value!r}, in a "
            f"transaction, which is stored whatever becomes of it; {case.name(call)} {verb} {there!r}.",
            key=key,
            offset=offset,
            values=[value, there],
        )


def _elsewhere(case: Case, findings: Findings, stored: _Stored) -> None:
    """Report values that somebody is shown at another offset than the one that was acknowledged, and nobody there."""
    view, placement = case.view, case.placement
    seen = np.zeros(placement.vids.size, np.bool_)
    seen[placement.record_vid] = True
    for at in np.flatnonzero(seen[placement.send_vid[stored.send]]).tolist():
        send, offset = int(stored.send[at]), int(stored.offset[at])
        vid = int(placement.send_vid[send])
        rows = case.records_of_vid.rows(vid)
        rows = rows[view.records.offset[rows] >= 0]
        if not len(rows) or (view.records.offset[rows] == offset).any():
            continue
        mine, call = int(view.sends.call[send]), int(view.records.call[rows[0]])
        key, value, found = case.vid_key(vid), case.vid_value(vid), int(view.records.offset[rows[0]])
        findings.add(
            ROLLED_BACK,
            [view.op(mine), view.op(call)],
            f"{case.name(mine)} was told that {value!r} lies at offset {offset} of {key}, but {case.name(call)} found "
            f"it at {found}.",
            key=key,
            value=value,
            offsets=[offset, found],
        )


def _passed_over(case: Case, findings: Findings, stored: _Stored) -> None:
    """Report whole readings by read_uncommitted consumers that lack such a record."""
    view, scans = case.view, scans_of(case)
    by_key = Groups(stored.key)
    size = max(1, case.placement.slots.size)
    for scan in np.flatnonzero(view.calls.isolation[scans.assign] == READ_UNCOMMITTED).tolist():
        mine = by_key.rows(int(scans.key[scan]))
        low, high = np.searchsorted(scans.slot, (scan * size, (scan + 1) * size))
        read = case.placement.slots.second[scans.slot[low:high] - scan * size]
        inside = (stored.offset[mine] < scans.last[scan]) & (
            stored.offset[mine] >= case.log_start[int(scans.key[scan])]
        )
        for at in mine[inside & ~np.isin(stored.offset[mine], read)].tolist():
            _tell_passed(case, findings, (scans, scan), stored, at)


def _tell_passed(case: Case, findings: Findings, reading: tuple[Scans, int], stored: _Stored, at: int) -> None:
    view, (scans, scan) = case.view, reading
    send, offset = int(stored.send[at]), int(stored.offset[at])
    writer, assign = int(view.sends.call[send]), int(scans.assign[scan])
    key, value = case.key(stored.key[at]), case.vid_value(int(case.placement.send_vid[send]))
    if not findings.room(ISOLATION):
        findings.count(ISOLATION, 1)
        return
    reader = last_reader(case, scans, scan)
    findings.add(
        ISOLATION,
        [view.op(writer), view.op(assign), view.op(reader)],
        f"{case.name(writer)} was acknowledged {value!r} at offset {offset} of {key}, in a transaction, and is stored "
        f"whatever becomes of it; the read_uncommitted read of {key} from its beginning ({case.name(assign)}) went on "
        f"to offset {int(scans.last[scan])} ({case.name(reader)}) without it.",
        key=key,
        offset=offset,
        value=value,
    )
