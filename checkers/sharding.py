"""A case split by key: the checkers that look at one key at a time get a few keys at a time.

It bounds what they hold beside the columns by the largest shard, and lets shards be judged in parallel. A shard keeps
the calls, the codes of keys and everything that was decided over all keys (who committed); only the rows of sends,
records, vids and slots are cut out. Vids and slots are sorted by key, so a range of keys is a range of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Bools, Ints, PairRank
from checkers.findings import Findings
from checkers.log_view import LogView
from checkers.placement import NOWHERE

SHARD_ROWS = 4_000_000
"""Sends and records of a shard, unless one key has more: about 0.5 GB while it is judged."""
SHARD_ROWS_LEAST = 200_000
"""Smaller ones cost more to cut out and to send than they save."""
_COLUMNS = ("call", "key", "offset", "value", "mop")

Keys = tuple[int, int]
"""Codes of keys: from the first up to, not including, the second."""


def shards(case: Case, width: int, rows: int = SHARD_ROWS, least: int = SHARD_ROWS_LEAST) -> list[Keys]:
    """Return ranges of keys that cover all; a single one where splitting would not pay."""
    keys = len(case.view.keys)
    per_key = np.bincount(case.view.records.key, minlength=keys) + np.bincount(case.view.sends.key, minlength=keys)
    most = max(least, min(rows, -(-int(per_key.sum()) // width)))
    ranges: list[Keys] = []
    start, held = 0, 0
    for key, count in enumerate(per_key.tolist()):
        if held and held + count > most:
            ranges.append((start, key))
            start, held = key, 0
        held += count
    return [*ranges, (start, keys)]


def makers(case: Case, ranges: list[Keys]) -> list[Callable[[], Case]]:
    """Return for each range of keys what makes the case of it; the rows of all are found in one pass here."""
    sent, polled = _rows(case.view.sends.key, ranges), _rows(case.view.records.key, ranges)
    return [partial(_shard, case, *each) for each in zip(ranges, sent, polled, strict=True)]


def _rows(key: Ints, ranges: list[Keys]) -> list[Ints]:
    """Return for each range the rows of its keys, in order."""
    assert len(ranges) <= np.iinfo(np.uint16).max, "a shard has SHARD_ROWS_LEAST rows or more"
    sizes = [high - low for low, high in ranges]
    part = np.repeat(np.arange(len(ranges)), sizes).astype(np.uint16)[key]
    order = np.argsort(part, kind="stable")  # of 16 bits: a radix sort
    ends = np.cumsum(np.bincount(part, minlength=len(ranges)))
    return np.split(order, ends[:-1])


def _shard(case: Case, keys: Keys, sent: Ints, polled: Ints) -> Case:
    """Return the case of some keys, given the rows of their sends and records."""
    view, placement = case.view, case.placement
    vids, slots = _range(placement.vids, keys), _range(placement.slots, keys)
    send_slot, record_slot = placement.send_slot[sent], placement.record_slot[polled]
    send_row = np.full(len(view.sends.key) + 1, NOWHERE, np.int64)  # NOWHERE finds itself at the end
    send_row[sent] = np.arange(len(sent))
    send_vid, record_vid = placement.send_vid[sent] - vids.start, placement.record_vid[polled] - vids.start
    entry_slot = _known(send_slot, send_slot, record_slot, record_slot) - slots.start
    entry_vid = _known(send_vid, send_slot, record_vid, record_slot)
    part = replace(
        placement,
        vids=_cut(placement.vids, vids, np.concatenate((send_vid, record_vid))),
        slots=_cut(placement.slots, slots, entry_slot),
        send_vid=send_vid,
        record_vid=record_vid,
        record_slot=_moved(record_slot, slots.start),
        send_slot=_moved(send_slot, slots.start),
        acknowledged=placement.acknowledged[sent],
        writer=send_row[placement.writer[vids]],
        twice=placement.twice[vids],
        ok_read=placement.ok_read[vids],
        place=placement.place[slots],
        rc_place=placement.rc_place[slots],
        slot_vid=_moved(placement.slot_vid[slots], vids.start),
        first=placement.first[vids],
        last=placement.last[vids],
        order=placement.order[vids],
        rc_order=placement.rc_order[vids],
        inconsistent=_inside(placement.inconsistent, slots),
        duplicated=_inside(placement.duplicated, vids),
        entry_slot=entry_slot,
        entry_vid=entry_vid,
    )
    return Case(cut_out(view, sent, polled), part, case.phases, case.options)


def cut_out(view: LogView, sent: Ints, polled: Ints) -> LogView:
    """Return the columns with these rows of sends and records, and all calls."""
    sends, records = view.sends, view.records
    return replace(
        view,
        sends=replace(sends, **{name: getattr(sends, name)[sent] for name in _COLUMNS}),
        records=replace(
            records,
            **{name: getattr(records, name)[polled] for name in _COLUMNS},
            extras=_extras(records.extras, len(records.call), polled),
        ),
        send_extras=_extras(view.send_extras, len(sends.call), sent),
    )


def merge(findings: Findings, parts: Iterable[Findings]) -> None:
    """Add what the shards found; classes that tell the largest first (by `delta`) keep doing so."""
    findings.take(parts, lambda example: -abs(int(example.details.get("delta", 0))))


def _range(pairs: PairRank, keys: Keys) -> slice:
    start, stop = np.searchsorted(pairs.first, np.array(keys)).tolist()
    return slice(start, stop)


def _cut(pairs: PairRank, part: slice, ranks: Ints) -> PairRank:
    return PairRank(ranks, pairs.first[part], pairs.second[part])


def _known(sent: Ints, send_slot: Ints, polled: Ints, record_slot: Ints) -> Ints:
    """Return what belongs to the entries of the log: sends that have a slot, then records that have one."""
    return np.concatenate((sent[send_slot != NOWHERE], polled[record_slot != NOWHERE]))


def _moved(codes: Ints, start: int) -> Ints:
    return np.where(codes == NOWHERE, NOWHERE, codes - start)


def _inside(codes: Ints, part: slice) -> Ints:
    inside = codes[(codes >= part.start) & (codes < part.stop)]
    return np.asarray(inside - part.start)


def _extras(extras: dict[int, Any], size: int, rows: Ints) -> dict[int, Any]:
    if not extras:
        return {}
    known: Bools = np.zeros(size, np.bool_)
    known[list(extras)] = True
    return {int(place): extras[int(rows[place])] for place in np.flatnonzero(known[rows])}
