"""A cluster that somebody else runs: only its bootstrap address is known. No powers: nothing of it is ever touched.

`up` looks at it: the first address that answers tells of the brokers, and at least one broker must answer under the
address that it advertises (a cluster behind a wrong `advertised.listeners` would only time out later). Whatever is
wrong there is the caller's to correct, so it is a `UsageError`, in bounded time. A broker that was away then, or has
been added since, is found when it is there: it may lead by the time when somebody asks who does.

Its listeners may want TLS or SASL (`harness.credentials`): whoever connects to its nodes asks for its `credentials`.
Its handles name the environment variables that hold secrets, and never what is in them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.cluster.api import ClusterError, ClusterSpec, Node, UsageError
from harness.cluster.probe import AccessError, MetadataResponse, Probe, ProbeError, is_shut, split_address
from harness.credentials import Credentials

PROVIDER: Final = "existing"
TIMEOUT_S: Final = 3.0
"""For one address; it may be on another continent."""
BOUND_S: Final = 10.0
"""For all of `up`."""
LOOK_EVERY_S: Final = 1.0
"""How often it is looked for brokers that were not there before."""


class ExistingCluster:
    """Satisfies Cluster and Guarded, and nothing else: faults are refused."""

    provider = PROVIDER

    def __init__(self, spec: ClusterSpec) -> None:
        """Check the bootstrap's form; nothing is asked yet."""
        if not spec.bootstrap:
            raise UsageError("a cluster that runs already needs --bootstrap host:port")
        try:
            self._addresses = [split_address(one.strip()) for one in spec.bootstrap.split(",")]
        except ValueError as error:
            raise UsageError(f"--bootstrap must be host:port[,host:port]: {error}") from error
        if spec.broker_config:
            raise UsageError("--broker-config needs a cluster of ours: this one runs already")
        self.name = spec.name
        self._bootstrap = spec.bootstrap
        self._client_config = dict(spec.client_config)
        self._credentials = Credentials.of(spec.client_config)
        self._credentials.refuse()
        self._cluster_id: str | None = None
        self._nodes: tuple[Node, ...] = ()
        self._look_at_s = math.inf
        self._lock = threading.Lock()

    def up(self) -> None:
        """Look at the cluster; UsageError when nobody answers, or not as Kafka, within about 10 s."""
        deadline = time.monotonic() + BOUND_S
        answer = self._first_answer(deadline)
        brokers = [
            Node(f"n{one.node_id}", one.node_id, f"{one.host}:{one.port}", frozenset({"broker"}))
            for one in sorted(answer.brokers, key=lambda one: one.node_id)
        ]
        self._check_advertised(brokers, deadline)
        self._cluster_id = answer.cluster_id
        self._nodes = (*brokers, *self._controllers({node.id for node in brokers}))
        self._look_at_s = time.monotonic() + LOOK_EVERY_S

    def down(self) -> None:
        """Do nothing: it is not ours."""

    def nodes(self) -> Sequence[Node]:
        """Return the brokers that were there at `up` or since, and the controllers that are none; empty before `up`."""
        if time.monotonic() >= self._look_at_s and self._lock.acquire(blocking=False):
            try:
                self._look_for_more()
            finally:
                self._lock.release()
        return self._nodes

    def _look_for_more(self) -> None:
        """Add the brokers that whoever answers first lists beside those that are known."""
        known = {node.id for node in self._nodes if "broker" in node.roles}
        try:
            answer = self._first_answer(time.monotonic() + TIMEOUT_S)
        except UsageError:  # nobody answers at the moment: what is known stays
            answer = None
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        if answer is None or answer.cluster_id != self._cluster_id:
            return
        more = {
            one.node_id: Node(f"n{one.node_id}", one.node_id, f"{one.host}:{one.port}", frozenset({"broker"}))
            for one in sorted(answer.brokers, key=lambda one: one.node_id)
            if one.node_id not in known
        }
        rest = [node for node in self._nodes if node.id not in more]  # a voter that was away is a broker too
        self._nodes = (*rest, *more.values())

    def bootstrap(self) -> str:
        """Return the addresses as given."""
        return self._bootstrap

    def credentials(self) -> Credentials:
        """Return what clients get in with."""
        return self._credentials

    def describe(self) -> dict[str, Any]:
        """Return the handles."""
        return {
            "provider": self.provider,
            "name": self.name,
            "version": None,
            "cluster-id": self._cluster_id,
            "nodes": {node.name: {"id": node.id, "roles": sorted(node.roles)} for node in self._nodes},
            "bootstrap": self._bootstrap,
            "client-config": self._client_config,
        }

    def _probe(self, host: str, port: int, timeout_s: float = TIMEOUT_S) -> Probe:
        return Probe(host, port, timeout_s, credentials=self._credentials)

    def _first_answer(self, deadline: float) -> MetadataResponse:
        errors: list[ProbeError] = []
        for host, port in self._addresses:
            left = deadline - time.monotonic()
            if left > 0:
                try:
                    with self._probe(host, port, min(TIMEOUT_S, left)) as probe:
                        return probe.metadata(())
                except ProbeError as error:
                    errors.append(error)
        reasons = "; ".join(map(str, errors))
        if any(isinstance(error, AccessError) for error in errors):
            raise UsageError(f"--bootstrap {self._bootstrap} does not let us in: {reasons}")
        hint = ""
        if self._credentials.sasl is None and any(is_shut(error) for error in errors):
            hint = " (does it want SASL? see --client-config)"
            if not self._credentials.is_encrypted:
                hint = " (does it want TLS or SASL? see --client-config)"
        raise UsageError(f"no Kafka answers at --bootstrap {self._bootstrap}: {reasons}{hint}")

    def _check_advertised(self, brokers: Sequence[Node], deadline: float) -> None:
        reasons = []
        for node in brokers:
            left = deadline - time.monotonic()
            if left > 0:
                try:
                    with self._probe(*split_address(node.address), min(TIMEOUT_S, left)) as probe:
                        probe.api_versions()
                except ProbeError as error:
                    reasons.append(str(error))
                else:
                    return
        raise UsageError(
            f"{self._bootstrap} answers, but no broker does under the address that it advertises: {'; '.join(reasons)}"
        )

    def _controllers(self, known: set[int]) -> list[Node]:
        """Return the voters that are no brokers now: clients can't reach them. A broker that is away keeps its name."""
        host, port = self._addresses[0]
        try:
            with self._probe(host, port) as probe:
                voters = probe.describe_quorum().current_voters
        except ProbeError:  # older than KRaft, or not allowed: nobody can say who controls
            return []
        ids = sorted(voter.replica_id for voter in voters if voter.replica_id not in known)
        return [Node(f"n{one}", one, "", frozenset({"controller"})) for one in ids]


def spec_of(handles: Mapping[str, Any]) -> ClusterSpec:
    """Return the spec of the cluster that `describe` told about, without commands."""
    return ClusterSpec(
        name=handles["name"],
        folder=Path(),
        bootstrap=handles["bootstrap"],
        client_config=handles.get("client-config", {}),
    )


def from_handles(handles: Mapping[str, Any]) -> ExistingCluster:
    """Return the cluster that `describe` told about, looked at again."""
    try:
        cluster = ExistingCluster(spec_of(handles))
        cluster.up()
    except UsageError as error:
        raise ClusterError(str(error)) from error
    return cluster


def remove(handles: Mapping[str, Any]) -> None:
    """Do nothing: it is not ours."""
