"""The judgement: the verdict with its proofs, and what the report tells beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from checkers.evidence import because
from checkers.verdict import Anomaly, Validity


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The result of judging one history. Plain data: everything in it can be written as JSON."""

    validity: Validity
    anomalies: tuple[Anomaly, ...]
    """What invalidates, root causes first."""
    allowed: tuple[Anomaly, ...]
    """What was found but is legal for Kafka under these options."""
    not_checked: tuple[str, ...]
    """Classes without evidence in this history."""
    models: dict[str, list[str]]
    """Consistency models ruled out: {"not": [...], "also-not": [...]}."""
    ops: int
    """Rows of the history."""
    seconds: float
    reasons: tuple[str, ...] = ()
    """Why it is vacuous or unknown, one sentence each."""
    stats: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per operation kind: count, ok, fail, info."""
    availability: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per operation kind: longest-outage-s, from-ns, to-ns, ok (in the main phase)."""
    faults: list[dict[str, Any]] = field(default_factory=list)
    """Per injection: fault-id, name, injected-op, healed-op, begin-ns, end-ns, healed-ns, bit, expects, keys, nodes,
    ok-inside {kind: n}, first-ok-after-s {kind: seconds or None}."""
    warnings: tuple[str, ...] = ()
    """A torn last line, injections that missed, ..."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Measures that are no anomalies: realtime-lag, version orders, ..."""

    def verdict_json(self) -> dict[str, Any]:
        """Return the verdict as HISTORY.md fixes it, plus "reasons" and "not-checked-because"."""
        return {
            "valid": self.validity.wire,
            "anomalies": {anomaly.name: anomaly_json(anomaly) for anomaly in self.anomalies},
            "allowed": {anomaly.name: anomaly_json(anomaly) for anomaly in self.allowed},
            "not-checked": list(self.not_checked),
            "models": self.models,
            "ops": self.ops,
            "seconds": self.seconds,
            "reasons": list(self.reasons),
            "not-checked-because": because(self.not_checked),
        }


def anomaly_json(anomaly: Anomaly) -> dict[str, Any]:
    """Return one class as the verdict's JSON has it: an example's details stand beside `ops` and `why`."""
    out: dict[str, Any] = {
        "count": anomaly.count,
        "examples": [{**example.details, "ops": example.ops, "why": example.why} for example in anomaly.examples],
    }
    if anomaly.permitted_by is not None:
        out["permitted-by"] = anomaly.permitted_by
    return out
