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

from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Ints, same_as_before
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
    lives = _Lives(case, events)
    _owners(case, findings, events, lives)
    if case.options.forgets:
        findings.not_checked.append("resume-gap")
    else:
        _resumptions(case, findings, events, lives)


class _Lives:
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
        self._taken: dict[tuple[int, Any], list[int]] = {}
        for event in events:
            self._taken.setdefault((event.process, event.key), []).append(event.row)

    def is_first(self, event: Dealt) -> bool:
        """Return whether the process, of which all is told since it subscribed, had never had the key before."""
        return event.process in self._subscribed and self._taken[event.process, event.key][0] == event.row

    def until(self, event: Dealt) -> int:
        """Return the row at which the member stopped owning what the event gave it."""
        later = [row for row in self._ends.get(event.process, ()) if row > event.row]
        later += [row for row in self._taken[event.process, event.key] if row > event.row]
        return min(later, default=int(np.iinfo(np.int64).max))


def _owners(case: Case, findings: Findings, events: list[Dealt], lives: _Lives) -> None:
    owners: dict[tuple[str, Any], list[tuple[Dealt, int]]] = {}
    overlaps = 0
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
                _both_committed(case, findings, (other, other_until), (event, until))
        owners[place] = [*((o, u) for o, u in held if o.process != event.process), (event, until)]
    if overlaps:
        findings.notes.append(
            "A key was dealt to a member before its old owner's callback took it away (by the clock alone that is "
            f"legal): {overlaps}x."
        )


def _both_committed(case: Case, findings: Findings, old: tuple[Dealt, int], new: tuple[Dealt, int]) -> None:
    """Report if both owners had a commit accepted that was begun after the new one's callback."""
    since = new[0].row
    first, second = (_accepted(case, event, since, until) for event, until in (old, new))
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


def _accepted(case: Case, owner: Dealt, since: int, until: int) -> int | None:
    """Return an ok call of the owner that committed the key, within the rows since to until."""
    table, calls = case.view.group_offsets, case.view.calls
    key, group = case.view.keys.get(owner.key), case.view.groups.get(owner.group)
    if key is None or group is None:
        return None
    call = table.call
    found = (table.role == COMMITS) & (table.key == key) & (table.group == group)
    found &= (calls.type[call] == TYPE_OK) & (calls.process[call] == owner.process)
    found &= (calls.invoke_row[call] > since) & (calls.done_row[call] < until)
    rows = np.flatnonzero(found)
    return int(call[rows[0]]) if len(rows) else None


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


def _resumptions(case: Case, findings: Findings, events: list[Dealt], lives: _Lives) -> None:
    firsts = _firsts(case)
    for event in events:
        row = _first_read(case, firsts, event, lives) if event.given else None
        if row is not None:
            _judge_resumption(case, findings, event, row)


def _first_read(case: Case, firsts: _Firsts, event: Dealt, lives: _Lives) -> int | None:
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


def _judge_resumption(case: Case, findings: Findings, event: Dealt, row: int) -> None:
    view, records = case.view, case.view.records
    table, calls = view.group_offsets, view.calls
    call, key, offset = int(records.call[row]), int(records.key[row]), int(records.offset[row])
    known = view.groups.get(event.group)
    group = NONE if known is None else known
    mine = np.flatnonzero((table.role != ANSWERED) & (table.key == key) & ((table.group == group) | (table.group < 0)))
    by = table.call[mine]
    if calls.isolation[call] != READ_COMMITTED and (calls.commit_time[by] != COMMIT_UNKNOWN).any():
        return
    type_ = calls.type[by]
    sure = (table.role[mine] == COMMITS) & (type_ == TYPE_OK) & (calls.done_row[by] >= 0)
    before = sure & (calls.done_row[by] < event.row) & (table.offset[mine] >= 0)
    if not before.any() and not case.phases.ours:
        return
    if ((calls.done_row < 0) & (calls.invoke_row < calls.done_row[call]) & (calls.f != view.kinds.get("send"))).any():
        return
    latest = int(calls.invoke_row[by[before]].max(initial=-1))
    current = before & ((calls.done_row[by] >= latest) | resent(case)[by])
    refused = (type_ == TYPE_FAIL) & (table.role[mine] == COMMITS)
    refused |= (type_ == TYPE_INFO) & (calls.commit_time[by] == COMMIT_NEVER)
    possible = ~refused & ~before & (calls.invoke_row[by] < calls.done_row[call])
    offsets = np.unique(table.offset[mine[current | possible]])
    offsets = offsets[offsets >= 0]
    if not before.any():
        offsets = np.unique(np.append(offsets, 0))
    skipped = None
    for candidate in offsets[offsets <= offset][::-1]:
        skipped = _visible(case, call, key, int(candidate), offset)
        if skipped is None:
            return
    passed = (
        f"although {case.vid_value(skipped)!r} lies between" if skipped is not None else "which lies before all of them"
    )
    commit = int(by[np.flatnonzero(current)[-1]]) if current.any() else None
    stored = 0 if commit is None else int(table.offset[mine[np.flatnonzero(current)[-1]]])
    had = "nothing" if commit is None else f"{stored}"
    told = "" if commit is None else f" ({case.name(commit)})"
    findings.add(
        "resume-gap",
        [*([] if commit is None else [case.view.op(commit)]), event.op, case.view.op(call)],
        f"Group {event.group} had certainly committed {had} for {event.key}{told}; process {event.process} "
        f"was dealt it in op {event.op} and went on at offset {offset} ({case.name(call)}), {passed}.",
        key=event.key,
        group=event.group,
        offsets=[stored, offset],
        committed=[int(one) for one in offsets[:8]],
    )


def _visible(case: Case, call: int, key: int, low: int, high: int) -> int | None:
    """Return a vid that the reader must have met at an offset in [low, high), None if there is none."""
    placement = case.placement
    rc = case.view.calls.isolation[call] == READ_COMMITTED
    places = placement.rc_place if rc else placement.place
    slots = placement.slots
    first, last = np.searchsorted(slots.first, [key, key + 1])
    inside = np.arange(first, last)
    inside = inside[(slots.second[inside] >= low) & (slots.second[inside] < high)]
    inside = inside[(places[inside] >= 0) & ~case.gone[inside]]
    return int(placement.slot_vid[inside[0]]) if len(inside) else None
