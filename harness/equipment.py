"""What a run on a real cluster works with: clients, the nemesis, probes, all against one bootstrap."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import cast

from harness import store
from harness.application import Application
from harness.client import Clients
from harness.clients.confluent import ConfluentClients
from harness.clients.native.client import SECOND, NativeClients, refuse_old
from harness.clients.probe import ProbeClients
from harness.clients.topics import create_topics
from harness.cluster.api import Cluster, Node, Observer
from harness.cluster.observer import answer, holds, observer_of
from harness.cluster.questions import Coordinator
from harness.generator import Generator
from harness.history import Op
from harness.interpreter import Interpreter
from harness.scenario import NATIVE, Scenario
from nemesis import plan, schedule
from nemesis.client import NemesisClient
from nemesis.journal import Journal
from nemesis.performer import WallClock


class RealEquipment:
    """Satisfies `harness.run.Equipment` for clusters that real clients can reach."""

    repeats = False

    def __init__(self, choices: plan.Choices) -> None:
        """Prepare for one run, whose faults are drawn from these."""
        self._choices = choices
        self._stop = threading.Event()
        self._clients: ConfluentClients | NativeClients | None = None
        self._application: Application | None = None

    def stop(self) -> None:
        """End the nemesis's waiting."""
        self._stop.set()

    def prepare(self, scenario: Scenario, cluster: Cluster) -> tuple[str, ...]:
        """Create the topics; raises UsageError where the brokers don't speak what the clients are to speak."""
        if scenario.client == NATIVE and scenario.transaction_protocol == SECOND:
            refuse_old(cluster.bootstrap())
        return create_topics(cluster.bootstrap(), scenario)

    def clients(self, scenario: Scenario, cluster: Cluster, post: Callable[[Op], None]) -> Clients:
        """Return the scenario's clients; what happens to them in their group becomes events of the history."""
        kind = NativeClients if scenario.client == NATIVE else ConfluentClients
        self._clients = kind(scenario, cluster.bootstrap(), on_event=post)
        return self._clients

    def _coordinated(self) -> tuple[Coordinator, ...]:
        return () if self._clients is None else self._clients.coordinated()

    def observer(self, cluster: Cluster, keys: tuple[str, ...]) -> Observer:
        """Return the observer of the run's topics."""
        return observer_of(cluster, sorted({key.rpartition("/")[0] for key in keys}))

    def nemesis(
        self, scenario: Scenario, cluster: Cluster, observer: Observer, keys: tuple[str, ...], folder: Path
    ) -> tuple[Generator, Clients]:
        """Return the schedule of the scenario's faults, and the client that performs them."""
        faults = plan.draw(scenario, self._choices, keys)
        store.write_json(folder / store.PLAN, faults)
        if scenario.app:
            self._application = Application(scenario, folder, cluster.bootstrap())
        performer = NemesisClient(
            cluster,
            observer,
            Journal(folder / store.JOURNAL),
            keys,
            answer=answer,
            holds=holds,
            clock=WallClock(self._stop),
            coordinated=self._coordinated,
            spare_replicas=scenario.min_isr < scenario.replication,
            instances=dict.fromkeys(self._application.names, cast("Cluster", self._application))
            if self._application is not None
            else None,
        )
        quiet_s = schedule.quiet_s(scenario.fault_interval_s)
        return schedule.Schedule(faults, scenario.recovery_bound_s, quiet_s), performer

    @contextmanager
    def beside(self, post: Callable[[Op], None]) -> Iterator[None]:
        """Run the user's program, and the loop of clients of our own, where there are any."""
        with ExitStack() as stack:
            if isinstance(self._clients, NativeClients):
                stack.enter_context(closing(self._clients))
            if self._application is not None:
                stack.enter_context(self._application.running(post))
            yield

    def probes(self, cluster: Cluster, nodes: tuple[Node, ...]) -> Mapping[str, Clients]:
        """Return a probe for each node."""
        return {f"probe/{node.name}": ProbeClients(node, cluster) for node in nodes}

    def driver(
        self,
        generator: Generator,
        concurrency: int,
        clients: Clients,
        others: Mapping[str, Clients],
        record: Callable[[Op], None],
    ) -> Interpreter:
        """Return the driver on threads and the real clock."""
        return Interpreter(generator, concurrency, clients, others, record)
