"""`epoch-regression`, by what leaders say of the ends of earlier epochs (`OffsetForLeaderEpoch`; E1, E3).

The leader of an epoch has every record of the epochs before that is committed, and says where one of these ended in
its log. So long as it leads it says the same of it. And what consumers read, of whatever leader, is not on the wrong
side of what the last leader says: no record of that epoch or an earlier one at the end or above, none of a later one
below. (Earlier leaders are not held to that: see `leaders`.) Judged in runs of ours.

Ends go with log starts that move: such keys are left out, and those whose topic was made anew. Acknowledgements are
held against these answers as well, as `deposed-leader-ack`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Ints
from checkers.epochs import REGRESSION
from checkers.findings import Findings
from checkers.leaders import last_epochs
from checkers.samples import Sample

END_OF_EPOCH = "OffsetForLeaderEpoch"


@dataclass(frozen=True, slots=True)
class _Reach:
    """The records of one epoch of a key that lie lowest and highest: (offset, row)."""

    lowest: tuple[int, int]
    highest: tuple[int, int]


def ends_of_epochs(case: Case, findings: Findings) -> None:
    """Report ends of epochs that contradict one another, or what was read."""
    if not case.phases.ours or case.options.forgets:
        return
    ends = [s for s in case.samples if s.value.get("api") == END_OF_EPOCH and _is_whole(s)]
    places: dict[Any, set[Any]] = {}
    last = last_epochs(case)
    for sample in ends:
        places.setdefault(sample.value["key"], set()).add(sample.place)
    first: dict[tuple[Any, int, int], Sample] = {}
    reaches: dict[int, dict[int, _Reach]] = {}
    for sample in ends:
        key, code = sample.value["key"], case.view.keys.get(sample.value["key"])
        if code is None or case.log_start[code] or len(places[key]) > 1:
            continue
        asked, led, end = sample.value["asked"], sample.value["epoch"], sample.value["end"]
        other = first.setdefault((key, asked, led), sample)
        if other.value["end"] != end:
            findings.add(
                REGRESSION,
                [other.index, sample.index],
                f"The leader of epoch {led} of {key} said that epoch {asked} had ended at {other.value['end']} (op "
                f"{other.index}), and later at {end} (op {sample.index}).",
                key=key,
            )
        if code not in reaches:
            reaches[code] = _reaches(case, code)
        for epoch, reach in reaches[code].items() if led == last.get(key) else ():
            if epoch <= asked and reach.highest[0] >= end:
                _tell(case, findings, sample, epoch, reach.highest)
            elif asked < epoch <= led and reach.lowest[0] < end:
                _tell(case, findings, sample, epoch, reach.lowest)


def _is_whole(sample: Sample) -> bool:
    asked, led, end = (sample.value.get(name) for name in ("asked", "epoch", "end"))
    return isinstance(asked, int) and isinstance(led, int) and isinstance(end, int) and asked < led


def _reaches(case: Case, code: int) -> dict[int, _Reach]:
    """Return by epoch where the records of a key lie that were read."""
    rows, epochs, records = case.beside_records.epoch_rows, case.beside_records.epochs, case.view.records
    mine = (records.key[rows] == code) & (records.offset[rows] >= 0)
    rows, epochs = rows[mine], epochs[mine]
    found = {}
    for epoch in np.unique(epochs).tolist():
        of_epoch: Ints = rows[epochs == epoch]
        offsets = records.offset[of_epoch]
        low, high = int(np.argmin(offsets)), int(np.argmax(offsets))
        found[epoch] = _Reach(
            (int(offsets[low]), int(of_epoch[low])),
            (int(offsets[high]), int(of_epoch[high])),
        )
    return found


def _tell(case: Case, findings: Findings, sample: Sample, epoch: int, read: tuple[int, int]) -> None:
    offset, row = read
    call, said = int(case.view.records.call[row]), sample.value
    findings.add(
        REGRESSION,
        [case.view.op(call), sample.index],
        f"The leader of epoch {said['epoch']} of {said['key']} said that epoch {said['asked']} had ended at "
        f"{said['end']} (op {sample.index}), but {case.name(call)} read a record of epoch {epoch} at offset {offset}.",
        key=said["key"],
        offsets=[offset, said["end"]],
    )
