"""One run as lists of runs tell it: JUnit XML, the step summary, the index page.

A digest is made from a run's folder, or from a row of soak.jsonl whose folder may be gone by then. A run without a
verdict is a failure of the harness and is never told as a failure of the system under test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import store
from harness.report import words
from harness.report.command import repeat_command
from harness.report.judged import Judged, last_words, read_verdict
from harness.scenario import Scenario

Told = Path | Mapping[str, Any]
"""A run's folder, or a row of soak.jsonl (`harness.soak.soak.Row`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What is told of one run."""

    name: str
    """nemesis, workload and cluster: what tells it from its neighbours, with the seed."""
    word: words.VerdictWord
    sentence: str
    workload: str = ""
    cluster: str = ""
    version: str = ""
    """Of Apache Kafka, or its image; of rows alone."""
    nemesis: str = ""
    seed: str = ""
    seconds: float = 0.0
    anomalies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reasons: Sequence[str] = ()
    advice: str = ""
    """What to do about a run that is vacuous; of rows alone."""
    command: str = ""
    folder: str = ""
    """Relative to where the list is written; empty: it is gone, or was never made."""
    has_report: bool = False

    def proofs(self) -> list[str]:
        """Return a line per anomaly, worst first: what happened, what permits it, and the first proof."""
        lines = []
        ordered = sorted(self.anomalies, key=lambda one: words.severity(one, self.anomalies[one].get("permitted-by")))
        for name in ordered:
            entry = self.anomalies[name]
            line = f"{name}: {words.happened(name, int(entry.get('count', 1)))}"
            if permitted := entry.get("permitted-by"):
                line += f" (permitted by {permitted})"
            examples = entry.get("examples")
            first = examples[0] if isinstance(examples, list) and examples else {}
            if isinstance(first, Mapping) and first.get("why"):
                line += f". {first['why']}"
            lines.append(line)
        return lines


def digest(told: Told, base: Path) -> Digest:
    """Return the digest of a run; base: the folder in which the list is written, for relative links."""
    if isinstance(told, Path):
        return _of_folder(told, base)
    return _of_row(told, base)


def _of_folder(folder: Path, base: Path, row: Mapping[str, Any] | None = None) -> Digest:
    known = row or {}
    scenario = _scenario(folder)
    judged = Judged(verdict=read_verdict(folder))
    word = words.verdict_word(judged.valid)
    why = [str(known["why"])] if known.get("why") else last_words(folder)
    reasons = judged.reasons or (why if word == "no verdict" else ())
    return Digest(
        name=_name(scenario, known) or folder.resolve().name,
        word=word,
        sentence=words.headline(word, judged.anomalies, reasons, 0) if word != "valid" else "",
        workload=str(known.get("workload") or (scenario.workload if scenario else "")),
        cluster=str(known.get("cluster") or (scenario.cluster if scenario else "")),
        version=str(known.get("version") or ""),
        advice=str(known.get("advice") or ""),
        nemesis=str(known.get("nemesis") or (scenario.nemesis if scenario else "")),
        seed=str(known.get("seed", scenario.seed if scenario else "")),
        seconds=float(known.get("seconds") or 0.0),
        anomalies=judged.anomalies,
        reasons=reasons,
        command=repeat_command(scenario, folder) if scenario else "",
        folder=_relative(folder, base),
        has_report=(folder / store.REPORT).exists(),
    )


def _of_row(row: Mapping[str, Any], base: Path) -> Digest:
    folder = base / str(row["folder"]) if row.get("folder") else None
    if folder is not None and folder.is_dir():
        return _of_folder(folder, base, row)
    word = words.verdict_word(row.get("valid"))
    why = str(row.get("why") or "")
    named = [name.strip() for name in why.split(",")] if word == "invalid" and why else []
    anomalies: dict[str, Mapping[str, Any]] = {name: {} for name in named}
    reasons = (why,) if why and word != "invalid" else ()
    return Digest(
        name=_name(None, row),
        word=word,
        sentence=words.headline(word, anomalies, reasons, 0) if word != "valid" else "",
        workload=str(row.get("workload", "")),
        cluster=str(row.get("cluster", "")),
        version=str(row.get("version", "")),
        advice=str(row.get("advice", "")),
        nemesis=str(row.get("nemesis", "")),
        seed=str(row.get("seed", "")),
        seconds=float(row.get("seconds") or 0.0),
        anomalies=anomalies,
        reasons=reasons,
    )


def _name(scenario: Scenario | None, row: Mapping[str, Any]) -> str:
    fields = ("workload", "nemesis", "cluster", "seed")
    said = {name: row.get(name, getattr(scenario, name, None)) for name in fields}
    if all(value is None for value in said.values()):
        return ""
    cluster = f"{said['cluster']} {row.get('version', '')}".strip()
    return f"{said['workload']} {said['nemesis']} on {cluster}, seed {said['seed']}"


def _scenario(folder: Path) -> Scenario | None:
    try:
        return store.read_scenario(folder)
    except store.StoreError:
        return None


def _relative(folder: Path, base: Path) -> str:
    try:
        return folder.resolve().relative_to(base.resolve()).as_posix()
    except ValueError:
        return folder.resolve().as_posix()
