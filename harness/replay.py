"""`harness replay` and `harness shrink`: simulated runs again, from what is stored of them.

A simulated run's folder holds all that it depends on: scenario.json, the operations in its history, the faults in
plan.json. A scripted one, which shrinking leaves, has them in script.json. Both are a `Case`; performed, a case that
was not changed is the same run again. Where Ctrl-C or `--fail-fast` ended the main phase, it ends at that time again.

Ctrl-C once ends a shrinking: the least run found so far is stored and told. No run that it tries ends sooner by that:
what is kept must be what the script says. Twice stops at once.
"""

from __future__ import annotations

import itertools
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from checkers.judge import judge
from checkers.judgement import Judgement
from checkers.options import CheckOptions, options_of_scenario
from harness import catalog, store
from harness import run as runs
from harness.cluster.api import UsageError
from harness.cluster.simulated import PROVIDER, SimulatedCluster
from harness.generator import INTERRUPT, SECOND_NS
from harness.history import HARNESS, Op, read_lines
from harness.launch import refuse_unknown
from harness.lifetime import spec_of
from harness.options import finite
from harness.process.exits import of_verdict
from harness.process.signals import bearing_one_interrupt
from harness.report.html import write_report
from harness.report.junit import write_junit
from harness.report.terminal import verdict_table
from harness.report.words import verdict_word
from harness.scenario import Scenario
from harness.shrink import Case, Shrinker, story
from harness.simulation import SimulatedEquipment
from nemesis.faults import FAULTS
from nemesis.plan import FaultPlan
from workloads.script import of_history, scripted

BUDGET_S: Final = 60.0
"""CPU seconds of a shrinking: longer than most need, short enough to wait for."""
INVALID_FIRST: Final = "it is not invalid: there is nothing to shrink"


class Script(msgspec.Struct, frozen=True):
    """script.json: the case, and beside it where it comes from."""

    case: Case


class Told(msgspec.Struct, frozen=True):
    """What a shrinking needs of verdict.json."""

    valid: bool | str
    anomalies: dict[str, dict[str, Any]]


def again(folder: Path, results: Path, *, as_json: bool) -> int:
    """Run a simulated run again as it is stored; print its verdict; return the exit status."""
    case = read(folder)
    folder = folder.resolve()  # `latest` is another run from now on
    where = runs.new_folder(results, _name(folder, "again")).resolve()
    judgement = _stored(case, where)
    status = _tell(judgement, where, case.scenario, as_json=as_json)
    differs = first_difference(folder / store.HISTORY, where / store.HISTORY)
    if differs is not None and not _interrupted(_ops(folder)):
        why = "was it made by another version, or cut short?"
        sys.stderr.write(f"harness: the history differs from the stored one from line {differs} on: {why}\n")
    return status


def first_difference(one: Path, other: Path) -> int | None:
    """Return the number of the first line in which two histories differ; None if there is none."""
    with one.open("rb") as first, other.open("rb") as second:
        for number, (left, right) in enumerate(itertools.zip_longest(first, second), 1):
            if left != right:
                return number
    return None


def shrink(
    folder: Path,
    results: Path,
    *,
    anomaly: str | None = None,
    budget_s: float = BUDGET_S,
    as_json: bool,
) -> int:
    """Shrink a simulated run that failed; store the least run found, print it; return its exit status.

    Raises UsageError for a run that is no simulated one, did not fail, or does not fail again.
    """
    finite("--budget", budget_s)
    case = read(folder)
    verdict = store.read_as(folder / store.VERDICT, Told)
    if verdict.valid is not False:
        raise UsageError(f"{folder}: {INVALID_FIRST} (its verdict is {verdict_word(verdict.valid)})")
    target = _target(verdict, anomaly)
    lawful = "permitted-by" in verdict.anomalies[target]
    until_s = time.process_time() + budget_s
    with tempfile.TemporaryDirectory(prefix="harness-shrink-") as scratch, bearing_one_interrupt() as stopped:
        first = Path(scratch) / "first"
        first.mkdir()
        if not shows(perform(case, first), target, lawful=lawful):
            raise UsageError(f"{folder}: run again, it shows no {target}: was it made by another version?")
        folder = folder.resolve()  # `latest` is another run from now on
        where = runs.new_folder(results, _name(folder, "shrunk")).resolve()  # what can't be written is told now
        if not as_json:
            limit = f"at most {budget_s:g} s of CPU; Ctrl-C ends with the least so far"
            sys.stderr.write(f"harness: looks for the least run with {target} ({limit})\n")
        fails = _fails(target, Path(scratch), lawful=lawful)
        shrinker = Shrinker(case, fails, lambda: stopped() or time.process_time() >= until_s)
        least = shrinker.shrink(_proof_ns(folder, verdict.anomalies[target]))
        about = {"of": folder.name, "anomaly": target, "from": case.described()}
        judgement = _stored(least, where, about, interruptible=False)
    if not as_json:
        spent_s = budget_s - (until_s - time.process_time())
        lines = [f"from   {case.described()}", f"to     {least.described()}"]
        lines += [f"by     {shrinker.runs} runs in {spent_s:.0f} s of CPU", "", *story(least), ""]
        sys.stdout.write("\n".join(lines) + "\n")
    return _tell(judgement, where, least.scenario, as_json=as_json)


def _target(verdict: Told, anomaly: str | None) -> str:
    """Return the class to keep: the one asked for, or the first that no setting permits, or the first."""
    found = list(verdict.anomalies)
    if anomaly is None and found:
        return next((name for name in found if "permitted-by" not in verdict.anomalies[name]), found[0])
    if anomaly not in verdict.anomalies:
        raise UsageError(f"--anomaly {anomaly}: the run has {', '.join(found)}")
    return anomaly


def shows(judgement: Judgement, target: str, *, lawful: bool) -> bool:
    """Return whether the anomaly was found; unless `lawful`, one that the settings permit is another."""
    found = [one for one in judgement.anomalies if one.name == target]
    return any(lawful or one.permitted_by is None for one in found)


def read(folder: Path) -> Case:
    """Return the case of a stored run; raises UsageError where it is no simulated one, StoreError, HistoryError."""
    scenario = store.read_scenario(folder)
    if scenario.cluster != PROVIDER:
        raise UsageError(
            f"{folder}: it ran on cluster {scenario.cluster}, which can't be run again step by step: only "
            f"--cluster {PROVIDER} can"
        )
    refuse_unknown(scenario)
    if scenario.scripted:
        return _known(store.read_as(folder / store.SCRIPT, Script).case, folder)
    ops = _ops(folder)
    limit_s = min(scenario.time_limit_s, _interrupted(ops) or math.inf)
    faults = store.read_as(folder / store.PLAN, FaultPlan)
    case = Case(
        scenario=msgspec.structs.replace(scenario, scripted=True, rate=0, time_limit_s=limit_s),
        ops=of_history(ops, scenario.concurrency),
        faults=faults.entries,
    )
    return _known(case, folder)


def _known(case: Case, folder: Path) -> Case:
    """Return the case; raises UsageError for a fault that this version does not have."""
    for name in (name for entry in case.faults for name in entry.faults):
        if name not in FAULTS:
            raise UsageError(f"{folder}: no fault is named {name!r}: was it made by another version?")
    return case


def _ops(folder: Path) -> list[Op]:
    path = folder / store.HISTORY
    try:
        with path.open("rb") as lines:
            return list(read_lines(lines, name=str(path)))
    except OSError as error:
        raise store.StoreError(f"can't read {path}: {error}") from error


def _interrupted(ops: Sequence[Op]) -> float | None:
    """Return after how many seconds an interrupt ended the main phase; None if it lasted as long as it should."""
    began_ns = None
    for op in ops:
        if op.process != HARNESS:
            continue
        if op.f == "phase" and op.value == "main":
            began_ns = op.time
        elif op.f == "phase":
            return None
        elif op.f == INTERRUPT and began_ns is not None:
            return _seconds(op.time - began_ns)
    return None


def _seconds(time_ns: int) -> float:
    """Return the seconds that are so many ns again, not one less, when they are made a whole number."""
    seconds = time_ns / SECOND_NS
    return seconds if int(seconds * SECOND_NS) >= time_ns else math.nextafter(seconds, math.inf)


def perform(case: Case, folder: Path) -> Judgement:
    """Run a case, its history into a folder that has none; return the judgement. Ctrl-C does not cut it short."""
    scenario = case.scenario
    cluster = SimulatedCluster(spec_of(scenario, folder))
    equipment = SimulatedEquipment(cluster, faults=FaultPlan(entries=case.faults), probes=case.probes)
    workload = scripted(catalog.workload(scenario.workload), case.ops, waits=case.waits)
    try:
        cluster.up()
        keys = equipment.prepare(scenario, cluster)
        runs.drive(
            scenario, workload, cluster, equipment, keys=keys, folder=folder, view=runs.Unwatched(), interruptible=False
        )
    finally:
        cluster.down()
    return judge(folder / store.HISTORY, _options(scenario))


def _options(scenario: Scenario) -> CheckOptions:
    fields: dict[str, Any] = msgspec.to_builtins(scenario)
    return options_of_scenario(fields)


def _fails(target: str, scratch: Path, *, lawful: bool) -> Callable[[Case], bool]:
    """Return what runs a case and says whether it shows the anomaly."""
    count = 0

    def fails(case: Case) -> bool:
        nonlocal count
        count += 1
        folder = scratch / str(count)
        folder.mkdir()
        try:
            return shows(perform(case, folder), target, lawful=lawful)
        except Exception:  # noqa: BLE001  a door: a cluster that small can't be made, or the harness breaks on it: no proof
            return False
        finally:
            shutil.rmtree(folder)

    return fails


def _proof_ns(folder: Path, anomaly: dict[str, Any]) -> int:
    """Return when the last operation of the first proof was complete; the run's end if none is named."""
    examples = anomaly.get("examples") or [{}]
    wanted = set(examples[0].get("ops", ()))
    times = {op.index: op.time for op in _ops(folder)}
    return max((times[index] for index in wanted if index in times), default=max(times.values(), default=0))


def _stored(case: Case, folder: Path, about: dict[str, Any] | None = None, *, interruptible: bool = True) -> Judgement:
    """Perform a case as a run of its own, with everything that a run leaves behind."""
    cluster, began_s = SimulatedCluster(spec_of(case.scenario, folder)), time.monotonic()
    equipment = SimulatedEquipment(cluster, faults=FaultPlan(entries=case.faults), probes=case.probes)
    workload = scripted(catalog.workload(case.scenario.workload), case.ops, waits=case.waits)
    store.write_json(folder / store.SCRIPT, {"case": case, **(about or {})})
    done = runs.execute(
        case.scenario,
        workload,
        cluster,
        equipment,
        folder=folder,
        view=runs.Unwatched(),
        options=_options(case.scenario),
        interruptible=interruptible,
    )
    write_report(folder, done.judgement)
    write_junit(folder / "junit.xml", [{"folder": ".", "seconds": time.monotonic() - began_s}])
    return done.judgement


def _tell(judgement: Judgement, folder: Path, scenario: Scenario, *, as_json: bool) -> int:
    verdict = judgement.verdict_json()
    if as_json:
        sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
    else:
        verdict_table(judgement, folder=folder, scenario=scenario)
    return of_verdict(verdict["valid"])


def _name(folder: Path, what: str) -> str:
    """Return the name of the new run: the old one's, and what became of it."""
    name = folder.resolve().parent.name
    return name if name.endswith(f"-{what}") else f"{name}-{what}"
