"""A program of the user's between topics: `eos-phantom`, `eos-duplicate`, `eos-loss`, `eos-reorder`, `eos-stalled`.

Evidence: the event `application`, which says what it copies from and to and what it promises; outputs that say what
they are made of (`origin`: the key and the value that was sent); final reads of everything, before which the run has
waited for the program. An input is a record that a read_committed reader saw in a key that the program reads, an output
one in a key that it writes; it is a copy of its origin.

* an output whose input was aborted, or that no send explains, is a phantom: the program read what was not committed;
* more than one output offset of one input is a duplicate, which a program may make that promises at least once;
* an input without an output is lost where a later one of its key has one; and where none has, but it was acknowledged
  before the run began to wait, the program has stalled;
* outputs of one input key in one output key come in the order of their inputs (of those of several, the first counts).

An input that nobody acknowledged may have come at any time, also after everything else: at the end of its key it is
not asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Bools
from checkers.findings import Findings
from checkers.log_view import COMMIT_NEVER, READ_COMMITTED, TYPE_FAIL, TYPE_INFO, TYPE_OK
from harness.history import EXITED, HARNESS

CLASSES = ("eos-phantom", "eos-duplicate", "eos-loss", "eos-reorder", "eos-stalled")
TWICE = "eos-duplicate"
SHOWN = 4
"""Outputs of one input that are told."""


@dataclass(frozen=True, slots=True)
class _Output:
    key: int
    offset: int
    row: int
    """A record row that showed it."""


@dataclass(frozen=True, slots=True)
class _Key:
    """One key that the program reads."""

    code: int
    rows: dict[int, int]
    """By value, a record row that showed the input."""
    offsets: dict[int, int]
    outputs: dict[int, list[_Output]]
    """By value, those that come from here, in the order of keys and offsets."""


def copies(case: Case, findings: Findings) -> None:
    """Report the five classes; nothing where no program ran."""
    run = case.application
    if run is None:
        return
    drains = case.phases.drains
    read = {key for key, drain in drains.items() if drain.complete}
    complete = all(key in read for key in run.names)
    if not complete:
        findings.not_checked.extend(("eos-loss", "eos-stalled"))
    inputs = outputs = 0
    for key in _keys(case):
        inputs += len(key.rows)
        outputs += sum(map(len, key.outputs.values()))
        _phantoms(case, findings, key, is_read=case.key(key.code) in read)
        _duplicates(case, findings, key)
        _reorders(case, findings, key)
        if complete:
            _missing(case, findings, key)
    if not run.is_exact and findings.has(TWICE):
        findings.legal.add(TWICE)
    if complete:
        findings.notes.append(f"The program made {outputs:,} outputs; there were {inputs:,} inputs.")
    findings.notes.extend(_exits(case))


def _keys(case: Case) -> Iterator[_Key]:
    """Sort inputs and outputs by the key of the input."""
    run, records, placement = case.application, case.view.records, case.placement
    assert run is not None
    committed = (case.view.calls.isolation[records.call] == READ_COMMITTED) & (placement.record_slot >= 0)
    outputs: dict[int, dict[int, list[_Output]]] = {code: defaultdict(list) for code in run.inputs}
    rows = np.flatnonzero(committed & case.is_output[records.key])
    _, first = np.unique(placement.record_slot[rows], return_index=True)
    for row in rows[first].tolist():
        origin = _origin(records.extras.get(row))
        code = None if origin is None else case.view.keys.get(origin[0])
        if origin is not None and code in outputs:
            one = _Output(int(records.key[row]), int(records.offset[row]), row)
            outputs[code][origin[1]].append(one)
    refused = _refused(case)
    for code in run.inputs:
        mine = case.records_of_key.rows(code)
        mine = mine[committed[mine] & ~refused[placement.record_vid[mine]]]
        _, first = np.unique(placement.record_slot[mine], return_index=True)
        seen = mine[first].tolist()
        values = [case.view.values.value(records.value[row]) for row in seen]
        offsets = dict(zip(values, records.offset[seen].tolist(), strict=True)) if seen else {}
        yield _Key(code, dict(zip(values, seen, strict=True)), offsets, outputs[code])


def _origin(said: Any) -> tuple[Any, int] | None:
    """Return (key, value) of the input that an output says it is made of."""
    match said:
        case {"origin": [key, int(value)]}:
            return key, value
    return None


def _refused(case: Case) -> Bools:
    """Return per vid whether its only send has certainly come to nothing: whoever shows it is at fault."""
    placement, calls = case.placement, case.view.calls
    found = np.zeros(placement.vids.size, np.bool_)
    sent = np.flatnonzero((placement.writer >= 0) & ~placement.twice)
    call = case.view.sends.call[placement.writer[sent]]
    never = (calls.commit_time[call] == COMMIT_NEVER) & (calls.type[call] == TYPE_INFO)
    found[sent] = (calls.type[call] == TYPE_FAIL) | never
    return found


def _phantoms(case: Case, findings: Findings, key: _Key, *, is_read: bool) -> None:
    """Report outputs without an input. One that was acknowledged and then lost is no phantom, but lost."""
    for value, outputs in key.outputs.items():
        if value in key.rows:
            continue
        writer = _writer(case, key, value)
        done = None if writer is None else int(case.view.calls.type[writer])
        if done == TYPE_OK or (done == TYPE_INFO and not is_read):
            continue
        why = "nobody sent that" if writer is None else f"which {case.name(writer)} sent and never committed"
        findings.add(
            "eos-phantom",
            _ops(case, writer) + _readers(case, outputs),
            f"The program made {_told(case, outputs)} of {value} in {case.key(key.code)}, {why}.",
            origin=[case.key(key.code), value],
            outputs=[[case.key(one.key), one.offset] for one in outputs[:SHOWN]],
        )


def _duplicates(case: Case, findings: Findings, key: _Key) -> None:
    for value, outputs in key.outputs.items():
        writer = _writer(case, key, value)
        sent = writer is not None and case.view.calls.type[writer] == TYPE_OK
        if len(outputs) > 1 and (value in key.rows or sent):
            offset = key.offsets.get(value)
            where = f"{case.key(key.code)}@{offset}" if offset is not None else f"{value} of {case.key(key.code)}"
            findings.add(
                TWICE,
                _ops(case, writer) + _readers(case, outputs),
                f"The program processed input {where} {len(outputs)} times: its outputs are {_told(case, outputs)}.",
                source=[case.key(key.code), offset],
                outputs=[[case.key(one.key), one.offset] for one in outputs[:SHOWN]],
            )


def _reorders(case: Case, findings: Findings, key: _Key) -> None:
    lines: dict[int, list[tuple[int, int, _Output]]] = defaultdict(list)
    for value, outputs in key.outputs.items():
        if value in key.offsets:
            for code in dict.fromkeys(one.key for one in outputs):
                first = next(one for one in outputs if one.key == code)
                lines[code].append((first.offset, key.offsets[value], first))
    for code, line in lines.items():
        ahead: tuple[int, int, _Output] | None = None
        for one in sorted(line, key=lambda each: each[0]):
            if ahead is None or one[1] > ahead[1]:
                ahead = one
                continue
            findings.add(
                "eos-reorder",
                _readers(case, [ahead[2], one[2]]),
                f"The outputs of {case.key(key.code)} are out of order in {case.key(code)}: offset {ahead[0]} was "
                f"made from input {ahead[1]}, and after it offset {one[0]} from input {one[1]}.",
                key=case.key(code),
                sources=[ahead[1], one[1]],
            )


def _missing(case: Case, findings: Findings, key: _Key) -> None:
    out = [key.offsets[value] for value in key.outputs if value in key.offsets]
    highest = max(out, default=-1)
    where = case.key(key.code)
    stalled: list[tuple[int, int]] = []
    for value, offset in key.offsets.items():
        if value in key.outputs:
            continue
        writer = _writer(case, key, value)
        if offset > highest:
            if writer is not None and case.view.calls.type[writer] == TYPE_OK:
                stalled.append((offset, writer))
            continue
        reader = int(case.view.records.call[key.rows[value]])
        findings.add(
            "eos-loss",
            [*_ops(case, writer), case.view.op(reader)],
            f"The program passed over input {where}@{offset} (seen by {case.name(reader)}): it made outputs of later "
            f"ones, up to {highest}, but a complete read found none of this.",
            source=[where, offset],
            highest=highest,
        )
    if stalled:
        offset, writer = min(stalled)
        upto = "nothing" if highest < 0 else f"no input behind {highest}"
        findings.add(
            "eos-stalled",
            [case.view.op(writer)],
            f"The program made {upto} of {where} by the end of the run, though {len(stalled)} acknowledged "
            f"{'inputs were' if len(stalled) > 1 else 'input was'} there, the first at {offset} (by "
            f"{case.name(writer)}), and everything was healed.",
            key=where,
            first=offset,
            count=len(stalled),
        )


def _exits(case: Case) -> Iterator[str]:
    found: dict[str, list[str]] = defaultdict(list)
    for _, _, line in case.view.marks:
        if line.process == HARNESS and line.f == EXITED and isinstance(line.value, dict):
            found[str(line.value.get("instance"))].append(str(line.value.get("status")))
    for name, statuses in sorted(found.items()):
        times = "once" if len(statuses) == 1 else f"{len(statuses)} times"
        yield f"{name} of the program ended by itself {times}, with status {', '.join(dict.fromkeys(statuses))}."


def _writer(case: Case, key: _Key, value: int) -> int | None:
    """Return the call that sent the value to the key."""
    vids = case.placement.vids
    low, high = np.searchsorted(vids.first, (key.code, key.code + 1))
    vid = low + np.searchsorted(vids.second[low:high], value)
    return case.writer_call(int(vid)) if vid < high and vids.second[vid] == value else None


def _ops(case: Case, writer: int | None) -> list[int]:
    return [] if writer is None else [case.view.op(writer)]


def _readers(case: Case, outputs: list[_Output]) -> list[int]:
    return [case.view.op(int(case.view.records.call[one.row])) for one in outputs[:SHOWN]]


def _told(case: Case, outputs: list[_Output]) -> str:
    return ", ".join(f"{case.key(one.key)}@{one.offset}" for one in outputs[:SHOWN])
