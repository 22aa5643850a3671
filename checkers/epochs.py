"""What leader epochs prove.

`epoch-regression` along a log (E1), `deposed-leader-ack` (E2), `stale-poll`, `min-isr-violation` (A2).

Evidence: the leader epoch of a record's batch (`epoch` in a record's or an acknowledgement's third element) and probes.

* Along one key's offsets the epoch never falls.
* An acks=all acknowledgement at o, of a record appended in epoch e, is a deposed leader's if o holds another record of
  a later epoch, or if a leader of a later epoch, asked after the acknowledgement (`OffsetForLeaderEpoch`), says that e
  ended at or before o, and nobody knows of its successor by then (`leaders`).
* With `--fresh`: a latest offset (`ListOffsets`) asked for after an acks=all acknowledgement at o, answered in the
  epoch of that record or a later one, is above o. A leader of an earlier epoch is deposed and may answer: Kafka has no
  lease.
* An acks=all ok while the in-sync set was too small: only if an answer of the leader itself (the others know before it
  does, and it counts by what it knows) that ended before the send began and one that began after its completion both
  name the same partition epoch with fewer than min.insync.replicas members, and no answer from in between or from
  another node shortly after names a later partition epoch (metadata lags).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Groups, Ints, same_as_before
from checkers.findings import Findings
from checkers.leaders import METADATA_LAG_ROWS, Successors
from checkers.samples import Sample
from checkers.scans import stale_scans

REGRESSION, DEPOSED, STALE, MIN_ISR = "epoch-regression", "deposed-leader-ack", "stale-poll", "min-isr-violation"


def leader_epochs(case: Case, findings: Findings) -> None:
    """Report everything that leader epochs prove."""
    rows, epochs = case.beside_records.epoch_rows, case.beside_records.epochs
    known = case.placement.record_slot[rows] >= 0
    rows, epochs = rows[known], epochs[known]
    _along_the_log(case, findings, rows, epochs)
    samples = case.samples
    ends = [s for s in samples if s.value.get("api") == "OffsetForLeaderEpoch" and isinstance(s.value.get("end"), int)]
    successors = Successors(samples)
    ends = [s for s in ends if isinstance(s.value.get("epoch"), int) and not successors.known(s)]
    needed = len(case.placement.inconsistent) or ends or case.options.fresh
    acked = _acknowledged(case, rows, epochs) if needed else {}
    if case.options.acks == "all" and (len(rows) or case.view.send_extras):
        _deposed(case, findings, acked, (rows, epochs), ends)
    else:
        findings.not_checked.append(DEPOSED)
    _stale(case, findings, acked, samples)
    _min_isr(case, findings, samples)


def _along_the_log(case: Case, findings: Findings, rows: Ints, epochs: Ints) -> None:
    """Compare each record with the highest epoch seen at a lower offset of its key."""
    if not len(rows):
        return
    slot = case.placement.record_slot[rows]
    order = np.lexsort((epochs, slot))
    rows, epochs, slot = rows[order], epochs[order], slot[order]
    first = np.flatnonzero(~same_as_before(slot))
    last = np.append(first[1:], len(slot)) - 1
    _two_epochs(case, findings, rows, epochs)
    span = int(epochs.max()) + 1
    key = case.placement.slots.first[slot]
    top = np.maximum.accumulate(key[last] * span + epochs[last])
    before = np.where(top[:-1] // span == key[first[1:]], top[:-1] % span, -1)
    fell = np.flatnonzero(epochs[first[1:]] < before)
    records = case.view.records
    told = findings.room(REGRESSION)
    for at in fell[:told]:
        low = int(first[at + 1])
        high = int(np.flatnonzero((key[:low] == key[low]) & (epochs[:low] == before[at]))[0])
        one, other = int(rows[high]), int(rows[low])
        calls = int(records.call[one]), int(records.call[other])
        findings.add(
            REGRESSION,
            [case.view.op(call) for call in calls],
            f"Along {case.key(records.key[one])} the leader epoch falls: offset {int(records.offset[one])} was written "
            f"in epoch {int(epochs[high])} ({case.name(calls[0])}), offset {int(records.offset[other])} in epoch "
            f"{int(epochs[low])} ({case.name(calls[1])}).",
            key=case.key(records.key[one]),
            offsets=[int(records.offset[one]), int(records.offset[other])],
        )
    findings.count(REGRESSION, len(fell) - min(len(fell), told))


def _two_epochs(case: Case, findings: Findings, rows: Ints, epochs: Ints) -> None:
    """Report records that lie at one offset in two epochs; a batch keeps the epoch in which it was appended."""
    vid, slot, records = case.placement.record_vid[rows], case.placement.record_slot[rows], case.view.records
    order = np.lexsort((epochs, vid, slot))
    first = np.flatnonzero(~same_as_before(slot[order], vid[order]))
    last = np.append(first[1:], len(order)) - 1
    low, high = order[first], order[last]
    for at in np.flatnonzero(epochs[low] != epochs[high]).tolist():
        one, other = int(rows[low[at]]), int(rows[high[at]])
        calls = int(records.call[one]), int(records.call[other])
        findings.add(
            REGRESSION,
            [case.view.op(call) for call in calls],
            f"{case.name(calls[0])} read {case.vid_value(int(vid[low[at]]))!r} at offset {int(records.offset[one])} of "
            f"{case.key(records.key[one])} in leader epoch {int(epochs[low[at]])}, {case.name(calls[1])} in epoch "
            f"{int(epochs[high[at]])}.",
            key=case.key(records.key[one]),
            offsets=[int(records.offset[one])],
        )


def _acknowledged(case: Case, rows: Ints, epochs: Ints) -> dict[int, int]:
    """Return send row -> epoch of its record, for acks=all acknowledgements of known offset and epoch."""
    view, placement = case.view, case.placement
    if case.options.acks != "all":
        return {}
    of_entry = dict(
        zip(
            zip(placement.record_vid[rows].tolist(), placement.record_slot[rows].tolist(), strict=True),
            epochs.tolist(),
            strict=True,
        )
    )
    found: dict[int, int] = {}
    for send in np.flatnonzero(placement.acknowledged & (placement.send_slot >= 0)).tolist():
        extra = view.send_extras.get(send)
        epoch = extra.get("epoch") if isinstance(extra, dict) else None
        if not isinstance(epoch, int):
            epoch = of_entry.get((int(placement.send_vid[send]), int(placement.send_slot[send])))
        if epoch is not None:
            found[send] = epoch
    return found


def _deposed(
    case: Case, findings: Findings, acked: dict[int, int], known: tuple[Ints, Ints], ends: list[Sample]
) -> None:
    torn = set(case.placement.inconsistent.tolist())
    rows, of_row = known
    inside = np.isin(case.placement.record_slot[rows], case.placement.inconsistent)
    epochs = rows[inside], of_row[inside], Groups(case.placement.record_slot[rows[inside]])
    lowest = _lowest_ends(ends)
    for send, epoch in acked.items() if torn or ends else ():
        witness = _replaced(case, send, epoch, epochs) if int(case.placement.send_slot[send]) in torn else None
        witness = witness or _ended(case, send, epoch, lowest)
        if witness is None:
            continue
        call, vid = int(case.view.sends.call[send]), int(case.placement.send_vid[send])
        key, offset = case.vid_key(vid), int(case.view.sends.offset[send])
        findings.add(
            DEPOSED,
            [case.view.op(call), witness[0]],
            f"{case.name(call)} was acknowledged {case.vid_value(vid)!r} at offset {offset} of {key} in epoch {epoch}, "
            f"but {witness[1]}.",
            key=key,
            offset=offset,
            epoch=epoch,
        )


def _replaced(case: Case, send: int, epoch: int, epochs: tuple[Ints, Ints, Groups]) -> tuple[int, str] | None:
    """Return (op, what it shows) of a poll that found another record of a later epoch at the offset."""
    rows, of_row, by_slot = epochs
    placement = case.placement
    here = by_slot.rows(int(placement.send_slot[send]))
    later = here[(of_row[here] > epoch) & (placement.record_vid[rows[here]] != placement.send_vid[send])]
    if not len(later):
        return None
    row = int(rows[later[0]])
    reader, value = int(case.view.records.call[row]), case.vid_value(int(placement.record_vid[row]))
    return case.view.op(reader), f"{case.name(reader)} found {value!r} of epoch {int(of_row[later[0]])} there"


def _lowest_ends(ends: list[Sample]) -> dict[tuple[Any, int], tuple[list[int], list[Sample]]]:
    """Return per key and epoch what later leaders say of its end.

    When each was asked (rows, rising), and beside it the lowest answer of those from then on.
    """
    found: dict[tuple[Any, int], list[Sample]] = {}
    for sample in ends:
        asked, answered = sample.value.get("asked"), sample.value.get("epoch")
        if isinstance(asked, int) and isinstance(answered, int) and answered > asked and sample.value["end"] >= 0:
            found.setdefault((sample.value.get("key"), asked), []).append(sample)
    lowest = {}
    for place, samples in found.items():
        samples.sort(key=lambda sample: sample.begun, reverse=True)
        lowest[place] = [sample.begun for sample in reversed(samples)], list(accumulate(samples, _lower))[::-1]
    return lowest


def _lower(one: Sample, other: Sample) -> Sample:
    return other if other.value["end"] <= one.value["end"] else one


def _ended(
    case: Case, send: int, epoch: int, lowest: dict[tuple[Any, int], tuple[list[int], list[Sample]]]
) -> tuple[int, str] | None:
    """Return (op, what it shows) of a later leader's answer that the epoch ended at or before the offset."""
    done = int(case.view.calls.done_row[int(case.view.sends.call[send])])
    begun, answers = lowest.get((case.key(case.view.sends.key[send]), epoch), ([], []))
    place = bisect_right(begun, done)
    if done < 0 or place == len(begun) or answers[place].value["end"] > case.view.sends.offset[send]:
        return None
    sample = answers[place]
    return (
        sample.index,
        f"the leader of epoch {sample.value['epoch']} says that it ended at {sample.value['end']} (op {sample.index})",
    )


def _stale(case: Case, findings: Findings, acked: dict[int, int], samples: list[Sample]) -> None:
    if not case.options.fresh:
        findings.not_checked.append(STALE)
        return
    latest = [s for s in samples if s.value.get("api") == "ListOffsets" and isinstance(s.value.get("hw"), int)]
    latest = [s for s in latest if isinstance(s.value.get("epoch"), int)]
    view = case.view
    sends = np.array(sorted(acked), np.int64)
    epochs = np.array([acked[send] for send in sends.tolist()], np.int64)
    key, offset, call = view.sends.key[sends], view.sends.offset[sends], view.sends.call[sends]
    done = view.calls.done_row[call]
    by_key = Groups(key)
    over = {code: _Over(offset, epochs, done, by_key.rows(code)) for code in set(key.tolist())}
    for sample in latest:
        named = sample.value.get("key")
        code = view.keys.get(named)
        first = over[code].first(sample) if code in over else None
        if first is not None:
            findings.add(
                STALE,
                [view.op(int(call[first])), sample.index],
                f"{case.name(int(call[first]))} was acknowledged offset {int(offset[first])} of {named} in epoch "
                f"{int(epochs[first])}; {sample.node}, asked later and leading in epoch {sample.value['epoch']}, "
                f"answered that the log ends at {sample.value['hw']} (op {sample.index}).",
                key=named,
                offset=int(offset[first]),
            )
    checked = bool(latest and len(sends))
    if not stale_scans(case, findings) and not checked:
        findings.not_checked.append(STALE)


class _Over:
    """Acknowledged sends of one key that are over, in the order in which they were."""

    def __init__(self, offset: Ints, epochs: Ints, done: Ints, rows: Ints) -> None:
        rows = rows[done[rows] >= 0]
        self._rows = rows[np.argsort(done[rows], kind="stable")]
        self._offset, self._epoch, self._done = offset[self._rows], epochs[self._rows], done[self._rows]
        self._highest = np.maximum.accumulate(self._offset)

    def first(self, sample: Sample) -> int | None:
        """Return the first send that an answer should have known and that lies behind the end that it names."""
        before, end = int(np.searchsorted(self._done, sample.begun)), sample.value["hw"]
        since = int(np.searchsorted(self._highest[:before], end))
        part = slice(since, before)
        above = self._rows[part][(self._offset[part] >= end) & (self._epoch[part] <= sample.value["epoch"])]
        return int(above.min()) if len(above) else None


def _min_isr(case: Case, findings: Findings, samples: list[Sample]) -> None:
    named = [
        s for s in samples if isinstance(s.value.get("partition-epoch"), int) and isinstance(s.value.get("isr"), list)
    ]
    least = case.options.min_isr
    if not named or case.options.acks != "all" or least is None:
        findings.not_checked.append(MIN_ISR)
        return
    view = case.view
    calls, sends = view.calls, view.sends
    ok = np.flatnonzero(case.placement.acknowledged & (calls.invoke_row[sends.call] >= 0))
    by_place: dict[tuple[Any, Any], list[Sample]] = {}
    for sample in named:
        by_place.setdefault(sample.place, []).append(sample)
    for (key, _), answers in by_place.items():
        code = view.keys.get(key)
        mine = ok[sends.key[ok] == code] if code is not None else ok[:0]
        done = calls.done_row[sends.call[mine]]
        for before, after in _unchanged(answers, least):
            low, high = np.searchsorted(done, (before.ended, after.begun))
            inside = mine[low:high][calls.invoke_row[sends.call[mine[low:high]]] > before.ended]
            for send in inside[:1]:
                call = int(sends.call[send])
                findings.add(
                    MIN_ISR,
                    [before.index, view.op(call), after.index],
                    f"{case.name(call)} was acknowledged with acks=all on {key} while partition epoch "
                    f"{before.value['partition-epoch']} held from op {before.index} to op {after.index}, with only "
                    f"{len(before.value['isr'])} of {least} replicas in sync.",
                    key=key,
                    isr=before.value["isr"],
                )


def _unchanged(answers: list[Sample], least: int) -> list[tuple[Sample, Sample]]:
    """Return pairs of neighbouring answers with one partition epoch and a too small in-sync set around a time."""
    found, latest = [], _latest_epochs(answers)
    for first, second in pairwise(answers):
        epoch = first.value["partition-epoch"]
        if second.value["partition-epoch"] != epoch or second.begun < first.ended or len(first.value["isr"]) >= least:
            continue
        if first.node != first.value.get("leader") and first.value["isr"] != [first.node]:
            continue
        until = second.ended + METADATA_LAG_ROWS
        doubtful = any(
            (at := bisect_left(begun, until)) and epochs[at - 1] > epoch
            for node, (begun, epochs) in latest.items()
            if node != second.node
        )
        if not doubtful:
            found.append((first, second))
    return found


def _latest_epochs(answers: list[Sample]) -> dict[str, tuple[list[int], list[int]]]:
    """Return by node when it was asked (rows, rising), and the latest partition epoch that it named until then."""
    by_node: dict[str, list[Sample]] = {}
    for sample in sorted(answers, key=lambda sample: sample.begun):
        by_node.setdefault(sample.node, []).append(sample)
    return {
        node: ([s.begun for s in of], list(accumulate((s.value["partition-epoch"] for s in of), max)))
        for node, of in by_node.items()
    }
