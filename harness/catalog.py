"""Names -> workloads, faults, clusters, checkers: what `harness list` prints and options choose from.

Providers are imported only when they are used: Docker's client and Kafka's admin client are slow to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, cast

from broker.bugs import registry
from broker.bugs.registry import Bug
from harness.cluster.api import Cluster, ClusterSpec, UsageError
from workloads.api import Workload
from workloads.application import APPLICATIONS
from workloads.compaction import COMPACTION
from workloads.copy import COPY
from workloads.groups import GROUPS
from workloads.queue import SEND_POLL, TXN
from workloads.retention import RETENTION
from workloads.share import SHARE

T = TypeVar("T")

WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload for workload in (TXN, SEND_POLL, COPY, COMPACTION, RETENTION, GROUPS, SHARE, APPLICATIONS)
}


BUGS: Mapping[str, Bug] = registry.BUGS


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of cluster: where its class lives. The module also has `from_handles` and `remove`."""

    name: str
    summary: str
    module: str
    cls: str

    def kind(self) -> type[Cluster]:
        """Return the class."""
        return cast("type[Cluster]", getattr(import_module(self.module), self.cls))

    def has_links(self) -> bool:
        """Return whether links between nodes can be cut on this machine, where the class can at all."""
        works = getattr(import_module(self.module), "links_work", None)
        return works is None or bool(works())

    def lacks_clocks(self) -> str | None:
        """Return what to install before the nodes' clocks can be set, where the class can at all; None: nothing."""
        lacks = getattr(import_module(self.module), "lacks_clocks", None)
        return None if lacks is None else cast("str | None", lacks())

    def create(self, spec: ClusterSpec) -> Cluster:
        """Return a cluster that is not up yet."""
        return cast("Cluster", getattr(import_module(self.module), self.cls)(spec))

    def from_handles(self, handles: Mapping[str, Any]) -> Cluster:
        """Return a running cluster from what its `describe` said."""
        return cast("Cluster", import_module(self.module).from_handles(handles))

    def remove(self, handles: Mapping[str, Any]) -> None:
        """Remove all that the cluster left, from its handles alone."""
        import_module(self.module).remove(handles)


PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            "embedded", "our own broker as local processes on loopback", "harness.cluster.processes", "EmbeddedCluster"
        ),
        Provider(
            "simulated",
            "our own broker on a virtual clock, all of it from the seed",
            "harness.cluster.simulated",
            "SimulatedCluster",
        ),
        Provider("jvm", "Apache Kafka as local processes on loopback", "harness.cluster.jvm", "JvmCluster"),
        Provider("compose", "Apache Kafka in Docker Compose", "harness.cluster.compose", "ComposeCluster"),
        Provider(
            "existing", "a cluster that runs already (--bootstrap)", "harness.cluster.existing", "ExistingCluster"
        ),
        Provider(
            "remote",
            "a cluster that runs already, and that your commands can break (--bootstrap, --commands)",
            "harness.cluster.remote",
            "RemoteCluster",
        ),
    )
}


def workload(name: str) -> Workload:
    """Return the workload of that name; raises UsageError naming those that exist."""
    return _one_of(WORKLOADS, name, "workload")


def provider(name: str) -> Provider:
    """Return the provider of that name; raises UsageError naming those that exist."""
    return _one_of(PROVIDERS, name, "cluster")


def bug(name: str) -> Bug:
    """Return the plantable bug of that name; raises UsageError naming those that exist."""
    return _one_of(BUGS, name, "bug", "harness bugs")


def _one_of(table: Mapping[str, T], name: str, kind: str, listed: str = "harness list") -> T:
    if name not in table:
        raise UsageError(f"unknown {kind} {name!r}: there are {', '.join(table)} (see `{listed}`)")
    return table[name]
