"""`harness replay` and `harness shrink`: simulated runs again, from what is stored of them.

A simulated run's folder holds all that it depends on: scenario.json, the operations in its history, the faults in
plan.json. A scripted one, which shrinking leaves, has them in script.json. Both are a `Case`; performed, a case that
was not changed is the same run again.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from checkers.judge import judge
from checkers.judgement import Judgement
from checkers.options import CheckOptions, options_of_scenario
from harness import catalog, store
from harness import run as runs
from harness.cluster.api import ClusterError, UsageError
from harness.cluster.simulated import PROVIDER, SimulatedCluster
from harness.exits import of_verdict
from harness.history import Op, read_lines
from harness.launch import spec_of
from harness.options import finite
from harness.report.html import write_report
from harness.report.junit import write_junit
from harness.report.terminal import verdict_table
from harness.scenario import Scenario
from harness.shrink import Case, Shrinker, story
from harness.simulation import SimulatedEquipment
from nemesis.plan import FaultPlan
from workloads.script import of_history, scripted

BUDGET_S: Final = 60.0
"""CPU seconds of a shrinking: longer than most need, short enough to wait for."""
INVALID_FIRST: Final = "it is not invalid: there is nothing to shrink"


class _Silent:
    """Watches nothing."""

    def phase(self, name: str) -> None:
        """Say nothing."""

    def event(self, op: Op) -> None:
        """Say nothing."""


def again(folder: Path, results: Path, *, as_json: bool) -> int:
    """Run a simulated run again as it is stored; print its verdict; return the exit status."""
    case = read(folder)
    where = runs.new_folder(results, _name(folder, "again")).resolve()
    _, judgement = _stored(case, where)
    return _tell(judgement, where, case.scenario, as_json=as_json)


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
    verdict = store.read_json(folder / store.VERDICT)
    if verdict["valid"] is not False:
        raise UsageError(f"{folder}: {INVALID_FIRST} (its verdict is {verdict['valid']})")
    found = list(verdict["anomalies"])
    target = anomaly or found[0]
    if target not in found:
        raise UsageError(f"--anomaly {target}: the run has {', '.join(found)}")
    until_s = time.process_time() + budget_s
    with tempfile.TemporaryDirectory(prefix="harness-shrink-") as scratch:
        fails = _fails(target, Path(scratch))
        if not fails(case):
            raise UsageError(f"{folder}: run again, it shows no {target}: was it made by another version?")
        shrinker = Shrinker(case, fails, lambda: time.process_time() >= until_s)
        least = shrinker.shrink(_proof_ns(folder, verdict["anomalies"][target]))
    where = runs.new_folder(results, _name(folder, "shrunk")).resolve()
    least, judgement = _stored(least, where, {"of": folder.name, "anomaly": target, "from": case.described()})
    if not as_json:
        spent_s = budget_s - (until_s - time.process_time())
        lines = [f"from   {case.described()}", f"to     {least.described()}"]
        lines += [f"by     {shrinker.runs} runs in {spent_s:.0f} s of CPU", "", *story(least), ""]
        sys.stdout.write("\n".join(lines) + "\n")
    return _tell(judgement, where, least.scenario, as_json=as_json)


def read(folder: Path) -> Case:
    """Return the case of a stored run; raises UsageError where it is no simulated one, StoreError, HistoryError."""
    scenario = store.read_scenario(folder)
    if scenario.cluster != PROVIDER:
        raise UsageError(
            f"{folder}: it ran on cluster {scenario.cluster}, which can't be run again step by step: only "
            f"--cluster {PROVIDER} can"
        )
    if scenario.scripted:
        return msgspec.convert(store.read_json(folder / store.SCRIPT)["case"], Case)
    with (folder / store.HISTORY).open("rb") as lines:
        ops = of_history(read_lines(lines, name=str(folder / store.HISTORY)), scenario.concurrency)
    faults = msgspec.convert(store.read_json(folder / store.PLAN), FaultPlan)
    return Case(scenario=msgspec.structs.replace(scenario, scripted=True, rate=0), ops=ops, faults=faults.entries)


def perform(case: Case, folder: Path) -> Judgement:
    """Run a case, its history into a folder that has none; return the judgement."""
    scenario = case.scenario
    cluster = SimulatedCluster(spec_of(scenario, folder))
    equipment = SimulatedEquipment(cluster, faults=FaultPlan(entries=case.faults), probes=case.probes)
    workload = scripted(catalog.workload(scenario.workload), case.ops, waits=case.waits)
    try:
        cluster.up()
        keys = equipment.prepare(scenario, cluster)
        runs.drive(scenario, workload, cluster, equipment, keys=keys, folder=folder, view=_Silent())
    finally:
        cluster.down()
    return judge(folder / store.HISTORY, _options(scenario))


def _options(scenario: Scenario) -> CheckOptions:
    fields: dict[str, Any] = msgspec.to_builtins(scenario)
    return options_of_scenario(fields)


def _fails(target: str, scratch: Path) -> Callable[[Case], bool]:
    """Return what runs a case and says whether it shows the anomaly."""
    count = 0

    def fails(case: Case) -> bool:
        nonlocal count
        count += 1
        folder = scratch / str(count)
        folder.mkdir()
        try:
            judgement = perform(case, folder)
        except (ClusterError, UsageError):  # a cluster that small can't be made: not what is looked for
            return False
        finally:
            shutil.rmtree(folder)
        return any(one.name == target for one in judgement.anomalies)

    return fails


def _proof_ns(folder: Path, anomaly: dict[str, Any]) -> int:
    """Return when the last operation of the first proof was complete; the run's end if none is named."""
    wanted = set(anomaly["examples"][0]["ops"]) if anomaly["examples"] else set[int]()
    with (folder / store.HISTORY).open("rb") as lines:
        times = {op.index: op.time for op in read_lines(lines, name=str(folder / store.HISTORY))}
    return max((times[index] for index in wanted if index in times), default=max(times.values(), default=0))


def _stored(case: Case, folder: Path, about: dict[str, Any] | None = None) -> tuple[Case, Judgement]:
    """Perform a case as a run of its own, with everything that a run leaves behind."""
    cluster = SimulatedCluster(spec_of(case.scenario, folder))
    equipment = SimulatedEquipment(cluster, faults=FaultPlan(entries=case.faults), probes=case.probes)
    workload = scripted(catalog.workload(case.scenario.workload), case.ops, waits=case.waits)
    store.write_json(folder / store.SCRIPT, {"case": case, **(about or {})})
    options = _options(case.scenario)
    done = runs.execute(case.scenario, workload, cluster, equipment, folder=folder, view=_Silent(), options=options)
    write_report(folder, done.judgement)
    write_junit(folder / "junit.xml", [folder])
    return case, done.judgement


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
