"""A program of the user's between topics: `eos-phantom`, `eos-duplicate`, `eos-loss`, `eos-reorder`, `eos-stalled`.

Evidence: the event `application`, which says what it copies from and to and what it promises; outputs that say what
they are made of (`origin`: the key and the value that was sent); final reads of everything, before which the run has
waited for the program. An input is a record that a read_committed reader saw in a key that the program reads, an output
one in a key that it writes; it is a copy of its origin.

* an output whose input was aborted, or that no send explains, is a phantom: the program read what was not committed;
* more than one output offset of one input is a duplicate, which a program may make that promises at least once;
* an input without an output is lost where a later one of its key has one; and where none has, but it was acknowledged
  before the run began to wait, the program has stalled;
* outputs of one input key in one output key come in the order of their inputs: out of order are two inputs with all
  their outputs in one key, all of the earlier one's behind all of the later one's. An instance that dies when one write
  has failed may have written what comes behind; who takes over at least once begins before the gap, and does it again.

An input that nobody acknowledged may have come at any time, also after everything else: behind the last one of its key
that was acknowledged it is not asked for.

What the brokers did is not laid at the program's door: an input that lies twice in its key may have two outputs, one
that is damaged need have none, one that readers were shown though it was aborted was shown to the program, too, and an
output that was seen and is gone was made (`checkers.loss` tells of it). Where topics drop records by themselves, and
where nobody read read_committed, nothing is judged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Bools
from checkers.findings import Findings
from checkers.log_view import COMMIT_NEVER, READ_COMMITTED, TYPE_FAIL, TYPE_INFO, TYPE_OK
from checkers.loss import vanished
from checkers.placement import NOWHERE
from harness.history import EXITED, HARNESS

PHANTOM = "eos-phantom"
CLASSES = (PHANTOM, "eos-duplicate", "eos-loss", "eos-reorder", "eos-stalled")
TWICE = "eos-duplicate"
SHOWN = 4
"""Outputs of one input that are told."""


@dataclass(frozen=True, slots=True)
class _Output:
    key: int
    offset: int
    row: int
    """A record row that showed it."""
    is_there: bool
    """No complete final read lacks it."""


@dataclass(frozen=True, slots=True)
class _Key:
    """One key that the program reads."""

    code: int
    rows: dict[int, int]
    """By value, a record row that showed the input."""
    offsets: dict[int, int]
    times: Counter[int]
    """By value, at how many offsets it lies: more than once where the brokers have doubled it."""
    shown: frozenset[Any]
    """Every value that read_committed readers were shown here, whatever became of its send."""
    outputs: dict[int, list[_Output]]
    """By value, those that come from here, in the order of keys and offsets."""


def copies(case: Case, findings: Findings) -> None:
    """Report the five classes; nothing where no program ran."""
    run = case.application
    if run is None:
        return
    if case.options.forgets:
        findings.not_checked.extend(CLASSES)
        return
    if case.copies_are_foreign:
        findings.not_checked.extend(CLASSES)
        findings.reasons.append("No output holds the value of an input, whole and as it was: nothing can be judged.")
        return
    read = _read(case, findings)
    complete = all(key in read for key in run.names) and not case.log_start[list(run.outputs)].any()
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
    if not (findings.has(PHANTOM) or _refused(case)[np.isin(case.placement.vids.first, run.inputs)].any()):
        findings.not_checked.append(PHANTOM)  # nothing was aborted
    if not run.is_exact and findings.has(TWICE):
        findings.legal.add(TWICE)
    if complete:
        findings.notes.append(f"The program made {outputs:,} outputs; there were {inputs:,} inputs.")
    findings.notes.extend(_exits(case))


def copies_of(case: Case, is_meant: Bools) -> Bools:
    """Return per vid whether it is a copy of one of these vids, or of what nobody sent."""
    found = np.zeros(case.placement.vids.size, np.bool_)
    records = case.view.records
    for row in np.flatnonzero(case.is_output[records.key]).tolist():
        origin = _origin(records.extras.get(row))
        if origin is not None:
            code = case.view.keys.get(origin[0])
            vid = None if code is None else _vid(case, code, origin[1])
            unsent = vid is None or case.placement.writer[vid] == NOWHERE
            found[case.placement.record_vid[row]] = unsent or is_meant[vid]
    return found


def _read(case: Case, findings: Findings) -> frozenset[Any]:
    """Return the keys that were read to their ends by read_committed readers."""
    committed = case.view.calls.isolation == READ_COMMITTED
    if (case.final_reader & committed).any():
        return frozenset(key for key, drain in case.phases.drains.items() if drain.complete)
    if case.final_reader.any():
        findings.reasons.append("Nobody read read_committed at the end: what the program wrote was not judged.")
    return frozenset()


def _keys(case: Case) -> Iterator[_Key]:
    """Sort inputs and outputs by the key of the input."""
    run, records, placement = case.application, case.view.records, case.placement
    assert run is not None
    committed = (case.view.calls.isolation[records.call] == READ_COMMITTED) & (placement.record_slot >= 0)
    gone, refused = vanished(case), _refused(case)
    outputs: dict[int, dict[int, list[_Output]]] = {code: defaultdict(list) for code in run.inputs}
    entry = placement.record_slot * max(1, placement.vids.size) + placement.record_vid
    rows = np.flatnonzero(committed & case.is_output[records.key])
    _, first = np.unique(entry[rows], return_index=True)
    for row in rows[first].tolist():
        origin = _origin(records.extras.get(row))
        code = None if origin is None else case.view.keys.get(origin[0])
        if origin is not None and code in outputs:
            is_there = not gone[placement.record_vid[row]]
            one = _Output(int(records.key[row]), int(records.offset[row]), row, is_there)
            outputs[code][origin[1]].append(one)
    for code in run.inputs:
        mine = case.records_of_key.rows(code)
        mine = mine[committed[mine]]
        _, first = np.unique(entry[mine], return_index=True)
        seen_by, offsets, times = dict[int, int](), dict[int, int](), Counter[int]()
        shown = set[Any]()
        for row in mine[first].tolist():
            value = case.view.values.value(records.value[row])
            shown.add(value)
            vid = placement.record_vid[row]
            if isinstance(value, int) and not refused[vid] and not gone[vid]:
                seen_by.setdefault(value, row)
                offsets.setdefault(value, int(records.offset[row]))
                times[value] += 1
        yield _Key(code, seen_by, offsets, times, frozenset(shown), outputs[code])


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
        if value in key.shown:
            continue
        writer = _writer(case, key, value)
        done = None if writer is None else int(case.view.calls.type[writer])
        if done == TYPE_OK or (done == TYPE_INFO and not is_read):
            continue
        why = "nobody sent that" if writer is None else f"which {case.name(writer)} sent and never committed"
        findings.add(
            PHANTOM,
            _ops(case, writer) + _readers(case, outputs),
            f"The program made {_told(case, outputs)} of {value} in {case.key(key.code)}, {why}.",
            origin=[case.key(key.code), value],
            outputs=[[case.key(one.key), one.offset] for one in outputs[:SHOWN]],
        )


def _duplicates(case: Case, findings: Findings, key: _Key) -> None:
    for value, made in key.outputs.items():
        outputs = [one for one in made if one.is_there]
        writer = _writer(case, key, value)
        sent = writer is not None and _is_ok(case, writer)
        if len(outputs) > max(1, key.times[value]) and (value in key.rows or sent):
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
    firsts: dict[int, list[tuple[int, _Output]]] = defaultdict(list)
    lasts: dict[int, list[tuple[int, _Output]]] = defaultdict(list)
    for value, outputs in key.outputs.items():
        there = [one for one in outputs if one.is_there]
        if key.times[value] == 1 and there and there[0].key == there[-1].key:
            firsts[there[0].key].append((key.offsets[value], there[0]))
            lasts[there[0].key].append((key.offsets[value], there[-1]))
    for code, line in firsts.items():
        before, ahead = sorted(lasts[code], key=_place), (-1, line[0][1])
        for source, one in sorted(line, key=_place):
            while before[0][1].offset < one.offset:  # its own last one is not before it
                ahead = max(ahead, before.pop(0), key=_source)
            if ahead[0] < source:
                continue
            findings.add(
                "eos-reorder",
                _readers(case, [ahead[1], one]),
                f"The outputs of {case.key(key.code)} are out of order in {case.key(code)}: offset {ahead[1].offset} "
                f"was made from input {ahead[0]}, and after it offset {one.offset} from input {source}.",
                key=case.key(code),
                sources=[ahead[0], source],
            )


def _place(one: tuple[int, _Output]) -> int:
    return one[1].offset


def _source(one: tuple[int, _Output]) -> int:
    return one[0]


def _missing(case: Case, findings: Findings, key: _Key) -> None:
    out = [key.offsets[value] for value in key.outputs if value in key.offsets]
    highest = max(out, default=-1)
    where = case.key(key.code)
    writers = {value: _writer(case, key, value) for value in key.offsets}
    sure = {value for value, writer in writers.items() if writer is not None and _is_ok(case, writer)}
    last = max((key.offsets[value] for value in sure), default=-1)
    stalled: list[tuple[int, int]] = []
    for value, offset in key.offsets.items():
        writer = writers[value]
        if value in key.outputs or offset < case.log_start[key.code] or (value not in sure and offset > last):
            continue
        if offset > highest:
            if value in sure and writer is not None:
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
    vid = _vid(case, key.code, value)
    return None if vid is None else case.writer_call(vid)


def _vid(case: Case, code: int, value: int) -> int | None:
    vids = case.placement.vids
    low, high = np.searchsorted(vids.first, (code, code + 1))
    vid = int(low + np.searchsorted(vids.second[low:high], value))
    return vid if vid < high and vids.second[vid] == value else None


def _is_ok(case: Case, writer: int) -> bool:
    return bool(case.view.calls.type[writer] == TYPE_OK)


def _ops(case: Case, writer: int | None) -> list[int]:
    return [] if writer is None else [case.view.op(writer)]


def _readers(case: Case, outputs: list[_Output]) -> list[int]:
    return [case.view.op(int(case.view.records.call[one.row])) for one in outputs[:SHOWN]]


def _told(case: Case, outputs: list[_Output]) -> str:
    return ", ".join(f"{case.key(one.key)}@{one.offset}" for one in outputs[:SHOWN])
