"""`impossible-watermark`: ends of a partition that can't be true, beside one another or beside what clients saw.

At any time log start <= last stable offset <= high watermark, at every leader, and each of them only rises within an
epoch (R1, R2, T4). The high watermark is below all that is appended later, and above all that was read or acknowledged.
Judged in runs of ours: a name of our own, which no other history is told.

* Of one leader, in one epoch: what it answered as log start or last stable offset is not above what it answers later
  as last stable offset or high watermark. The last stable offset is asked for first, so that this is true within an
  answer to `ListOffsets` too; of a Fetch answer where the brokers look once (Apache Kafka reads its watermarks one
  after the other).
* Of whatever node, deposed or not: a high watermark that was answered before a send was invoked is not above its
  record; a last stable offset that was answered before the commit was first called is not above the transaction's.
* Of the last leader: its high watermark is above what was acknowledged (acks=all) or read before it was asked, its last
  stable offset above what read_committed consumers had read. An earlier one may have been deposed: Kafka has no lease.
  It is the last one if it still led in the final reads, when all nodes were in sync.
* A log whose start nothing moves begins at 0.

Keys whose topic was made anew while it was looked at are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Groups, Ints
from checkers.findings import Findings
from checkers.leaders import last_epochs
from checkers.log_view import TYPE_OK
from checkers.placement import NOWHERE
from checkers.probes import FETCH, LATEST
from checkers.samples import Sample

CLASS, REPLICA_LOG = "impossible-watermark", "ReplicaLog"
NAMES = {"hw": "high watermark", "lso": "last stable offset", "log-start": "log start"}
NOT_BELOW = (("lso", ("lso", "log-start")), ("hw", ("lso", "log-start")))
"""Of a later answer: what is not below any of these of an earlier one. (That nothing falls is `probes`' matter.)"""


def watermarks(case: Case, findings: Findings) -> None:
    """Report answers of leaders that can't be true."""
    about: dict[Any, list[Sample]] = {}
    for sample in case.samples if case.phases.ours else ():
        if sample.value.get("api") in {LATEST, FETCH, REPLICA_LOG} and "timestamp" not in sample.value:
            about.setdefault(sample.value.get("key"), []).append(sample)
    if not about:
        findings.not_checked.append(CLASS)
        return
    slots, sends, last = Groups(case.placement.slots.first), Groups(case.view.sends.key), last_epochs(case)
    for key, answers in about.items():
        if len({sample.place for sample in answers}) > 1:
            continue
        code = case.view.keys.get(key)
        if code is not None:
            _begun_late(case, findings, answers, code)
        samples = [sample for sample in answers if sample.value["api"] != REPLICA_LOG]
        mine = [s for s in samples if s.value["api"] == LATEST and s.value.get("epoch") == last.get(key, NOWHERE)]
        _within(case, findings, samples)
        _between(findings, samples)
        if code is not None:
            _ahead_of_sends(case, findings, samples, slots.rows(code))
            _ahead_of_commits(case, findings, samples, sends.rows(code))
            _behind(case, findings, mine, code, sends.rows(code))


def _within(case: Case, findings: Findings, samples: Iterable[Sample]) -> None:
    """In one answer the last stable offset is not above the high watermark."""
    for sample in samples:
        lso, hw = sample.value.get("lso"), sample.value.get("hw")
        in_order = sample.value["api"] == LATEST or case.options.looks_once
        if in_order and isinstance(lso, int) and isinstance(hw, int) and lso > hw:
            _tell(findings, sample, "lso", f"beside high watermark {hw}, which is below it")


def _between(findings: Findings, samples: Iterable[Sample]) -> None:
    """Compare the answers of one leader in one epoch with what it had answered before they were asked for."""
    by_leader: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        if isinstance(sample.value.get("epoch"), int):
            by_leader.setdefault((sample.node, sample.value["epoch"]), []).append(sample)
    for answers in by_leader.values():
        if any(sample.value["api"] == LATEST for sample in answers):  # who only answers Fetch may follow
            _of_one_leader(findings, answers)


def _of_one_leader(findings: Findings, answers: list[Sample]) -> None:
    highest: dict[str, Sample] = {}
    ended = 0
    for sample in sorted(answers, key=lambda one: one.begun):
        while ended < len(answers) and answers[ended].ended < sample.begun:
            done = answers[ended]
            for name in NAMES:
                value = done.value.get(name)
                if isinstance(value, int) and (name not in highest or value > highest[name].value[name]):
                    highest[name] = done
            ended += 1
        for name, bounds in NOT_BELOW:
            value = sample.value.get(name)
            fell = name in highest and isinstance(value, int) and value < highest[name].value[name]
            for bound in bounds if isinstance(value, int) and not fell else ():
                if bound != name and bound in highest and highest[bound].value[bound] > value:
                    top = highest[bound]
                    _tell(findings, top, bound, f"and {NAMES[name]} {value} in the same epoch later", sample.index)


def _ahead_of_sends(case: Case, findings: Findings, samples: Sequence[Sample], slots: Ints) -> None:
    """Nothing is appended below a high watermark that was answered before it was sent."""
    placement, view = case.placement, case.view
    tops = _Tops(samples, "hw")
    if not view.has_invocations or not tops.samples or not len(slots):
        return
    if case.options.acks != "all":  # a deposed leader acknowledges what it loses again
        read = np.zeros(placement.slots.size, np.bool_)
        read[placement.record_slot[placement.record_slot >= 0]] = True
        slots = slots[read[slots]]
    vids = placement.slot_vid[slots]
    clear = (placement.writer[vids] >= 0) & ~placement.twice[vids] & ~np.isin(slots, placement.inconsistent)
    slots, vids = slots[clear], vids[clear]
    calls = view.sends.call[placement.writer[vids]]
    invoked = view.calls.invoke_row[calls]
    offsets = placement.slots.second[slots]
    for at in np.flatnonzero((tops.before(invoked) > offsets) & (invoked >= 0)).tolist():
        sample, call = tops.samples[tops.place(int(invoked[at]))], int(calls[at])
        why = (
            f"before {case.name(call)} was invoked, whose {case.vid_value(int(vids[at]))!r} lies below it, at "
            f"offset {int(offsets[at])}"
        )
        _tell(findings, sample, "hw", why, view.op(call))


def _ahead_of_commits(case: Case, findings: Findings, samples: Sequence[Sample], sends: Ints) -> None:
    """No last stable offset that was answered before a commit was called is above what was committed."""
    view = case.view
    tops = _Tops(samples, "lso", view.time)
    calls = view.sends.call[sends]
    commit = view.calls.commit_time[calls]
    known = (view.calls.type[calls] == TYPE_OK) & (case.placement.send_slot[sends] >= 0)
    known &= (view.invoke_time()[calls] <= commit) & (commit <= view.done_time()[calls])
    if view.backwards is not None or not tops.samples or not known.any():
        return
    sends, calls, commit = sends[known], calls[known], commit[known]
    for at in np.flatnonzero(tops.before(commit) > view.sends.offset[sends]).tolist():
        sample, call = tops.samples[tops.place(int(commit[at]))], int(calls[at])
        why = (
            f"before {case.name(call)} first called commit, of whose transaction a record lies below it, at offset "
            f"{int(view.sends.offset[sends[at]])}"
        )
        _tell(findings, sample, "lso", why, view.op(call))


@dataclass(frozen=True, slots=True)
class _Seen:
    """Offsets that were proven to be below a watermark, and since which row, by which call; rows rise."""

    row: Ints
    offset: Ints
    call: Ints

    def highest(self, before: int) -> tuple[int, int]:
        """Return the highest offset (-1: none) of what was seen before a row, and the call that shows it."""
        until = int(np.searchsorted(self.row, before))
        if not until:
            return NOWHERE, NOWHERE
        at = int(np.argmax(self.offset[:until]))
        return int(self.offset[at]), int(self.call[at])


def _behind(case: Case, findings: Findings, mine: list[Sample], code: int, sends: Ints) -> None:
    """The last leader's watermarks, in its answers, are above what was seen before it was asked."""
    if not mine:
        return
    view, records = case.view, case.view.records
    read = case.records_of_key.rows(code)
    committed = read[case.reader_is_rc[read]]
    acked = sends[case.placement.acknowledged[sends]] if case.options.acks == "all" else sends[:0]
    over = np.concatenate((view.sends.call[acked], records.call[read]))
    for name, call, offset in (
        ("hw", over, np.concatenate((view.sends.offset[acked], records.offset[read]))),
        ("lso", records.call[committed], records.offset[committed]),
    ):
        row = view.calls.done_row[call]
        known = np.flatnonzero((row >= 0) & (offset >= 0))
        known = known[np.argsort(row[known], kind="stable")]
        rising = np.maximum.accumulate(offset[known]) if len(known) else offset[known]
        seen = _Seen(row[known], offset[known], call[known])
        for sample in mine:
            until = int(np.searchsorted(seen.row, sample.begun))
            value = sample.value.get(name)
            if until and isinstance(value, int) and value <= rising[until - 1]:
                top, shown = seen.highest(sample.begun)
                why = f"leading in the last epoch, after {case.name(shown)}, by which offset {top} was below it"
                _tell(findings, sample, name, why, view.op(shown))


def _begun_late(case: Case, findings: Findings, samples: Iterable[Sample], code: int) -> None:
    """A log whose start nothing moves begins at 0."""
    if not case.options.logs_keep_their_start or any(key == code for _, key, _ in case.deletions):
        return
    for sample in samples:
        if isinstance(sample.value.get("log-start"), int) and sample.value["log-start"] > 0:
            _tell(findings, sample, "log-start", "though nothing removes records of that topic")


class _Tops:
    """Answers in their order, and the highest of a watermark so far."""

    def __init__(self, samples: Sequence[Sample], name: str, time: Ints | None = None) -> None:
        self.samples = [sample for sample in samples if isinstance(sample.value.get(name), int)]
        rows = np.array([sample.ended for sample in self.samples], np.int64)
        self._ended = rows if time is None else time[rows]
        self._values = np.array([sample.value[name] for sample in self.samples], np.int64)
        self._highest = np.maximum.accumulate(self._values) if len(rows) else rows

    def before(self, when: Ints) -> Ints:
        """Return the highest that had been answered before some rows or times; -1 where nothing had."""
        until = np.searchsorted(self._ended, when)
        return np.where(until > 0, self._highest[np.maximum(until, 1) - 1], NOWHERE)

    def place(self, when: int) -> int:
        """Return which answer was the highest before a row or time."""
        return int(np.argmax(self._values[: int(np.searchsorted(self._ended, when))]))


def _tell(findings: Findings, sample: Sample, name: str, why: str, *others: int) -> None:
    key, value = sample.value.get("key"), sample.value[name]
    findings.add(
        CLASS,
        [sample.index, *others],
        f"{sample.node} (epoch {sample.value.get('epoch')}) answered {NAMES[name]} {value} for {key} in op "
        f"{sample.index}, {why}{f' (op {others[0]})' if others else ''}.",
        key=key,
        value=value,
    )
