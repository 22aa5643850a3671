"""Who owned a key, and where its owner went on reading: `double-ownership` and `resume-gap` (G1, G2, G5).

Evidence: the `rebalance` events of the process "group", which hold what a consumer's callbacks were told.

Two members that are dealt one key in one generation own it twice (classic protocol). Whatever the protocol, they do if
the old owner, before it was told to give the key up, had a commit accepted that it began after the new owner was told
to take it, and the new one had one accepted too. Overlap by the clock alone proves nothing and is only counted. A
process that crashed owns nothing; members with one group.instance.id are one member.

A member that was dealt a key goes on where the group committed. Several offsets may be the committed one (undecided and
concurrent commits); the first record polled must be the first visible one from one of them on. Without a commit that
is certainly done before, the reset policy decides: in a run of ours that is the log's beginning, else nothing is
judged. Nor is it where the operation that held the callback polled the key itself, unless its process subscribed and
never had the key before (else it may have been polled before the callback); nor for read_uncommitted members of groups
whose offsets go with transactions (they may be told the offset before the last transaction: its markers come after its
answer); nor while a call that never came home may have committed what nobody knows.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Bools, Ints, same_as_before
from checkers.findings import Findings
from checkers.groups import resent
from checkers.log_view import (
    ANSWERED,
    COMMIT_NEVER,
    COMMIT_UNKNOWN,
    COMMITS,
    NONE,
    READ_COMMITTED,
    TYPE_FAIL,
    TYPE_INFO,
    TYPE_OK,
)

GROUP = "group"
REBALANCE = "rebalance"
CLASSIC = "classic"
_NEVER = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Dealt:
    """A key that a callback gave to a member or took from it."""

    op: int
    row: int
    process: int
    group: str
    member: Any
    generation: Any
    classic: bool
    instance: Any
    key: Any
    given: bool


def dealt(case: Case) -> list[Dealt]:
    """Return what the callbacks said, in the order of the history."""
    out: list[Dealt] = []
    for row, _, line in case.view.marks:
        value = line.value
        if line.process != GROUP or line.f != REBALANCE or not isinstance(value, dict):
            continue
        process, group = value.get("process"), value.get("group")
        if not isinstance(process, int) or not isinstance(group, str):
            continue
        said = (
            int(case.view.index[row]),
            row,
            process,
            group,
            value.get("member"),
            value.get("generation"),
            value.get("protocol", CLASSIC) == CLASSIC,
            value.get("instance"),
        )
        for kind in ("revoked", "lost", "assigned"):
            out.extend(Dealt(*said, key, kind == "assigned") for key in value.get(kind) or ())
    return out


def subscribers(case: Case) -> set[int]:
    """Return the processes that hold what rebalances deal them: they subscribed, and never assigned by hand."""
    calls, assigns, kinds = case.view.calls, case.view.assigns.call, case.view.kinds
    subscribed, by_hand = (
        set(calls.process[assigns[calls.f[assigns] == kinds.get(kind)]].tolist()) for kind in ("subscribe", "assign")
    )
    return subscribed - by_hand


def ownership(case: Case, findings: Findings) -> None:
    """Report `double-ownership` and `resume-gap`; neither is checked without rebalance events."""
    events = dealt(case)
    if not events:
        findings.not_checked.extend(("double-ownership", "resume-gap"))
        return
    lives = Lives(case, events)
    _owners(case, findings, events, lives)
    if case.options.forgets:
        findings.not_checked.append("resume-gap")
    else:
        _resumptions(case, findings, events, lives)


class Lives:
    """When a process stopped being the member that it was: it crashed, was given up, assigned or subscribed anew."""

    def __init__(self, case: Case, events: list[Dealt]) -> None:
        calls, kinds = case.view.calls, case.view.kinds
        given_up = (calls.type == TYPE_INFO) | (calls.f == (-1 if kinds.get("crash") is None else kinds.get("crash")))
        moved = np.zeros(calls.size, np.bool_)
        moved[case.view.assigns.call] = True
        members = np.isin(calls.process, np.array([event.process for event in events], np.int64))
        self._subscribed = subscribers(case)
        self._ends: dict[int, list[int]] = {}
        for call in np.flatnonzero((given_up | moved) & members):
            row = int(calls.invoke_row[call] if calls.invoke_row[call] >= 0 else calls.done_row[call])
            self._ends.setdefault(int(calls.process[call]), []).append(row)
        for rows in self._ends.values():
            rows.sort()
        self._taken: dict[tuple[int, Any], list[int]] = {}
        for event in events:
            self._taken.setdefault((event.process, event.key), []).append(event.row)

    def is_first(self, event: Dealt) -> bool:
        """Return whether the process, of which all is told since it subscribed, had never had the key before."""
        return event.process in self._subscribed and self._taken[event.process, event.key][0] == event.row

    def until(self, event: Dealt) -> int:
        """Return the row at which the member stopped owning what the event gave it."""
        ends, taken = self._ends.get(event.process, []), self._taken[event.process, event.key]
        return min(_first_after(ends, event.row), _first_after(taken, event.row))


def _first_after(rows: list[int], row: int) -> int:
    """Return the first of the rising rows that is above a row, _NEVER if none is."""
    at = bisect_right(rows, row)
    return rows[at] if at < len(rows) else _NEVER


def _owners(case: Case, findings: Findings, events: list[Dealt], lives: Lives) -> None:
    owners: dict[tuple[str, Any], list[tuple[Dealt, int]]] = {}
    overlaps, accepted = 0, _Accepted(case)
    for event in events:
        place = (event.group, event.key)
        if not event.given:
            continue
        held = [(other, until) for other, until in owners.get(place, ()) if until > event.row]
        until = lives.until(event)
        for other, other_until in held:
            if other.process == event.process or (event.instance is not None and other.instance == event.instance):
                continue
            overlaps += 1
            if event.classic and other.classic and None is not event.generation == other.generation:
                findings.add(
                    "double-ownership",
                    [other.op, event.op],
                    f"Generation {event.generation} of group {event.group} gave {event.key} to process "
                    f"{other.process} (op {other.op}) and, before that one gave it up, to process {event.process} "
                    f"(op {event.op}).",
                    key=event.key,
                    group=event.group,
                    generation=event.generation,
                )
            else:
                _both_committed(case, findings, accepted, (other, other_until), (event, until))
        owners[place] = [*((o, u) for o, u in held if o.process != event.process), (event, until)]
    if overlaps:
        findings.notes.append(
            "A key was dealt to a member before its old owner's callback took it away (by the clock alone that is "
            f"legal): {overlaps}x."
        )


class _Accepted:
    """The commits that were accepted of each process, of one key in one group."""

    def __init__(self, case: Case) -> None:
        table, calls = case.view.group_offsets, case.view.calls
        self._keys, self._groups = case.view.keys, case.view.groups
        rows = np.flatnonzero((table.role == COMMITS) & (calls.type[table.call] == TYPE_OK))
        columns = (table.group[rows], table.key[rows], calls.process[table.call[rows]], table.call[rows])
        self._calls: dict[tuple[int, int, int], list[int]] = {}
        for group, key, process, call in zip(*(column.tolist() for column in columns), strict=True):
            self._calls.setdefault((group, key, process), []).append(call)
        self._begun, self._done = calls.invoke_row, calls.done_row

    def first(self, owner: Dealt, since: int, until: int) -> int | None:
        """Return the first ok call of the owner that committed the key, within the rows since to until."""
        key, group = self._keys.get(owner.key), self._groups.get(owner.group)
        if key is None or group is None:
            return None
        mine = self._calls.get((group, key, owner.process), [])
        at = bisect_right(mine, since, key=lambda call: int(self._begun[call]))
        return mine[at] if at < len(mine) and self._done[mine[at]] < until else None


def _both_committed(
    case: Case, findings: Findings, accepted: _Accepted, old: tuple[Dealt, int], new: tuple[Dealt, int]
) -> None:
    """Report if both owners had a commit accepted that was begun after the new one's callback."""
    since = new[0].row
    first, second = (accepted.first(event, since, until) for event, until in (old, new))
    if first is None or second is None:
        return
    findings.add(
        "double-ownership",
        [old[0].op, new[0].op, case.view.op(first), case.view.op(second)],
        f"{new[0].key} was dealt to process {new[0].process} (op {new[0].op}); the old owner, process "
        f"{old[0].process}, was never told before its commit for it in {case.name(first)}, begun after that, was "
        f"accepted, as was the new owner's in {case.name(second)}.",
        key=new[0].key,
        group=new[0].group,
    )


@dataclass(frozen=True, slots=True)
class _Firsts:
    """The first record that each call polled from each key, sorted by process and key and then by invocation."""

    code: Ints
    invoked: Ints
    row: Ints


def _firsts(case: Case) -> _Firsts:
    view = case.view
    records = view.records
    pair = records.call * max(1, len(view.keys)) + records.key
    heads = np.flatnonzero(~same_as_before(pair))
    heads = heads[np.unique(pair[heads], return_index=True)[1]]
    call = records.call[heads]
    code = view.calls.process[call] * max(1, len(view.keys)) + records.key[heads]
    order = np.lexsort((view.calls.invoke_row[call], code))
    return _Firsts(code[order], view.calls.invoke_row[call][order], heads[order])


def _resumptions(case: Case, findings: Findings, events: list[Dealt], lives: Lives) -> None:
    firsts, late, told = _firsts(case), resent(case), dict[tuple[int, int], _Stored]()
    calls, records = case.view.calls, case.view.records
    hung = calls.invoke_row[(calls.done_row < 0) & (calls.f != case.view.kinds.get("send"))].min(initial=_NEVER)
    for event in events:
        row = _first_read(case, firsts, event, lives) if event.given else None
        if row is None or hung < calls.done_row[records.call[row]]:
            continue
        known, key = case.view.groups.get(event.group), int(records.key[row])
        group = NONE if known is None else known
        if (group, key) not in told:
            told[group, key] = _Stored(case, group, key, late)
        _judge_resumption(case, findings, event, row, told[group, key])


def _first_read(case: Case, firsts: _Firsts, event: Dealt, lives: Lives) -> int | None:
    """Return the record row with which the member went on; None where that can't be told."""
    view = case.view
    key = view.keys.get(event.key)
    if key is None:
        return None
    code = event.process * max(1, len(view.keys)) + key
    low, high = np.searchsorted(firsts.code, [code, code + 1])
    place = low + int(np.searchsorted(firsts.invoked[low:high], event.row))
    if place > low:
        before = int(view.records.call[firsts.row[place - 1]])
        if view.calls.done_row[before] > event.row or view.calls.done_row[before] < 0:
            if place - 1 > low or not lives.is_first(event):
                return None
            place = low
    if place >= high or firsts.invoked[place] < 0 or firsts.invoked[place] > lives.until(event):
        return None
    row = int(firsts.row[place])
    call = int(view.records.call[row])
    done = int(view.calls.done_row[call])
    if done < 0 or done > lives.until(event) or view.records.offset[row] < 0:
        return None
    return row


class _Stored:
    """What may be stored of one group's offset of one key: rows of `group_offsets`, in order of completion."""

    def __init__(self, case: Case, group: int, key: int, late: Bools) -> None:
        table, calls = case.view.group_offsets, case.view.calls
        rows = case.group_offsets_of(group, key)
        rows = rows[table.role[rows] != ANSWERED]
        by = table.call[rows]
        type_, commits = calls.type[by], table.role[rows] == COMMITS
        sure = commits & (type_ == TYPE_OK) & (calls.done_row[by] >= 0)
        refused = (commits & (type_ == TYPE_FAIL)) | ((type_ == TYPE_INFO) & (calls.commit_time[by] == COMMIT_NEVER))
        self.by_transactions = bool((calls.commit_time[by] != COMMIT_UNKNOWN).any())
        self.sure = rows[sure & (table.offset[rows] >= 0)]
        by = table.call[self.sure]
        self._offset, self._done, self._begun, self._late = (
            column for column in (table.offset[self.sure], calls.done_row[by], calls.invoke_row[by], late[by])
        )
        self._latest = np.maximum.accumulate(self._begun)
        self._soonest = np.minimum.accumulate(self._begun[::-1])[::-1]
        rest = rows[~sure & ~refused & (table.offset[rows] >= 0)]
        self._unsure, self._tried = table.offset[rest], calls.invoke_row[table.call[rest]]

    def before(self, row: int) -> int:
        """Return how many commits were certainly done before a row of the history."""
        return int(np.searchsorted(self._done, row))

    def offsets(self, since: int, until: int) -> Ints:
        """Return what may be stored between two rows of the history, rising; 0 where no commit was before."""
        before = self.before(since)
        current = int(np.searchsorted(self._done[:before], self._latest[before - 1])) if before else 0
        resent_ = self._offset[:current][self._late[:current]]
        after = slice(before, int(np.searchsorted(self._soonest, until)))
        concurrent = self._offset[after][self._begun[after] < until]
        undecided = self._unsure[self._tried < until]
        beginning = np.zeros(0 if before else 1, np.int64)
        return np.unique(np.concatenate((self._offset[current:before], resent_, concurrent, undecided, beginning)))


def _judge_resumption(case: Case, findings: Findings, event: Dealt, row: int, stored: _Stored) -> None:
    view, records = case.view, case.view.records
    table, calls = view.group_offsets, view.calls
    call, key, offset = int(records.call[row]), int(records.key[row]), int(records.offset[row])
    before = stored.before(event.row)
    if (calls.isolation[call] != READ_COMMITTED and stored.by_transactions) or not (before or case.phases.ours):
        return
    offsets = stored.offsets(event.row, int(calls.done_row[call]))
    below = offsets[offsets <= offset]
    skipped = None
    if len(below):
        if _visible(case, call, key, int(below[-1]), offset) is None:
            return
        skipped = _visible(case, call, key, int(below[0]), offset)
    passed = (
        f"although {case.vid_value(skipped)!r} lies between" if skipped is not None else "which lies before all of them"
    )
    last = int(stored.sure[before - 1]) if before else None
    commit, committed = (None, 0) if last is None else (int(table.call[last]), int(table.offset[last]))
    had = "nothing" if commit is None else f"{committed}"
    told = "" if commit is None else f" ({case.name(commit)})"
    findings.add(
        "resume-gap",
        [*([] if commit is None else [case.view.op(commit)]), event.op, case.view.op(call)],
        f"Group {event.group} had certainly committed {had} for {event.key}{told}; process {event.process} "
        f"was dealt it in op {event.op} and went on at offset {offset} ({case.name(call)}), {passed}.",
        key=event.key,
        group=event.group,
        offsets=[committed, offset],
        committed=[int(one) for one in offsets[:8]],
    )


def _visible(case: Case, call: int, key: int, low: int, high: int) -> int | None:
    """Return a vid that the reader must have met at an offset in [low, high), None if there is none."""
    placement = case.placement
    rc = case.view.calls.isolation[call] == READ_COMMITTED
    places = placement.rc_place if rc else placement.place
    slots = placement.slots
    first, last = np.searchsorted(slots.first, (key, key + 1))
    begin, end = first + np.searchsorted(slots.second[first:last], (low, high))
    inside = np.flatnonzero((places[begin:end] >= 0) & ~case.gone[begin:end])
    return int(placement.slot_vid[begin + inside[0]]) if len(inside) else None
