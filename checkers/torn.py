"""All or nothing: `torn-transaction` (T1).

After a complete final read, one member of a committed transaction is visible to read_committed readers, another is not.

Members: sends with a known offset; if commit was called, all its sends; offsets committed with it. An info transaction
counts only if its commit-time is a number. Left out: members below a log start, and members of keys whose final read is
incomplete. Where the history's own readers are read_uncommitted, the final reads are theirs: the few others need not
have read everything, so that what they lack proves nothing.

A group's offset is there if the last read of what the group has committed, begun after the transaction, shows it and no
other commit can be what is shown: so only the highest commit is ever known to be there. It is missing if that read is
below it and no other commit can have come later: only the last commit is ever known to be missing, and only in a run
of ours, whose last reads wait for what is undecided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.case import Case
from checkers.columns import Bools
from checkers.findings import Findings
from checkers.log_view import ANSWERED, COMMIT_NEVER, COMMITS, NONE, TYPE_FAIL, TYPE_INFO, TYPE_OK
from checkers.loss import rc_ok_reads
from checkers.sessions import READ_COMMITTED_NAME

_HIGHEST = np.iinfo(np.int64).max


def torn_transactions(case: Case, findings: Findings) -> None:
    """Report committed transactions of which only a part is visible."""
    view, placement = case.view, case.placement
    calls, sends = view.calls, view.sends
    if case.options.forgets or case.options.isolation != READ_COMMITTED_NAME:
        findings.not_checked.append("torn-transaction")
        return
    called = calls.commit_time >= 0
    counts = case.transactional & ((calls.type == TYPE_OK) | ((calls.type == TYPE_INFO) & called))
    member = counts[sends.call] & ~(case.vid_gone | placement.twice)[placement.send_vid]
    member &= (sends.offset >= 0) | called[sends.call] | (calls.type[sends.call] == TYPE_OK)
    visible = np.zeros(placement.vids.size, np.bool_)
    rc = case.reader_is_rc
    visible[placement.record_vid[rc]] = True
    absent = ~rc_ok_reads(case)[placement.send_vid] & _judged(case)
    seen = np.zeros(calls.size, np.bool_)
    seen[sends.call[member & visible[placement.send_vid]]] = True
    lacking = np.zeros(calls.size, np.bool_)
    lacking[sends.call[member & absent & ~visible[placement.send_vid]]] = True
    stored, unstored = _offset_members(case, counts)
    seen[list(stored)] = True
    lacking[list(unstored)] = True
    torn = np.flatnonzero(seen & lacking)
    for call in torn[: findings.room("torn-transaction")]:
        rows = np.flatnonzero((sends.call == call) & member)
        shown = [row for row in rows if visible[placement.send_vid[row]]]
        hidden = [row for row in rows if absent[row] and not visible[placement.send_vid[row]]]
        there, missing = stored.get(int(call)), unstored.get(int(call))
        if shown:
            vid = int(placement.send_vid[shown[0]])
            reader = int(view.records.call[np.flatnonzero((placement.record_vid == vid) & rc)[0]])
            there = _Member(f"{case.vid_value(vid)!r} on {case.vid_key(vid)}", "visible", reader, "polled")
        if hidden:
            vid = int(placement.send_vid[hidden[0]])
            missing = _Member(f"{case.vid_value(vid)!r} on {case.vid_key(vid)}", "not", None, "")
        assert there is not None
        assert missing is not None
        assert there.reader is not None
        told = [call for call in (int(call), there.reader, missing.reader) if call is not None]
        proof = f"{case.name(there.reader)} {there.read} it"
        besides = "" if missing.reader is None else f" ({case.name(missing.reader)} {missing.read})"
        findings.add(
            "torn-transaction",
            [view.op(call) for call in told],
            f"Of the committed {case.name(int(call))}, {there.what} is {there.state} ({proof}) but {missing.what} is "
            f"not{besides}.",
            visible=[[case.vid_key(v), case.vid_value(v)] for v in (int(placement.send_vid[row]) for row in shown)],
            missing=[[case.vid_key(v), case.vid_value(v)] for v in (int(placement.send_vid[row]) for row in hidden)],
        )
    findings.count("torn-transaction", len(torn) - findings.examples("torn-transaction"))


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of a transaction in words, and the call that shows it, or that it is missing."""

    what: str
    state: str
    reader: int | None
    read: str


def _offset_members(case: Case, counts: Bools) -> tuple[dict[int, _Member], dict[int, _Member]]:
    """Return the transactions of which an offset is stored, and those of which one is not."""
    view = case.view
    table, calls = view.group_offsets, view.calls
    stored: dict[int, _Member] = {}
    missing: dict[int, _Member] = {}
    by, type_ = table.call, calls.type[table.call]
    refused = (type_ == TYPE_FAIL) | ((type_ == TYPE_INFO) & (calls.commit_time[by] == COMMIT_NEVER))
    drain = case.phases.row("drain")
    reads = np.flatnonzero((table.role == ANSWERED) & (table.group != NONE))
    for key, group in sorted(set(zip(table.key[reads].tolist(), table.group[reads].tolist(), strict=True))):
        about = case.group_offsets_of(group, key)
        mine = about[(table.role[about] == ANSWERED) & (table.group[about] == group)]
        read = int(mine[np.argmax(calls.invoke_row[by[mine]])])
        rows = about[(table.role[about] != ANSWERED) & ~refused[about]]
        done = np.where(calls.done_row[by[rows]] < 0, _HIGHEST, calls.done_row[by[rows]])
        begun = calls.invoke_row[by[rows]]
        if not len(rows) or begun.min() < 0 or calls.invoke_row[by[read]] < 0:
            continue
        top, last = int(np.argmax(table.offset[rows])), int(np.argmax(begun))
        answer = int(table.offset[read])
        finally_read = drain is not None and drain < calls.invoke_row[by[read]]
        for place, is_stored in ((top, True), (last, False)):
            row, rest = int(rows[place]), np.arange(len(rows)) != place
            call, offset = int(by[row]), int(table.offset[row])
            if not counts[call] or table.role[row] != COMMITS or done[place] >= calls.invoke_row[by[read]]:
                continue
            what = f"offset {offset} of group {view.groups.names[group]} for {case.key(key)}"
            if is_stored and answer == offset and not (table.offset[rows[rest]] >= offset).any():
                stored[call] = _Member(what, "stored", int(by[read]), "read")
            elif not is_stored and answer < offset and finally_read and (done[rest] < begun[place]).all():
                shown = "nothing" if answer < 0 else str(answer)
                missing[call] = _Member(what, "not", int(by[read]), f"read {shown}")
    return stored, missing


def _judged(case: Case) -> Bools:
    """Return per send whether its absence can be told: the key's final read came past it.

    A foreign history without drain events counts as read up to the highest offset that an ok read_committed poll
    returned.
    """
    view, sends = case.view, case.view.sends
    limit = case.judged_to.copy()
    if case.phases.ours:
        read = (sends.offset < limit[sends.key]) & ((sends.offset >= 0) | case.drained[sends.key])
        return np.asarray(read & ~case.too_late)
    limit[:] = -1
    ok = case.reader_is_ok & case.reader_is_rc
    np.maximum.at(limit, view.records.key[ok], view.records.offset[ok])
    return np.asarray((sends.offset >= 0) & (sends.offset <= limit[sends.key]))
