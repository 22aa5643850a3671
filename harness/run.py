"""A run: from a scenario to a judged history in a folder.

The road: folder and scenario.json -> cluster up -> topics -> the generator on threads, every op into history.jsonl ->
faults healed, logs collected, cluster down -> the history judged, verdict.json written. Whatever dies on the way, the
next step of it that can still be taken is taken: faults are healed and the cluster is removed even when the run fails,
and a history that was begun can be judged with `harness check`.

Ctrl-C once ends the main phase early: the run still heals, drains, checks and reports. Twice stops after healing. While
the cluster is taken down, or the history is judged, one changes nothing: the end of it is what was asked for.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from checkers.judge import Judgement, judge
from checkers.options import CheckOptions
from harness import store
from harness.cluster.api import Carried, Cluster, Node, Observer
from harness.failfast import FailFast
from harness.generator import INTERRUPT, Generator
from harness.history import HARNESS, INFO, NEMESIS, HistoryWriter, Op
from harness.lifetime import up
from harness.process.signals import bearing_one_interrupt
from harness.scenario import Scenario
from workloads.api import Workload
from workloads.phases import whole_run


class Interrupted(Exception):  # noqa: N818  what happened, not what went wrong
    """A second Ctrl-C: the run stopped after healing. The folder holds its history."""


class View(Protocol):
    """What watches a run while it goes: the terminal."""

    def phase(self, name: str) -> None:
        """Tell of a phase (setup, main, heal, drain, teardown, check)."""
        ...

    def event(self, op: Op) -> None:
        """Tell of a recorded op."""
        ...


class Unwatched:
    """A view of nothing."""

    def phase(self, name: str) -> None:
        """Say nothing."""

    def event(self, op: Op) -> None:
        """Say nothing."""


class Driver(Protocol):
    """Drives a generator to its end."""

    def run(self) -> None:
        """Run; returns when the run is over."""
        ...

    def post(self, event: Op) -> None:
        """Hand in a point event, from any thread or signal handler."""
        ...


class Equipment(Protocol):
    """What a run needs from above: who opens clients, who performs faults, for a cluster that is up."""

    repeats: bool
    """Whether the same scenario gives the same run again, so that its history need not outlive a killed process."""

    def prepare(self, scenario: Scenario, cluster: Cluster) -> tuple[str, ...]:
        """Create the topics; return their keys. Raises UsageError or ClusterError."""
        ...

    def clients(self, scenario: Scenario, cluster: Cluster, post: Callable[[Op], None]) -> Any:
        """Return what opens the workload's clients; `post` takes events that no op carries (rebalance callbacks).

        Here and below: `Clients`, or `AsyncClients` where the driver has a virtual clock.
        """
        ...

    def observer(self, cluster: Cluster, keys: tuple[str, ...]) -> Observer:
        """Return what answers questions about roles; it watches the topics of the keys."""
        ...

    def nemesis(
        self, scenario: Scenario, cluster: Cluster, observer: Observer, keys: tuple[str, ...], folder: Path
    ) -> tuple[Generator, Any]:
        """Return the fault schedule, and what opens the client that performs it."""
        ...

    def beside(self, post: Callable[[Op], None]) -> AbstractContextManager[None]:
        """Run what goes along with the workload for the time of a context; `post` as for `clients`. After `nemesis`.

        Raises UsageError where it does not run.
        """
        ...

    def stop(self) -> None:
        """End what the nemesis waits for, at once; called from a signal handler."""
        ...

    def probes(self, cluster: Cluster, nodes: tuple[Node, ...]) -> Mapping[str, Any]:
        """Return for each node to ask what opens its probe client, by process name."""
        ...

    def driver(
        self,
        generator: Generator,
        concurrency: int,
        clients: Any,
        others: Mapping[str, Any],
        record: Callable[[Op], None],
    ) -> Driver:
        """Return what drives the generator to its end, with what the methods above returned."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a scenario."""

    folder: Path
    scenario: Scenario
    judgement: Judgement


def execute(
    scenario: Scenario,
    workload: Workload,
    cluster: Cluster,
    equipment: Equipment,
    *,
    folder: Path,
    view: View,
    options: CheckOptions,
    fail_fast: bool = False,
    interruptible: bool = True,
) -> Run:
    """Run the scenario on a cluster that is not up yet, judge it, and leave nothing of it running.

    fail_fast: the first violation that can be told while it goes ends the main phase.
    interruptible: so does Ctrl-C; else the caller's own handler of it stays.

    Raises ClusterError or UsageError when the set-up fails, Interrupted after a second Ctrl-C.
    """
    with up(scenario, cluster, folder, view.phase):
        keys = equipment.prepare(scenario, cluster)
        watched = options if fail_fast else None
        drive(
            scenario,
            workload,
            cluster,
            equipment,
            keys=keys,
            folder=folder,
            view=view,
            watched=watched,
            interruptible=interruptible,
        )
        if isinstance(cluster, Carried):
            cluster.check_carried()
    with bearing_one_interrupt():
        view.phase("check")
        judgement = judge(folder / store.HISTORY, options)
        store.write_json(folder / store.VERDICT, judgement.verdict_json())
    return Run(folder=folder, scenario=scenario, judgement=judgement)


def drive(
    scenario: Scenario,
    workload: Workload,
    cluster: Cluster,
    equipment: Equipment,
    *,
    keys: tuple[str, ...],
    folder: Path,
    view: View,
    watched: CheckOptions | None = None,
    interruptible: bool = True,
) -> None:
    """Drive the workload and the faults on a cluster that is up, every op into the folder's history.

    watched: stop at the first violation of a history judged with these options. interruptible: see `execute`.
    """
    observer = equipment.observer(cluster, keys)
    faults, performer = equipment.nemesis(scenario, cluster, observer, keys, folder)
    nodes = tuple(node for node in cluster.nodes() if "broker" in node.roles)
    probes = equipment.probes(cluster, nodes)
    generator = whole_run(scenario, workload, keys, faults, tuple(name.removeprefix("probe/") for name in probes))
    with ExitStack() as stack:
        writer = stack.enter_context(HistoryWriter(folder / store.HISTORY, at_once=not equipment.repeats))

        def record(op: Op) -> None:
            writer.append(op)
            view.event(op)
            if op.process == HARNESS and op.f == "phase":
                view.phase(op.value)
            if watch is not None:
                watch.take(op)

        def post(event: Op) -> None:
            driver.post(event)

        watch = None if watched is None else FailFast(scenario, watched, post)

        clients = equipment.clients(scenario, cluster, post)
        driver = equipment.driver(generator, scenario.concurrency, clients, {NEMESIS: performer, **probes}, record)
        if interruptible:
            stack.enter_context(_interruptible(driver.post, equipment.stop))
        stack.enter_context(equipment.beside(driver.post))
        driver.run()


@contextmanager
def _interruptible(post: Callable[[Op], None], stop: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C into an event that ends the main phase; the second stops all waiting: Interrupted."""
    pressed = 0

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > 1:
            stop()
            raise Interrupted
        post(Op(process=HARNESS, type=INFO, f=INTERRUPT))

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def new_folder(results: Path, name: str) -> Path:
    """Make a run's folder, stamped with the local time."""
    return store.new_folder(results, name, datetime.now().astimezone())
