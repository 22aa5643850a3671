"""What a poll may never show.

Values that nobody sent, altered records, and data of transactions that were aborted, are not yet committed, or are the
reader's own (ANOMALIES.md; L1, T2).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import ROWS_AT_ONCE, Bools, Ints
from checkers.findings import Findings
from checkers.log_view import COMMIT_NEVER, COMMIT_UNKNOWN, TYPE_FAIL, TYPE_INFO
from checkers.placement import NOWHERE, writes_of_type


def phantom_reads(case: Case, findings: Findings) -> None:
    """Report polled values that nobody sent; not judged while the history's head is missing."""
    placement, records = case.placement, case.view.records
    unsent = (placement.writer == NOWHERE) & ~case.is_output[placement.vids.first]
    if not unsent.any():
        return
    rows = np.flatnonzero(unsent[placement.record_vid])
    if case.options.topics_existed or case.view.first_index > 0:
        findings.not_checked.append("phantom-read")
        return
    vids, first = np.unique(placement.record_vid[rows], return_index=True)
    altered = np.isin(vids, placement.record_vid[_altered_rows(case)])
    vids, first = vids[~altered], first[~altered]
    for vid, row in list(zip(vids, rows[first], strict=True))[: findings.room("phantom-read")]:
        call, key, value = int(records.call[row]), case.vid_key(int(vid)), case.vid_value(int(vid))
        findings.add(
            "phantom-read",
            [case.view.op(call)],
            f"{case.name(call)} polled {value!r} at offset {int(records.offset[row])} of {key}, which no "
            "operation ever sent.",
            key=key,
            value=value,
            offset=int(records.offset[row]),
        )
    findings.count("phantom-read", len(vids) - findings.examples("phantom-read"))


def altered_records(case: Case, findings: Findings) -> None:
    """Report records whose own stamp is not that of the place where they were read."""
    if (
        not case.phases.ours and not case.view.records.extras
    ):  # a run of ours looks at every stamp, and tells what is odd
        findings.not_checked.append("record-altered")
        return
    records = case.view.records
    for row in _altered_rows(case):
        call, key = int(records.call[row]), case.key(records.key[row])
        what = records.extras[int(row)].get("altered") or _differs(case, int(row))
        vid = int(case.placement.record_vid[row])
        writer = case.writer_call(vid)
        findings.add(
            "record-altered",
            [case.view.op(call)] if writer is None else [case.view.op(writer), case.view.op(call)],
            f"{case.name(call)} polled a record at offset {int(records.offset[row])} of {key} that does not fit what "
            f"was sent: {what}.",
            key=key,
            offset=int(records.offset[row]),
            value=case.vid_value(vid),
            altered=what,
        )


def aborted_reads(case: Case, findings: Findings) -> None:
    """Report `G1a` (an ok call polled a value whose send failed) and `aborted-read` (other read_committed readers)."""
    view, placement = case.view, case.placement
    failed = writes_of_type(view, placement, TYPE_FAIL) & ~placement.twice
    g1a = case.reader_is_ok & ~case.beside & failed[placement.record_vid]
    _aborted(case, findings, "G1a", g1a)
    never = np.zeros(placement.vids.size, np.bool_)
    writer = placement.writer
    sent = np.flatnonzero((writer >= 0) & ~placement.twice)
    call = view.sends.call[writer[sent]]
    never[sent] = (view.calls.commit_time[call] == COMMIT_NEVER) & (view.calls.type[call] == TYPE_INFO)
    others = case.reader_is_rc & ~g1a & (failed | never)[placement.record_vid] & ~_own(case)
    _aborted(case, findings, "aborted-read", others)


def only_uncommitted_saw_aborted(case: Case) -> bool:
    """Return whether every ok reader of an aborted value is read_uncommitted: what it asked for."""
    failed = writes_of_type(case.view, case.placement, TYPE_FAIL)[case.placement.record_vid]
    return not (case.reader_is_ok & case.reader_is_rc & failed).any() and not refused_is_seen(case)


def refused_is_seen(case: Case) -> bool:
    """Return whether an ok call polled what a failed send outside transactions carried: no isolation level allows it.

    A foreign history of transactions may call one that only sends a `send`.
    """
    calls, sends = case.view.calls, case.view.sends
    if not case.phases.ours and case.view.kinds.get("txn") is not None:
        return False
    plain = ~case.transactional & (calls.commit_time == COMMIT_UNKNOWN) & (calls.type == TYPE_FAIL)
    refused = np.zeros(case.placement.vids.size, np.bool_)
    refused[case.placement.send_vid[plain[sends.call]]] = True
    refused &= ~case.placement.twice
    return bool((case.reader_is_ok & ~case.beside & refused[case.placement.record_vid]).any())


def only_uncommitted_saw_their_own(case: Case) -> bool:
    """Return whether every call that polled what it itself sends is read_uncommitted: Kafka shows it that."""
    return not (_own(case) & case.reader_is_rc).any()


def precommitted_reads(case: Case, findings: Findings) -> None:
    """Report operations that polled a value which they themselves send: one case per operation."""
    placement, records = case.placement, case.view.records
    rows = np.flatnonzero(_own(case))
    calls, first = np.unique(records.call[rows], return_index=True)
    for call, row in list(zip(calls, rows[first], strict=True))[: findings.room("precommitted-read")]:
        vid = int(placement.record_vid[row])
        findings.add(
            "precommitted-read",
            [case.view.op(int(call))],
            f"{case.name(int(call))} polled its own {case.vid_value(vid)!r} on {case.vid_key(vid)} before it "
            "could commit.",
            key=case.vid_key(vid),
            value=case.vid_value(vid),
        )
    findings.count("precommitted-read", len(calls) - findings.examples("precommitted-read"))


def dirty_reads(case: Case, findings: Findings) -> None:
    """Report read_committed polls that ended before the writer's first call of commit (T2).

    A poll whose own times nobody told ended when its operation did, at the latest. That is compared only where the
    writer's commit lies within its own operation by the same clock, and no time goes backwards.
    """
    view, placement, records = case.view, case.placement, case.view.records
    writer = placement.writer
    commit = np.full(placement.vids.size, NOWHERE, np.int64)
    timed = np.zeros(placement.vids.size, np.bool_)
    sent = np.flatnonzero((writer >= 0) & ~placement.twice)
    call = view.sends.call[writer[sent]]
    commit[sent] = np.where(view.calls.type[call] == TYPE_FAIL, NOWHERE, view.calls.commit_time[call])
    if view.backwards is None:
        timed[sent] = (view.invoke_time()[call] <= commit[sent]) & (commit[sent] <= view.done_time()[call])
    known = commit[placement.record_vid] >= 0
    if not known.any():
        findings.not_checked.append("dirty-read")
        return
    rows = np.flatnonzero(known & case.reader_is_rc & ~_own(case))
    ended = _poll_end(case, rows)
    ended = np.where((ended < 0) & timed[placement.record_vid[rows]], view.done_time()[records.call[rows]], ended)
    is_dirty = (ended >= 0) & (ended < commit[placement.record_vid[rows]])
    dirty, ended = rows[is_dirty], ended[is_dirty]
    vids, first = np.unique(placement.record_vid[dirty], return_index=True)
    for vid, at in list(zip(vids, first, strict=True))[: findings.room("dirty-read")]:
        reader, wrote = int(records.call[dirty[at]]), case.writer_call(int(vid))
        assert wrote is not None
        end = int(ended[at])
        findings.add(
            "dirty-read",
            [view.op(wrote), view.op(reader)],
            f"{case.name(reader)} polled {case.vid_value(int(vid))!r} on {case.vid_key(int(vid))} in a poll "
            f"that ended at {end / 1e9:.6f} s, {(int(commit[vid]) - end) / 1e6:.6g} ms before {case.name(wrote)} first "
            "called commit.",
            key=case.vid_key(int(vid)),
            value=case.vid_value(int(vid)),
        )
    findings.count("dirty-read", len(vids) - findings.examples("dirty-read"))


def _poll_end(case: Case, rows: Ints) -> Ints:
    """Return the end time of the micro-ops that polled records, -1 where it was not recorded."""
    times, call, mop = case.view.micro_times, case.view.records.call[rows], case.view.records.mop[rows]
    if not len(times.mop):
        return np.full(len(rows), -1)
    span = int(times.mop.max()) + 2
    known = times.call * span + times.mop
    order = np.argsort(known)
    wanted = call * span + np.minimum(mop, span - 1)
    place = np.minimum(np.searchsorted(known[order], wanted), len(known) - 1)
    found = known[order][place] == wanted
    return np.where(found, times.end[order][place], -1)


def _own(case: Case) -> Bools:
    """Return per record whether the polling call itself sent the value."""
    placement, view = case.placement, case.view
    own = np.zeros(len(placement.record_vid), np.bool_)
    if not len(view.sends.call):
        return own
    sender = np.where((placement.writer >= 0) & ~placement.twice, view.sends.call[placement.writer], NOWHERE)
    for start in range(0, len(own), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        own[part] = sender[placement.record_vid[part]] == view.records.call[part]
    return own


SENT_AS = ("record-key", "headers", "ts")
"""What a record keeps from its send: told by the acknowledgement, and again by whoever reads it."""


def _altered_rows(case: Case) -> Ints:
    extras = case.view.records.extras
    rows = {row for row, seen in extras.items() if "altered" in seen}
    if case.copies_are_foreign:
        rows = {row for row in rows if not case.is_output[case.view.records.key[row]]}
    if case.view.send_extras:
        rows |= {row for row in extras if _differs(case, row) is not None}
    return np.array(sorted(rows), np.int64)


def _differs(case: Case, row: int) -> str | None:
    """Return how a record differs from what its send said of it, None if it does not."""
    vid = case.placement.record_vid[row]
    writer = NOWHERE if case.placement.twice[vid] else int(case.placement.writer[vid])
    sent, seen = case.view.send_extras.get(writer), case.view.records.extras[row]
    if not isinstance(sent, dict) or not isinstance(seen, dict):
        return None
    for name in SENT_AS:
        if name in sent and name in seen and _is_another(name, sent[name], seen[name]):
            return f"its {name} is {seen[name]!r}, but it was sent with {sent[name]!r}"
    return None


def _is_another(name: str, sent: Any, seen: Any) -> bool:
    """Return whether what was seen is not what was sent; null is no header, a time that was not sent the broker's."""
    if name == "headers":
        return (sent or None) != (seen or None)
    return sent != seen and not (name == "ts" and (sent is None or sent == -1))


def _aborted(case: Case, findings: Findings, name: str, reads: Bools) -> None:
    placement, records = case.placement, case.view.records
    rows = np.flatnonzero(reads)
    pair = placement.record_vid[rows] * case.view.calls.size + records.call[rows]
    _, first = np.unique(pair, return_index=True)
    chosen = rows[np.sort(first)]
    for row in chosen[: findings.room(name)]:
        vid, reader = int(placement.record_vid[row]), int(records.call[row])
        writer = _failed_writer(case, vid)
        findings.add(
            name,
            [case.view.op(writer), case.view.op(reader)],
            f"{case.name(reader)} polled {case.vid_value(vid)!r} on {case.vid_key(vid)}, which {case.name(writer)} "
            + _why_aborted(case, writer),
            key=case.vid_key(vid),
            value=case.vid_value(vid),
        )
    findings.count(name, len(chosen) - findings.examples(name))


def _failed_writer(case: Case, vid: int) -> int:
    calls = case.view.sends.call[np.flatnonzero(case.placement.send_vid == vid)]
    failed = calls[case.view.calls.type[calls] == TYPE_FAIL]
    return int(failed[0] if len(failed) else calls[0])


def _why_aborted(case: Case, writer: int) -> str:
    if case.view.calls.type[writer] == TYPE_FAIL:
        return "certainly did not commit (it failed)."
    return "never tried to commit."
