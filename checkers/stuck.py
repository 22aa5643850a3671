"""`stuck-consumer` (T5): a position stands still although others read past it, for longer than the recovery bound.

Judged for processes that assigned their keys themselves, while they went on polling, and in runs of ours for members
of groups, from a rebalance that dealt them a key to the next one about it. The span begins when the
position is known (a record was read, or the assign went to the beginning) and another ok reader of the same isolation
has been past it; faults push its begin to their heal, and what a foreign nemesis did holds to the end. The consumer
must have polled through the whole bound without a record of that key, and several of these polls must have brought
nothing at all: records of other keys may come first. On topics that drop records by themselves nothing is judged: what
others read is gone when a slow consumer comes to it.

A member that has read nothing of a key yet stands where its group's offset may be at most. It does not begin before
transactions that hold that offset have ended, which takes their time-out and the coordinator's sweep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.case import Case
from checkers.columns import Groups, Ints, same_as_before
from checkers.findings import Findings
from checkers.log_view import NONE, READ_COMMITTED, TYPE_OK
from checkers.ownership import Dealt, Lives, dealt, subscribers
from checkers.phases import Fault

CLASS = "stuck-consumer"
SECOND_NS = 1_000_000_000
SWEEP_S = 10
"""So often a coordinator looks for transactions that took too long."""
EMPTY_POLLS = 5
"""So many polls in the span have to come back with nothing from any key."""
BEGINNING, UNKNOWN = -1, -2
LONG_AGO = -(1 << 62)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a process stood on a key, and since which call: sorted by process, key and call."""

    process: Ints
    key: Ints
    call: Ints
    position: Ints


def stuck_consumers(case: Case, findings: Findings) -> None:
    """Report positions that stand still."""
    view = case.view
    calls = view.calls
    if not view.has_invocations or not len(view.assigns.call) or case.options.forgets:
        findings.not_checked.append(CLASS)
        return
    if case.phases.unknown_ns is not None:  # it is judged up to there
        findings.not_checked.append(CLASS)
    if case.phases.ours:
        _members(case, findings)
    bound = int(case.options.recovers_within_s * SECOND_NS)
    places = _places(case)
    polling = (calls.type == TYPE_OK) & np.isin(calls.f, [view.kinds.get("poll") or 0, view.kinds.get("txn") or 0])
    done, invoked = view.done_time(), view.invoke_time()
    _, rank = np.unique(calls.process, return_inverse=True)
    last_poll = np.full(int(rank.max()) + 1, LONG_AGO)
    np.maximum.at(last_poll, rank[polling], done[polling])
    until = last_poll[rank[places.call]]
    same = same_as_before(places.process, places.key)[1:]
    until[:-1][same] = np.minimum(until[:-1], invoked[places.call[1:]])[same]
    long = (until - done[places.call] >= bound) & (places.position != UNKNOWN)
    highest = np.full(len(view.keys), BEGINNING)
    np.maximum.at(highest, view.records.key[case.reader_is_ok], view.records.offset[case.reader_is_ok])
    long &= highest[places.key] > places.position  # else nobody read past it
    of_process, faults = Groups(calls.process), sorted(case.phases.faults, key=_begun)
    is_move = np.zeros(calls.size, np.bool_)
    is_move[view.assigns.call] = True
    for row in np.flatnonzero(long).tolist():
        end = int(places.call[row + 1]) if row + 1 < len(places.call) and same[row] else calls.size
        mine = of_process.rows(int(places.process[row]))
        mine = mine[np.searchsorted(mine, places.call[row], side="right") : np.searchsorted(mine, end)]
        moved = mine[is_move[mine]]
        polls = mine[polling[mine] & (mine < (moved[0] if len(moved) else calls.size))]
        process, key, position = int(places.process[row]), int(places.key[row]), int(places.position[row])
        since_ns = int(done[places.call[row]])
        _judge(case, findings, _Standing(process, key, position, since_ns, polls, bound), faults)


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where a process stood and since when, its polls from then on, and how long it may take."""

    process: int
    key: int
    position: int
    since_ns: int
    polls: Ints
    bound: int


def _members(case: Case, findings: Findings) -> None:
    """Judge the members of groups, by the keys that they were dealt."""
    events = dealt(case)
    if not events:
        return
    view, calls, lives, subscribed = case.view, case.view.calls, Lives(case, events), subscribers(case)
    polling = (calls.type == TYPE_OK) & np.isin(calls.f, [view.kinds.get("poll") or 0, view.kinds.get("txn") or 0])
    of_process, done, faults = Groups(calls.process), view.done_time(), sorted(case.phases.faults, key=_begun)
    read = Groups(view.records.call)
    usual = int(case.options.recovers_within_s * SECOND_NS)
    patient = usual + int((case.options.transaction_timeout_s + SWEEP_S) * SECOND_NS)
    for event in events:
        key = view.keys.get(event.key)
        if not event.given or key is None or event.process not in subscribed:
            continue
        mine = of_process.rows(event.process)
        mine = mine[polling[mine] & (calls.invoke_row[mine] > event.row) & (calls.done_row[mine] < lives.until(event))]
        if not len(mine) or done[mine[-1]] - view.time[event.row] < usual:
            continue
        since_ns, position, bound, first = int(view.time[event.row]), _resumed(case, event, key), patient, 0
        for at, call in enumerate((*mine.tolist(), None)):
            shown = [] if call is None else [row for row in read.rows(call) if view.records.key[row] == key]
            if call is None or shown:
                polls = mine[first:at]
                if len(polls) and done[polls[-1]] - since_ns >= bound:
                    _judge(case, findings, _Standing(event.process, key, position, since_ns, polls, bound), faults)
            if shown:
                since_ns, position = int(done[call]), int(view.records.offset[shown].max())
                bound, first = usual, at + 1


def _begun(fault: Fault) -> int:
    return fault.begin_ns


def _resumed(case: Case, event: Dealt, key: int) -> int:
    """Return behind which offset, at the most, a member goes on that is dealt a key."""
    group = case.view.groups.get(event.group)
    rows = case.group_offsets_of(NONE if group is None else group, key)
    return max((int(case.view.group_offsets.offset[row]) - 1 for row in rows), default=BEGINNING)


def _places(case: Case) -> _Places:
    """Return the places of processes that assigned their keys; a subscription makes them unknown."""
    view = case.view
    calls, assigns, records = view.calls, view.assigns, view.records
    by_hand = calls.f[assigns.call] == view.kinds.get("assign")
    start = np.where(by_hand & assigns.seeks & (calls.type[assigns.call] == TYPE_OK), BEGINNING, UNKNOWN)
    of_assign = dict(zip(assigns.call.tolist(), start.tolist(), strict=True))
    span = calls.size + 1
    moves = np.sort(calls.process[assigns.call] * span + assigns.call)
    manual = np.zeros(calls.size, np.bool_)
    manual[assigns.call[by_hand]] = True
    rows = np.flatnonzero((calls.type[records.call] == TYPE_OK) & (records.offset >= 0))
    code = calls.process[records.call[rows]] * span + records.call[rows]
    at = np.searchsorted(moves, code) - 1
    latest = moves[np.maximum(at, 0)]
    rows = rows[(at >= 0) & (latest // span == code // span) & manual[latest % span]]
    call = np.concatenate((assigns.member_call, records.call[rows]))
    key = np.concatenate((assigns.member_key, records.key[rows]))
    begun = np.array([of_assign[one] for one in assigns.member_call.tolist()], np.int64)
    position = np.concatenate((begun, records.offset[rows]))
    order = np.lexsort((position, call, key, calls.process[call]))
    call, key, position = call[order], key[order], position[order]
    final = np.append(~same_as_before(call, key)[1:], True) if len(call) else np.empty(0, np.bool_)
    return _Places(calls.process[call][final], key[final], call[final], position[final])


def _judge(case: Case, findings: Findings, standing: _Standing, faults: list[Fault]) -> None:
    view, polls, bound, position = case.view, standing.polls, standing.bound, standing.position
    records, done, calls = view.records, view.done_time(), view.calls
    ahead = case.records_of_key.rows(standing.key)
    is_own = calls.process[records.call[ahead]] == standing.process
    own = ahead[is_own & ~case.reader_is_ok[ahead]]  # what came to nothing was shown all the same
    ahead = ahead[case.reader_is_ok[ahead] & (records.offset[ahead] > position) & ~is_own]
    ahead = ahead[~case.vid_gone[case.placement.record_vid[ahead]]]
    if len(polls) and calls.isolation[polls[0]] == READ_COMMITTED:
        ahead = ahead[case.reader_is_rc[ahead]]
    if not len(polls) or not len(ahead):
        return
    witness = int(ahead[np.argmin(done[records.call[ahead]])])
    begin = _quiet(faults, max(standing.since_ns, int(done[records.call[witness]])), bound)
    invoked = view.invoke_time()[polls]
    inside, invoked = polls[invoked >= begin], invoked[invoked >= begin]
    if not len(inside) or done[inside[-1]] - begin < bound or invoked[0] - begin > bound // 2:
        return
    if ((done[records.call[own]] >= begin) & (records.call[own] <= inside[-1])).any():
        return
    if int((~case.polled_something[inside]).sum()) < EMPTY_POLLS or _disturbed(case, begin, int(done[inside[-1]])):
        return
    reader = int(records.call[witness])
    findings.add(
        CLASS,
        [view.op(reader), view.op(int(inside[0])), view.op(int(inside[-1]))],
        f"{case.name(reader)} read offset {int(records.offset[witness])} of {case.key(standing.key)}, but process "
        f"{standing.process}, standing before it, polled {len(inside)} times in the "
        f"{(int(done[inside[-1]]) - begin) / SECOND_NS:.0f} s from then to {case.name(int(inside[-1]))} and was shown "
        "nothing of it.",
        key=case.key(standing.key),
        position=position,
    )


def _quiet(faults: list[Fault], begin: int, bound: int) -> int:
    """Return the first time from `begin` on from which no fault holds for the bound; faults are in order."""
    for fault in faults:
        healed = np.iinfo(np.int64).max // 2 if fault.healed_ns is None else fault.healed_ns
        if fault.bit and fault.begin_ns < begin + bound and healed > begin:
            begin = int(healed)
    return begin


def _disturbed(case: Case, begin: int, end: int) -> bool:
    unknown_ns = case.phases.unknown_ns
    return (unknown_ns is not None and unknown_ns < end) or any(
        fault.bit and fault.begin_ns < end and (fault.healed_ns is None or fault.healed_ns > begin)
        for fault in case.phases.faults
    )
