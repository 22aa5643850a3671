"""`stuck-consumer` (T5): a position stands still although others read past it, for longer than the recovery bound.

Judged for processes that assigned their keys themselves, while they went on polling. The span begins when the
position is known (a record was read, or the assign went to the beginning) and another ok reader of the same isolation
has been past it; faults push its begin to their heal, and what a foreign nemesis did holds to the end. The consumer
must have polled through the whole bound without a record of that key, and several of these polls must have brought
nothing at all: records of other keys may come first. On topics that drop records by themselves nothing is judged: what
others read is gone when a slow consumer comes to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.case import Case
from checkers.columns import Groups, Ints, same_as_before
from checkers.findings import Findings
from checkers.log_view import READ_COMMITTED, TYPE_OK
from checkers.phases import Fault

CLASS = "stuck-consumer"
SECOND_NS = 1_000_000_000
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
    bound = int(case.options.recovery_bound_s * SECOND_NS)
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
    of_process, faults = Groups(calls.process), sorted(case.phases.faults, key=lambda one: one.begin_ns)
    is_move = np.zeros(calls.size, np.bool_)
    is_move[view.assigns.call] = True
    for row in np.flatnonzero(long).tolist():
        end = int(places.call[row + 1]) if row + 1 < len(places.call) and same[row] else calls.size
        mine = of_process.rows(int(places.process[row]))
        mine = mine[np.searchsorted(mine, places.call[row], side="right") : np.searchsorted(mine, end)]
        moved = mine[is_move[mine]]
        polls = mine[polling[mine] & (mine < (moved[0] if len(moved) else calls.size))]
        _judge(case, findings, places, row, _Standing(polls, invoked[polls], done, faults, bound))


@dataclass(frozen=True, slots=True)
class _Standing:
    """The polls of a process while it stood at a place, with what they are judged by."""

    polls: Ints
    invoked: Ints
    done: Ints
    """Per call."""
    faults: list[Fault]
    bound: int


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


def _judge(case: Case, findings: Findings, places: _Places, row: int, standing: _Standing) -> None:
    view, polls, done, bound = case.view, standing.polls, standing.done, standing.bound
    records = view.records
    key, position, call = int(places.key[row]), int(places.position[row]), int(places.call[row])
    ahead = case.records_of_key.rows(key)
    ahead = ahead[case.reader_is_ok[ahead] & (records.offset[ahead] > position)]
    ahead = ahead[view.calls.process[records.call[ahead]] != places.process[row]]
    ahead = ahead[~case.vid_gone[case.placement.record_vid[ahead]]]
    if len(polls) and view.calls.isolation[polls[0]] == READ_COMMITTED:
        ahead = ahead[case.reader_is_rc[ahead]]
    if not len(polls) or not len(ahead):
        return
    witness = int(ahead[np.argmin(done[records.call[ahead]])])
    begin = _quiet(standing.faults, max(int(done[call]), int(done[records.call[witness]])), bound)
    inside, invoked = polls[standing.invoked >= begin], standing.invoked[standing.invoked >= begin]
    if not len(inside) or done[inside[-1]] - begin < bound or invoked[0] - begin > bound // 2:
        return
    if int((~case.polled_something[inside]).sum()) < EMPTY_POLLS or _disturbed(case, begin, int(done[inside[-1]])):
        return
    reader = int(records.call[witness])
    findings.add(
        CLASS,
        [view.op(reader), view.op(int(inside[0])), view.op(int(inside[-1]))],
        f"{case.name(reader)} read offset {int(records.offset[witness])} of {case.key(key)}, but process "
        f"{int(places.process[row])}, standing before it, polled {len(inside)} times in the "
        f"{(int(done[inside[-1]]) - begin) / SECOND_NS:.0f} s from then to {case.name(int(inside[-1]))} and was shown "
        "nothing of it.",
        key=case.key(key),
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
