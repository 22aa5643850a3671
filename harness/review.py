"""`harness check`, `report` and `list`: what can be said without a cluster."""

from __future__ import annotations

import shutil
import sys
import textwrap
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from checkers.judge import judge
from checkers.judgement import Judgement
from checkers.options import CheckOptions, options_of_scenario
from harness import store
from harness.history import HistoryError
from harness.process.exits import VALID, of_verdict

ALLOWED = {"isolation": ("read_committed", "read_uncommitted"), "sub_via": ("assign", "subscribe")}


def check(
    history: Path,
    flags: Mapping[str, Any],
    *,
    jobs: int,
    dask: str | None,
    as_json: bool,
    model: str | None = None,
    report_to: Path | None = None,
) -> int:
    """Judge a history or a run's folder; flags override what its scenario.json says. Returns the exit status.

    jobs, dask: where keys are judged, if not one after another here. model: FILE.py:NAME, used instead of a workload.
    """
    if not history.exists():
        raise HistoryError(f"{history}: no such file or folder")
    options, workload = _options(history, flags), None
    if model is None:
        judgement = _judged(history, options, jobs, dask)
    else:
        from harness.own_model import load  # noqa: PLC0415  only this option needs it

        own = load(model)
        judgement, workload = judge(history, options, model=own), own.name
    if report_to is not None:
        from harness.report.html import write_page  # noqa: PLC0415  the report takes longer to import than a check

        write_page(history, report_to, judgement, workload=workload or options.workload)
    verdict = judgement.verdict_json()
    if as_json:
        sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
        for warning in judgement.warnings:
            _warn(warning)
    else:
        _print(judgement, history)
    return of_verdict(verdict["valid"])


def _judged(history: Path, options: CheckOptions, jobs: int, dask: str | None) -> Judgement:
    if jobs == 1 and dask is None:
        return judge(history, options)
    from harness import parallel  # noqa: PLC0415  most checks need none of it

    with parallel.mapper(jobs, dask) as mapper:
        return judge(history, options, mapper)


def convert(source: Path, target: Path, flags: Mapping[str, Any]) -> int:
    """Write a history in another form; tell how long it is; return VALID."""
    from checkers import convert as conversion  # noqa: PLC0415  only this command needs it

    if not source.exists():
        raise HistoryError(f"{source}: no such file or folder")
    count = conversion.convert(source, target, _options(source, flags), _warn)
    sys.stdout.write(f"{target}: {count} lines\n")
    return VALID


def _warn(line: str) -> None:
    sys.stderr.write(f"harness: warning: {line}\n")


def _options(history: Path, flags: Mapping[str, Any]) -> CheckOptions:
    base = CheckOptions()
    if history.is_dir() and (history / store.SCENARIO).exists():
        base = _of_scenario(history / store.SCENARIO)
    for name, allowed in ALLOWED.items():
        given = flags.get(name, ())
        for value in (given,) if isinstance(given, str) else given:
            if value not in allowed:
                raise HistoryError(f"--{name.replace('_', '-')} {value}: it may be {', '.join(allowed)}")
    try:
        return msgspec.convert(msgspec.to_builtins(base) | flags, CheckOptions)
    except msgspec.ValidationError as error:
        raise HistoryError(f"options of check: {error}") from error


def _of_scenario(path: Path) -> CheckOptions:
    scenario = store.read_json(path)
    try:
        return options_of_scenario(scenario)
    except (ValueError, TypeError, AttributeError) as error:
        raise store.StoreError(f"can't read {path}: {error}") from error


def _print(judgement: Judgement, history: Path) -> None:
    from harness.report.terminal import verdict_table  # noqa: PLC0415  rich takes longer to import than a small check

    folder = history if history.is_dir() else None
    scenario = None
    if folder is not None:
        with suppress(store.StoreError):  # somebody else's folder, or one of an older version: the verdict says it all
            scenario = store.read_scenario(folder)
    verdict_table(judgement, folder=folder, scenario=scenario)


def report(folder: Path, *, open_report: bool) -> int:
    """Judge a run again and write its verdict.json and report.html; return VALID."""
    from harness.report.html import write_report  # noqa: PLC0415

    store.read_scenario(folder)
    judgement = judge(folder, _options(folder, {}))
    try:
        store.write_json(folder / store.VERDICT, judgement.verdict_json())
        path = write_report(folder, judgement)
    except OSError as error:
        raise store.StoreError(f"{folder}: the report can't be written: {error.strerror or error}") from error
    sys.stdout.write(f"{path}\n")
    if open_report:
        webbrowser.open(path.resolve().as_uri())
    return VALID


def _judged_as() -> dict[str, str]:
    """Return what a history can be judged as."""
    from checkers.linear.model import MODELS  # noqa: PLC0415

    models = {name: f"linearizability of {', '.join(sorted(model.kinds))}" for name, model in MODELS.items()}
    return {"kafka": "send, poll, txn (default)", "list-append": "transactional cycles, as Elle", **models}


def list_all() -> int:
    """List workloads, faults, checkers and clusters, a line each; on a terminal, longer ones are folded."""
    from checkers.catalog import ORDER  # noqa: PLC0415
    from harness import catalog  # noqa: PLC0415
    from harness.report.words import meaning  # noqa: PLC0415
    from nemesis.faults import summaries as faults  # noqa: PLC0415

    sections: dict[str, Mapping[str, str]] = {
        "workloads (--workload)": {w.name: w.summary for w in catalog.WORKLOADS.values()},
        "faults (--nemesis)": faults(),
        "clusters (--cluster)": {p.name: p.summary for p in catalog.PROVIDERS.values()},
        "histories from elsewhere (check --workload)": _judged_as(),
        "checkers: the anomalies that they know": {name: meaning(name).guarantee for name in ORDER},
    }
    width = max(len(name) for entries in sections.values() for name in entries)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    folded = textwrap.TextWrapper(columns, subsequent_indent=" " * (width + 3), break_on_hyphens=False)
    for title, entries in sections.items():
        sys.stdout.write(f"{title}\n")
        for name, summary in entries.items():
            sys.stdout.write(folded.fill(f"  {name:{width}} {summary}") + "\n")
    return VALID
