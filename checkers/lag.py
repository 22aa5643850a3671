"""How far polls lagged behind what was already known to exist: Jepsen's realtime-lag, a measure and no anomaly.

For each ok poll and each key that its process holds: how long, when the poll was invoked, the record after the
highest one it has read had been known to exist. A position starts at -1 where a key is newly assigned. The final reads
of a run of ours are left out: they begin at the beginning, so that their lag is the length of the run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.log_view import TYPE_FAIL, TYPE_OK, Calls, LogView

LAG_LIMIT = 100_000
"""Calls times keys that are measured; beyond it the measure would cost more than the judgement."""


def realtime_lag(case: Case) -> list[dict[str, Any]] | None:
    """Return {time, process, key, lag} per ok poll and key held, in ns; None for histories beyond the limit."""
    view = case.view
    calls = view.calls
    if calls.size * max(1, len(view.keys)) > LAG_LIMIT:
        return None
    known = _first_shown(case)
    seen = _seen(view)
    members: dict[int, list[int]] = {call: [] for call in view.assigns.call.tolist()}
    for call, key in zip(view.assigns.member_call.tolist(), view.assigns.member_key.tolist(), strict=True):
        members[call].append(key)
    invoked = view.invoke_time().tolist()
    positions: dict[int, dict[int, int]] = {}
    out: list[dict[str, Any]] = []
    polling = {code for code, name in enumerate(view.kinds.names) if name in {"poll", "txn"}}
    subscribe = view.kinds.get("subscribe")
    for call, process, f in _ok_calls(calls, case.phases.row("drain")):
        if call in members:
            held = positions.get(process, {})
            keep = {} if f == subscribe else {key: held.get(key, -1) for key in members[call]}
            positions[process] = keep
        elif f in polling:
            held = positions.setdefault(process, {})
            for key, top in seen.get(call, {}).items():
                held[key] = max(held.get(key, -1), top)
            out.extend(
                {
                    "time": invoked[call],
                    "process": process,
                    "key": case.key(key),
                    "lag": _lag(known.get(key), position + 1, invoked[call]),
                }
                for key, position in held.items()
            )
    return out


def _seen(view: LogView) -> dict[int, dict[int, int]]:
    """Return call -> key -> the highest offset; a transaction's own sends count as read, as in Jepsen."""
    seen: dict[int, dict[int, int]] = {}
    for table in (view.sends, view.records):
        for call, key, offset in zip(table.call.tolist(), table.key.tolist(), table.offset.tolist(), strict=True):
            tops = seen.get(call)
            if tops is None:
                seen[call] = {key: offset}
            else:
                tops[key] = max(tops.get(key, -1), offset)
    return seen


def _ok_calls(calls: Calls, drain: int | None) -> Iterable[tuple[int, int, int]]:
    """Return (call, process, f) of the calls that are ok, up to the row at which the final reads begin."""
    before = calls.done_row >= 0 if drain is None else calls.invoke_row < drain
    rows = np.flatnonzero((calls.type == TYPE_OK) & before)
    return zip(rows.tolist(), calls.process[rows].tolist(), calls.f[rows].tolist(), strict=True)


def worst(lags: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the largest lag, {"time": 0, "lag": 0} if there was none to measure."""
    return max(lags, key=lambda lag: lag["lag"], default={"time": 0, "lag": 0})


def _lag(shown: tuple[list[int], list[int]] | None, offset: int, time: int) -> int:
    if shown is None:
        return 0
    offsets, times = shown
    place = bisect_left(offsets, offset)
    return max(0, time - times[place]) if place < len(offsets) else 0


def _first_shown(case: Case) -> dict[int, tuple[list[int], list[int]]]:
    """Return per key (rising offsets, when an offset at least as high was first shown)."""
    view = case.view
    done = view.done_time()
    call = np.concatenate((view.sends.call, view.records.call))
    key = np.concatenate((view.sends.key, view.records.key))
    offset = np.concatenate((view.sends.offset, view.records.offset))
    shown = (offset >= 0) & (view.calls.type[call] != TYPE_FAIL) & (view.calls.done_row[call] >= 0)
    call, key, offset = call[shown], key[shown], offset[shown]
    out: dict[int, tuple[list[int], list[int]]] = {}
    for code in np.unique(key):
        rows = np.flatnonzero(key == code)
        rows = rows[np.argsort(call[rows], kind="stable")]
        top = np.maximum.accumulate(offset[rows])
        rising = np.flatnonzero(np.concatenate((np.array([True]), top[1:] > top[:-1])))
        out[int(code)] = (top[rising].tolist(), done[call[rows[rising]]].tolist())
    return out
