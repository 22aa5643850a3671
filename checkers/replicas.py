"""What probes of replicas, controllers and time indexes prove.

`replica-divergence` (R3), `metadata-divergence` (M1), `time-index-wrong` (S4).

* `ReplicaLog` answers hold a replica's log start, high watermark and batches `[base, last, checksum]`. Where not all
  were read, there are those from offset `from` on, and the high watermark is the end of what was read. Two replicas of
  the last in-sync set hold the same batches at the offsets at or above both log starts and below both high watermarks;
  topics that are compacted are not compared, Kafka's own among them: each replica writes its batches anew. Nor are
  replicas where the in-sync set is told by names that no node has.
* `DescribeQuorum` answers, and what a fault saw of an election (`quorum-epoch`, `new-controller`), name one leader for
  an epoch of the metadata quorum; its high watermark never falls with time in one epoch or towards a later one: what
  was committed stays. Only who leads answers, so that the epochs in which a node leads never fall. Two replicas of the
  metadata log agree as others.
* `Metadata` answers: one `topic-id` never has two names, and in a run of ours, which deletes no topic, one topic never
  has two ids.
* `ListOffsets` answers to a `timestamp` name the least retained offset with that timestamp or a later one: never one
  whose record is older, never one behind a record that fits and was read again afterwards.
  `TimeIndex` answers hold such questions with the times of the records that the probe itself has read.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate, combinations
from types import NoneType
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Groups, Ints
from checkers.findings import Findings
from checkers.samples import Sample
from harness.history import NEMESIS

REPLICAS, METADATA, TIMES = "replica-divergence", "metadata-divergence", "time-index-wrong"
METADATA_LOG = "__cluster_metadata"
COMPACTED = ("__consumer_offsets", "__transaction_state", "__share_group_state")
"""Kafka's own topics with cleanup.policy=compact."""
_NEVER = int(np.iinfo(np.int64).max)
Batches = dict[int, tuple[int, Any]]
"""Base offset -> (last offset, checksum)."""


def nodes(case: Case, findings: Findings) -> None:
    """Report the three classes."""
    samples = case.samples
    _replicas(case, findings, [s for s in samples if s.value.get("api") == "ReplicaLog"])
    quorum = [s for s in samples if s.value.get("api") == "DescribeQuorum"]
    named = [s for s in samples if s.value.get("api") == "Metadata" and isinstance(s.value.get("topic-id"), str)]
    if not quorum and not named:
        findings.not_checked.append(METADATA)
    _quorum(findings, [*quorum, *_elected(case)])
    _committed(findings, quorum)
    _epochs_of_leaders(findings, quorum)
    _topics(findings, named, ours=case.phases.ours)
    by_time = [s for s in samples if s.value.get("api") == "ListOffsets" and "timestamp" in s.value]
    indexes = [s for s in samples if s.value.get("api") == "TimeIndex" and isinstance(s.value.get("times"), list)]
    if by_time or not any(sample.value["times"] for sample in indexes):
        _times(case, findings, by_time)
    _indexes(findings, indexes)


def _replicas(case: Case, findings: Findings, samples: list[Sample]) -> None:
    samples = [sample for sample in samples if not _is_compacted(case, sample)]
    if not samples:
        findings.not_checked.append(REPLICAS)
    latest: dict[tuple[Any, Any], dict[str, Sample]] = {}
    for sample in samples:
        if isinstance(sample.value.get("batches"), list) and isinstance(sample.value.get("hw"), int):
            latest.setdefault(sample.place, {})[sample.node] = sample
    for (key, _), by_node in latest.items():
        if any(by_node.keys().isdisjoint(s.value.get("isr") or by_node) for s in by_node.values()):
            findings.not_checked.append(REPLICAS)
            continue
        answers = [s for s in by_node.values() if s.node in (s.value.get("isr") or by_node)]
        for one, other in combinations(answers, 2):
            found = _differ(one, other)
            if found is not None:
                findings.add(
                    METADATA if str(key).startswith(METADATA_LOG) else REPLICAS,
                    [one.index, other.index],
                    f"{one.node} (op {one.index}) and {other.node} (op {other.index}), both in sync, hold different "
                    f"batches at offset {found} of {key}, below both high watermarks.",
                    key=key,
                    offset=found,
                )


def _is_compacted(case: Case, sample: Sample) -> bool:
    key = str(sample.value.get("key"))
    return key.startswith(COMPACTED) or (case.options.compacted and not key.startswith(METADATA_LOG))


def _differ(one: Sample, other: Sample) -> int | None:
    """Return the first base offset at which two replicas differ."""
    start = max(int(s.value.get("from") or s.value.get("log-start") or 0) for s in (one, other))
    end = min(int(s.value["hw"]) for s in (one, other))
    a, b = (
        {int(x[0]): (int(x[1]), x[2]) for x in s.value["batches"] if start <= x[0] and x[1] < end} for s in (one, other)
    )
    return min((base for base in a.keys() | b.keys() if a.get(base) != b.get(base)), default=None)


def _committed(findings: Findings, samples: list[Sample]) -> None:
    """Report a high watermark of the quorum that fell; a deposed leader may answer."""
    known = [s for s in samples if isinstance(s.value.get("hw"), int) and isinstance(s.value.get("epoch"), int)]
    ends, tops = [s.ended for s in known], list(accumulate((s.value["hw"] for s in known), max))
    fell = {s.value["epoch"] for s in known if (at := bisect_left(ends, s.begun)) and s.value["hw"] < tops[at - 1]}
    for epoch in dict.fromkeys(s.value["epoch"] for s in known):
        if epoch not in fell:
            continue
        earlier = [s for s in known if s.value["epoch"] <= epoch]  # in order of their answers
        highest = list(accumulate(earlier, _higher))
        ended = [s.ended for s in earlier]
        for low in [s for s in known if s.value["epoch"] == epoch and s.value["hw"] > 0]:
            place = bisect_left(ended, low.begun)
            high = highest[place - 1] if place else low
            if high.value["hw"] > low.value["hw"]:
                findings.add(
                    METADATA,
                    [high.index, low.index],
                    f"The metadata quorum had committed up to offset {high.value['hw']} in epoch {high.value['epoch']} "
                    f"({high.node}, op {high.index}), but asked later, in epoch {epoch}, {low.node} answered "
                    f"{low.value['hw']} (op {low.index}): what was committed is gone.",
                    epoch=epoch,
                )
                break


def _epochs_of_leaders(findings: Findings, samples: list[Sample]) -> None:
    """Report a leader of the quorum that answers in an earlier epoch than it led in before: it never forgets one."""
    highest: dict[Any, Sample] = {}
    for sample in samples:
        leader, epoch = sample.value.get("leader"), sample.value.get("epoch")
        if leader is None or not isinstance(epoch, int):
            continue
        top = highest.setdefault(leader, sample)
        if top.ended < sample.begun and epoch < top.value["epoch"]:
            findings.add(
                METADATA,
                [top.index, sample.index],
                f"{leader} led the metadata quorum in epoch {top.value['epoch']} (op {top.index}), and later in epoch "
                f"{epoch} (op {sample.index}).",
                epoch=epoch,
            )
        if epoch > top.value["epoch"]:
            highest[leader] = sample


def _higher(one: Sample, other: Sample) -> Sample:
    return other if other.value["hw"] > one.value["hw"] else one


def _topics(findings: Findings, samples: list[Sample], *, ours: bool) -> None:
    """Report topic ids that changed or are shared."""
    of_id: dict[str, tuple[str, Sample]] = {}
    of_name: dict[str, Sample] = {}
    told: set[str] = set()
    for sample in samples:
        name, topic_id = str(sample.value.get("key")).rpartition("/")[0], sample.value["topic-id"]
        other, first = of_id.setdefault(topic_id, (name, sample))
        before = of_name.setdefault(name, sample) if ours else sample
        if name in told:
            continue
        if other != name:
            what, witness = f"{topic_id} is the id of {other}", first
        elif before.value["topic-id"] != topic_id:
            what, witness = f"{name} has the id {before.value['topic-id']}", before
        else:
            continue
        told.add(name)
        findings.add(
            METADATA,
            [witness.index, sample.index],
            f"{what} ({witness.node}, op {witness.index}), but {name} has the id {topic_id} ({sample.node}, op "
            f"{sample.index}).",
            topic=name,
        )


def _elected(case: Case) -> list[Sample]:
    """Return what faults saw of elections of the quorum: it may be over before a probe asks again."""
    found = []
    for row, _, line in case.view.marks:
        evidence = line.value.get("evidence") if line.process == NEMESIS and isinstance(line.value, dict) else None
        if isinstance(evidence, dict) and isinstance(evidence.get("quorum-epoch"), int):
            value = {"leader": evidence.get("new-controller"), "epoch": evidence["quorum-epoch"]}
            found.append(Sample(int(case.view.index[row]), row, row, NEMESIS, value))
    return found


def _quorum(findings: Findings, samples: list[Sample]) -> None:
    leader: dict[int, Sample] = {}
    for sample in samples:
        epoch, name = sample.value.get("epoch"), sample.value.get("leader")
        if not isinstance(epoch, int) or name is None:
            continue
        first = leader.setdefault(epoch, sample)
        if first.value["leader"] != name:
            findings.add(
                METADATA,
                [first.index, sample.index],
                f"Epoch {epoch} of the metadata quorum is led by {first.value['leader']} ({first.node}, op "
                f"{first.index}) and by {name} ({sample.node}, op {sample.index}).",
                epoch=epoch,
            )


def _times(case: Case, findings: Findings, samples: list[Sample]) -> None:
    rows, stamps = case.beside_records.stamp_rows, case.beside_records.stamps
    if not samples or not len(rows):
        findings.not_checked.append(TIMES)
        return
    view, records = case.view, case.view.records
    by_key, seen, timed = Groups(records.key[rows]), _Seen(case), dict[int, _Timed]()
    for sample in samples:
        key, wanted, answer = (
            view.keys.get(sample.value.get("key")),
            sample.value["timestamp"],
            sample.value.get("offset"),
        )
        if key is None or not isinstance(wanted, int) or wanted < 0:
            continue
        if key not in timed:
            mine = by_key.rows(key)
            timed[key] = _Timed(case, rows[mine], stamps[mine], seen)
        at, fits = timed[key].older(answer, wanted), timed[key].fitting(sample, wanted)
        found = fits if at is None else at
        if found is None:
            continue
        row, stamp = found
        call = int(records.call[row])
        told = "none" if answer is None or answer < 0 else str(answer)
        rest = "is older" if at is not None else "is retained, lies before it and fits"
        findings.add(
            TIMES,
            [sample.index, view.op(call)],
            f"Asked for the first offset of {sample.value['key']} from time {wanted} on, {sample.node} answered {told} "
            f"(op {sample.index}), but the record at offset {int(records.offset[row])}, of time {stamp}, {rest} "
            f"({case.name(call)}).",
            key=sample.value["key"],
            offset=answer,
        )


def _indexes(findings: Findings, samples: list[Sample]) -> None:
    """Report lookups of times by probes, which have looked at the records themselves before and afterwards."""
    for sample in samples:
        for wanted, answer, there, known in filter(_is_lookup, sample.value["times"]):
            if answer is not None and answer <= known and (there is None or there >= wanted):
                continue
            told = "none" if answer is None else str(answer)
            why = (
                f"whose record is of time {there}"
                if answer is not None and answer <= known
                else "though that one is there"
            )
            findings.add(
                TIMES,
                [sample.index],
                f"The record at offset {known} of {sample.value.get('key')} is of time {wanted}. Asked for the first "
                f"one from that time on, {sample.node} answered {told}, {why} (op {sample.index}).",
                key=sample.value.get("key"),
                offset=answer,
            )


def _is_lookup(told: Any) -> bool:
    """Return whether it is [time, offset or null, time there or null, offset known]."""
    if not isinstance(told, list) or len(told) != 4:
        return False
    numbers = (told[0], told[3]), (told[1], told[2])
    return all(type(one) is int for one in numbers[0]) and all(type(one) in {int, NoneType} for one in numbers[1])


class _Seen:
    """Per slot: the row at which the first poll was over that showed it, of all readers and of committed ones."""

    def __init__(self, case: Case) -> None:
        records, slots = case.view.records, case.placement.record_slot
        done = case.view.calls.done_row[records.call]
        known = (done >= 0) & (slots >= 0)
        self.by_all, self.by_committed = (np.full(case.placement.slots.size, _NEVER) for _ in range(2))
        for first, shown in ((self.by_all, known), (self.by_committed, known & case.reader_is_rc)):
            np.minimum.at(first, slots[shown], done[shown])


class _Timed:
    """The records of one key that tell their time."""

    def __init__(self, case: Case, rows: Ints, stamps: Ints, seen: _Seen) -> None:
        records = case.view.records
        self._rows, self._stamps, self._seen, self._extras = rows, stamps, seen, records.extras
        self._offset, self._slot = records.offset[rows], case.placement.record_slot[rows]
        self._asked = case.view.calls.invoke_row[records.call[rows]]
        self._order = np.argsort(self._offset, kind="stable")
        self._offsets = self._offset[self._order]
        self._latest = np.maximum.accumulate(stamps[self._order])
        """Along the offsets the latest time so far."""
        placed = self._slot >= 0
        slots, at = np.unique(self._slot[placed], return_inverse=True)
        latest = np.full(len(slots), -1)
        np.maximum.at(latest, at, stamps[placed])
        first = seen.by_all[slots]
        order = np.argsort(first)
        self._first_seen, self._latest_seen = first[order], np.maximum.accumulate(latest[order])

    def older(self, answer: int | None, wanted: int) -> tuple[int, int] | None:
        """Return a record at the answer that is older than what was asked for, and its time."""
        offset = -1 if answer is None else answer
        low, high = np.searchsorted(self._offsets, (offset, offset + 1))
        here = self._order[low:high]
        here = here[self._stamps[here] < wanted]
        return (int(self._rows[here[0]]), int(self._stamps[here[0]])) if len(here) else None

    def fitting(self, sample: Sample, wanted: int) -> tuple[int, int] | None:
        """Return the first record before the answer that fits, that was there and was read again, and its time.

        Somebody (of the asked isolation) had read it before the question. A leader that answers a later offset has all
        before it; one that answers none may be deposed, unless its epoch is not below that of the record.
        """
        answer = sample.value.get("offset")
        nothing = answer is None or answer < 0
        before = int(np.searchsorted(self._offsets, _NEVER if answer is None or answer < 0 else answer))
        known = int(np.searchsorted(self._first_seen, sample.begun))
        if not before or not known or min(self._latest[before - 1], self._latest_seen[known - 1]) < wanted:
            return None
        rows = self._order[int(np.searchsorted(self._latest[:before], wanted)) : before]
        rows = rows[(self._stamps[rows] >= wanted) & (self._asked[rows] > sample.ended) & (self._slot[rows] >= 0)]
        committed = sample.value.get("isolation") == "read_committed"
        seen = self._seen.by_committed if committed else self._seen.by_all
        for row in rows[seen[self._slot[rows]] < sample.begun].tolist():
            if not nothing or self._led(int(self._rows[row]), sample.value.get("epoch")):
                return int(self._rows[row]), int(self._stamps[row])
        return None

    def _led(self, row: int, epoch: Any) -> bool:
        """Return whether a record is of an epoch, or of one before it."""
        of_record = self._extras[row].get("epoch")
        return isinstance(of_record, int) and isinstance(epoch, int) and of_record <= epoch
