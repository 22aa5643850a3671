"""All or nothing: `torn-transaction` (T1).

After a complete final read, one member of a committed transaction is visible to read_committed readers, another is not.

Members: sends with a known offset; if commit was called, all its sends. An info transaction counts only if its
commit-time is a number. Left out: members below a log start, and members of keys whose final read is incomplete.
"""

from __future__ import annotations

import numpy as np

from checkers.case import Case
from checkers.findings import Findings
from checkers.log_view import TYPE_INFO, TYPE_OK
from checkers.loss import rc_ok_reads

_HIGHEST = np.iinfo(np.int64).max


def torn_transactions(case: Case, findings: Findings) -> None:
    """Report committed transactions of which only a part is visible."""
    view, placement = case.view, case.placement
    calls, sends = view.calls, view.sends
    if case.options.forgets:
        findings.not_checked.append("torn-transaction")
        return
    transactional = _transactional(case)
    called = calls.commit_time >= 0
    counts = transactional & ((calls.type == TYPE_OK) | ((calls.type == TYPE_INFO) & called))
    member = counts[sends.call] & ~case.vid_gone[placement.send_vid]
    member &= (sends.offset >= 0) | called[sends.call] | (calls.type[sends.call] == TYPE_OK)
    visible = np.zeros(placement.vids.size, np.bool_)
    rc = case.reader_is_rc
    visible[placement.record_vid[rc]] = True
    absent = ~rc_ok_reads(case)[placement.send_vid] & _judged(case)
    seen = np.zeros(calls.size, np.bool_)
    seen[sends.call[member & visible[placement.send_vid]]] = True
    lacking = np.zeros(calls.size, np.bool_)
    lacking[sends.call[member & absent & ~visible[placement.send_vid]]] = True
    torn = np.flatnonzero(seen & lacking)
    for call in torn[: findings.room("torn-transaction")]:
        rows = np.flatnonzero((sends.call == call) & member)
        shown = [row for row in rows if visible[placement.send_vid[row]]]
        hidden = [row for row in rows if absent[row] and not visible[placement.send_vid[row]]]
        there, missing = int(placement.send_vid[shown[0]]), int(placement.send_vid[hidden[0]])
        reader = int(view.records.call[np.flatnonzero((placement.record_vid == there) & rc)[0]])
        findings.add(
            "torn-transaction",
            [view.op(int(call)), view.op(reader)],
            f"Of the committed {case.name(int(call))}, {case.vid_value(there)!r} on {case.vid_key(there)} is visible "
            f"({case.name(reader)} polled it) but {case.vid_value(missing)!r} on {case.vid_key(missing)} is not.",
            visible=[[case.vid_key(v), case.vid_value(v)] for v in (int(placement.send_vid[row]) for row in shown)],
            missing=[[case.vid_key(v), case.vid_value(v)] for v in (int(placement.send_vid[row]) for row in hidden)],
        )
    findings.count("torn-transaction", len(torn) - findings.examples("torn-transaction"))


def _transactional(case: Case) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return per call whether it is a transaction: `txn`, or anything with a transactional.id or a commit-time."""
    calls = case.view.calls
    txn = case.view.kinds.get("txn")
    return np.asarray((calls.f == (-1 if txn is None else txn)) | (calls.txn_id >= 0) | (calls.commit_time >= 0))


def _judged(case: Case) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return per send whether its absence can be told: the key's final read came past it.

    A foreign history without drain events counts as read up to the highest offset that an ok poll returned.
    """
    view, sends = case.view, case.view.sends
    limit = case.judged_to.copy()
    if case.phases.ours:
        return np.asarray((sends.offset < limit[sends.key]) & ((sends.offset >= 0) | case.drained[sends.key]))
    limit[:] = -1
    ok = case.reader_is_ok
    np.maximum.at(limit, view.records.key[ok], view.records.offset[ok])
    return np.asarray((sends.offset >= 0) & (sends.offset <= limit[sends.key]))
