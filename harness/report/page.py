"""The report's content as plain text values, ready for the template: no markup, no layout, nothing foreign unescaped.

Everything a reader sees without JavaScript is made here; what the charts draw is in `harness.report.bundle` and in
`facts` (see `drawn_facts`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.report import command, words
from harness.report.bundle import Bundle
from harness.report.cards import cards
from harness.report.columns import OUTCOMES, Calls
from harness.report.faults import FaultRow, Phase, told
from harness.report.judged import Judged, classes_judged
from harness.report.leaders import NOBODY, UNKNOWN, Segment
from harness.report.order import Locator
from harness.report.proof import Evidence
from harness.report.times import NS, seconds, took
from harness.scenario import Scenario

MAX_VALUE_CHARS = 2_000_000
"""Text of values that travel for the timeline, before compression."""
_OPTION = re.compile(r"(--[a-z-]+(?: \d+)?)")
"""An option with its value: no line ends within it. The split of a text has them at odd places."""
NOBODY_LEADS, NOT_KNOWN = -1, -2


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Everything that was read."""

    name: str
    began: str
    scenario: Scenario | None
    cluster: Mapping[str, Any]
    judged: Judged
    calls: Calls
    end: int
    faults: Sequence[FaultRow]
    phases: Sequence[Phase]
    lanes: Mapping[str, Sequence[Segment]]
    evidence: Evidence
    locator: Locator
    workload: str
    """What the checkers took it for: `kafka`, `list-append`, a model; "" if nobody knows."""
    notes: Sequence[str] = field(default_factory=list)


def content(source: Source) -> dict[str, Any]:
    """Return the template's values."""
    judged, scenario = source.judged, source.scenario
    word = words.verdict_word(judged.valid)
    sentence = words.headline(word, judged.anomalies, (), len(source.faults))
    return {
        "name": source.name,
        "began": source.began,
        "word": word,
        "sentence": sentence,
        "reasons": judged.reasons if judged.verdict else judged.notes,
        "advice": _OPTION.split(judged.advice(scenario)),
        "config": _configuration(source),
        "figures": _figures(source),
        "cards": cards(judged, source.evidence, source.locator),
        "kinds": _kinds(source.calls),
        "outages": _outages(judged),
        "checked": judged.silent(classes_judged(source.workload)) if judged.verdict else (),
        "allowed": [
            {
                "name": name,
                "count": words.counted(int(entry.get("count", 1)), "time", "times"),
                "why": words.meaning(name).title,
            }
            for name, entry in judged.allowed.items()
        ],
        "not_checked": judged.not_checked_because if judged.verdict else ("everything: there is no verdict",),
        "models": words.models_text(judged.verdict.get("models")),
        "notes": [*(judged.notes if judged.verdict else ()), *source.notes],
        "faults": [_fault(fault, source) for fault in source.faults],
        "command": command.repeat_parts(scenario) if scenario else (),
        "settings": command.settings(scenario) if scenario else (),
        "cluster": [(str(name), told(value)) for name, value in source.cluster.items() if name != "handles"],
    }


def _configuration(source: Source) -> list[str]:
    scenario, cluster = source.scenario, source.cluster
    if scenario is None:
        return ["a history from elsewhere", *([f"judged as {source.workload}"] if source.workload else [])]
    parts = [
        *_system(scenario, cluster),
        f"workload {scenario.workload}",
        *([f"{scenario.app_instances} of {scenario.app}", scenario.app_guarantee] if scenario.app else []),
        *([f"from {', '.join(scenario.app_input)} to {', '.join(scenario.app_output)}"] if scenario.app_input else []),
        f"nemesis {scenario.nemesis}",
        f"{words.counted(scenario.topics, 'topic', 'topics')} of {scenario.partitions} partitions",
        f"RF {scenario.replication}",
        f"min ISR {scenario.min_isr}",
        f"acks={scenario.acks}",
        "idempotent" if scenario.idempotence else "not idempotent",
        scenario.isolation,
        " and ".join(scenario.sub_via),
        *([f"codec {scenario.compression}"] if scenario.compression != "none" else []),
        *([f"values of {scenario.value_size} bytes"] if scenario.value_size != "0" else []),
        *(f"{key}={value}" for key, value in scenario.topic_config.items()),
        *(f"{key}={value}" for key, value in scenario.broker_config.items()),
    ]
    if scenario.bug:
        parts.append(f"planted bug {scenario.bug}")
    if client := cluster.get("client"):
        parts.insert(1, str(client))
    return [*parts, f"seed {scenario.seed}"]


def _system(scenario: Scenario, cluster: Mapping[str, Any]) -> list[str]:
    """Return what is under test; of a cluster that somebody else runs nobody told what it is made of."""
    if scenario.bootstrap:
        return [f"the cluster at {scenario.bootstrap}"]
    version = cluster.get("version") or scenario.kafka_version
    if scenario.upgrade_to:
        version = f"{version}, brought to {scenario.upgrade_to} and back"
    system = f"Apache Kafka {version}" if scenario.cluster in {"jvm", "compose"} else "the harness's own broker"
    roles = "combined roles"
    if scenario.controllers:
        roles = words.counted(scenario.controllers, "separate controller", "separate controllers")
    return [system, f"{scenario.cluster}, {words.counted(scenario.nodes, 'node', 'nodes')}, {roles}"]


def _figures(source: Source) -> list[dict[str, str]]:
    calls = source.calls
    by_outcome = {name: int((calls.outcome == code).sum()) for code, name in enumerate(OUTCOMES)}
    figures = [
        {
            "label": "Operations",
            "value": f"{len(calls):,}",
            "note": f"{by_outcome['ok']:,} ok, {by_outcome['info']:,} info, {by_outcome['fail']:,} fail",
        }
    ]
    if "txn" in calls.kinds:
        of_txn = calls.kind == list(calls.kinds).index("txn")
        committed = int((of_txn & (calls.outcome == OUTCOMES.index("ok"))).sum())
        figures.append(
            {"label": "Committed", "value": f"{committed:,}", "note": f"of {int(of_txn.sum()):,} transactions"}
        )
    if source.faults:
        bit = sum(fault.bit is True for fault in source.faults)
        kinds = ", ".join(dict.fromkeys(fault.name for fault in source.faults))
        figures.append({"label": "Faults that bit", "value": f"{bit} of {len(source.faults)}", "note": kinds})
    outages = _outages(source.judged)
    if outages:
        figures.append({"label": "Longest outage", "value": outages[0]["length"], "note": f"of {outages[0]['kind']}"})
    lag = source.judged.lag(source.scenario)
    if lag.get("lag"):
        note = f"process {lag['process']} on {lag['key']}"
        figures.append({"label": "Worst lag", "value": took(int(lag["lag"])), "note": note})
    if source.end:
        figures.append({"label": "Duration", "value": took(source.end), "note": ""})
    return figures


def _outages(judged: Judged) -> list[dict[str, str]]:
    ordered = sorted(judged.availability.items(), key=lambda item: -float(item[1].get("longest-outage-s", 0)))
    return [
        {
            "kind": kind,
            "length": took(float(entry.get("longest-outage-s", 0)) * NS),
            "when": f"{seconds(entry.get('from-ns', 0))} to {seconds(entry.get('to-ns', 0))}",
        }
        for kind, entry in ordered
    ]


def _kinds(calls: Calls) -> list[dict[str, Any]]:
    rows = []
    for code, kind in enumerate(calls.kinds):
        counts = np.bincount(calls.outcome[calls.kind == code], minlength=len(OUTCOMES))
        rows.append({"kind": kind} | {name: int(counts[number]) for number, name in enumerate(OUTCOMES)})
    return sorted(rows, key=lambda row: -sum(row[name] for name in OUTCOMES))


def _fault(fault: FaultRow, source: Source) -> dict[str, Any]:
    heals = fault.heals if fault.heals is not None else source.end
    span = max(heals - fault.begins, NS // 2)
    recovered = source.judged.recovery.get(fault.id, {})
    known = {kind: after for kind, after in recovered.items() if after is not None}
    slowest = max(known, key=lambda kind: known[kind], default=None)
    return {
        "number": fault.id,
        "name": fault.name,
        "where": ", ".join(fault.nodes) or "the cluster",
        "aim": ", ".join(fault.keys),
        "window": f"{seconds(fault.begins)} to " + (seconds(heals) if fault.heals is not None else "the end"),
        "zoom_from": f"{max(0, fault.begins - span * 0.4) / NS:.6f}",
        "zoom_to": f"{(heals + span * 0.6) / NS:.6f}",
        "bit": {True: "bit", False: "missed", None: "not said"}[fault.bit],
        "bit_class": {True: "yes", False: "no", None: "unsaid"}[fault.bit],
        "evidence": [(label(name), told(value)) for name, value in fault.evidence.items()],
        "healing": [(label(name), told(value)) for name, value in fault.heal_evidence.items()],
        "error": fault.error,
        "recovered": "not seen" if slowest is None else took(known[slowest] * NS),
        "slowest": slowest or "",
    }


def label(name: object) -> str:
    """Return the name of a piece of evidence in words."""
    return str(name).replace("-", " ").replace("_", " ")


def drawn_facts(source: Source, bundle: Bundle) -> dict[str, Any]:
    """Return what the page's scripts draw beside the calls; times in seconds."""
    nodes = sorted({segment.leader for lane in source.lanes.values() for segment in lane} - {NOBODY, UNKNOWN})
    number = {name: place for place, name in enumerate(nodes)} | {NOBODY: NOBODY_LEADS, UNKNOWN: NOT_KNOWN}
    return {
        "end": source.end / NS,
        "calls": bundle.meta,
        "phases": [[phase.name, phase.begins / NS] for phase in source.phases],
        "faults": [_drawn_fault(fault, source.end) for fault in source.faults],
        "leaders": {
            "nodes": nodes,
            "lanes": [
                {
                    "key": key,
                    "isr": max((segment.isr or 0 for segment in lane), default=0),
                    "segments": [[s.begins / NS, number[s.leader], s.epoch, s.isr] for s in lane],
                }
                for key, lane in source.lanes.items()
            ],
        },
        "values": _values(source.evidence),
    }


def _values(evidence: Evidence) -> dict[str, Any]:
    """Return index -> effects of the calls around the quoted ones, within the bound."""
    values: dict[str, Any] = {}
    spent = 0
    for index, row in evidence.valued.items():
        effects = [[effect.verb, effect.key, [text for text, _ in effect.pieces]] for effect in row.effects]
        spent += sum(len(text) for _, _, texts in effects for text in texts)
        if spent > MAX_VALUE_CHARS:
            break
        values[str(index)] = effects
    return values


def _drawn_fault(fault: FaultRow, end: int) -> dict[str, Any]:
    heals = fault.heals if fault.heals is not None else end
    return {
        "name": fault.name,
        "nodes": fault.nodes,
        "keys": fault.keys,
        "bit": fault.bit,
        "aimed": fault.aimed / NS,
        "begins": fault.begins / NS,
        "heals": heals / NS,
        "healed": (fault.healed if fault.healed is not None else heals) / NS,
    }
