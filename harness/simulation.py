"""What a run on a simulated cluster works with: coroutines on the virtual clock, the same nemesis, direct probes.

Satisfies `harness.run.Equipment`. The same generators, faults, checkers, store and report as on a real cluster; only
clients, driver and clock are others. What the simulator itself sees broken (an invariant, a core that failed) becomes a
point event `invariant` of the history, at its time: the verdict is the checkers', and a stored run can be judged again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from harness import store
from harness.client import AsyncClients
from harness.clients.simulated.client import SimulatedClients
from harness.clients.simulated.probe import SimulatedProbes
from harness.cluster.api import Cluster, ClusterError, Node, Observer, UsageError
from harness.cluster.observer import answer, holds
from harness.cluster.questions import Coordinator
from harness.cluster.simulated import SimulatedCluster, SimulatedObserver, VirtualClock
from harness.generator import SECOND_NS, Generator
from harness.history import HARNESS, INFO, Op
from harness.scenario import Scenario
from harness.virtual import Synchronous, VirtualInterpreter
from nemesis import plan, schedule
from nemesis.client import NemesisClient
from nemesis.journal import Journal

INVARIANT: Final = "invariant"
PREPARE_S: Final = 120
"""Bound of making the topics, in virtual time; the clients give up after half of it."""
COLLECTED_AT: Final = 100_000
"""New objects between two looks for garbage in cycles (Python: 700): a simulation leaves little of it."""
POLL_S: Final = 0.05
"""Between two of the nemesis's looks at a condition: a look takes no virtual time, what it waits for may be brief."""


class SimulatedEquipment:
    """See the module."""

    repeats = True

    def __init__(
        self,
        cluster: SimulatedCluster,
        choices: plan.Choices = (),
        *,
        faults: plan.FaultPlan | None = None,
        probes: bool = True,
    ) -> None:
        """Prepare for one run on this cluster, whose faults are drawn from the choices, or are `faults`."""
        self._cluster, self._world, self._choices = cluster, cluster.world, choices
        self._faults, self._probes = faults, probes
        self._clock = VirtualClock(cluster)
        self._opened: SimulatedClients | None = None

    def stop(self) -> None:
        """End the nemesis's waiting."""
        self._clock.stop()

    def prepare(self, scenario: Scenario, cluster: Cluster) -> tuple[str, ...]:
        """Create the topics."""
        task = self._world.loop.spawn(self._clients(scenario, lambda _: None).prepare(), "topics")
        self._world.loop.run_until(self._world.loop.now_ns + PREPARE_S * SECOND_NS, lambda: task.done)
        try:
            return task.result()
        except Exception as error:
            if getattr(error, "name", "") == "INVALID_CONFIG":
                raise UsageError(f"--topic-config is refused: {getattr(error, 'message', error)}") from error
            raise ClusterError(f"cluster {cluster.name}: its topics could not be made: {error}") from error

    def _clients(self, scenario: Scenario, post: Callable[[Op], None]) -> SimulatedClients:
        world = self._world
        ids = tuple(node.id for node in self._cluster.nodes())
        return SimulatedClients(scenario, world.loop, world.network, ids, on_event=post)

    def clients(self, scenario: Scenario, cluster: Cluster, post: Callable[[Op], None]) -> AsyncClients:
        """Return simulated clients."""
        del cluster
        self._opened = self._clients(scenario, post)
        return self._opened

    def _coordinated(self) -> tuple[Coordinator, ...]:
        return () if self._opened is None else self._opened.coordinated()

    def observer(self, cluster: Cluster, keys: tuple[str, ...]) -> Observer:
        """Return the observer of the run's topics."""
        del cluster
        return SimulatedObserver(self._cluster, sorted({key.rpartition("/")[0] for key in keys}))

    def nemesis(
        self, scenario: Scenario, cluster: Cluster, observer: Observer, keys: tuple[str, ...], folder: Path
    ) -> tuple[Generator, AsyncClients]:
        """Return the schedule of the scenario's faults, and the client that performs them."""
        faults = self._faults
        if faults is None:
            faults = plan.draw(scenario, self._choices, keys)
        store.write_json(folder / store.PLAN, faults)
        performer = NemesisClient(
            cluster,
            observer,
            Journal(folder / store.JOURNAL),
            keys,
            answer=answer,
            holds=holds,
            clock=self._clock,
            coordinated=self._coordinated,
            poll_s=POLL_S,
            spare_replicas=scenario.min_isr < scenario.replication,
        )
        quiet_s = schedule.quiet_s(scenario.fault_interval_s)
        return schedule.Schedule(faults, scenario.recovery_bound_s, quiet_s), Synchronous(performer)

    def beside(self, post: Callable[[Op], None]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing: no process of the real world runs on the virtual clock."""
        return nullcontext()

    def probes(self, cluster: Cluster, nodes: tuple[Node, ...]) -> Mapping[str, AsyncClients]:
        """Return a probe for each node."""
        if not self._probes:
            return {}
        world, names = self._world, {node.id: node.name for node in cluster.nodes()}
        return {f"probe/{node.name}": SimulatedProbes(world.loop, world.network, node.id, names) for node in nodes}

    def driver(
        self,
        generator: Generator,
        concurrency: int,
        clients: AsyncClients,
        others: Mapping[str, AsyncClients],
        record: Callable[[Op], None],
    ) -> SimulatedDriver:
        """Return what drives the run."""
        return SimulatedDriver(self._world, generator, concurrency, clients, others, record)


class SimulatedDriver(VirtualInterpreter):
    """Drives a run on a world's clock, and hands what the world finds broken into the history."""

    def __init__(self, world: Any, *arguments: Any) -> None:
        """Prepare."""
        super().__init__(world.loop, *arguments)
        self._world = world
        world.on_violation = lambda found: self.post(Op(process=HARNESS, type=INFO, f=INVARIANT, value=asdict(found)))

    def run(self) -> None:
        """Run to the end, then look at everything once more."""
        before = gc.get_threshold()
        gc.set_threshold(COLLECTED_AT)
        try:
            super().run()
        finally:
            gc.set_threshold(*before)
        self._world.check_all()
        self.take_posted()
        self._world.loop.check()
