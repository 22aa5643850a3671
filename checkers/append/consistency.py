"""Consistency models: what each rules out, which are stronger than which (Adya 1999; Bailis et al. 2013; Elle).

An anomaly violates the models listed for it and every stronger one. A finding is told if it is among the anomalies
that were asked for, or implies one of them (a write cycle is also a cycle of information flow).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

WEAKER: Mapping[str, tuple[str, ...]] = {
    "read-uncommitted": (),
    "read-committed": ("read-uncommitted",),
    "cursor-stability": ("read-committed",),
    "monotonic-view": ("read-committed",),
    "monotonic-snapshot-read": ("read-committed",),
    "monotonic-atomic-view": ("read-committed",),
    "read-atomic": ("monotonic-atomic-view",),
    "causal-cerone": ("read-atomic",),
    "prefix": ("causal-cerone",),
    "update-atomic": ("read-atomic",),
    "parallel-snapshot-isolation": ("causal-cerone", "update-atomic"),
    "consistent-view": ("cursor-stability", "monotonic-view"),
    "forward-consistent-view": ("consistent-view",),
    "update-serializable": ("forward-consistent-view",),
    "repeatable-read": ("cursor-stability", "monotonic-atomic-view"),
    "snapshot-isolation": (
        "forward-consistent-view",
        "monotonic-snapshot-read",
        "parallel-snapshot-isolation",
        "prefix",
    ),
    "serializable": ("repeatable-read", "snapshot-isolation", "update-serializable"),
    "strong-session-read-uncommitted": ("read-uncommitted",),
    "strong-read-uncommitted": ("strong-session-read-uncommitted",),
    "strong-session-read-committed": ("read-committed", "strong-session-read-uncommitted"),
    "strong-read-committed": ("strong-session-read-committed", "strong-read-uncommitted"),
    "strong-session-snapshot-isolation": ("snapshot-isolation", "strong-session-read-committed"),
    "strong-snapshot-isolation": ("strong-session-snapshot-isolation", "strong-read-committed"),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "strong-serializable": ("strong-session-serializable", "strong-snapshot-isolation"),
}
"""Model -> the models directly below it."""

ALIASES: Mapping[str, str] = {"strict-serializable": "strong-serializable"}
DEFAULT_MODEL = "strong-serializable"

_READ_COMMITTED = ("read-committed",)
VIOLATES: Mapping[str, tuple[str, ...]] = {
    "G0": ("read-uncommitted",),
    "internal": ("read-uncommitted",),
    "duplicate-elements": ("read-uncommitted",),
    "G1a": _READ_COMMITTED,
    "G1b": _READ_COMMITTED,
    "G1c": _READ_COMMITTED,
    "dirty-update": _READ_COMMITTED,
    "incompatible-order": _READ_COMMITTED,
    "future-read": _READ_COMMITTED,
    "phantom-read": _READ_COMMITTED,
    "lost-update": ("cursor-stability", "update-atomic"),
    "G-single-item": ("consistent-view", "repeatable-read"),
    "G-nonadjacent-item": ("repeatable-read", "snapshot-isolation"),
    "G2-item": ("repeatable-read",),
    "G0-process": ("strong-session-read-uncommitted",),
    "G1c-process": ("strong-session-read-committed",),
    "G-single-item-process": ("strong-session-snapshot-isolation",),
    "G-nonadjacent-item-process": ("strong-session-snapshot-isolation",),
    "G2-item-process": ("strong-session-serializable",),
    "G0-realtime": ("strong-read-uncommitted",),
    "G1c-realtime": ("strong-read-committed",),
    "G-single-item-realtime": ("strong-snapshot-isolation",),
    "G-nonadjacent-item-realtime": ("strong-snapshot-isolation",),
    "G2-item-realtime": ("strong-serializable",),
}
"""Anomaly -> the weakest models that it rules out."""

_TOUCHES: Mapping[str, tuple[str, ...]] = {
    "consistent-view": ("cursor-stability", "monotonic-view", "monotonic-snapshot-read", "monotonic-atomic-view"),
    "snapshot-isolation": ("prefix", "update-serializable"),
    "repeatable-read": ("update-serializable",),
}
"""A model that is ruled out -> others that the same cycle may break, which depends on its objects and on the order of
its reads (half a transaction seen breaks atomic views, a lost update does not; Adya 1999, Cerone et al. 2015).
Elle does not look, so they are not told as ruled out, but neither as left."""

ALWAYS_TOLD = frozenset({"incompatible-order", "duplicate-elements", "phantom-read"})
"""The history itself makes no sense: told whatever was asked for."""

_IMPLIES: Mapping[str, tuple[str, ...]] = {
    "G0": ("G1c", "G0-process"),
    "G0-process": ("G1c-process", "G0-realtime"),
    "G0-realtime": ("G1c-realtime",),
    "G1a": ("G1",),
    "G1b": ("G1",),
    "G1c": ("G1", "G1c-process"),
    "G1c-process": ("G1c-realtime",),
    "G-single-item": ("G-single", "G-nonadjacent-item", "G-single-item-process"),
    "G-single-item-process": ("G-nonadjacent-item-process", "G-single-item-realtime"),
    "G-single-item-realtime": ("G-nonadjacent-item-realtime",),
    "G-nonadjacent-item": ("G-nonadjacent", "G2-item", "G-nonadjacent-item-process"),
    "G-nonadjacent-item-process": ("G2-item-process", "G-nonadjacent-item-realtime"),
    "G-nonadjacent-item-realtime": ("G2-item-realtime",),
    "G2-item": ("G2", "G2-item-process"),
    "G2-item-process": ("G2-item-realtime",),
    "G-single": ("G2",),
    "G-nonadjacent": ("G2",),
}

GENERAL = frozenset(name for names in _IMPLIES.values() for name in names) - VIOLATES.keys()
"""Names that stand for several anomalies: G1, G2, ..."""


def wanted(models: Iterable[str], anomalies: Iterable[str]) -> frozenset[str]:
    """Return the anomalies to tell for models and anomalies asked for; KeyError names a model that doesn't exist."""
    asked = set(anomalies)
    for model in models:
        below = _down(ALIASES.get(model, model))
        asked |= {anomaly for anomaly, violated in VIOLATES.items() if below & set(violated)}
    return ALWAYS_TOLD | {anomaly for anomaly in VIOLATES if _implied(anomaly) & asked}


def ruled_out(anomalies: Iterable[str]) -> dict[str, list[str]]:
    """Return {"not": the weakest models that the anomalies rule out, "also-not": all stronger ones}."""
    out = models_of(anomalies)
    weakest = {model for model in out if not (_down(model) - {model}) & out}
    return {"not": sorted(weakest), "also-not": sorted(out - weakest)}


def models_of(anomalies: Iterable[str]) -> set[str]:
    """Return all models that the anomalies rule out."""
    direct = {model for anomaly in anomalies for model in VIOLATES.get(anomaly, ())}
    return {model for model in WEAKER if _down(model) & direct}


def strongest_left(out: Iterable[str]) -> list[str]:
    """Return the strongest models that nothing found touches, by the models that are ruled out."""
    gone = set(out)
    touched = gone | {model for one in gone for model in _TOUCHES.get(one, ())}
    left = {model for model in WEAKER if not _down(model) & touched}
    return sorted(model for model in left if not any(model in WEAKER[above] for above in left))


def _down(model: str) -> set[str]:
    """Return the model and all weaker ones."""
    reached, todo = {model}, [model]
    while todo:
        for weaker in WEAKER[todo.pop()]:
            if weaker not in reached:
                reached.add(weaker)
                todo.append(weaker)
    return reached


def _implied(anomaly: str) -> set[str]:
    reached, todo = {anomaly}, [anomaly]
    while todo:
        for weaker in _IMPLIES.get(todo.pop(), ()):
            if weaker not in reached:
                reached.add(weaker)
                todo.append(weaker)
    return reached
