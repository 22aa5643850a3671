"""The door of the checkers: a history in, a judgement out. `harness check` and a run's end both call `judge`.

Malformed input raises HistoryError (with file and line). A checker that crashes gives `unknown` with the reason; it
never hides what another one proved.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

import msgspec

from checkers import availability
from checkers.append.check import LIST_APPEND, check_appends
from checkers.asked import demand_known, nothing_looked_at
from checkers.case import Case
from checkers.catalog import EXCUSED, allowed, place
from checkers.columnar import is_columnar, load
from checkers.findings import Findings
from checkers.judgement import Judgement
from checkers.lag import realtime_lag, worst
from checkers.linear.check import check_model
from checkers.linear.model import Model
from checkers.mapping import IN_TURN, Mapper
from checkers.options import KAFKA, CheckOptions
from checkers.queue import case_of, case_of_view, judge_case
from checkers.source import Lines, lines_of
from checkers.verdict import Validity
from harness.history import HistoryError, Op

__all__ = ["CheckOptions", "Judgement", "judge"]


def judge(
    history: PathLike[str] | str | Iterable[Op],
    options: CheckOptions | None = None,
    mapper: Mapper = IN_TURN,
    *,
    model: Model | None = None,
) -> Judgement:
    """Judge a history: .jsonl[.gz|.zst], .edn, .parquet, .arrow, .feather, a run's folder, or operations in memory.

    `mapper` does what can be done by key; `model` is one of the caller's own, used instead of the workload's checkers.
    """
    options = options or CheckOptions()
    demand_known(options, own_model=model is not None)
    started = time.monotonic()
    warnings: list[str] = []
    with collector_paused():
        if is_columnar(history) and model is None and options.workload == KAFKA:
            assert isinstance(history, PathLike | str)
            view = load(history, options.isolation)
            if view is not None:
                return _judge_queue(case_of_view(view, options), options, warnings, started, mapper)
        blocks, name = lines_of(history, warnings.append)
        if model is not None:
            return _judge_model(blocks, name, options, warnings, started, model)
        if options.workload == LIST_APPEND:
            return _judge_appends(blocks, name, options, warnings, started)
        if options.workload != KAFKA:
            return _judge_model(blocks, name, options, warnings, started, mapper)
        return _judge_queue(case_of(blocks, name, options), options, warnings, started, mapper)


def _judge_appends(
    blocks: Iterable[Lines], name: str, options: CheckOptions, warnings: list[str], started: float
) -> Judgement:
    findings = Findings()
    history, found, models = check_appends(blocks, name, options, findings)
    if not history.rows:
        raise HistoryError(f"{name}: no operations: an empty history can't be judged")
    return Judgement(
        validity=_validity(findings, bool(found)),
        anomalies=tuple(found),
        allowed=(),
        not_checked=tuple(findings.not_checked),
        models=models,
        ops=history.rows,
        seconds=round(time.monotonic() - started, 3),
        reasons=(*findings.reasons, *findings.vacuous),
        stats=history.stats,
        warnings=(*warnings, *findings.notes),
    )


def _judge_model(  # noqa: PLR0917  what every judgement takes
    blocks: Iterable[Lines],
    name: str,
    options: CheckOptions,
    warnings: list[str],
    started: float,
    mapper: Mapper | Model,
) -> Judgement:
    findings = Findings()
    table = check_model(blocks, name, options, findings, mapper)
    if not table.rows:
        raise HistoryError(f"{name}: no operations: an empty history can't be judged")
    found = tuple(findings.anomalies())
    return Judgement(
        validity=_validity(findings, bool(found)),
        anomalies=found,
        allowed=(),
        not_checked=tuple(findings.not_checked),
        models={"not": ["linearizable"] if found else [], "also-not": []},
        ops=table.rows,
        seconds=round(time.monotonic() - started, 3),
        reasons=(*findings.reasons, *findings.vacuous),
        stats=table.stats,
        warnings=(*warnings, *findings.notes),
    )


def _judge_queue(case: Case, options: CheckOptions, warnings: list[str], started: float, mapper: Mapper) -> Judgement:
    if not len(case.view.time):
        raise HistoryError(f"{case.view.name}: no operations: an empty history can't be judged")
    findings = Findings()
    judge_case(case, findings, mapper)
    nothing_looked_at(options, findings)
    legal = allowed(options) | findings.legal
    asked = options.anomalies
    chosen = [a for a in findings.anomalies() if not asked or a.name.removesuffix(EXCUSED) in asked]
    found = sorted(chosen, key=lambda anomaly: place(anomaly.name.removesuffix(EXCUSED)))
    invalidating = tuple(anomaly for anomaly in found if anomaly.name not in legal)
    return Judgement(
        validity=_validity(findings, bool(invalidating)),
        anomalies=invalidating,
        allowed=tuple(
            msgspec.structs.replace(anomaly, name=anomaly.name.removesuffix(EXCUSED))
            for anomaly in found
            if anomaly.name in legal
        ),
        not_checked=tuple(dict.fromkeys(findings.not_checked)),
        models={"not": [], "also-not": []},
        ops=len(case.view.time),
        seconds=round(time.monotonic() - started, 3),
        reasons=(*findings.reasons, *findings.vacuous),
        stats=availability.stats(case),
        availability=availability.availability(case),
        faults=availability.faults(case),
        warnings=(*warnings, *availability.cut_short(case), *findings.notes),
        extra=_measures(case),
    )


def _measures(case: Case) -> dict[str, Any]:
    lags = realtime_lag(case)
    return {} if lags is None else {"realtime-lag": lags, "worst-realtime-lag": worst(lags)}


def _validity(findings: Findings, invalid: bool) -> Validity:  # noqa: FBT001  one of three facts, not a switch
    if invalid:
        return Validity.INVALID
    if findings.reasons:
        return Validity.UNKNOWN
    return Validity.VACUOUS if findings.vacuous else Validity.VALID


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the cycle collector: loading makes millions of lists that die at once, none of them in a cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
