"""Producers' sessions: `zombie-commit` (T7) and `cross-transaction` (T8).

Evidence: the transactional.id of each transaction, when its session's init_transactions had returned (`init-time`), and
how often its EndTxn was sent (`end-attempts`). Sessions are init_transactions calls, never epochs.

A transaction is a zombie's if it is visible although its commit was first called after a later session of the same
transactional.id had been initialized: that session fenced it. What was committed before is legal, whatever the fenced
client was told. Of two sessions one is later if the operation that initialized it was invoked when the other's
init_transactions had returned; of two that overlap nobody knows who fenced whom.

An EndTxn that was sent more than once, or given up, may reach the coordinator after its transaction ended, and end the
next one. `cross-transaction` is told as the cause of what such an end leaves behind: a transaction that aborted and is
visible, after one that committed; one that committed and of which members are missing, after one that aborted. It is
never told without such a consequence. Where topics forget (compaction, retention), or the run's own readers are
read_uncommitted, so that few others read and not everything, what is missing proves nothing.
"""

from __future__ import annotations

import numpy as np

from checkers.case import Case
from checkers.columns import Bools, Ints
from checkers.findings import Findings
from checkers.log_view import NONE, READ_COMMITTED, TYPE_FAIL, TYPE_INFO, TYPE_OK, LogView

ZOMBIE, CROSS = "zombie-commit", "cross-transaction"
READ_COMMITTED_NAME = "read_committed"
INIT, ATTEMPTS = "init-time", "end-attempts"


def zombie_commits(case: Case, findings: Findings) -> None:
    """Report visible transactions of fenced sessions."""
    view = case.view
    calls, init, known = view.calls, *_sessions(view)
    if not len(known):
        findings.not_checked.append(ZOMBIE)
        return
    successor = _successors(calls.txn_id, init, view.invoke_time(), known)
    fenced = successor[known] != NONE
    suspects = known[fenced]
    suspects = suspects[calls.commit_time[suspects] > init[successor[suspects]]]
    visible = _visible(case)
    for call in suspects.tolist():
        rows = case.sends_of_call.rows(call)
        seen = rows[visible[case.placement.send_vid[rows]]]
        if len(seen):
            _tell_zombie(case, findings, call, int(successor[call]), int(init[successor[call]]), int(seen[0]))


def taken_over(view: LogView) -> Bools:
    """Return per call whether another session asked for its transactional.id before it was over."""
    init, known = _sessions(view)
    invoked = view.invoke_time()
    successor = _successors(view.calls.txn_id, init, invoked, known)
    taken = np.zeros(view.calls.size, np.bool_)
    rows = known[successor[known] != NONE]
    taken[rows] = invoked[successor[rows]] <= view.done_time()[rows]
    return taken


def _sessions(view: LogView) -> tuple[Ints, Ints]:
    """Return per call when its session was initialized (NONE: not known), and the calls of which that is known."""
    init = np.full(view.calls.size, NONE, np.int64)
    for call, said in view.call_extras.items():
        init[call] = said.get(INIT, NONE)
    return init, np.flatnonzero((init >= 0) & (view.calls.txn_id != NONE))


def _successors(txn_id: Ints, init: Ints, invoked: Ints, known: Ints) -> Ints:
    """Return per call the first call of the session that was the first to be initialized after the call's own."""
    successor = np.full(len(init), NONE, np.int64)
    calls_of: dict[tuple[int, int], list[int]] = {}
    for call in known[np.argsort(invoked[known], kind="stable")].tolist():
        calls_of.setdefault((int(txn_id[call]), int(init[call])), []).append(call)
    sessions = sorted(calls_of)
    for place, (each, begun) in enumerate(sessions):
        for later in range(place + 1, len(sessions)):  # sessions that overlap are few: it ends soon
            if sessions[later][0] != each:
                break
            first = calls_of[sessions[later]][0]
            if invoked[first] > begun:
                successor[calls_of[each, begun]] = first
                break
    return successor


def _tell_zombie(  # noqa: PLR0917  the transaction, what fenced it, when, and what shows it
    case: Case, findings: Findings, call: int, successor: int, since: int, send: int
) -> None:
    view = case.view
    vid = int(case.placement.send_vid[send])
    records = view.records
    rows = case.records_of_vid.rows(vid)
    reader = int(records.call[rows[case.reader_is_rc[rows]][0]])
    txn_id = view.txn_ids.names[int(view.calls.txn_id[call])]
    findings.add(
        ZOMBIE,
        [view.op(call), view.op(successor), view.op(reader)],
        f"{case.name(call)} first called commit {(int(view.calls.commit_time[call]) - since) / 1e6:.6g} ms after "
        f"init_transactions of a later session of {txn_id} ({case.name(successor)}) had returned, but "
        f"{case.name(reader)} polled its {case.vid_value(vid)!r} on {case.vid_key(vid)}.",
        key=case.vid_key(vid),
        value=case.vid_value(vid),
        **{"txn-id": txn_id},
    )


def cross_transactions(case: Case, findings: Findings) -> None:
    """Report, beside their consequences, transactions that the end of the one before them ended."""
    view = case.view
    calls = view.calls
    before = _before(case)
    if not (before >= 0).any():
        findings.not_checked.append(CROSS)
        return
    doubtful = np.zeros(calls.size, np.bool_)
    for call, said in view.call_extras.items():
        doubtful[call] = said.get(ATTEMPTS, 1) > 1
    doubtful |= (calls.type == TYPE_INFO) & (calls.commit_time >= 0)
    suspects = np.flatnonzero((before >= 0) & doubtful[np.maximum(before, 0)])
    if not len(suspects):
        return
    visible = _visible(case)
    proven = not case.options.forgets and case.options.isolation == READ_COMMITTED_NAME
    missing = _missing(case) if proven else np.zeros_like(visible)
    for call in suspects.tolist():
        earlier = int(before[call])
        rows = case.sends_of_call.rows(call)
        vids = case.placement.send_vid[rows]
        aborted = calls.type[call] == TYPE_FAIL or (calls.type[call] == TYPE_INFO and calls.commit_time[call] == -1)
        committed = calls.type[call] == TYPE_OK
        shown, gone = vids[visible[vids]], vids[missing[vids]]
        if aborted and len(shown) and calls.type[earlier] != TYPE_FAIL:
            what = f"aborted, but its {case.vid_value(int(shown[0]))!r} on {case.vid_key(int(shown[0]))} is visible"
        elif committed and len(gone) and calls.type[earlier] != TYPE_OK:
            what = f"committed, but its {case.vid_value(int(gone[0]))!r} on {case.vid_key(int(gone[0]))} is missing"
        else:
            continue
        txn_id = view.txn_ids.names[int(calls.txn_id[call])]
        findings.add(
            CROSS,
            [view.op(earlier), view.op(call)],
            f"The end of {case.name(earlier)} was asked for more than once or given up unanswered; the next "
            f"transaction of {txn_id}, {case.name(call)}, {what}: the end of the one decided the other.",
            **{"txn-id": txn_id},
        )


def _before(case: Case) -> Ints:
    """Return per call the transaction of its transactional.id just before it, -1 where there is none."""
    calls = case.view.calls
    before = np.full(calls.size, NONE, np.int64)
    mine = np.flatnonzero((calls.txn_id != NONE) & (calls.invoke_row >= 0))
    order = mine[np.lexsort((calls.invoke_row[mine], calls.txn_id[mine]))]
    same = calls.txn_id[order][1:] == calls.txn_id[order][:-1]
    before[order[1:][same]] = order[:-1][same]
    return before


def _visible(case: Case) -> Bools:
    """Return per vid whether a read_committed poll showed it."""
    visible = np.zeros(case.placement.vids.size, np.bool_)
    records = case.view.records
    rc = case.view.calls.isolation[records.call] == READ_COMMITTED
    visible[case.placement.record_vid[rc]] = True
    return visible & ~case.placement.twice


def _missing(case: Case) -> Bools:
    """Return per vid whether an ok send placed it where read_committed readers read past, and none of them saw it."""
    placement, records, sends = case.placement, case.view.records, case.view.sends
    bound = np.full(len(case.view.keys), -1, np.int64)
    rc = case.reader_is_ok & case.reader_is_rc
    np.maximum.at(bound, records.key[rc], records.offset[rc])
    missing = np.zeros(placement.vids.size, np.bool_)
    passed = (sends.offset >= 0) & (sends.offset < bound[sends.key])
    passed |= case.drained[sends.key] & bool(case.phases.ours) & ~case.too_late
    missing[placement.send_vid[passed]] = True
    return np.asarray(missing & ~_visible(case) & ~case.vid_gone & ~case.placement.twice)
