"""The door to list-append: a history in, findings and the models that they rule out."""

from __future__ import annotations

from collections.abc import Iterable

from checkers.append.consistency import ALWAYS_TOLD, DEFAULT_MODEL, VIOLATES, ruled_out, wanted
from checkers.append.cycles import cycles
from checkers.append.dependencies import dependencies
from checkers.append.direct import dirty_updates, internal, lost_updates, reads_of_the_uncommitted, version_orders
from checkers.append.history import Appends, build_appends
from checkers.findings import Findings
from checkers.options import CheckOptions
from checkers.source import Lines
from checkers.verdict import Anomaly

LIST_APPEND = "list-append"
_PLACES = {name: place for place, name in enumerate(VIOLATES)}


def check_appends(
    blocks: Iterable[Lines], name: str, options: CheckOptions, findings: Findings
) -> tuple[Appends, list[Anomaly], dict[str, list[str]]]:
    """Judge a list-append history; return it, the anomalies asked for, and the models that are ruled out."""
    asked = asked_for(options)
    history = build_appends(blocks, name)
    return history, *judge_appends(history, asked, findings)


def asked_for(options: CheckOptions) -> frozenset[str]:
    """Return the names of the anomalies that the options ask for."""
    models = [options.consistency_model] if options.consistency_model else []
    if not models and not options.anomalies:
        models = [DEFAULT_MODEL]
    return frozenset(wanted(models, options.anomalies))


def _place(anomaly: Anomaly) -> tuple[bool, int]:
    """Root causes first: what makes no sense at all, then what rules out the weakest models."""
    return anomaly.name not in ALWAYS_TOLD, _PLACES.get(anomaly.name, len(_PLACES))


def judge_appends(
    history: Appends, asked: frozenset[str], findings: Findings
) -> tuple[list[Anomaly], dict[str, list[str]]]:
    """Judge a history that is loaded; return the anomalies among those asked for, and the models ruled out."""
    for key, elements in history.repeated.items():
        findings.reasons.append(
            f"{elements[0]!r} is appended to {key} twice: elements must be unique to be told apart, and {key} is "
            "not judged."
        )
    if history.repeated:
        history.forget(history.repeated)
    if not history.reads:
        findings.notes.append("No read succeeded: nothing was observed that could be wrong.")
    if history.backwards is not None:
        findings.reasons.append(f"{history.backwards}: judged in the order of the file, which can't be trusted.")
    internal(history, findings)
    orders = version_orders(history, findings)
    reads_of_the_uncommitted(history, orders, findings)
    dirty_updates(history, orders, findings)
    lost_updates(history, findings)
    edges, reasons = dependencies(history, orders)
    related = cycles(history, edges, reasons, asked, findings)
    everything = findings.anomalies()
    told = sorted((anomaly for anomaly in everything if anomaly.name in asked), key=_place)
    if not related:
        findings.reasons.append("No transaction depends on another one: there is nothing to judge.")
    out = ruled_out(anomaly.name for anomaly in everything) if told or not related else {"not": [], "also-not": []}
    return told, out
