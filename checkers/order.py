"""Order: every skip and every step backwards of polls and sends, within an operation and between operations.

ANOMALIES.md, section 1: int-poll-skip, int-nonmonotonic-poll, poll-skip, nonmonotonic-poll, and the same for sends.
Contiguity is judged on places in the version order, never on offsets: gaps are legal.

A *segment* is what one call polled from (or sent to) one key. Inside a segment neighbours are compared; between
segments the first value now is compared with the last value of the last ok segment (polls) or the last ok or info
segment (sends; one that was not acknowledged may land later) of that process and key, unless an assign or subscribe
without that key lies between, or (polls) a rebalance of the group dealt with that key. In a run of ours a process that
assigns by hand begins at the beginning: what it reads first of a key has the first place.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.catalog import EXCUSED
from checkers.columns import Bools, Ints, rank, same_as_before
from checkers.findings import Findings, shorten
from checkers.log_view import READS, TYPE_FAIL, TYPE_OK
from checkers.ownership import Dealt, dealt, subscribers
from checkers.placement import NOWHERE


@dataclass(frozen=True, slots=True)
class _Rows:
    """Records or sends in order, grouped: all rows of one (call, key) stand together."""

    call: Ints
    key: Ints
    vid: Ints
    place: Ints
    """In the version order of the acting process; NOWHERE if unknown."""
    rc: Bools
    over: Bools
    """It lies where it does since its call ended; a send that was not acknowledged may land later."""


@dataclass(frozen=True, slots=True)
class _Segments:
    """First and last row of each (call, key), sorted by process, key and time."""

    first: Ints
    last: Ints
    process: Ints
    """Dense rank of the process."""


def polls(case: Case, findings: Findings) -> None:
    """Report poll skips and nonmonotonic polls."""
    view, placement = case.view, case.placement
    records = view.records
    rc = case.reader_is_rc
    place = np.where(rc, placement.rc_order[placement.record_vid], placement.order[placement.record_vid])
    place[(case.vid_gone | placement.twice)[placement.record_vid]] = NOWHERE
    alone = [code for name in READS if (code := view.kinds.get(name)) is not None]
    place[np.isin(view.calls.f[records.call], alone)] = NOWHERE  # each of these begins anew
    rows = _grouped(case, _Rows(records.call, records.key, placement.record_vid, place, rc, case.reader_is_ok), None)
    delta = _inner_delta(rows)
    if len(view.rebalanced_call):
        keys = len(view.keys)
        moved = np.setdiff1d(view.rebalanced_call * keys + view.rebalanced_key, _taken_up(case))
        delta[np.isin(rows.call * keys + rows.key, moved)] = 1
    _inner(case, findings, rows, delta, skip="int-poll-skip", back="int-nonmonotonic-poll", verb="polled")
    segments = _segments(case, rows, None)
    counts = rows.over[segments.last]
    _outer(case, findings, rows, segments, counts, skip="poll-skip", back="nonmonotonic-poll", verb="polled")
    if case.phases.ours:
        _beginnings(case, findings, rows, segments, counts)


def sends(case: Case, findings: Findings) -> None:
    """Report skips within one call's sends, and sends that landed before earlier ones."""
    view, placement = case.view, case.placement
    rc = np.zeros(len(view.sends.call), np.bool_)
    place = np.where(placement.twice, NOWHERE, placement.order)[placement.send_vid]
    over = (view.calls.type == TYPE_OK)[view.sends.call] | (view.sends.offset >= 0)
    table = _Rows(view.sends.call, view.sends.key, placement.send_vid, place, rc, over)
    rows = _grouped(case, table, view.sends.mop)
    delta = _inner_delta(rows)
    _inner(case, findings, rows, delta, skip="int-send-skip", back="int-nonmonotonic-send", verb="sent")
    segments = _segments(case, rows, view.calls.type != TYPE_FAIL)
    counts = rows.over[segments.last]
    _outer(case, findings, rows, segments, counts, skip=None, back="nonmonotonic-send", verb="sent")


def _grouped(case: Case, rows: _Rows, mop: Ints | None) -> _Rows:
    """Return the rows with those of one (call, key) together, in their order; usually they are already."""
    if not len(rows.call):
        return rows
    code = rows.call * len(case.view.keys) + rows.key
    heads = np.sort(code[~same_as_before(code)])
    if not same_as_before(heads).any():
        return rows
    order = np.argsort(code, kind="stable") if mop is None else np.lexsort((mop, code))
    return _Rows(*(getattr(rows, column)[order] for column in _Rows.__slots__))


def _inner_delta(rows: _Rows) -> Ints:
    """Return per row the step from the row before it; 1 (as it should be) where there is nothing to compare."""
    delta = np.ones(len(rows.call), np.int64)
    same = same_as_before(rows.call, rows.key)
    here = np.flatnonzero(same)
    here = here[(rows.place[here] >= 0) & (rows.place[here - 1] >= 0)]
    delta[here] = rows.place[here] - rows.place[here - 1]
    return delta


def _inner(case: Case, findings: Findings, rows: _Rows, delta: Ints, *, skip: str, back: str, verb: str) -> None:
    for name, found in ((skip, np.flatnonzero(delta > 1)), (back, np.flatnonzero(delta < 1))):
        worst = found[np.argsort(-np.abs(delta[found]), kind="stable")][: findings.room(name)]
        for row in worst:
            call, before, now = int(rows.call[row]), int(rows.vid[row - 1]), int(rows.vid[row])
            key = case.key(rows.key[row])
            values = [case.vid_value(before), case.vid_value(now)]
            findings.add(
                name,
                [case.view.op(call)],
                f"In one operation, {case.name(call)} {verb} {values[0]!r} and then {values[1]!r} on {key}, "
                + _distance(case, rows, int(row) - 1, int(row), int(delta[row])),
                key=key,
                values=values,
                delta=int(delta[row]),
                **_skipped(case, rows, int(row) - 1, int(row), int(delta[row])),
            )
        findings.count(name, len(found) - len(worst))


def _segments(case: Case, rows: _Rows, member: Bools | None) -> _Segments:
    """Return the segments (of member calls only), sorted by process, key and order of completion."""
    heads = np.flatnonzero(~same_as_before(rows.call, rows.key))
    tails = np.append(heads[1:], len(rows.call)) - 1 if len(heads) else heads
    if member is not None:
        kept = member[rows.call[heads]]
        heads, tails = heads[kept], tails[kept]
    calls = case.view.calls
    process, _ = rank(calls.process)
    code = process[rows.call[heads]] * max(1, len(case.view.keys)) + rows.key[heads]
    order = np.lexsort((rows.call[heads], code))
    return _Segments(heads[order], tails[order], process)


def _outer(
    case: Case,
    findings: Findings,
    rows: _Rows,
    segments: _Segments,
    counts: Bools,
    *,
    skip: str | None,
    back: str,
    verb: str,
) -> None:
    """Compare each segment with the last counting segment of its process and key."""
    if not len(segments.first):
        return
    before, start = _befores(rows, segments, counts)
    here = np.flatnonzero(before >= start)
    there = before[here]
    old, new = segments.last[there], segments.first[here]
    known = (rows.place[old] >= 0) & (rows.place[new] >= 0)
    old, new = old[known], new[known]
    delta = rows.place[new] - rows.place[old]
    wrong = np.flatnonzero(delta != 1) if skip else np.flatnonzero(delta < 1)
    kept = ~_forgotten(case, segments.process, rows, old[wrong], new[wrong])
    if skip:
        kept &= ~_dealt_with(case, rows, old[wrong], new[wrong])
    wrong = wrong[kept]
    excused = np.zeros(len(wrong), np.bool_)
    if skip and "subscribe" in case.options.sub_via:
        back_again = delta[wrong] < 1
        at_once = (here - there)[known][wrong] == 1
        excused = ~_is_held(case, rows, (old[wrong], new[wrong]), at_once, back_again)
        excused |= back_again & (not case.phases.ours)
    for class_, kind in ((skip, delta[wrong] > 1), (back, delta[wrong] < 1)):
        if class_ is not None:
            _tell_steps(case, findings, rows, (old, new, delta), wrong[kind & ~excused], name=class_, verb=verb)
            _tell_steps(
                case, findings, rows, (old, new, delta), wrong[kind & excused], name=class_ + EXCUSED, verb=verb
            )


def _befores(rows: _Rows, segments: _Segments, counts: Bools) -> tuple[Ints, Ints]:
    """Return per segment the last counting one before it, and the first one of its process and key."""
    size = len(segments.first)
    same = same_as_before(segments.process[rows.call[segments.first]], rows.key[segments.first])
    start = np.maximum.accumulate(np.where(same, 0, np.arange(size)))
    latest = np.maximum.accumulate(np.where(counts, np.arange(size), -1))
    return np.concatenate((np.array([-1]), latest[:-1])), start


def _tell_steps(
    case: Case,
    findings: Findings,
    rows: _Rows,
    steps: tuple[Ints, Ints, Ints],
    found: Ints,
    *,
    name: str,
    verb: str,
) -> None:
    """Report steps (row before, row after, distance), the largest first."""
    old, new, delta = steps
    if len(found):
        worst = found[np.argsort(-np.abs(delta[found]), kind="stable")][: findings.room(name)]
        for place in worst:
            then, now = int(old[place]), int(new[place])
            values = [case.vid_value(int(rows.vid[then])), case.vid_value(int(rows.vid[now]))]
            findings.add(
                name,
                [case.view.op(int(rows.call[then])), case.view.op(int(rows.call[now]))],
                f"{case.name(int(rows.call[then]))} {verb} {values[0]!r} on {case.key(rows.key[now])}; next "
                f"{case.name(int(rows.call[now]))} {verb} {values[1]!r}, "
                + _distance(case, rows, then, now, int(delta[place])),
                key=case.key(rows.key[now]),
                values=values,
                delta=int(delta[place]),
                **_skipped(case, rows, then, now, int(delta[place])),
            )
        findings.count(name, len(found) - len(worst))


def _beginnings(case: Case, findings: Findings, rows: _Rows, segments: _Segments, counts: Bools) -> None:
    """Report what processes that hold their keys by hand read first of a key, where others were shown something before.

    What came to nothing was read by who was then set back to it: all until the first ok read begin at the beginning.
    """
    if not len(segments.first):
        return
    before, start = _befores(rows, segments, counts)
    new = segments.first[(before < start) & (rows.place[segments.first] > 0)]
    lowest, held = _lowest(rows), _Held(case)
    for row in new[case.log_start[rows.key[new]] == 0].tolist():
        call, first = int(rows.call[row]), lowest.get((int(rows.key[row]), bool(rows.rc[row])))
        assigned = held.since(call)
        if assigned is None or first is None or rows.place[first] >= rows.place[row]:
            continue
        values = [case.vid_value(int(rows.vid[first])), case.vid_value(int(rows.vid[row]))]
        findings.add(
            "poll-skip",
            [case.view.op(assigned), case.view.op(call)],
            f"{case.name(assigned)} was to read {case.key(rows.key[row])} from its beginning; "
            f"{case.name(call)} polled {values[1]!r} of it first, passing over {values[0]!r}, which others saw.",
            key=case.key(rows.key[row]),
            values=values,
            delta=int(rows.place[row] - rows.place[first]) + 1,
        )


def _lowest(rows: _Rows) -> dict[tuple[int, bool], int]:
    """Return by key and version order the first row of the lowest place that is known."""
    known = np.flatnonzero(rows.place >= 0)
    code = rows.key[known] * 2 + rows.rc[known]
    known = known[np.lexsort((rows.place[known], code))]
    heads = known[~same_as_before(rows.key[known], rows.rc[known].astype(np.int64))]
    return {(int(rows.key[row]), bool(rows.rc[row])): row for row in heads.tolist()}


class _Held:
    """Which processes hold their keys by hand, and since which call."""

    def __init__(self, case: Case) -> None:
        self._calls, assign = case.view.calls, case.view.kinds.get("assign")
        self._assigns: dict[int, list[int]] = {}
        self._until: dict[int, int] = {}
        for call in case.view.assigns.call.tolist():
            process = int(self._calls.process[call])
            self._assigns.setdefault(process, []).append(call)
            if self._calls.f[call] != assign or self._calls.type[call] != TYPE_OK:
                self._until.setdefault(process, call)

    def since(self, call: int) -> int | None:
        """Return the last assign of a call's process before it; None where there is none, or not by hand alone."""
        process = int(self._calls.process[call])
        assigns = self._assigns.get(process, [])
        before = bisect_left(assigns, call)
        return assigns[before - 1] if before and self._until.get(process, call) >= call else None


def _taken_up(case: Case) -> Ints:
    """Return codes (call, key) where a member was dealt a key that it did not have, and nothing else moved it.

    All that such a call polled of the key was polled after that, one record after the other.
    """
    calls, keys = case.view.calls, case.view.keys
    by_key: dict[tuple[int, int | None], list[Dealt]] = {}
    for event in dealt(case):
        by_key.setdefault((event.process, keys.get(event.key)), []).append(event)
    codes = []
    for call, key in zip(case.view.rebalanced_call.tolist(), case.view.rebalanced_key.tolist(), strict=True):
        mine = by_key.get((int(calls.process[call]), key), [])
        earlier = bisect_left(mine, int(calls.invoke_row[call]), key=_row)
        since = bisect_right(mine, int(calls.invoke_row[call]), key=_row)
        inside = mine[since : bisect_left(mine, int(calls.done_row[call]), key=_row)]
        if len(inside) == 1 and inside[0].given and not (earlier and mine[earlier - 1].given):
            codes.append(call * len(keys) + key)
    return np.array(codes, np.int64)


def _row(event: Dealt) -> int:
    return event.row


def _forgotten(case: Case, process: Ints, rows: _Rows, old: Ints, new: Ints) -> Bools:
    """Return where an assign or subscribe between the two rows, of their process, left their key out.

    Every assign of the process between them has to name the key: both counts are differences of positions in sorted
    codes, so that many rebalances cost no loop.
    """
    assigns, keys = case.view.assigns, len(case.view.keys)
    if not len(assigns.call) or not len(old):
        return np.zeros(len(old), np.bool_)
    span = case.view.calls.size + 1
    who, key = process[rows.call[new]], rows.key[new]
    early, late = rows.call[old], rows.call[new]
    every = np.sort(process[assigns.call] * span + assigns.call)
    naming = np.unique((process[assigns.member_call] * keys + assigns.member_key) * span + assigns.member_call)
    happened = np.searchsorted(every, who * span + late) - np.searchsorted(every, who * span + early)
    group = (who * keys + key) * span
    named = np.searchsorted(naming, group + late) - np.searchsorted(naming, group + early)
    return np.asarray(happened > named)


def _dealt_with(case: Case, rows: _Rows, old: Ints, new: Ints) -> Bools:
    """Return where a rebalance event of the process about the key lies between the begin of old and the end of new.

    The first one that ever dealt a subscriber the key does not count: it moved no position, all was polled after it.
    """
    subscribed = subscribers(case)
    first: dict[tuple[int, Any], int] = {}
    events = []
    for event in dealt(case) if len(old) else ():
        begins = first.setdefault((event.process, event.key), event.row) == event.row and event.given
        if not (begins and event.process in subscribed):
            events.append((event.process, case.view.keys.get(event.key), event.row))
    known = np.array([event for event in events if event[1] is not None], np.int64).reshape(-1, 3)
    if not len(known):
        return np.zeros(len(old), np.bool_)
    calls, span, keys = case.view.calls, len(case.view.time) + 1, len(case.view.keys)
    code = np.sort((known[:, 0] * keys + known[:, 1]) * span + known[:, 2])
    group = (calls.process[rows.call[new]] * keys + rows.key[new]) * span
    begun, ended = calls.invoke_row[rows.call[old]], calls.done_row[rows.call[new]]
    ended = np.where(ended < 0, span - 1, ended)
    return np.asarray(np.searchsorted(code, group + ended) > np.searchsorted(code, group + np.maximum(begun, 0)))


def _is_held(case: Case, rows: _Rows, steps: tuple[Ints, Ints], at_once: Bools, back: Bools) -> Bools:
    """Return where nothing but what the history tells can have moved the process from one row to the other.

    at_once: it polled nothing of the key in between, by an operation that came to nothing; a consumer that subscribes
    can't always be set back behind that. back: to an earlier place, where who subscribed and then assigns begins.
    """
    old, new = steps
    told = {event.process for event in dealt(case)} if len(old) else set[int]()
    if not told and not case.phases.ours:
        return np.zeros(len(old), np.bool_)
    assigns, calls, assign = case.view.assigns.call, case.view.calls, case.view.kinds.get("assign")
    span, process = calls.size + 1, calls.process[rows.call[new]]
    code = np.sort(calls.process[assigns] * span + assigns)
    by_others = np.concatenate((np.zeros(1, np.int64), np.cumsum(calls.f[code % span] != assign)))
    begin, before, now = (np.searchsorted(code, process * span + call) for call in (0, rows.call[old], rows.call[new]))
    since = np.maximum(begin, before - 1)
    by_hand = (before > begin) & (by_others[now] == by_others[since])
    is_member = at_once & np.isin(process, list(told)) & ~(back & (now - since > 1))
    return np.where(by_hand, case.phases.ours, is_member)


def _between(case: Case, rows: _Rows, old: int, new: int) -> list[int]:
    """Return the vids that lie between two rows in the version order, for an explanation."""
    placement = case.placement
    places = placement.rc_place if rows.rc[new] else placement.place
    low, high = int(rows.place[old]), int(rows.place[new])
    inside = (placement.slots.first == rows.key[new]) & (places > low) & (places < high)
    return [int(placement.slot_vid[slot]) for slot in np.flatnonzero(inside)]


def _skipped(case: Case, rows: _Rows, old: int, new: int, delta: int) -> dict[str, list[object]]:
    if delta <= 1:
        return {}
    return {"skipped": shorten([case.vid_value(vid) for vid in _between(case, rows, old, new)])}


def _distance(case: Case, rows: _Rows, old: int, new: int, delta: int) -> str:
    if delta > 1:
        vids = _between(case, rows, old, new)
        names = ", ".join(repr(case.vid_value(vid)) for vid in vids[:4]) + (" and others" if len(vids) > 4 else "")
        return f"passing over {delta - 1} known to lie between: {names}."
    if delta == 0:
        return "the same place again."
    return f"which lies {-delta} {'place' if delta == -1 else 'places'} earlier in the log."
