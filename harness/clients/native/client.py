"""Executes operations with our own client on real brokers: the client of simulations, on a thread, in real time.

What it does and how it judges is `harness.clients.simulated`, op by op; this module hands each invocation over to the
one loop that all processes share. Satisfies `harness.client.Clients`.

It shares no line with librdkafka: what both find is the brokers'. And it speaks the second transaction protocol
(KIP-890), as Java clients do since 4.0, where the brokers have finalized `transaction.version` 2.
"""

from __future__ import annotations

from typing import Final

from broker.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from harness.client import Now
from harness.clients.membership import OnEvent
from harness.clients.native.loop import RealLoop
from harness.clients.native.sockets import SOFTWARE, Sockets
from harness.clients.simulated.client import SimulatedClient, SimulatedClients
from harness.cluster.api import UsageError
from harness.cluster.probe import Probe, ProbeError, split_address
from harness.cluster.questions import Coordinator
from harness.history import Op, Process
from harness.scenario import NATIVE, Scenario

SECOND: Final = 2
"""The transaction protocol of KIP-890."""
FEATURE: Final = "transaction.version"
TIMEOUT_S: Final = 10.0


def refuse_old(bootstrap: str) -> None:
    """Raise UsageError where the brokers have not finalized the second transaction protocol. Who is silent may have."""
    for address in bootstrap.split(","):
        try:
            with Probe(*split_address(address.strip())) as probe:
                said = probe.ask_once(ApiVersionsRequest(**SOFTWARE), ApiVersionsResponse, TIMEOUT_S)
        except ProbeError:
            continue
        if any(one.name == FEATURE and one.max_version_level >= SECOND for one in said.finalized_features):
            return
        raise UsageError(
            f"--client {NATIVE} --transaction-protocol {SECOND}: the brokers have no {FEATURE}={SECOND} "
            "(Apache Kafka has from 4.0 on); use --transaction-protocol 1"
        )


class NativeClients:
    """Opens clients for processes, all on one loop; thread-safe."""

    def __init__(
        self, scenario: Scenario, bootstrap: str, run_id: str = "harness", *, on_event: OnEvent | None = None
    ) -> None:
        """Prepare, and begin the loop. Raises UsageError for what can't work together."""
        self._loop = RealLoop(scenario.seed)
        sockets = Sockets(self._loop, bootstrap)
        self._clients = SimulatedClients(
            scenario, self._loop, sockets, sockets.bootstrap, run_id=run_id, on_event=on_event
        )

    def open(self, process: Process, now: Now) -> NativeClient:
        """Return a client for a new process; it connects when it has something to do."""
        return NativeClient(self._loop, self._clients.open(process, now))

    def coordinated(self) -> tuple[Coordinator, ...]:
        """Return whom the processes need coordinators for, now."""
        return self._clients.coordinated()

    def close(self) -> None:
        """End the loop. Raises what went wrong on it unseen."""
        self._loop.close()


class NativeClient:
    """One process's producers and consumer."""

    def __init__(self, loop: RealLoop, client: SimulatedClient) -> None:
        self._loop, self._client = loop, client

    def invoke(self, op: Op) -> Op:
        """Perform the invocation and return its completion, within the bounds of every client."""
        return self._loop.call(self._client.invoke(op))

    def close(self) -> None:
        """Drop the producers, leave the group."""
        self._loop.call(self._client.close())
