"""A soak: seeded runs one after another for hours, over workloads, faults and clusters; every failure is kept.

It is resumable by nothing and needs nothing: each run is a whole run in a folder of its own under the soak's folder.
After each run soak.json, index.html and junit.xml are written again, so that a soak that is killed has told everything.
Disk is bounded: of the valid runs only the newest `keep` stay, and past `max_bytes` the soak ends early and says so.
A harness that broke (exit 255) is counted apart from a system that failed; after BROKEN_IN_A_ROW the soak gives up.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import store
from harness.cluster.api import ClusterError
from harness.exits import BROKEN, VALID, of_verdict, worst
from harness.report.junit import write_junit
from harness.report.summary import write_index
from harness.run import Run
from harness.scenario import Scenario

BROKEN_IN_A_ROW = 3
"""A machine without an engine or memory breaks every run: hours of it tell nothing more."""

SOAK = "soak.json"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a soak."""

    seed: int
    workload: str
    cluster: str
    nemesis: str
    status: int
    """Its exit status."""
    valid: bool | str | None
    """As in verdict.json; None: the harness broke."""
    seconds: float
    folder: str | None
    """Relative to the soak's folder; None once it was removed to bound the disk, or was never made."""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a soak ends and what it keeps."""

    seconds: float
    keep: int
    max_bytes: int


def scenarios(bases: Sequence[Scenario], workloads: Sequence[str], nemeses: Sequence[str]) -> Iterator[Scenario]:
    """Yield scenarios for ever: every combination in turn, each with the next seed. One base for each cluster."""
    combinations = itertools.cycle(itertools.product(nemeses, workloads, bases))
    for seed, (nemesis, workload, base) in zip(itertools.count(bases[0].seed), combinations, strict=False):
        yield msgspec.structs.replace(base, seed=seed, nemesis=nemesis, workload=workload)


def soak(
    plan: Iterator[Scenario],
    perform: Callable[[Scenario, Path], Run],
    *,
    folder: Path,
    limits: Limits,
    now_s: Callable[[], float],
    tell: Callable[[str], None],
) -> int:
    """Run scenarios until the time is up; return the exit status of the worst run.

    `perform` does one run in a results folder; a KeyboardInterrupt ends the soak after writing what is known.
    """
    began_s = now_s()
    rows: list[Row] = []
    broken = 0
    for scenario in plan:
        if now_s() - began_s >= limits.seconds:
            break
        row = _one(scenario, perform, folder, now_s)
        broken = broken + 1 if row.status == BROKEN else 0
        rows = _thinned([*rows, row], folder, limits.keep)
        _write(folder, rows)
        tell(_line(row, len(rows)))
        if broken == BROKEN_IN_A_ROW:
            tell(f"gave up: the harness broke {broken} times in a row: {row.why}")
            break
        if (used := _size(folder)) > limits.max_bytes:
            tell(f"ended early: {folder} holds {used / 1e9:.1f} GB, more than {limits.max_bytes / 1e9:.1f} GB")
            break
    return worst([row.status for row in rows])


def _one(scenario: Scenario, perform: Callable[[Scenario, Path], Run], folder: Path, now_s: Callable[[], float]) -> Row:
    began_s = now_s()
    valid: bool | str | None = None
    where: str | None = None
    try:
        run = perform(scenario, folder)
        verdict = run.judgement.verdict_json()
        valid, where = verdict["valid"], str(run.folder.relative_to(folder.resolve()))
        status = of_verdict(verdict["valid"])
        why = ", ".join(verdict["anomalies"]) or " ".join(verdict["reasons"])
    except ClusterError as error:
        status, why = BROKEN, str(error)
    return Row(
        seed=scenario.seed,
        workload=scenario.workload,
        cluster=scenario.cluster,
        nemesis=scenario.nemesis,
        status=status,
        valid=valid,
        seconds=round(now_s() - began_s, 1),
        folder=where,
        why=why,
    )


def _thinned(rows: list[Row], folder: Path, keep: int) -> list[Row]:
    """Remove the folders of all but the newest valid runs."""
    valid = [i for i, row in enumerate(rows) if row.status == VALID and row.folder is not None]
    for i in valid[: max(0, len(valid) - keep)]:
        shutil.rmtree(folder / str(rows[i].folder), ignore_errors=True)
        rows[i] = msgspec.structs.replace(rows[i], folder=None)
    return rows


def _write(folder: Path, rows: Sequence[Row]) -> None:
    store.write_json(folder / SOAK, list(rows))
    write_index(folder, [msgspec.to_builtins(row) for row in rows])
    write_junit(folder / "junit.xml", [msgspec.to_builtins(row) for row in rows])


def _line(row: Row, count: int) -> str:
    verdict = (
        "broken" if row.valid is None else "valid" if row.valid is True else "INVALID" if not row.valid else row.valid
    )
    where = f" {row.folder}" if row.folder and row.status != VALID else ""
    return (
        f"{count:4} {verdict:8} {row.seconds:6.1f} s  {row.cluster} {row.workload} {row.nemesis} seed {row.seed}{where}"
        + (f"  {row.why}" if row.why else "")
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
