"""Apache Kafka in Docker Compose: 3 nodes with both roles by default, isolated controllers on request.

`up` chooses free ports and a free subnet, writes `compose.yaml` (from `compose/cluster.yaml.j2`) into the cluster's
folder, lets Docker Compose start it, and waits until every broker answers with our cluster id. From then on nodes are
controlled through the engine's API, by the ids of the very containers that `up` started. The states of a node:

    created --up--> running <--pause/resume--> paused;   running or paused --kill--> dead --start--> running

A node keeps its volume, name, address and port when it is killed; it loses its network namespace, and with it the rules
of a cut link (see `links`: they are put back at its start). `down` removes containers, networks and volumes; `remove`
does so from the JSON of `describe` alone, for a harness that was killed. Both touch only what carries the project's
label, and the project's name is drawn anew for each cluster: two runs of one name don't meet.

Refused: a node's image or an engine that is not there (UsageError), a remote engine (its ports are not on our loopback;
`up` then ends with ClusterError, since no broker answers).
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from harness.cluster import engine, image, ports
from harness.cluster.administered import Administered
from harness.cluster.api import ClusterError, ClusterSpec, Key, Node, UsageError
from harness.cluster.compose_file import DATA, Handles, compose_yaml, project_name, variable
from harness.cluster.container_logs import collect, last_words
from harness.cluster.disks import lossy
from harness.cluster.group import STOP_S
from harness.cluster.links import Links
from harness.cluster.observer import split_key
from harness.cluster.properties import BROKER, Member, refuse_owned
from harness.cluster.ready import READY_TIMEOUT_S, await_ready
from harness.cluster.storage import random_id
from harness.cluster.volumes import Volumes

PROVIDER = "compose"

UP_ATTEMPTS = 3
"""A port or a subnet that was free when we chose it may be somebody's when the engine takes it."""
TAKEN = re.compile(r"port is already allocated|address already in use|Pool overlaps|overlaps with other", re.IGNORECASE)
START_ATTEMPTS = 5
START_PAUSE_S = 0.5
"""`docker start` right after a kill can fail while the engine still gives the old port back."""
GONE_TIMEOUT_S = 20.0
GONE_POLL_S = 0.02


class ComposeCluster(Administered):
    """A cluster in containers.

    Killable, Stoppable, Powered, Pausable, Partitionable, Reassignable, Configurable and Logged.
    """

    def __init__(self, spec: ClusterSpec) -> None:
        """Plan the cluster; nothing is started. UsageError for a plan that can't be."""
        refuse_owned(spec.broker_config)
        for key in spec.broker_config:
            variable(key)
        self._be(
            Handles(
                name=spec.name,
                project=project_name(spec.name),
                cluster_id=random_id(),
                folder=str(spec.folder.absolute()),
                version=spec.version,
                image=spec.image,
                nodes=spec.nodes,
                controllers=spec.controllers,
                broker_config=dict(spec.broker_config),
            )
        )

    @classmethod
    def of(cls, handles: Handles) -> Self:
        """Return a controllable cluster that somebody else started."""
        cluster = cls.__new__(cls)
        cluster._be(handles)
        cluster._begun = True
        return cluster

    def _be(self, handles: Handles) -> None:
        self.name = handles.name
        self._begun = False
        self._handles = handles
        self._members = handles.members()
        self._engine: Any = None
        self._links: Links | None = None
        self._taken = defaultdict[str, Counter[Key]](Counter)

    # Cluster

    def up(self) -> None:
        """Start it and wait until it is ready; see `Cluster.up`."""
        engine.compose_command()
        client = self._client()
        self._begun = True
        self._handles = replace(
            self._handles, image=image.node_image(client, self._handles.version, self._handles.image)
        )
        self._helper_image()
        for attempt in range(1, UP_ATTEMPTS + 1):
            try:
                self._compose_up()
                break
            except ClusterError as error:
                engine.sweep(client, self._handles.project)
                if attempt == UP_ATTEMPTS or not TAKEN.search(str(error)):
                    raise
        found = engine.containers(client, self._handles.project)
        absent = sorted(self._members.keys() - found.keys())
        if absent:
            raise ClusterError(f"Docker Compose has not made {', '.join(absent)} of {self._handles.project}")
        self._handles = replace(self._handles, containers={name: one.id for name, one in found.items()})
        await_ready(self.nodes(), self._handles.cluster_id, check_alive=self._check_running, timeout_s=READY_TIMEOUT_S)

    def down(self) -> None:
        """Remove containers, networks and volumes; see `Cluster.down`. Without an engine `up` has begun nothing."""
        if not self._begun:
            return
        client = self._client()
        try:
            engine.sweep(client, self._handles.project)
            ports.release(Path(self._handles.folder))
        finally:
            self._engine, self._links = None, None
            client.close()

    def nodes(self) -> tuple[Node, ...]:
        """Return all nodes; a broker's address is empty until `up` has chosen its port."""
        return tuple(
            Node(name=one.name, id=one.id, address=self._handles.client_address(one), roles=one.roles)
            for one in self._members.values()
        )

    def bootstrap(self) -> str:
        """Return the brokers' addresses on this machine."""
        return ",".join(node.address for node in self.nodes() if BROKER in node.roles)

    def describe(self) -> dict[str, Any]:
        """Return provider, version, image, cluster id and the handles for `remove` and `from_handles`."""
        return {
            "provider": PROVIDER,
            "name": self.name,
            "version": self._handles.version,
            "image": self._handles.image,
            "cluster-id": self._handles.cluster_id,
            "nodes": {node.name: {"id": node.id, "roles": sorted(node.roles)} for node in self.nodes()},
            "bootstrap": self.bootstrap(),
            "handles": asdict(self._handles),
        }

    # Stoppable

    def stop(self, node: str) -> None:
        """SIGTERM the node and wait, within a bound, until it has gone in order. Safe when it is dead."""
        with engine.guard(f"stop {node}"):
            container = self._container(node)
            if container.attrs["State"]["Running"]:
                container.kill(signal="SIGTERM")
        self._gone_within(node, STOP_S)

    # Powered

    def blackout(self, node: str) -> None:
        """SIGKILL the node, and lose what it had not synced."""
        observer = self.observer()
        known = {split_key(state.key)[0] for state in observer.partitions(())}
        topics = lossy(observer, node, sorted(known))
        self.kill(node)
        self._taken[node] += self.volumes().lose(node, topics, random.Random())

    def volumes(self) -> Volumes:
        """Return who looks into the nodes' volumes."""
        return Volumes(self._client(), self._handles.project, self._helper_image, self._container, DATA)

    def bytes_lost(self, node: str) -> Mapping[Key, int]:
        """Return how many bytes of each partition power losses have taken so far, as far as this process did it."""
        return dict(self._taken[self._member(node).name])

    # Killable

    def kill(self, node: str) -> None:
        """SIGKILL the node's container; returns when it is gone. Safe when it is gone already."""
        with engine.guard(f"kill {node}"):
            container = self._container(node)
            if container.attrs["State"]["Running"]:
                container.kill(signal="SIGKILL")
        if not self._gone_within(node, GONE_TIMEOUT_S):
            raise ClusterError(f"{node} still runs {GONE_TIMEOUT_S:g} s after SIGKILL")

    def start(self, node: str) -> None:
        """Start the node again; its active cuts hold from its first packet. Safe when it runs."""
        if self.pid(node) is None:
            self._reach().starting(node)
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                with engine.guard(f"start {node}"):
                    self._container(node).start()
                break
            except ClusterError:
                if attempt == START_ATTEMPTS:
                    raise
                time.sleep(START_PAUSE_S)
        self._reach().started(node)
        if self.pid(node) is None:
            raise ClusterError(f"{node} ended as soon as it was started: {last_words(self._container(node))}")

    def pid(self, node: str) -> int | None:
        """Return the broker's process id on the engine's machine (it is the container's first process)."""
        state = self._state(node)
        return (state["Pid"] or None) if state["Running"] else None

    # Pausable

    def pause(self, node: str) -> None:
        """Freeze every process of the node; safe when it is frozen already."""
        with engine.guard(f"pause {node}"):
            container = self._container(node)
            if not container.attrs["State"]["Paused"]:
                container.pause()

    def resume(self, node: str) -> None:
        """Let them go on; safe when they do."""
        with engine.guard(f"resume {node}"):
            container = self._container(node)
            if container.attrs["State"]["Paused"]:
                container.unpause()

    def paused(self, node: str) -> bool:
        """Return whether the kernel's freezer holds the node, as the engine reports it."""
        return bool(self._state(node)["Paused"])

    # Partitionable

    def cut(self, source: str, target: str) -> None:
        """Drop packets from source to target, in the target's network; clients still reach both."""
        self._member(source)
        self._reach().cut(source, self._member(target).name)

    def join(self, source: str, target: str) -> None:
        """Undo `cut`, whoever made it."""
        self._member(source)
        self._reach().join(source, self._member(target).name)

    def dropped(self, source: str, target: str) -> int:
        """Return the packets that the cut has dropped since it was made, or since the target was last started."""
        return self._reach().dropped(source, self._member(target).name)

    # Logged

    def collect(self, folder: Path) -> None:
        """Copy logs and server.properties of each node, and the compose file; nodes that are not there are left out."""
        if not self._begun:
            return
        folder.mkdir(parents=True, exist_ok=True)
        file = self._file()
        if file.exists():
            shutil.copyfile(file, folder / file.name)
        for name, container in engine.containers(self._client(), self._handles.project).items():
            collect(container, folder / name)

    # Within

    def _gone_within(self, node: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid(node) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(GONE_POLL_S)
        return True

    def _client(self) -> Any:
        if self._engine is None:
            self._engine = engine.connect()
        return self._engine

    def _member(self, node: str) -> Member:
        if node not in self._members:
            raise ClusterError(f"{self.name} has no node {node!r}: it has {', '.join(self._members)}")
        return self._members[node]

    def _container(self, node: str) -> Any:
        """Return the node's container, freshly inspected."""
        self._member(node)
        known = self._handles.containers.get(node)
        if known is None:
            found = engine.containers(self._client(), self._handles.project)
            if node not in found:
                raise ClusterError(f"{node} of {self.name} has no container: is the cluster up?")
            return found[node]
        with engine.guard(f"find {node} of {self.name}"):
            return self._client().containers.get(known)

    def _state(self, node: str) -> Mapping[str, Any]:
        state: Mapping[str, Any] = self._container(node).attrs["State"]
        return state

    def _reach(self) -> Links:
        if self._links is None:
            self._links = Links(
                self._client(), self._handles.project, self._helper_image, self._container, self._handles.addresses()
            )
        return self._links

    def _helper_image(self) -> str:
        assert self._handles.image is not None, "up has chosen the image"
        return image.helper_image(self._client(), self._handles.image)

    def _check_running(self) -> None:
        for name, container in engine.containers(self._client(), self._handles.project).items():
            state = container.attrs["State"]
            if not state["Running"]:
                raise ClusterError(f"{name} ended with {state['ExitCode']}: {last_words(container)}")

    def _compose_up(self) -> None:
        client = self._client()
        brokers = [one.name for one in self._members.values() if BROKER in one.roles]
        file = self._file()
        file.parent.mkdir(parents=True, exist_ok=True)
        ports.release(file.parent)
        chosen = ports.reserve(len(brokers), file.parent)
        self._handles = replace(
            self._handles,
            ports=dict(zip(brokers, chosen, strict=True)),
            subnet=engine.free_subnet(client, self._handles.project),
        )
        file.write_text(compose_yaml(self._handles))
        assert self._handles.image is not None, "up has chosen the image"
        engine.compose(self._handles.project, file, ["up", "-d"], {"KAFKA_IMAGE": self._handles.image})

    def _file(self) -> Path:
        return Path(self._handles.folder) / "compose.yaml"


def from_handles(description: Mapping[str, Any]) -> ComposeCluster:
    """Return a controllable cluster from what `describe` returned (or its "handles")."""
    return ComposeCluster.of(_handles(description))


def remove(description: Mapping[str, Any]) -> None:
    """Remove all that the cluster left, from what `describe` returned (or its "handles"); safe when nothing is left."""
    handles = _handles(description)
    client = engine.connect()
    try:
        engine.sweep(client, handles.project)
    finally:
        client.close()
    ports.release(Path(handles.folder))


def _handles(description: Mapping[str, Any]) -> Handles:
    try:
        return Handles(**description.get("handles", description))
    except TypeError as error:
        raise UsageError(f"this does not describe a {PROVIDER} cluster: {error}") from error
