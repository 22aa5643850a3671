"""What nodes answered to probes: watermarks, log starts, epochs and leaders over time (R1, R2, T4, S3, E1).

Two answers are compared only if the first *ended before* the second began. A higher watermark that falls counts only
within one (incarnation, node, epoch) or towards a higher epoch: a deposed leader that still answers is a zombie, which
is legal and only counted. Answers of followers and Fetch answers never enter.
"""

from __future__ import annotations

from typing import Any

from checkers.case import Case
from checkers.findings import Findings
from checkers.samples import Sample

LATEST, METADATA = "ListOffsets", "Metadata"
"""Of what is asked: a partition's ends, of its leader; who leads it, of any node."""
LATEST_CLASSES = ("hw-regression", "lso-regression", "log-start-regression")
METADATA_CLASSES = ("epoch-regression", "two-leaders")
FETCH_CLASSES = ("read-past-hw",)


def probes(case: Case, findings: Findings) -> None:
    """Judge all probe classes; those without a sample are not checked."""
    samples = case.samples
    latest = [s for s in samples if s.value.get("api") == LATEST and isinstance(s.value.get("epoch"), int)]
    metadata = [s for s in samples if s.value.get("api") == METADATA and isinstance(s.value.get("epoch"), int)]
    fetches = [s for s in samples if s.value.get("api") == "Fetch"]
    for found, names in ((latest, LATEST_CLASSES), (metadata, METADATA_CLASSES), (fetches, FETCH_CLASSES)):
        if not found:
            findings.not_checked.extend(names)
    for field, name in (("hw", "hw-regression"), ("lso", "lso-regression")):
        _regressions(latest, field, name, findings)
    _log_starts(latest, findings)
    _epochs(metadata, findings)
    _leaders(metadata, findings)
    _past_high_watermark(fetches, findings)


def _regressions(samples: list[Sample], field: str, name: str, findings: Findings) -> None:
    """Compare each answer with the highest one of its own or a lower epoch that had ended when it began."""
    by_place: dict[tuple[Any, Any], list[Sample]] = {}
    for sample in samples:
        if isinstance(sample.value.get(field), int):
            by_place.setdefault(sample.place, []).append(sample)
    zombies = 0
    for (key, _), answers in by_place.items():
        best: dict[tuple[int, str], Sample] = {}
        ended = 0
        by_end = sorted(answers, key=lambda s: s.ended)
        for sample in sorted(answers, key=lambda s: s.begun):
            while ended < len(by_end) and by_end[ended].ended < sample.begun:
                done = by_end[ended]
                group = (int(done.value["epoch"]), done.node)
                if group not in best or done.value[field] > best[group].value[field]:
                    best[group] = done
                ended += 1
            epoch = int(sample.value["epoch"])
            zombies += any(other > epoch for other, _ in best)
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
    """One node's answers about one topic incarnation never fall in epoch."""
    highest: dict[tuple[Any, Any, str], Sample] = {}
    for sample in samples:
        group = (*sample.place, sample.node)
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


def _leaders(samples: list[Sample], findings: Findings) -> None:
    """One (topic, partition, epoch) has one leader."""
    leader: dict[tuple[Any, Any, int], Sample] = {}
    for sample in samples:
        if sample.value.get("leader") is None:
            continue
        group = (*sample.place, int(sample.value["epoch"]))
        first = leader.setdefault(group, sample)
        if first.value["leader"] != sample.value["leader"]:
            findings.add(
                "two-leaders",
                [first.index, sample.index],
                f"Epoch {group[2]} of {group[0]} is led by {first.value['leader']} (op {first.index}) and by "
                f"{sample.value['leader']} (op {sample.index}).",
                key=group[0],
            )


def _past_high_watermark(samples: list[Sample], findings: Findings) -> None:
    """No batch of a Fetch answer reaches the watermark that the same answer names (read_committed: the LSO)."""
    for sample in samples:
        bound_name = "lso" if sample.value.get("isolation") == "read_committed" else "hw"
        bound, last = sample.value.get(bound_name), sample.value.get("last-offset")
        if isinstance(bound, int) and isinstance(last, int) and last >= bound:
            findings.add(
                "read-past-hw",
                [sample.index],
                f"One Fetch answer of {sample.node} for {sample.value.get('key')} holds offset {last} and says "
                f"{bound_name} "
                f"{bound}.",
                key=sample.value.get("key"),
            )
