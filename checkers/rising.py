"""Order where topics drop records by themselves: what one operation reads of a partition still rises.

Which records lie between two others can't be told there, so that skips and places are not judged (`order`). But offsets
are never given out of order, whatever is gone: `int-nonmonotonic-poll`. Scans of compacted topics have a class of their
own (`compaction-reordered`); keys that a rebalance moved during the operation are exempt.
"""

from __future__ import annotations

import numpy as np

from checkers.case import Case
from checkers.columns import same_as_before
from checkers.findings import Findings
from checkers.log_view import SCAN

CLASS = "int-nonmonotonic-poll"


def rising_offsets(case: Case, findings: Findings) -> None:
    """Report operations that read backwards, or twice, on topics that drop records by themselves."""
    if not case.options.forgets:
        return
    view, records = case.view, case.view.records
    rows = np.flatnonzero(records.offset >= 0)
    scan = view.kinds.get(SCAN)
    if case.options.compacted and scan is not None:
        rows = rows[view.calls.f[records.call[rows]] != scan]
    keys = len(view.keys)
    place = records.call[rows] * keys + records.key[rows]
    still = ~np.isin(place, view.rebalanced_call * keys + view.rebalanced_key)
    rows, place = rows[still], place[still]
    order = np.argsort(place, kind="stable")
    rows, place = rows[order], place[order]
    fell = np.flatnonzero(same_as_before(place)[1:] & (np.diff(records.offset[rows]) < 1))
    for at in fell[: findings.room(CLASS)].tolist():
        before, now = int(rows[at]), int(rows[at + 1])
        call, key = int(records.call[now]), case.key(records.key[now])
        values = [view.values.value(int(records.value[row])) for row in (before, now)]
        offsets = [int(records.offset[row]) for row in (before, now)]
        findings.add(
            CLASS,
            [view.op(call)],
            f"In one operation, {case.name(call)} read {values[0]!r} at offset {offsets[0]} of {key}, and then "
            f"{values[1]!r} at offset {offsets[1]}.",
            key=key,
            values=values,
            offsets=offsets,
        )
    findings.count(CLASS, max(0, len(fell) - findings.examples(CLASS)))
