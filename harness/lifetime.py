"""A cluster of the harness's own for the time of a context, and what its folder says while it is there.

The folder holds scenario.json and owner.json before anything is started, and cluster.json with the handles: whatever
ends this process, `harness heal` can tell from them that the cluster is abandoned, and take it away. At the end the
nodes' logs are kept in nodes/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import application, store
from harness.cluster.api import Cluster, ClusterError, ClusterSpec, Logged
from harness.cluster.remote import RemoteCluster
from harness.process.signals import bearing_one_interrupt
from harness.scenario import Scenario, clock_jump_s
from nemesis import journal


def spec_of(scenario: Scenario, folder: Path) -> ClusterSpec:
    """Return what the scenario's cluster is to be; folder: the run's."""
    return ClusterSpec(
        name=f"{store.slug(folder.parent.name)}-{folder.name}".lower().replace("+", "-"),
        folder=folder / "cluster",
        nodes=scenario.nodes,
        controllers=scenario.controllers,
        version=scenario.kafka_version,
        upgrade_to=scenario.upgrade_to,
        image=scenario.image,
        bootstrap=scenario.bootstrap,
        client_config=scenario.client_config,
        commands=scenario.commands,
        broker_config=scenario.broker_config,
        links=scenario.links,
        clocks=clock_jump_s(scenario) > 0,
        bug=scenario.bug,
        seed=scenario.seed,
    )


@contextmanager
def up(scenario: Scenario, cluster: Cluster, folder: Path, phase: Callable[[str], None]) -> Iterator[None]:
    """Start the cluster; take it down at the end, however that comes. What `down` heals with it needs no other heal.

    Of a cluster that stays, what still holds of faults is undone one by one.

    phase is told "setup" and "teardown". One Ctrl-C does not keep the cluster from being taken down.
    """
    store.write_json(folder / store.SCENARIO, scenario)
    store.claim(folder)
    try:
        phase("setup")
        store.write_json(folder / store.CLUSTER, cluster.describe())
        cluster.up()
        store.write_json(folder / store.CLUSTER, cluster.describe())
        yield
    finally:
        with bearing_one_interrupt():
            phase("teardown")
            try:
                if isinstance(cluster, Logged):
                    cluster.collect(folder / store.NODES)
            finally:
                _mend(folder, cluster)
                cluster.down()
                store.finish(folder)


def _mend(folder: Path, cluster: Cluster) -> None:
    """Undo what still holds on a cluster that stays; ClusterError, and the run is not finished, where that fails."""
    if not isinstance(cluster, RemoteCluster):
        return
    failed = [line for line in journal.heal(folder, cluster, application.remove(folder)) if ": failed: " in line]
    if failed:
        raise ClusterError(f"{'; '.join(failed)}; try again: harness heal {folder}")
