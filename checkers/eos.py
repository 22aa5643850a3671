"""Exactly once from topic to topic: `eos-duplicate`, `eos-loss`, `eos-reorder` (T6).

Evidence: outputs that name the input record they were made from (`source` in a record's third element), written by
transactions that carried their group's offsets. Judged per group and input key, for the inputs that read_committed
readers saw from the first one that the group polled up to its committed offset at the end (the last stable read of it;
without one, the highest commit that is certainly done, if no commit ever went back). Who takes a group back by a commit
outside transactions wants its inputs again: nothing is judged there.

* more than one visible output *offset* with one source is a duplicate;
* none is a loss, after a complete final read of every key;
* outputs of one input key in one output key come in the order of their inputs.

Inputs below a log start and everything on compacted topics are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Bools, Groups, Ints
from checkers.findings import Findings
from checkers.log_view import ANSWERED, COMMIT_NEVER, COMMITS, READ_COMMITTED, TYPE_FAIL, TYPE_INFO, TYPE_OK
from checkers.loss import rc_ok_reads
from checkers.placement import writes_of_type
from checkers.sessions import READ_COMMITTED_NAME

SOURCE_SIZE = 2
"""[key, offset] of the input record."""
CLASSES = ("eos-duplicate", "eos-loss", "eos-reorder")


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Visible outputs, one row per slot, sorted by output place."""

    slot: Ints
    record: Ints
    """A record row that showed it."""
    group: Ints
    source_key: Ints
    source_offset: Ints


def exactly_once(case: Case, findings: Findings) -> None:
    """Report the three classes; where a program of the user's copies, `application` does."""
    if case.application is not None:
        return
    outputs = _outputs(case)
    if case.options.forgets or not len(outputs.slot):
        findings.not_checked.extend(CLASSES)
        return
    complete = _complete(case, findings)
    places = outputs.group * len(case.view.keys) + outputs.source_key
    order = np.argsort(places, kind="stable")
    starts, failed = _first_polled(case), writes_of_type(case.view, case.placement, TYPE_FAIL)
    for mine in np.split(order, np.flatnonzero(np.diff(places[order])) + 1):
        group, key = int(outputs.group[mine[0]]), int(outputs.source_key[mine[0]])
        span = _span(case, group, key, starts.get((group, key)))
        if span is None:
            findings.not_checked.extend(CLASSES)
            if case.phases.ours and group >= 0:
                findings.reasons.append(
                    f"What group {case.view.groups.names[group]} had committed of {case.key(key)} at the end "
                    "is not known: whether it was copied exactly once was not judged."
                )
            continue
        inside = mine[(outputs.source_offset[mine] >= span[0]) & (outputs.source_offset[mine] < span[1])]
        _duplicates(case, findings, outputs, inside)
        _reorders(case, findings, outputs, inside)
        if complete:
            _losses(case, findings, outputs.source_offset[mine], failed, (group, key), span)


def _outputs(case: Case) -> _Outputs:
    view, placement = case.view, case.placement
    records = view.records
    found: list[tuple[int, int, int]] = []
    for row, source in case.beside_records.sources:
        if len(source) == SOURCE_SIZE:
            key = view.keys.get(source[0])
            if key is not None and isinstance(source[1], int):
                found.append((row, key, source[1]))
    record, key_of, offset = (np.array([one[at] for one in found], np.int64) for at in range(3))
    visible = (view.calls.isolation[records.call[record]] == READ_COMMITTED) & (placement.record_slot[record] >= 0)
    visible &= placement.writer[placement.record_vid[record]] >= 0
    record, key_of, offset = record[visible], key_of[visible], offset[visible]
    slot, first = np.unique(placement.record_slot[record], return_index=True)
    record, key_of, offset = record[first], key_of[first], offset[first]
    writer = view.sends.call[placement.writer[placement.record_vid[record]]] if len(record) else record
    return _Outputs(slot, record, view.calls.group[writer], key_of, offset)


def _first_polled(case: Case) -> dict[tuple[int, int], int]:
    """Return by group and key the lowest offset that the group polled."""
    records, keys = case.view.records, len(case.view.keys)
    group = case.view.calls.group[records.call]
    rows = np.flatnonzero((group >= 0) & (records.offset >= 0))
    places, place = np.unique(group[rows] * keys + records.key[rows], return_inverse=True)
    lowest = np.full(len(places), np.iinfo(np.int64).max)
    np.minimum.at(lowest, place, records.offset[rows])
    return {divmod(at, keys): offset for at, offset in zip(places.tolist(), lowest.tolist(), strict=True)}


def _span(case: Case, group: int, key: int, start: int | None) -> tuple[int, int] | None:
    """Return [first input polled by the group, its committed offset at the end); None where the end can't be told."""
    if start is None:
        return None
    table, calls = case.view.group_offsets, case.view.calls
    rows = case.group_offsets_of(group, key)
    by, role, offset = table.call[rows], table.role[rows], table.offset[rows]
    answered = np.flatnonzero((role == ANSWERED) & (table.group[rows] == group))
    sure = (role == COMMITS) & (calls.type[by] == TYPE_OK) & (calls.done_row[by] >= 0)
    refused = (calls.type[by] == TYPE_FAIL) | ((calls.type[by] == TYPE_INFO) & (calls.commit_time[by] == COMMIT_NEVER))
    maybe = (role != ANSWERED) & ~refused
    if _taken_back(case, rows[sure], rows[maybe & ~case.transactional[by]]):
        return None
    if len(answered):
        last = answered[np.argmax(calls.invoke_row[by[answered]])]
        over = (calls.done_row[by] >= 0) & (calls.done_row[by] < calls.invoke_row[by[last]])
        if (maybe & ~over).any():
            return None  # a commit may have come after the last answer
        return start, int(offset[last])
    offsets = offset[sure][np.argsort(calls.done_row[by[sure]])]
    if not len(offsets) or (np.diff(offsets) < 0).any() or (offset[maybe & ~sure] < offsets[-1]).any():
        return None
    return start, int(offsets[-1])


def _taken_back(case: Case, sure: Ints, plain: Ints) -> bool:
    """Return whether one of the plain commits is below one that was certainly done before it was asked for."""
    table, calls = case.view.group_offsets, case.view.calls
    done = calls.done_row[table.call[sure]]
    order = np.argsort(done, kind="stable")
    highest = np.maximum.accumulate(np.concatenate((np.array([-1]), table.offset[sure][order])))
    before = highest[np.searchsorted(done[order], calls.invoke_row[table.call[plain]])]
    return bool((table.offset[plain] < before).any())


def _complete(case: Case, findings: Findings) -> bool:
    """Return whether read_committed readers read every output that they may see: what is not there is lost.

    The final reads of a read_uncommitted run, and what only such readers of a foreign history saw, prove nothing.
    """
    if case.phases.ours:
        committed = case.options.isolation == READ_COMMITTED_NAME
        done = committed and bool(case.phases.drains) and all(one.complete for one in case.phases.drains.values())
    else:
        ok = case.view.calls.type[case.view.sends.call] == TYPE_OK
        done = bool(rc_ok_reads(case)[case.placement.send_vid[ok]].all())
    if not done:
        findings.not_checked.append("eos-loss")
    return done


def _duplicates(case: Case, findings: Findings, outputs: _Outputs, rows: Ints) -> None:
    offsets, first, count = np.unique(outputs.source_offset[rows], return_index=True, return_counts=True)
    by_offset = Groups(outputs.source_offset[rows])
    for at in np.flatnonzero(count > 1):
        twice = rows[by_offset.rows(offsets[at])][:4]
        source = f"{case.key(outputs.source_key[rows[first[at]]])}@{int(offsets[at])}"
        told = ", ".join(_told(case, outputs, int(row)) for row in twice)
        findings.add(
            "eos-duplicate",
            _ops(case, outputs, twice),
            f"Input {source} was processed {int(count[at])} times: its outputs are {told}.",
            source=[case.key(outputs.source_key[rows[first[at]]]), int(offsets[at])],
            outputs=[list(_where(case, outputs, int(row))) for row in twice],
        )


def _reorders(case: Case, findings: Findings, outputs: _Outputs, rows: Ints) -> None:
    """Compare the outputs in one output key; a source that has several is a duplicate, not out of order."""
    _, once, count = np.unique(outputs.source_offset[rows], return_index=True, return_counts=True)
    rows = rows[np.sort(once[count == 1])]
    out = case.placement.slots.first[outputs.slot[rows]]
    for key in np.unique(out):
        here = rows[out == key]
        top = np.maximum.accumulate(outputs.source_offset[here])
        highest = np.maximum.accumulate(np.where(outputs.source_offset[here] == top, np.arange(len(here)), 0))
        for at in np.flatnonzero(outputs.source_offset[here] < top):
            ahead = int(here[highest[at]])
            row = int(here[at])
            findings.add(
                "eos-reorder",
                _ops(case, outputs, np.array([ahead, row])),
                f"The outputs of {case.key(outputs.source_key[row])} are out of order in {case.key(key)}: "
                f"{_told(case, outputs, ahead)} was made from input {int(outputs.source_offset[ahead])}, and after it "
                f"{_told(case, outputs, row)} from input {int(outputs.source_offset[row])}.",
                key=case.key(key),
                sources=[int(outputs.source_offset[ahead]), int(outputs.source_offset[row])],
            )


def _losses(  # noqa: PLR0917  the outputs of one group and input key
    case: Case, findings: Findings, made: Ints, failed: Bools, place: tuple[int, int], span: tuple[int, int]
) -> None:
    """Report inputs without an output; `failed`, per vid: what an aborted read showed is no input."""
    group, key = place
    placement, records = case.placement, case.view.records
    rows = case.records_of_key.rows(key)
    rows = rows[case.reader_is_rc[rows] & (records.offset[rows] >= span[0]) & (records.offset[rows] < span[1])]
    rows = rows[(placement.record_slot[rows] >= 0) & ~failed[placement.record_vid[rows]]]
    rows = rows[~case.gone[placement.record_slot[rows]]]
    inputs, first = np.unique(records.offset[rows], return_index=True)
    lost = np.flatnonzero(~np.isin(inputs, made))
    commit = _commit_past(case, group, key, int(inputs[lost[0]])) if len(lost) else None
    for at in lost[: findings.room("eos-loss")]:
        reader = int(records.call[rows[first[at]]])
        ops = [case.view.op(reader)] + ([] if commit is None else [case.view.op(commit)])
        findings.add(
            "eos-loss",
            ops,
            f"Group {case.view.groups.names[group]} committed {span[1]} for {case.key(key)}, past input "
            f"{int(inputs[at])} (polled by {case.name(reader)}), but after a complete read no output names it as its "
            "source.",
            source=[case.key(key), int(inputs[at])],
            committed=span[1],
        )
    findings.count("eos-loss", max(0, len(lost) - findings.examples("eos-loss")))


def _commit_past(case: Case, group: int, key: int, offset: int) -> int | None:
    table, calls = case.view.group_offsets, case.view.calls
    rows = case.group_offsets_of(group, key)
    rows = rows[(table.role[rows] == COMMITS) & (table.group[rows] == group) & (table.offset[rows] > offset)]
    rows = rows[calls.type[table.call[rows]] == TYPE_OK]
    return int(table.call[rows[0]]) if len(rows) else None


def _where(case: Case, outputs: _Outputs, row: int) -> tuple[Any, int]:
    slot = int(outputs.slot[row])
    return case.key(case.placement.slots.first[slot]), case.slot_offset(slot)


def _told(case: Case, outputs: _Outputs, row: int) -> str:
    key, offset = _where(case, outputs, row)
    writer = case.writer_call(int(case.placement.record_vid[outputs.record[row]]))
    return f"{key}@{offset}" + ("" if writer is None else f" (by op {case.view.op(writer)})")


def _ops(case: Case, outputs: _Outputs, rows: Ints) -> list[int]:
    named: list[int] = []
    for row in rows.tolist():
        record = int(outputs.record[row])
        writer = case.writer_call(int(case.placement.record_vid[record]))
        named += [] if writer is None else [case.view.op(writer)]
        named.append(case.view.op(int(case.view.records.call[record])))
    return named
