"""Where every value lies: the version order of each key (ANOMALIES.md, section 0), as columns.

Two spaces of dense integers carry all later work: a *vid* is a distinct (key, value), a *slot* a distinct (key, offset)
of the log, in order of key and offset. A slot's *place* is its position among its key's slots: gaps in the offsets
(control records, aborted data) are no places. The log holds every send with a known offset whose call must have
committed or that is acknowledged for itself, and every polled record, whatever became of the polling call.

Readers that are read_committed have a version order of their own, without the values that only read_uncommitted
readers saw (`rc_place`); otherwise an aborted record seen by one reader would be a skip for the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.columns import Bools, Ints, PairRank, pair_rank
from checkers.log_view import COMMIT_UNKNOWN, READ_COMMITTED, TYPE_FAIL, TYPE_INFO, TYPE_OK, LogView

NOWHERE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The version orders and who wrote what. Arrays are per vid, per slot, per send row or per record row."""

    vids: PairRank
    """Distinct (key, value)."""
    slots: PairRank
    """Distinct (key, offset) of the log."""
    send_vid: Ints
    record_vid: Ints
    record_slot: Ints
    """NOWHERE where the offset is unknown."""
    send_slot: Ints
    """NOWHERE where the offset is unknown or the call is not known to have committed."""
    writer: Ints
    """Per vid: the row of its (last) send, NOWHERE for a value that nobody sent."""
    twice: Bools
    """Per vid: several sends carry it, and which of them is seen where can't be told: it accuses nobody."""
    committed: Bools
    """Per call: it is ok, or info and one of its values was read by an ok call (all or nothing)."""
    committed_rc: Bools
    """The same, proven by read_committed readers only (by any, where there are no others): an uncommitted read of an
    info call proves nothing about its commit."""
    acknowledged: Bools
    """Per send row: its call is ok; or, in a run of ours, its call is info and no transaction, and this send of it was
    answered with an offset: another one of the same call was not, which says nothing about this one."""
    ok_read: Bools
    """Per vid: some ok call polled it."""
    place: Ints
    """Per slot: its position in its key's version order."""
    rc_place: Ints
    """Per slot: its position among the slots that read_committed readers may see, NOWHERE for the others."""
    slot_vid: Ints
    """Per slot: one of the values there (the one read last, if several)."""
    first: Ints
    """Per vid: its smallest place, NOWHERE if it has none."""
    last: Ints
    """Per vid: its largest place."""
    order: Ints
    """Per vid: the place that counts for order: the largest of the slots for which it was picked (`slot_vid`)."""
    rc_order: Ints
    """The same in the read_committed version order."""
    inconsistent: Ints
    """Slots that hold two values or more."""
    duplicated: Ints
    """Vids that lie in two slots or more, and in more than they have sends."""
    entry_slot: Ints
    entry_vid: Ints
    """The log itself: every (slot, vid) entry, sends first, with repetitions."""


def place(view: LogView, *, ours: bool = False) -> Placement:
    """Return the version orders of a history; `ours`: the harness recorded it."""
    calls, sends, records = view.calls, view.sends, view.records
    count = len(sends.call)
    vids = pair_rank((sends.key, sends.value), (records.key, records.value))
    send_vid, record_vid = vids.rank[:count], vids.rank[count:]
    writer = np.full(vids.size, NOWHERE, np.int64)
    writer[send_vid] = np.arange(count)
    twice = _flags(vids.size, send_vid[writer[send_vid] != np.arange(count)])

    read_by_ok = (calls.type == TYPE_OK)[records.call]
    ok_read = _flags(vids.size, record_vid[read_by_ok])
    committed = _must_have_committed(view, send_vid, ok_read & ~twice)
    rc_reader = (calls.isolation == READ_COMMITTED)[records.call]
    mixed = not rc_reader.all()
    any_rc = bool((calls.isolation == READ_COMMITTED).any())
    committed_rc = committed
    if mixed and any_rc:
        committed_rc = _must_have_committed(
            view, send_vid, _flags(vids.size, record_vid[read_by_ok & rc_reader]) & ~twice
        )

    acknowledged = _acknowledged(view, ours=ours)
    send_known = (sends.offset >= 0) & (committed[sends.call] | acknowledged)
    record_known = records.offset >= 0
    send_rows = np.flatnonzero(send_known)
    sent = int(np.count_nonzero(send_known))
    sent_at = (sends.key[send_rows], sends.offset[send_rows])
    record_rows: slice | Ints = slice(None) if record_known.all() else np.flatnonzero(record_known)
    slots = pair_rank(sent_at, (records.key[record_rows], records.offset[record_rows]))
    send_slot = np.full(count, NOWHERE, np.int64)
    send_slot[send_rows] = slots.rank[:sent]
    record_slot = slots.rank[sent:]
    if not record_known.all():
        record_slot = np.full(len(records.call), NOWHERE, np.int64)
        record_slot[record_rows] = slots.rank[sent:]
    entry_slot = slots.rank
    entry_vid = vids.rank
    if sent < count or not record_known.all():
        entry_vid = np.concatenate((send_vid[send_rows], record_vid[record_rows]))

    slot_place = _places(slots.first)
    slot_vid = np.full(slots.size, NOWHERE, np.int64)
    slot_vid[entry_slot] = entry_vid
    inconsistent = _several(entry_slot, entry_vid, slots.size)
    duplicated = _several(entry_vid, entry_slot, vids.size)
    first, last = _extremes(entry_vid, slot_place[entry_slot], vids.size, duplicated)
    order = _picked(slot_vid, slot_place, vids.size)
    rc_order, rc_places = order, slot_place
    if mixed:
        sure = committed_rc[sends.call[send_rows]] | acknowledged[send_rows]
        seen_rc = np.concatenate((sure, rc_reader[record_rows]))
        in_rc = _flags(slots.size, entry_slot[seen_rc])
        rc_places = _places(slots.first, in_rc)
        rc_order = _picked(slot_vid[in_rc], rc_places[in_rc], vids.size)
    return Placement(
        vids=vids,
        slots=slots,
        send_vid=send_vid,
        record_vid=record_vid,
        record_slot=record_slot,
        send_slot=send_slot,
        writer=writer,
        twice=twice,
        committed=committed,
        committed_rc=committed_rc,
        acknowledged=acknowledged,
        ok_read=ok_read,
        place=slot_place,
        first=first,
        last=last,
        rc_place=rc_places,
        slot_vid=slot_vid,
        order=order,
        rc_order=rc_order,
        inconsistent=inconsistent,
        duplicated=_beyond_sends(duplicated, twice, send_vid, entry_slot, entry_vid),
        entry_slot=entry_slot,
        entry_vid=entry_vid,
    )


def _beyond_sends(duplicated: Ints, twice: Bools, send_vid: Ints, entry_slot: Ints, entry_vid: Ints) -> Ints:
    """Return the vids of several slots without those that were sent as often, or more often."""
    if not twice[duplicated].any():
        return duplicated
    mine = twice[entry_vid]
    slots = np.bincount(np.unique((entry_vid[mine], entry_slot[mine]), axis=1)[0], minlength=len(twice))
    sends = np.bincount(send_vid, minlength=len(twice))
    return duplicated[~twice[duplicated] | (slots > sends)[duplicated]]


def writes_of_type(view: LogView, placement: Placement, type_: int) -> Bools:
    """Return per vid whether a call of that type (TYPE_OK, ...) tried to send it."""
    return _flags(placement.vids.size, placement.send_vid[view.calls.type[view.sends.call] == type_])


def _must_have_committed(view: LogView, send_vid: Ints, ok_read: Bools) -> Bools:
    type_ = view.calls.type
    committed = type_ == TYPE_OK
    proven = view.sends.call[ok_read[send_vid] & (type_[view.sends.call] == TYPE_INFO)]
    committed[proven] = True
    assert not committed[type_ == TYPE_FAIL].any()
    return np.asarray(committed)


def _acknowledged(view: LogView, *, ours: bool) -> Bools:
    calls, sends = view.calls, view.sends
    acknowledged = (calls.type == TYPE_OK)[sends.call]
    if ours:
        alone = (calls.type == TYPE_INFO) & ~view.transactional() & (calls.commit_time == COMMIT_UNKNOWN)
        acknowledged = acknowledged | (alone[sends.call] & (sends.offset >= 0))
    return np.asarray(acknowledged)


def _flags(size: int, members: Ints) -> Bools:
    flags = np.zeros(size, np.bool_)
    flags[members] = True
    return flags


def _places(key_of_slot: Ints, member: Bools | None = None) -> Ints:
    """Return each slot's position within its key, counting only members."""
    if not len(key_of_slot):
        return np.empty(0, np.int64)
    counted = np.ones(len(key_of_slot), np.int64) if member is None else member.astype(np.int64)
    running = np.cumsum(counted) - counted
    start = _starts(key_of_slot)
    places = running - running[start]
    return places if member is None else np.where(member, places, NOWHERE)


def _starts(key_of_slot: Ints) -> Ints:
    fresh = np.ones(len(key_of_slot), np.bool_)
    fresh[1:] = key_of_slot[1:] != key_of_slot[:-1]
    return np.maximum.accumulate(np.where(fresh, np.arange(len(key_of_slot)), 0))


def _several(group: Ints, member: Ints, size: int) -> Ints:
    """Return the groups with two different members or more."""
    one = np.zeros(size, np.int64)
    one[group] = member
    return np.unique(group[one[group] != member])


def _picked(vid: Ints, place_: Ints, size: int) -> Ints:
    """Return each vid's last place among the slots (in order) for which it was picked."""
    order = np.full(size, NOWHERE, np.int64)
    order[vid] = place_
    return order


def _extremes(vid: Ints, place_: Ints, size: int, duplicated: Ints) -> tuple[Ints, Ints]:
    """Return each vid's smallest and largest place; only vids in several slots need more than a scatter."""
    first = np.full(size, NOWHERE, np.int64)
    first[vid] = place_
    last = first
    if len(duplicated):
        last = first.copy()
        rows = np.flatnonzero(_flags(size, duplicated)[vid])
        first[duplicated] = np.iinfo(np.int64).max
        last[duplicated] = NOWHERE
        np.minimum.at(first, vid[rows], place_[rows])
        np.maximum.at(last, vid[rows], place_[rows])
        first[last == NOWHERE] = NOWHERE
    return first, last
