"""A verdict with what is told beside it, from a `Judgement` at hand or from what a run's folder keeps.

verdict.json is what the run said and stays the verdict; a judgement that is handed over replaces it (a better checker
of today). Facts that verdict.json doesn't keep (outages, recovery) are measured again from the history. Where the
history can't be judged they are left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from checkers.catalog import ORDER
from checkers.judge import judge
from checkers.judgement import Judgement
from checkers.options import KAFKA, CheckOptions, options_of_scenario
from harness import store
from harness.history import HistoryError
from harness.report.advice import advice
from harness.scenario import Scenario

MAX_LAST_WORDS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the report tells of a judgement."""

    verdict: Mapping[str, Any]
    """As verdict.json; empty: the harness failed before there was one."""
    availability: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Per kind: longest-outage-s, from-ns, to-ns, ok."""
    recovery: Mapping[Any, Mapping[str, float | None]] = field(default_factory=dict)
    """Per fault-id and kind: seconds from the heal to the first ok; None: never."""
    worst_lag: Mapping[str, Any] = field(default_factory=dict)
    """{time, process, key, lag} in ns of the poll that lagged most behind what was known to exist (realtime-lag)."""
    faults: Sequence[Mapping[str, Any]] = ()
    """As `checkers.judgement.Judgement` has them."""
    notes: Sequence[str] = ()

    @property
    def valid(self) -> object:
        """Return the value of "valid"; None where there is no verdict."""
        return self.verdict.get("valid")

    @property
    def anomalies(self) -> Mapping[str, Mapping[str, Any]]:
        """Return name -> {count, examples, permitted-by?}; anything that has not that shape is left out."""
        return _classes(self.verdict.get("anomalies"))

    @property
    def allowed(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what was found and is legal."""
        return _classes(self.verdict.get("allowed"))

    @property
    def reasons(self) -> Sequence[str]:
        """Return why it is vacuous or unknown."""
        return [str(reason) for reason in self.verdict.get("reasons") or ()]

    def advice(self, scenario: Scenario | None) -> str:
        """Return what to do about a vacuous run; empty where there is nothing to say."""
        if scenario is None or self.valid != "vacuous":
            return ""
        return advice(self.reasons, self.faults, scenario)

    def lag(self, scenario: Scenario | None) -> Mapping[str, Any]:
        """Return the worst lag where it says something; who is assigned partitions begins anew, as late as can be."""
        return {} if scenario is not None and "subscribe" not in scenario.sub_via else self.worst_lag

    @property
    def not_checked(self) -> Sequence[str]:
        """Return what was not checked, a line each."""
        return [str(line) for line in self.verdict.get("not-checked") or ()]

    @property
    def not_checked_because(self) -> Sequence[str]:
        """Return the same, each with what it would need."""
        needs = self.verdict.get("not-checked-because")
        known = needs if isinstance(needs, Mapping) else {}
        return [f"{name}: {known[name]}" if name in known else name for name in self.not_checked]

    def silent(self, classes: Sequence[str]) -> Sequence[str]:
        """Return which of the classes were checked and found nothing."""
        spoken = {*self.anomalies, *self.allowed, *(line.replace(":", " ").split(" ")[0] for line in self.not_checked)}
        return [name for name in classes if name not in spoken]


def _classes(found: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(found, Mapping):
        return {}
    return {str(name): entry for name, entry in found.items() if isinstance(entry, Mapping)}


def from_judgement(judgement: Judgement) -> Judged:
    """Return what a judgement says."""
    return Judged(
        verdict=judgement.verdict_json(),
        availability=judgement.availability,
        recovery={fault.get("fault-id"): fault.get("first-ok-after-s") or {} for fault in judgement.faults},
        worst_lag=judgement.extra.get("worst-realtime-lag") or {},
        faults=judgement.faults,
        notes=judgement.warnings,
    )


def from_folder(folder: Path, scenario: Scenario | None) -> Judged:
    """Return what a run's folder says; without verdict.json there is no verdict, whatever the history holds."""
    verdict = read_verdict(folder)
    if not verdict:
        return Judged(verdict={}, notes=last_words(folder))
    measured = _measure(folder, scenario)
    if measured is None:
        return Judged(verdict=verdict)
    facts = from_judgement(measured)
    return Judged(
        verdict=verdict,
        availability=facts.availability,
        recovery=facts.recovery,
        worst_lag=facts.worst_lag,
        faults=facts.faults,
        notes=facts.notes,
    )


def read_verdict(folder: Path) -> Mapping[str, Any]:
    """Return verdict.json, empty where there is none or it can't be read."""
    try:
        verdict = store.read_json(folder / store.VERDICT)
    except store.StoreError:
        return {}
    return verdict if isinstance(verdict, Mapping) else {}


def last_words(folder: Path) -> Sequence[str]:
    """Return why there may be no verdict: the last line of the harness's own log, if there is one."""
    try:
        lines = (folder / store.LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return (lines[-1][:MAX_LAST_WORDS],) if lines else ()


def _measure(folder: Path, scenario: Scenario | None) -> Judgement | None:
    options = options_of_scenario(msgspec.to_builtins(scenario)) if scenario else CheckOptions()
    try:
        return judge(folder / store.HISTORY, options)
    except HistoryError:
        return None


def classes_judged(workload: str) -> Sequence[str]:
    """Return every class that was judged, in the order of telling; none where the workload has other checkers."""
    return ORDER if workload == KAFKA else ()
