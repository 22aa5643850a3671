"""`harness run` and `heal`: where the catalog's parts are put together and results become an exit status."""

from __future__ import annotations

import secrets
import sys
import time
import traceback
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from checkers.options import options_of_scenario
from harness import application, catalog, store
from harness import run as runs
from harness.application import command_of
from harness.cluster.api import Cluster, ClusterError, UsageError
from harness.cluster.disks import FULL_DISKS, Disks
from harness.cluster.remote import powers_of
from harness.equipment import RealEquipment
from harness.lifetime import spec_of
from harness.options import REMOTE, THEIRS
from harness.process.exits import BROKEN, STOPPED, VALID, of_verdict
from harness.report.html import write_report
from harness.report.junit import write_junit
from harness.report.terminal import LiveView, verdict_table
from harness.scenario import Scenario, clock_jump_s
from harness.swarm import SIMULATED
from nemesis import journal, plan
from nemesis.actions import powers


def run(
    scenario: Scenario,
    results: Path,
    *,
    name: str | None,
    as_json: bool,
    open_report: bool,
    shrink: Callable[[Path], int] | None = None,
    fail_fast: bool = False,
) -> int:
    """Run one scenario; print its verdict; return the exit status.

    shrink: goes on with the folder of a simulated run that fails, prints a verdict of its own, and returns its status.
    """
    refuse_unknown(scenario)
    if shrink is not None and scenario.cluster != SIMULATED:
        raise UsageError(
            f"--shrink needs --cluster {SIMULATED}: no run on {scenario.cluster} can be repeated step by step"
        )
    with LiveView(scenario, quiet=as_json) as view:
        try:
            done = perform(scenario, results, name=name, view=view, fail_fast=fail_fast)
        except runs.Interrupted as stop:
            sys.stderr.write(f"harness: stopped after healing; the history so far is in {stop.args[0]}\n")
            return STOPPED
    verdict = done.judgement.verdict_json()
    shrinks = shrink is not None and verdict["valid"] is False
    if not as_json:
        verdict_table(done.judgement, folder=done.folder, scenario=done.scenario)
    elif not shrinks:
        sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
    if open_report:
        webbrowser.open((done.folder / store.REPORT).resolve().as_uri())
    return shrink(done.folder) if shrink is not None and shrinks else of_verdict(verdict["valid"])


def refuse_unknown(scenario: Scenario) -> plan.Choices:
    """Return the faults to choose from; raises UsageError for names that don't exist or don't go together."""
    catalog.workload(scenario.workload)
    if scenario.bug:
        catalog.bug(scenario.bug)
    provider = catalog.provider(scenario.cluster)
    has = powers(provider.kind())
    if not scenario.links or not provider.has_links():
        has -= {"partition", "shape", "intercept"}
    if issubclass(provider.kind(), Disks) and not FULL_DISKS:
        has -= {"disk"}
    if (why := provider.lacks_clocks()) is not None:
        if clock_jump_s(scenario):
            raise UsageError(f"--nemesis {scenario.nemesis}: {why}")
        has -= {"clock"}
    if not scenario.upgrade_to:
        has -= {"upgrade"}
    if scenario.app:
        command_of(scenario)
        has |= {"application"}
    if scenario.commands is not None:
        has &= powers_of(scenario.commands) | {"application"}
    return plan.asked_for(scenario, has)


def refuse_unmade(scenario: Scenario) -> None:
    """Raise UsageError for what a cluster can't be made with, as far as making it costs nothing."""
    if scenario.cluster in {SIMULATED, *THEIRS}:
        catalog.provider(scenario.cluster).create(spec_of(scenario, Path("refused/unmade")))


def own_prefix(folder: Path) -> str:
    """Return what stands before all names of a run on a cluster that others use, too.

    Two runs may begin in the same millisecond: in a topic that they shared, each would find the other's records.
    """
    return f"{folder.name}-{secrets.token_hex(3)}-"


def perform(
    scenario: Scenario,
    results: Path,
    *,
    name: str | None,
    view: runs.View,
    report: bool = True,
    fail_fast: bool = False,
    interruptible: bool = True,
) -> runs.Run:
    """Run one scenario from nothing to its report, in a new folder under `results`.

    fail_fast, interruptible: see `harness.run.execute`.
    """
    choices, began_s = refuse_unknown(scenario), time.monotonic()
    folder = runs.new_folder(results, name or f"{scenario.workload}-{scenario.nemesis}-{scenario.cluster}").resolve()
    if scenario.cluster in THEIRS:
        scenario = msgspec.structs.replace(scenario, prefix=own_prefix(folder))
    try:
        cluster = catalog.provider(scenario.cluster).create(spec_of(scenario, folder))
        done = runs.execute(
            scenario,
            catalog.workload(scenario.workload),
            cluster,
            _equipment(cluster, choices),
            folder=folder,
            view=view,
            options=options_of_scenario(msgspec.to_builtins(scenario)),
            fail_fast=fail_fast,
            interruptible=interruptible,
        )
    except runs.Interrupted:
        raise runs.Interrupted(folder) from None
    except Exception as error:
        (folder / store.LOG).write_text("".join(traceback.format_exception(error)))
        raise
    if report:
        write_report(folder, done.judgement)
        write_junit(folder / "junit.xml", [{"folder": ".", "seconds": time.monotonic() - began_s}])
    return done


def _equipment(cluster: Cluster, choices: plan.Choices) -> runs.Equipment:
    """Return what a run on the cluster works with; the simulator is imported only where it is used."""
    if type(cluster).__name__ != "SimulatedCluster":
        return RealEquipment(choices)
    from harness.cluster.simulated import SimulatedCluster  # noqa: PLC0415
    from harness.simulation import SimulatedEquipment  # noqa: PLC0415

    assert isinstance(cluster, SimulatedCluster)
    return SimulatedEquipment(cluster, choices)


def heal(folder: Path | None, results: Path) -> int:
    """Undo what killed runs left behind: the run in `folder`, or every abandoned one under `results`.

    A run that still goes is left alone. Returns BROKEN if something could not be undone, and says what.
    """
    if folder is not None and not (folder / store.SCENARIO).exists():
        raise UsageError(f"{folder} is not a run's folder: it has no {store.SCENARIO}")
    folders = [folder.resolve()] if folder is not None else list(store.run_folders(results))
    status, healed = VALID, 0
    for one in folders:
        try:
            if not store.is_abandoned(one):
                if folder is not None:
                    why = "it has ended" if store.is_finished(one) else "it is still running"
                    sys.stdout.write(f"{one}: nothing to heal: {why}\n")
                continue
            done = heal_run(one)
        except store.StoreError as error:
            if folder is not None:
                raise
            done = [(str(error), False)]  # the others can be healed all the same
        else:
            healed += 1
        for line, well in done:
            sys.stdout.write(f"{one.parent.name}/{one.name}: {line}\n")
            status = status if well else BROKEN
    if folder is None:
        sys.stdout.write(f"healed {healed} abandoned {'run' if healed == 1 else 'runs'}\n")
    return status


def heal_run(folder: Path) -> list[tuple[str, bool]]:
    """Return what was done, and whether each thing worked.

    A cluster of the run's own is removed, faults and all; of one that stays they are undone one by one, and what could
    not be undone is left for another try.
    """
    scenario = store.read_scenario(folder)
    lines: list[tuple[str, bool]] = []
    gone = application.remove(folder)
    if gone:
        lines.append((f"removed {', '.join(gone)}", True))
    if (folder / store.CLUSTER).exists():
        provider = catalog.provider(scenario.cluster)
        handles = store.read_json(folder / store.CLUSTER)
        try:
            if scenario.cluster == REMOTE:
                lines += [
                    (line, ": failed: " not in line)
                    for line in journal.heal(folder, provider.from_handles(handles), gone)
                ]
                if not all(well for _, well in lines):
                    return lines
            else:
                provider.remove(handles)
                lines.append((f"removed its {provider.name} cluster", True))
        except ClusterError as error:
            return [*lines, (f"its {provider.name} cluster could not be healed: {error}", False)]
    with ExitStack() as stack:
        if journal.outstanding(folder / store.JOURNAL):
            lines.append(("its faults went with the cluster", True))
        stack.callback(store.finish, folder)
    return lines
