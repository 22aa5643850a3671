"""`harness cluster up|down|status`: clusters that outlive the command, found again by name.

A cluster's handles (what `describe` said) are kept in results/clusters/<provider>-<name>/cluster.json.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from harness import catalog, store
from harness.cluster.api import Cluster, ClusterSpec, Killable, UsageError
from harness.cluster.observer import observer_of
from harness.options import THEIRS, refuse_ineffective
from harness.process.exits import BROKEN, VALID
from harness.scenario import Scenario
from harness.swarm import SIMULATED


def _folder(provider: str, name: str, results: Path) -> Path:
    return (results / "clusters" / store.slug(f"{provider}-{name}")).resolve()


def up(provider: str, name: str, results: Path, *, print_bootstrap: bool, **fields: Any) -> int:
    """Start a cluster and leave it running; raises UsageError if one of that name is there already."""
    if provider in THEIRS:
        raise UsageError(f"a cluster that is {provider} is somebody else's: it can't be started here")
    if provider == SIMULATED:
        catalog.provider(provider).from_handles({})  # refuses: there is nothing that could be left running
    refuse_ineffective(Scenario(cluster=provider, kafka_version=fields["version"], image=fields["image"]))
    folder = _folder(provider, name, results)
    handles = folder / store.CLUSTER
    if handles.exists():
        stop = f"harness cluster down --cluster {provider} --name {name}"
        raise UsageError(f"{provider} cluster {name!r} exists already; stop it with `{stop}`")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise store.StoreError(f"can't make {folder}: {error.strerror or error}") from error
    cluster = catalog.provider(provider).create(ClusterSpec(name=store.slug(name), folder=folder, **fields))
    store.write_json(handles, cluster.describe())
    try:
        cluster.up()
    except BaseException:  # Ctrl-C too: what was started is stopped, then the cause goes on up
        cluster.down()
        handles.unlink()
        raise
    store.write_json(handles, cluster.describe())
    if print_bootstrap:
        print(cluster.bootstrap())  # noqa: T201  the answer that was asked for, on stdout
    else:
        _show(cluster)
    return VALID


def down(provider: str, name: str, results: Path) -> int:
    """Stop a cluster and remove all of it, its folder too."""
    folder = _folder(provider, name, results)
    catalog.provider(provider).remove(_handles(provider, name, folder))
    shutil.rmtree(folder)
    return VALID


def status(provider: str, name: str, results: Path) -> int:
    """Show a cluster's nodes and who leads what; BROKEN if nobody answers."""
    handles = _handles(provider, name, _folder(provider, name, results))
    return _show(catalog.provider(provider).from_handles(handles))


def _handles(provider: str, name: str, folder: Path) -> dict[str, Any]:
    catalog.provider(provider)
    if not (folder / store.CLUSTER).exists():
        raise UsageError(f"there is no {provider} cluster {name!r} here (looked for {folder / store.CLUSTER})")
    handles: dict[str, Any] = store.read_json(folder / store.CLUSTER)
    return handles


def _show(cluster: Cluster) -> int:
    observer = observer_of(cluster)
    controller = observer.controller()
    for node in cluster.nodes():
        pid = cluster.pid(node.name) if isinstance(cluster, Killable) else None
        state = "stopped" if isinstance(cluster, Killable) and pid is None else f"pid {pid}" if pid else "?"
        marks = " controller" if node.name == controller else ""
        print(f"{node.name:6} {node.address:24} {state:12} {','.join(sorted(node.roles))}{marks}")  # noqa: T201
    for partition in observer.partitions(()):
        isr = ",".join(partition.isr)
        print(f"{partition.key:24} leader {partition.leader or '-':6} isr {isr}")  # noqa: T201
    print(f"bootstrap {cluster.bootstrap()}")  # noqa: T201
    return VALID if controller is not None else BROKEN
