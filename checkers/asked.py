"""What a judgement may be asked for: a name that nobody knows would find nothing, and pass for valid."""

from __future__ import annotations

from collections.abc import Collection

from checkers.append.check import LIST_APPEND
from checkers.append.consistency import ALIASES, GENERAL, VIOLATES, WEAKER
from checkers.catalog import ORDER
from checkers.findings import Findings
from checkers.linear.check import CLASS
from checkers.linear.model import MODELS
from checkers.options import KAFKA, CheckOptions
from checkers.queue import NEVER_CHECKED
from harness.history import HistoryError

EMPTY = "empty-transaction-graph"


def demand_known(options: CheckOptions, *, own_model: bool = False) -> None:
    """Raise HistoryError where the options name a workload, a class or a consistency model that there is not."""
    workload = options.workload
    if not own_model and workload not in {KAFKA, LIST_APPEND, *MODELS}:
        raise HistoryError(f"unknown workload {workload!r}: there are {', '.join((KAFKA, LIST_APPEND, *MODELS))}")
    known: Collection[str] = (CLASS,)
    if workload == KAFKA and not own_model:
        known = (*ORDER, EMPTY, *NEVER_CHECKED)
    elif workload == LIST_APPEND and not own_model:
        known = (*VIOLATES, *GENERAL)
    for name in options.anomalies:
        if name not in known:
            judged = "a model of one's own" if own_model else workload
            raise HistoryError(f"unknown anomaly {name!r} (--anomalies): {judged} is judged for {', '.join(known)}")
    model = options.consistency_model
    if model is None:
        return
    if ALIASES.get(model, model) not in WEAKER:
        raise HistoryError(f"unknown consistency model {model!r}: there are {', '.join((*ALIASES, *WEAKER))}")
    if workload != LIST_APPEND or own_model:
        raise HistoryError(f"--consistency-model {model}: only --workload {LIST_APPEND} is judged by one")


def nothing_looked_at(options: CheckOptions, findings: Findings) -> None:
    """Call a judgement vacuous that was asked only for classes for which the history holds no evidence."""
    if options.anomalies and set(options.anomalies) <= set(findings.not_checked):
        findings.vacuous.append(
            f"Only {', '.join(options.anomalies)} was asked for, and the history holds no evidence for it."
        )
