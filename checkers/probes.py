"""What nodes answered to probes: watermarks, log starts, epochs and leaders over time (R1, R2, T4, S3, E1).

Two answers are compared only if the first *ended before* the second began. A higher watermark that falls counts only
within one (incarnation, node, epoch) or towards a higher epoch: a deposed leader that still answers is a zombie, which
is legal and only counted. Answers of followers and Fetch answers never enter.

Who leads an epoch is told by `Metadata`, of any node, and by a node that answers `ListOffsets` in it: only leaders do.

A Fetch answer may hold more than the watermark that it names: Apache Kafka looks at the watermark first, and then reads
up to where it is by then (Partition.readRecords). A watermark never falls, so that one that has not come so far
afterwards proves it: what the leader said when it was asked `again`, or in a later ListOffsets answer of that node and
epoch. Our own broker looks once, and is held to what it names.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any

from checkers.case import Case
from checkers.findings import Findings
from checkers.samples import Sample

LATEST, METADATA, FETCH = "ListOffsets", "Metadata", "Fetch"
"""Of what is asked: a partition's ends, of its leader; who leads it, of any node; its newest records."""
LATEST_CLASSES = ("hw-regression", "lso-regression", "log-start-regression")
METADATA_CLASSES = ("epoch-regression", "two-leaders")
FETCH_CLASSES = ("read-past-hw",)


def probes(case: Case, findings: Findings) -> None:
    """Judge all probe classes; those without a sample are not checked."""
    samples = case.samples
    latest = [s for s in samples if s.value.get("api") == LATEST and isinstance(s.value.get("epoch"), int)]
    latest = [s for s in latest if "timestamp" not in s.value]  # its epoch is that of the record found
    metadata = [s for s in samples if s.value.get("api") == METADATA and isinstance(s.value.get("epoch"), int)]
    fetches = [s for s in samples if s.value.get("api") == FETCH]
    leading = sorted((*metadata, *latest), key=lambda sample: sample.ended)
    for found, names in ((latest, LATEST_CLASSES), (leading, METADATA_CLASSES), (fetches, FETCH_CLASSES)):
        if not found:
            findings.not_checked.extend(names)
    for field, name in (("hw", "hw-regression"), ("lso", "lso-regression")):
        _regressions(latest, field, name, findings)
    _log_starts(latest, findings)
    _epochs(leading, findings)
    _leaders(leading, {sample.node for sample in samples}, findings)
    _past_high_watermark(fetches, latest, findings, at_once=case.options.looks_once)


def _regressions(samples: list[Sample], field: str, name: str, findings: Findings) -> None:
    """Compare each answer with the highest one of its own or a lower epoch that had ended when it began."""
    by_place: dict[tuple[Any, Any], list[Sample]] = {}
    for sample in samples:
        if isinstance(sample.value.get(field), int):
            by_place.setdefault(sample.place, []).append(sample)
    zombies = 0
    for (key, _), answers in by_place.items():
        best: dict[tuple[int, str], Sample] = {}
        ended, newest, highest = 0, -1, -1
        by_end = sorted(answers, key=lambda s: s.ended)
        for sample in sorted(answers, key=lambda s: s.begun):
            while ended < len(by_end) and by_end[ended].ended < sample.begun:
                done = by_end[ended]
                group = (int(done.value["epoch"]), done.node)
                if group not in best or done.value[field] > best[group].value[field]:
                    best[group] = done
                newest, highest = max(newest, group[0]), max(highest, done.value[field])
                ended += 1
            epoch = int(sample.value["epoch"])
            zombies += newest > epoch
            if sample.value[field] >= highest:
                continue  # what most answers are
            before = [
                earlier
                for (other, node), earlier in best.items()
                if other < epoch or (other == epoch and node == sample.node)
            ]
            top = max(before, key=lambda s: int(s.value[field]), default=None)
            if top is not None and sample.value[field] < top.value[field]:
                findings.add(
                    name,
                    [top.index, sample.index],
                    f"{top.node} (epoch {top.value['epoch']}) answered {field} {top.value[field]} for {key} in op "
                    f"{top.index}; later {sample.node} (epoch {epoch}) answered {sample.value[field]} in op "
                    f"{sample.index}.",
                    key=key,
                    values=[top.value[field], sample.value[field]],
                )
    if zombies and field == "hw":
        findings.notes.append(f"{zombies} answers came from leaders that had been deposed (legal: Kafka has no lease).")


def _log_starts(samples: list[Sample], findings: Findings) -> None:
    """The same leader epoch must not answer a lower earliest offset."""
    highest: dict[tuple[Any, Any, int], Sample] = {}
    for sample in samples:
        start = sample.value.get("log-start")
        if not isinstance(start, int):
            continue
        group = (*sample.place, int(sample.value["epoch"]))
        top = highest.get(group)
        if top is not None and top.ended < sample.begun and start < top.value["log-start"]:
            findings.add(
                "log-start-regression",
                [top.index, sample.index],
                f"In epoch {group[2]} of {group[0]}, op {top.index} answered log start {top.value['log-start']} "
                "and later op "
                f"{sample.index} answered {start}.",
                key=group[0],
            )
        if top is None or start > top.value["log-start"]:
            highest[group] = sample


def _epochs(samples: list[Sample], findings: Findings) -> None:
    """One node's answers about one topic incarnation never fall in epoch; it may know of one before it leads in it."""
    highest: dict[tuple[Any, ...], Sample] = {}
    for sample in samples:
        group = (*sample.place, sample.node, sample.value["api"])
        top = highest.get(group)
        if top is not None and top.ended < sample.begun and sample.value["epoch"] < top.value["epoch"]:
            findings.add(
                "epoch-regression",
                [top.index, sample.index],
                f"{sample.node} knew epoch {top.value['epoch']} of {group[0]} in op {top.index} and fell back to "
                f"{sample.value['epoch']} in op {sample.index}.",
                key=group[0],
            )
        if top is None or sample.value["epoch"] > top.value["epoch"]:
            highest[group] = sample


def _leaders(samples: list[Sample], nodes: set[str], findings: Findings) -> None:
    """One (topic, partition, epoch) has one leader, which is a node or, in some foreign histories, a node's number."""
    leader: dict[tuple[Any, ...], tuple[Any, Sample]] = {}
    for sample in samples:
        named = sample.node if sample.value["api"] == LATEST else sample.value.get("leader")
        if named is None:
            continue
        group = (*sample.place, int(sample.value["epoch"]), named in nodes)
        other, first = leader.setdefault(group, (named, sample))
        if other != named:
            findings.add(
                "two-leaders",
                [first.index, sample.index],
                f"Epoch {group[2]} of {group[0]} is led by {other} (op {first.index}) and by {named} (op "
                f"{sample.index}).",
                key=group[0],
            )


def _past_high_watermark(fetches: list[Sample], latest: list[Sample], findings: Findings, *, at_once: bool) -> None:
    """No Fetch answer reaches the watermark of its time (RC: the LSO); at_once: that is the one which it names."""
    answers = {name: _Answers(latest, name) for name in ("hw", "lso")}
    for sample in fetches:
        name = "lso" if sample.value.get("isolation") == "read_committed" else "hw"
        bound, last = sample.value.get(name), sample.value.get("last-offset")
        if not isinstance(bound, int) or not isinstance(last, int) or last < bound:
            continue
        proof = sample if at_once else _not_there_yet(sample, answers[name], last)
        if proof is not None:
            later = "" if at_once else f"; asked later (op {proof.index}), it had not come past {last}"
            findings.add(
                "read-past-hw",
                [sample.index, proof.index],
                f"One Fetch answer of {sample.node} for {sample.value.get('key')} holds offset {last} and says {name} "
                f"{bound}{later}.",
                key=sample.value.get("key"),
            )


class _Answers:
    """What leaders said of a watermark, by node, partition and epoch, in order of their answers."""

    def __init__(self, samples: list[Sample], name: str) -> None:
        self._name = name
        by_leader: dict[tuple[Any, ...], list[Sample]] = {}
        for sample in samples:
            if isinstance(sample.value.get(name), int):
                by_leader.setdefault((sample.node, *sample.place, sample.value["epoch"]), []).append(sample)
        self._by_leader = {
            leader: (of, list(accumulate((s.value[name] for s in reversed(of)), min))[::-1])
            for leader, of in by_leader.items()
        }

    def first(self, fetch: Sample, last: int) -> Sample | None:
        """Return the first answer of who answered a fetch, asked for after that, that had not passed an offset."""
        leader = fetch.node, *fetch.place, fetch.value.get("epoch")
        answers, lowest = self._by_leader.get(leader, ([], []))
        at = bisect_right(answers, fetch.ended, key=lambda sample: sample.ended)
        while at < len(answers) and lowest[at] <= last:
            if answers[at].begun > fetch.ended and answers[at].value[self._name] <= last:
                return answers[at]
            at += 1
        return None


def _not_there_yet(fetch: Sample, answers: _Answers, last: int) -> Sample | None:
    """Return a later answer of the node by which the watermark had not passed an offset. None where there is none."""
    again, epoch = fetch.value.get("again"), fetch.value.get("epoch")
    if isinstance(again, int) and again <= last:
        return fetch
    return answers.first(fetch, last) if isinstance(epoch, int) else None
