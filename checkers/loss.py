"""Acknowledged and gone: `lost-write` and `unseen` (ANOMALIES.md, section 1; A1).

Lost is what must have committed, or was acknowledged for itself, and lies at or below the highest place that any ok
call read, and that no ok call read. Above that nothing is ever lost, only unseen. In a run of ours both are judged only
as far as the final read of the key came; there, a value that somebody read before and that the complete final read no
longer shows is lost too (an acknowledged record may not vanish once seen, nor may what a program of the user's has
written and a read_committed reader was shown). Foreign histories are judged whole, as
Jepsen does.
"""

from __future__ import annotations

import numpy as np

from checkers.case import Case
from checkers.columns import Bools, Ints
from checkers.findings import Findings, shorten
from checkers.placement import NOWHERE

_HIGHEST = np.iinfo(np.int64).max


def lost_writes(case: Case, findings: Findings) -> Ints:
    """Report lost values; return their vids."""
    placement = case.placement
    if not placement.vids.size:
        return np.empty(0, np.int64)
    bound = _bounds(case)
    key = placement.vids.first
    writer = placement.writer
    committed = np.zeros(placement.vids.size, np.bool_)
    sent = writer >= 0
    rows = writer[sent]
    committed[sent] = placement.committed_rc[case.view.sends.call[rows]] | placement.acknowledged[rows]
    committed |= case.is_output[key] & rc_ok_reads(case)
    judged = committed & (placement.last != NOWHERE) & ~case.vid_gone & _within(case)
    lost = judged & ~case.ok_read & (placement.last <= bound[key])
    found = np.flatnonzero(lost)
    for vid in found[: findings.room("lost-write")]:
        _lost(case, findings, int(vid), int(bound[key[vid]]))
    gone = np.flatnonzero(judged & vanished(case))
    for vid in gone[: findings.room("lost-write")]:
        _vanished(case, findings, int(vid))
    findings.count("lost-write", len(found) + len(gone) - findings.examples("lost-write"))
    return np.concatenate((found, gone))


def unseen(case: Case, findings: Findings) -> None:
    """Report, as one example, the keys on which an acknowledged value was never polled by an ok call; counts values."""
    view, placement = case.view, case.placement
    acknowledged = np.zeros(placement.vids.size, np.bool_)
    acknowledged[placement.send_vid[placement.acknowledged & ~case.too_late]] = True
    missing = acknowledged & ~case.ok_read & case.drained[placement.vids.first] & ~case.vid_gone
    vids = np.flatnonzero(missing)
    if not len(vids):
        return
    counts: dict[str, int] = {}
    messages: dict[str, list[object]] = {}
    for code, number in zip(*np.unique(placement.vids.first[vids], return_counts=True), strict=True):
        name = str(case.key(code))
        counts[name] = int(number)
        messages[name] = shorten([case.vid_value(vid) for vid in vids[placement.vids.first[vids] == code][:32]])
    calls = [case.writer_call(int(vid)) for vid in vids[:4]]
    first = int(vids[0])
    call = case.writer_call(first)
    assert call is not None
    why = (
        f"{len(vids)} acknowledged {'value was' if len(vids) == 1 else 'values were'} never polled"
        f"{', although the reads went to the end' if case.phases.ours else ''}: for one, "
        f"{case.vid_value(first)!r} on {case.vid_key(first)}, acknowledged by {case.name(call)}."
    )
    findings.add(
        "unseen",
        [view.op(call) for call in calls if call is not None],
        why,
        unseen=counts,
        messages=messages,
    )
    findings.count("unseen", len(vids) - 1)


def _bounds(case: Case) -> Ints:
    """Return per key the highest place (of first appearance) that an ok call read; -1 where none did."""
    placement = case.placement
    bound = np.full(len(case.view.keys), -1, np.int64)
    read = np.flatnonzero(case.ok_read & (placement.first != NOWHERE))
    np.maximum.at(bound, placement.vids.first[read], placement.first[read])
    return bound


def _within(case: Case) -> Bools:
    """Return per vid whether it lies where the final read of its key came."""
    placement = case.placement
    limit = case.judged_to[placement.vids.first]
    if not case.phases.ours:
        return np.ones(placement.vids.size, np.bool_)
    return np.asarray((limit == _HIGHEST) | (_offsets(case) < limit))


def _offsets(case: Case) -> Ints:
    """Return per vid an offset at which it lies; the highest number where none is known."""
    placement = case.placement
    offset = np.full(placement.vids.size, _HIGHEST)
    offset[placement.entry_vid] = placement.slots.second[placement.entry_slot]
    return offset


def vanished(case: Case) -> Bools:
    """Return per vid whether an ok call polled it, and no ok call of its key's final read, which is complete.

    What lies at or behind the end that was frozen for the final read was appended later: nobody need have read it.
    """
    vids = case.placement.vids
    if case.phases.row("drain") is None:
        return np.zeros(vids.size, np.bool_)
    seen = np.zeros(vids.size, np.bool_)
    seen[case.placement.record_vid[case.final_reader[case.view.records.call] & ~case.beside]] = True
    missed = ~seen & case.drained[vids.first] & (_offsets(case) < case.ends[vids.first])
    return np.asarray(missed & case.ok_read)


def _lost(case: Case, findings: Findings, vid: int, bound: int) -> None:
    placement, records = case.placement, case.view.records
    writer = case.writer_call(vid)
    assert writer is not None
    highest = np.flatnonzero(
        case.reader_is_ok
        & (records.key == placement.vids.first[vid])
        & (placement.first[placement.record_vid] == bound)
    )
    reader = int(records.call[highest[0]])
    top = int(placement.record_vid[highest[0]])
    key, value = case.vid_key(vid), case.vid_value(vid)
    certain = placement.committed_rc[writer]
    proof = "it must have been committed" if certain else "was told its offset, whatever became of its other sends"
    findings.add(
        "lost-write",
        [case.view.op(writer), case.view.op(reader)],
        f"{case.name(writer)} wrote {value!r} to {key} and {proof}, but no ok poll ever returned it, "
        f"although {case.name(reader)} read {case.vid_value(top)!r} at or after its place.",
        key=key,
        value=value,
        index=int(placement.last[vid]),
        **{"max-read-index": bound, "max-read": case.vid_value(top)},
    )


def _vanished(case: Case, findings: Findings, vid: int) -> None:
    rows = np.flatnonzero((case.placement.record_vid == vid) & case.reader_is_ok)
    reader = int(case.view.records.call[rows[0]])
    writer = case.writer_call(vid)
    key, value = case.vid_key(vid), case.vid_value(vid)
    drain = case.phases.drains[key]
    by = "the program" if writer is None else case.name(writer)
    findings.add(
        "lost-write",
        [*([] if writer is None else [case.view.op(writer)]), case.view.op(reader), drain.op],
        f"{case.name(reader)} read {value!r} on {key}, written by {by}, but the complete final read of "
        f"{key} (op {drain.op}) no longer shows it.",
        key=key,
        value=value,
        index=int(case.placement.last[vid]),
        vanished=True,
    )


def rc_ok_reads(case: Case) -> Bools:
    """Return per vid whether an ok call of a read_committed process polled it."""
    seen = np.zeros(case.placement.vids.size, np.bool_)
    seen[case.placement.record_vid[case.reader_is_ok & case.reader_is_rc]] = True
    return seen
