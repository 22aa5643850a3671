"""A share group's member on sockets: performs the steps of `harness.clients.share`, one connection to each node."""

from __future__ import annotations

import itertools
import time
from typing import Any, Final, TypeVar

from broker.wire.messages.api_versions import ApiVersionsResponse
from broker.wire.messages.find_coordinator import FindCoordinatorResponse
from broker.wire.messages.incremental_alter_configs import IncrementalAlterConfigsResponse
from broker.wire.messages.metadata import MetadataResponse
from broker.wire.messages.share_acknowledge import ShareAcknowledgeResponse
from broker.wire.messages.share_fetch import ShareFetchResponse
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatResponse
from broker.wire.messages.update_features import UpdateFeaturesResponse
from harness.clients.share.asking import Ask, LostError, Steps, Wait
from harness.cluster.probe import Probe, ProbeError, UnsentError, split_address
from harness.credentials import Credentials

T = TypeVar("T")

ANSWERS: Final = {
    kind.api: kind
    for kind in (
        ApiVersionsResponse,
        FindCoordinatorResponse,
        IncrementalAlterConfigsResponse,
        MetadataResponse,
        ShareAcknowledgeResponse,
        ShareFetchResponse,
        ShareGroupHeartbeatResponse,
        UpdateFeaturesResponse,
    )
}


class Wire:
    """See the module. It belongs to one thread at a time."""

    def __init__(self, bootstrap: str, credentials: Credentials) -> None:
        """Prepare; bootstrap: host:port, with commas between several."""
        self._credentials = credentials
        self._first = [split_address(address) for address in bootstrap.split(",")]
        self._turn = itertools.count()
        self._addresses: dict[int, tuple[str, int]] = {}
        """Where the nodes listen, as the last Metadata said."""
        self._probes: dict[tuple[str, int], Probe] = {}

    def perform(self, steps: Steps[T]) -> T:
        """Return what the steps return; raises what they raise."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    time.sleep(step.ms / 1000)
                    step = steps.send(None)
                    continue
                try:
                    answer = self._ask(step)
                except ProbeError as error:
                    step = steps.throw(LostError(str(error), sent=not isinstance(error, UnsentError)))
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _ask(self, step: Ask) -> Any:
        address = self._any() if step.node is None else self._addresses.get(step.node)
        if address is None:
            raise self._unknown(step)
        probe = self._probes.get(address)
        if probe is None:
            probe = self._probes[address] = Probe(*address, credentials=self._credentials)
        answer = probe.ask_once(step.request, ANSWERS[step.request.api], step.timeout_ms / 1000)
        if isinstance(answer, MetadataResponse):
            self._addresses = {broker.node_id: (broker.host, broker.port) for broker in answer.brokers}
        elif isinstance(answer, FindCoordinatorResponse):
            for one in answer.coordinators:
                if not one.error_code:
                    self._addresses[one.node_id] = one.host, one.port
        return answer

    def _any(self) -> tuple[str, int]:
        """Return the address of the next node: those of the bootstrap and those that were told of, in turn."""
        places = list(dict.fromkeys((*self._first, *self._addresses.values())))
        return places[next(self._turn) % len(places)]

    def _unknown(self, step: Ask) -> UnsentError:
        return UnsentError(f"{step.request.api.name}: no address of node {step.node} is known")

    def close(self) -> None:
        """Close all connections."""
        for probe in self._probes.values():
            probe.close()
        self._probes = {}
