"""Apache Kafka as local JVM processes on loopback: no Docker, no root; kill, pause, and cut links.

One more process carries all connections (`harness.cluster.wires`), as for our own nodes. Kafka tells every node the
same address of a peer, so what differs is where the name leads: each JVM has a hosts file of its own
(`jdk.net.hosts.file`), in which a peer's name is the loopback address of the wire from here to there, 127.100.FROM.TO,
with the peer's own ports. Clients are told the port of their wire. Where only 127.0.0.1 is an address of the loopback
(macOS) there are no links: nothing can be cut.

States of a cluster: planned (ids, ports and folder are fixed, nothing runs) -> up -> down (processes, ports, files are
gone). From the moment it is planned `describe` holds the handles from which another process can find it again
(`from_handles`) or take it away (`remove`): the folder and the cluster's random id, which every process carries in its
command line. So a harness that was killed at any moment leaves nothing that `harness heal` would not find, and no pid
file can lie. The owner writes the handles down before `up`.

After an `up` that failed, `down` keeps the nodes' logs and configuration: the error names them.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from harness.cluster import cds, jvm_node, pids, ports
from harness.cluster.api import CLIENTS, ClusterError, ClusterSpec, Node, UsageError
from harness.cluster.distribution import ensure, find_java, line
from harness.cluster.group import Grouped, NodeGroup
from harness.cluster.properties import (
    BROKER,
    CONTROLLER,
    CONTROLLER_LISTENER,
    Listener,
    Member,
    node_properties,
    plan,
    refuse_owned,
)
from harness.cluster.ready import READY_TIMEOUT_S, await_ready
from harness.cluster.storage import bootstrap_checkpoint, random_id
from harness.cluster.wiring import FOLDER, Linked, Wire, Wires

PROVIDER: Final = "jvm"
_HOSTS_FILE: Final = "hosts"
_ID_FILE: Final = "cluster-id"
"""Says whose folder it is: nothing is deleted from a folder that does not hold the id of the handles."""
_CLIENT_LISTENER: Final = "CLIENT"
_INTERNAL_LISTENER: Final = "INTERNAL"
_INTERNAL: Final = "internal"
_CLIENTS: Final = "clients"
_LINKED: Final = (_INTERNAL, _CLIENTS)
"""Further ports of a broker with links: where the other brokers, and where clients reach it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handles:
    """All that is needed to find a cluster again: the JSON under "handles" in `describe`."""

    name: str
    cluster_id: str
    folder: str
    version: str
    nodes: int
    controllers: int
    broker_config: dict[str, str]
    ports: dict[str, dict[str, int]]
    """By node and role; with links a broker has `internal` and `clients` too."""
    control: int = 0
    """The port on which the wires take commands."""
    links: bool = False

    @classmethod
    def read(cls, description: Mapping[str, Any]) -> Self:
        """Return the handles from what `describe` returned, or from its "handles"."""
        return cls(**description.get("handles", description))


class JvmCluster(Grouped, Linked):
    """A cluster of local JVMs; Killable, Pausable, Partitionable, Shapeable and Logged. Thread-safe node control."""

    def __init__(self, spec: ClusterSpec) -> None:
        """Plan the cluster: check Java, fetch the jars, reserve the ports. Raises UsageError; nothing runs yet."""
        refuse_owned(spec.broker_config)
        members = plan(spec.nodes, spec.controllers)
        find_java(spec.version)
        ensure(spec.version)
        cluster_id = random_id()
        links = spec.links and links_work()
        _claim(spec.folder, cluster_id, members)
        roles = {one.name: [*sorted(one.roles), *(_LINKED if links and BROKER in one.roles else ())] for one in members}
        try:
            reserved = iter(ports.reserve(links + sum(map(len, roles.values())), spec.folder))
        except UsageError:
            (spec.folder / _ID_FILE).unlink()
            raise
        self._set(
            Handles(
                name=spec.name,
                cluster_id=cluster_id,
                folder=str(spec.folder.resolve()),
                version=spec.version,
                nodes=spec.nodes,
                controllers=spec.controllers,
                broker_config=dict(spec.broker_config),
                ports={name: {role: next(reserved) for role in own} for name, own in roles.items()},
                control=next(reserved) if links else 0,
                links=links,
            )
        )

    @classmethod
    def from_handles(cls, handles: Handles) -> Self:
        """Return the cluster of these handles, with the processes that run."""
        cluster = cls.__new__(cls)
        cluster._set(handles)
        cluster._group.find()
        cluster._was_ready = True
        return cluster

    def _set(self, handles: Handles) -> None:
        self.name, self._handles = handles.name, handles
        self._folder = Path(handles.folder)
        self._members = {member.name: member for member in plan(handles.nodes, handles.controllers)}
        self._wires = Wires(handles.cluster_id, handles.control) if handles.links else None
        self._carrier: subprocess.Popen[bytes] | None = None
        self._ready_to_launch: jvm_node.Launch | None = None
        self._was_ready = False
        self._group = NodeGroup(
            list(self._members),
            mark=lambda name: jvm_node.mark(handles.cluster_id, name),
            launch=self._launch,
            died=lambda name: jvm_node.last_words(self._folder / name),
        )

    # Cluster

    def up(self) -> None:
        """Start the wires and every node, and wait until the cluster is ready; ClusterError names a node that died."""
        launch = self._launched()
        checkpoint = bootstrap_checkpoint(self._handles.version, launch.jars)
        for member in self._members.values():
            folder, properties = self._folder / member.name, self._properties(member)
            jvm_node.prepare(folder, properties, cluster_id=self._handles.cluster_id, checkpoint=checkpoint)
            (folder / _HOSTS_FILE).write_text(self._hosts(member))
        if self._wires is not None:
            self._carrier = self._wires.start(self._folder / FOLDER, self._plan())
            self._wires.await_answers(self._carrier, self._folder / FOLDER)
        for name in self._members:
            self.start(name)
        check_alive = self._group.check_alive
        await_ready(self.nodes(), self._handles.cluster_id, check_alive=check_alive, timeout_s=READY_TIMEOUT_S)
        self._was_ready = True

    def down(self) -> None:
        """Kill the processes, give the ports back, delete the folder (logs and configuration stay if `up` failed)."""
        _remove(self._handles, keep_logs=not self._was_ready)
        self._group.reap()
        if self._carrier is not None:
            self._carrier.wait(pids.GONE_TIMEOUT_S)
            self._carrier = None

    def nodes(self) -> Sequence[Node]:
        """Return all nodes; a controller's address is its quorum listener, which no client can use."""
        return [
            Node(member.name, member.id, f"{ports.LOOPBACK}:{self._port(member)}", member.roles)
            for member in self._members.values()
        ]

    def bootstrap(self) -> str:
        """Return the brokers' addresses."""
        return ",".join(node.address for node in self.nodes() if "broker" in node.roles)

    def describe(self) -> dict[str, Any]:
        """Return provider, version, cluster id and the handles, as JSON values; complete before `up`."""
        return {
            "provider": PROVIDER,
            "name": self.name,
            "version": self._handles.version,
            "cluster-id": self._handles.cluster_id,
            "nodes": {node.name: {"id": node.id, "roles": sorted(node.roles)} for node in self.nodes()},
            "bootstrap": self.bootstrap(),
            "handles": asdict(self._handles),
        }

    # Logged

    def collect(self, folder: Path) -> None:
        """Copy each node's logs (the newest 8 MB) and properties into folder/<node>/."""
        for name in self._members:
            source, target = self._folder / name, folder / name
            target.mkdir(parents=True, exist_ok=True)
            for file in (*jvm_node.LOGS, "server.properties", "hs_err.log"):
                text = jvm_node.tail(source / file)
                if text:
                    (target / file).write_bytes(text)

    # Within

    def _launch(self, name: str) -> subprocess.Popen[bytes]:
        folder = self._folder / name
        if not folder.is_dir():
            raise ClusterError(f"{name} has no files in {folder}: is the cluster down?")
        options = [f"-Djdk.net.hosts.file={folder / _HOSTS_FILE}"] if self._handles.links else []
        marked = jvm_node.mark(self._handles.cluster_id, name)
        return jvm_node.start(self._launched(), folder, marked=marked, options=options)

    def _launched(self) -> jvm_node.Launch:
        if self._ready_to_launch is None:
            java, jars, version = find_java(self._handles.version), ensure(self._handles.version), self._handles.version
            archive = cds.archive(java, jars, version, owner_id=self._handles.cluster_id)
            self._ready_to_launch = jvm_node.Launch(java.command, jars, version, archive)
        return self._ready_to_launch

    def _port(self, member: Member) -> int:
        """Return where clients reach a broker; for a controller, where it listens."""
        own = self._handles.ports[member.name]
        if BROKER not in member.roles:
            return own[CONTROLLER]
        return own[_CLIENTS] if self._handles.links else own[BROKER]

    def _properties(self, member: Member) -> dict[str, str]:
        own, links = self._handles.ports[member.name], self._handles.links
        listeners = []
        if BROKER in member.roles:
            if links:
                bind, advertised = _address(own[_INTERNAL]), f"{member.name}:{own[_INTERNAL]}"
                listeners.append(Listener(name=_INTERNAL_LISTENER, bind=bind, advertised=advertised))
            bind, advertised = _address(own[BROKER]), _address(self._port(member))
            listeners.append(Listener(name=_CLIENT_LISTENER, bind=bind, advertised=advertised))
        if CONTROLLER in member.roles:
            # From 3.9 on a new leader of the quorum tells its address: that must be its name too.
            told = self._quorum_address(member) if links and line(self._handles.version) >= (3, 9) else None
            listeners.append(Listener(name=CONTROLLER_LISTENER, bind=_address(own[CONTROLLER]), advertised=told))
        return node_properties(
            member,
            listeners=listeners,
            voters={one.id: self._quorum_address(one) for one in self._members.values() if CONTROLLER in one.roles},
            brokers=self._handles.nodes,
            log_dir=str(jvm_node.data_folder(self._folder / member.name)),
            version=self._handles.version,
            overrides=self._handles.broker_config,
        )

    def _quorum_address(self, member: Member) -> str:
        port = self._handles.ports[member.name][CONTROLLER]
        return f"{member.name}:{port}" if self._handles.links else _address(port)

    def _hosts(self, member: Member) -> str:
        """Return the node's hosts file: it knows itself, and of each peer the address of the wire that leads there."""
        lines = [f"{ports.LOOPBACK} localhost {member.name} {socket.gethostname()}"]
        others = (other for other in self._members.values() if other is not member)
        lines += [f"{_wire_host(member, other)} {other.name}" for other in others]
        return "\n".join(lines) + "\n"

    def _plan(self) -> list[Wire]:
        wires = []
        for target in self._members.values():
            own = self._handles.ports[target.name]
            if BROKER in target.roles:
                wires.append(Wire(source=CLIENTS, target=target.name, port=own[_CLIENTS], to=own[BROKER]))
            inward = [own[role] for role in (_INTERNAL, CONTROLLER) if role in own]
            for source in self._members.values():
                if source is not target:
                    host = _wire_host(source, target)
                    wires += [Wire(source=source.name, target=target.name, host=host, port=to, to=to) for to in inward]
        return wires


def from_handles(description: Mapping[str, Any]) -> JvmCluster:
    """Return a controllable cluster from what `describe` returned (or its "handles")."""
    return JvmCluster.from_handles(Handles.read(description))


def remove(description: Mapping[str, Any]) -> None:
    """Take away processes, ports and files, from what `describe` returned (or its "handles"); safe to call twice."""
    _remove(Handles.read(description), keep_logs=False)


def links_work() -> bool:
    """Return whether wires can listen on this machine: on more addresses of the loopback than 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        try:
            one.bind((_wire_host(Member("n1", 1, frozenset()), Member("n2", 2, frozenset())), 0))
        except OSError:
            return False
    return True


def _wire_host(source: Member, target: Member) -> str:
    return f"127.100.{source.id}.{target.id}"


def _address(port: int) -> str:
    return f"{ports.LOOPBACK}:{port}"


def _remove(handles: Handles, *, keep_logs: bool) -> None:
    folder, cluster_id = Path(handles.folder), handles.cluster_id
    marks = (jvm_node.mark(cluster_id, ""), Wires(cluster_id, handles.control).mark())
    processes = [process for mark in marks for _, process in pids.marked(mark)]
    for process in processes:
        pids.send(process, signal.SIGKILL)
    for process in processes:
        pids.wait_gone(process)
    ports.release(folder)
    try:
        if (folder / _ID_FILE).read_text() != cluster_id:
            return
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in handles.ports:
        for part in ("data", "tmp") if keep_logs else ("",):
            if (folder / name / part).exists():
                shutil.rmtree(folder / name / part)
    if (folder / FOLDER).exists() and not keep_logs:
        shutil.rmtree(folder / FOLDER)
    (folder / _ID_FILE).unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _claim(folder: Path, cluster_id: str, members: Sequence[Member]) -> None:
    """Make the folder ours; logs of a failed `up` in it go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _ID_FILE).open("x") as file:
            file.write(cluster_id)
        for name in (*(member.name for member in members), FOLDER):
            if (folder / name).exists():
                shutil.rmtree(folder / name)
    except FileExistsError as error:
        raise UsageError(f"another cluster lives in the folder {folder}") from error
    except OSError as error:
        raise UsageError(f"can't make the cluster's folder {folder}: {error.strerror}") from error
