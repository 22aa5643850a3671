"""Our own broker as local processes on loopback: no Docker, no JVM, no root; kill, pause, and cut links.

Each node is a process (`python -m broker`). One more process carries all connections (`harness.cluster.wires`): every
node reaches every other through a port of its own, and clients reach every node through one, so that a direction
between two nodes can be cut while both live and serve. A cluster that had to be killed goes the same way: everything is
found by the cluster's random id in the command lines, and by the handles in `describe`, which are complete before `up`.

After an `up` that failed, `down` keeps the nodes' logs and configuration: the error names them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from harness.cluster import pids, ports
from harness.cluster.api import CLIENTS, ClusterError, ClusterSpec, Node, UsageError
from harness.cluster.distribution import cache_folder
from harness.cluster.group import Grouped, NodeGroup
from harness.cluster.jvm_node import last_words, tail
from harness.cluster.properties import (
    BROKER,
    BUG,
    CONTROLLER,
    CONTROLLER_LISTENER,
    NODES_LISTENER,
    Listener,
    Member,
    node_properties,
    plan,
    refuse_owned,
    render,
)
from harness.cluster.ready import await_ready
from harness.cluster.storage import random_id
from harness.cluster.wiring import FOLDER, ROOT, Linked, Wire, Wires

PROVIDER: Final = "embedded"
LEVEL: Final = "4.1.1"
"""The Apache Kafka whose protocol and defaults our broker follows."""
READY_TIMEOUT_S: Final = 60.0
"""One second on a quiet machine, ten on one that does much else."""
_ID_FILE: Final = "cluster-id"
"""Says whose folder it is: nothing is deleted from a folder that does not hold the id of the handles."""
_CLIENT_LISTENER: Final = "CLIENT"
_READY_POLL_S: Final = 0.02
"""A look takes a few milliseconds; the whole start is less than a second."""
_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"
_LOGS: Final = ("server.log",)

TIMINGS: Final = {
    # A new leader within a second of a kill: the session, an election, and the client's own retry.
    "broker.heartbeat.interval.ms": "100",
    "broker.session.timeout.ms": "600",
    "controller.quorum.election.timeout.ms": "150",
    "controller.quorum.fetch.timeout.ms": "500",
    "replica.fetch.backoff.ms": "50",
    "replica.fetch.wait.max.ms": "200",
    "replica.lag.time.max.ms": "1000",
    "request.timeout.ms": "2000",
}
"""Our nodes start and elect in a fraction of a JVM's time; the rest is as for Apache Kafka."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handles:
    """All that is needed to find a cluster again: the JSON under "handles" in `describe`."""

    name: str
    cluster_id: str
    folder: str
    nodes: int
    broker_config: dict[str, str]
    control: int
    """The port on which the wires take commands."""
    ports: dict[str, dict[str, int]]
    """By node: `broker` and `controller` (where it listens for clients and nodes), `clients` (where clients reach it),
    `to-n2` and so on; a controller of its own has neither `broker` nor `clients`."""
    controllers: int = 0
    """Nodes that vote and hold no partition; 0: every node does both."""
    links: bool = True
    """Whether connections run through the wires; without, they go to the nodes directly, and nothing can be cut."""
    bug: str = ""

    @classmethod
    def read(cls, description: Mapping[str, Any]) -> Self:
        """Return the handles from what `describe` returned, or from its "handles"."""
        return cls(**description.get("handles", description))


class EmbeddedCluster(Grouped, Linked):
    """A cluster of our own nodes; thread-safe. Killable, Pausable, Partitionable, Shapeable and Logged."""

    def __init__(self, spec: ClusterSpec) -> None:
        """Plan the cluster: reserve the ports, claim the folder. Raises UsageError; nothing runs yet."""
        refuse_owned(spec.broker_config)
        members = plan(spec.nodes, spec.controllers)
        cluster_id = random_id()
        _claim(spec.folder, cluster_id, members)
        names = [member.name for member in members]
        roles = {}
        for member in members:
            serves = BROKER in member.roles
            linked = [*(["clients"] if serves else []), *_to(member.name, names)] if spec.links else []
            roles[member.name] = [*(["broker"] if serves else []), "controller", *linked]
        try:
            reserved = iter(ports.reserve(1 + sum(map(len, roles.values())), spec.folder))
        except UsageError:
            (spec.folder / _ID_FILE).unlink()
            raise
        self._set(
            Handles(
                name=spec.name,
                cluster_id=cluster_id,
                folder=str(spec.folder.resolve()),
                nodes=spec.nodes,
                controllers=spec.controllers,
                broker_config=dict(spec.broker_config),
                bug=spec.bug,
                control=next(reserved),
                ports={name: {role: next(reserved) for role in roles[name]} for name in names},
                links=spec.links,
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
        self._was_ready = False
        self._group = NodeGroup(
            list(self._members),
            mark=lambda name: _mark(handles.cluster_id, name),
            launch=self._launch,
            died=lambda name: last_words(self._folder / name),
        )

    # Cluster

    def up(self) -> None:
        """Start the wires and every node, and wait until the cluster is ready; ClusterError names a node that died."""
        for member in self._members.values():
            self._prepare(member)
        if self._wires is not None:
            self._carrier = self._wires.start(self._folder / FOLDER, self._plan())
        for name in self._members:
            self.start(name)
        if self._wires is not None and self._carrier is not None:
            self._wires.await_answers(self._carrier, self._folder / FOLDER)
        await_ready(
            self.nodes(),
            self._handles.cluster_id,
            check_alive=self._group.check_alive,
            timeout_s=READY_TIMEOUT_S,
            poll_s=_READY_POLL_S,
        )
        self._was_ready = True

    def down(self) -> None:
        """Kill the processes, give the ports back, delete the folder (logs and configuration stay if `up` failed)."""
        _remove(self._handles, keep_logs=not self._was_ready)
        self._group.reap()
        if self._carrier is not None:
            self._carrier.wait(pids.GONE_TIMEOUT_S)
            self._carrier = None

    def nodes(self) -> Sequence[Node]:
        """Return all nodes; the addresses are those of their clients' wires, or of a controller's door for nodes."""
        return [
            Node(member.name, member.id, _address(self._clients_port(member.name)), member.roles)
            for member in self._members.values()
        ]

    def bootstrap(self) -> str:
        """Return the brokers' addresses."""
        return ",".join(node.address for node in self.nodes() if BROKER in node.roles)

    def describe(self) -> dict[str, Any]:
        """Return provider, version, cluster id and the handles, as JSON values; complete before `up`."""
        return {
            "provider": PROVIDER,
            "name": self.name,
            "version": LEVEL,
            "cluster-id": self._handles.cluster_id,
            "nodes": {node.name: {"id": node.id, "roles": sorted(node.roles)} for node in self.nodes()},
            "bootstrap": self.bootstrap(),
            "handles": asdict(self._handles),
        }

    # Logged

    def collect(self, folder: Path) -> None:
        """Copy each node's log (the newest 8 MB) and properties into folder/<node>/."""
        for name in self._members:
            target = folder / name
            target.mkdir(parents=True, exist_ok=True)
            for file in (*_LOGS, "server.properties"):
                text = tail(self._folder / name / file)
                if text:
                    (target / file).write_bytes(text)

    def _clients_port(self, name: str) -> int:
        own = self._handles.ports[name]
        if "broker" not in own:
            return own["controller"]
        return own["clients"] if self._handles.links else own["broker"]

    def _prepare(self, member: Member) -> None:
        """Write the files of a new node."""
        folder = self._folder / member.name
        data = _data_folder(folder)
        data.mkdir(parents=True)
        meta = {"version": "1", "node.id": str(member.id), "cluster.id": self._handles.cluster_id}
        (data / "meta.properties").write_text(render(meta))
        (folder / "server.properties").write_text(render(self._properties(member)))

    def _properties(self, member: Member) -> dict[str, str]:
        own = self._handles.ports[member.name]
        listeners, inner = [], _address(own["controller"])
        if BROKER in member.roles:
            advertised = _address(self._clients_port(member.name))
            listeners.append(Listener(name=_CLIENT_LISTENER, bind=_address(own["broker"]), advertised=advertised))
        if CONTROLLER in member.roles:
            listeners.append(Listener(name=CONTROLLER_LISTENER, bind=inner))
        else:
            listeners.append(Listener(name=NODES_LISTENER, bind=inner, advertised=inner))
        properties = node_properties(
            member,
            listeners=listeners,
            voters={
                one.id: _address(self._handles.ports[one.name]["controller"])
                for one in self._members.values()
                if CONTROLLER in one.roles
            },
            brokers=self._handles.nodes,
            log_dir=str(_data_folder(self._folder / member.name)),
            version=LEVEL,
            overrides={**TIMINGS, **self._handles.broker_config},
        )
        if self._handles.bug:
            properties[BUG] = self._handles.bug
        for other in self._members.values():
            if other is not member and self._handles.links:
                properties[f"harness.peer.{other.id}"] = _address(own[f"to-{other.name}"])
        return properties

    def _plan(self) -> list[Wire]:
        wires = []
        for name, own in self._handles.ports.items():
            if "clients" in own:
                wires.append(Wire(source=CLIENTS, target=name, port=own["clients"], to=own["broker"]))
            for other in _others(name, list(self._members)):
                to = self._handles.ports[other]["controller"]
                wires.append(Wire(source=name, target=other, port=own[f"to-{other}"], to=to))
        return wires

    def _launch(self, name: str) -> subprocess.Popen[bytes]:
        folder = self._folder / name
        if not folder.is_dir():
            raise ClusterError(f"{name} has no files in {folder}: is the cluster down?")
        mark = ["-X", _mark(self._handles.cluster_id, name)]
        command = [sys.executable, *mark, *_keeping_bytecode(), "-m", "broker"]
        with (folder / _LOGS[0]).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
                [*command, "--config", str(folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
                env={key: value for key, value in os.environ.items() if key != _NO_BYTECODE},
            )


def from_handles(description: Mapping[str, Any]) -> EmbeddedCluster:
    """Return a controllable cluster from what `describe` returned (or its "handles")."""
    return EmbeddedCluster.from_handles(Handles.read(description))


def remove(description: Mapping[str, Any]) -> None:
    """Take away processes, ports and files, from what `describe` returned (or its "handles"); safe to call twice."""
    _remove(Handles.read(description), keep_logs=False)


def _remove(handles: Handles, *, keep_logs: bool) -> None:
    folder, cluster_id = Path(handles.folder), handles.cluster_id
    marks = (_mark(cluster_id, ""), Wires(cluster_id, handles.control).mark())
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
    for name in (*handles.ports, FOLDER):
        doomed = _data_folder(folder / name) if keep_logs else folder / name
        if doomed.exists():
            shutil.rmtree(doomed)
    (folder / _ID_FILE).unlink()
    with contextlib.suppress(OSError):  # somebody has put something else there
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


def _mark(cluster_id: str, name: str) -> str:
    """Return the word that only this node's command line holds (an -X option that Python ignores)."""
    return f"harness.node={cluster_id}/{name}"


def _keeping_bytecode() -> list[str]:
    """Return the options with which a node finds its modules compiled; compiling them takes longer than all the rest.

    Where Python is told to leave no bytecode beside the sources it is kept in our cache folder.
    """
    return ["-X", f"pycache_prefix={cache_folder() / 'bytecode'}"] if sys.dont_write_bytecode else []


def _others(name: str, names: Sequence[str]) -> list[str]:
    return [other for other in names if other != name]


def _to(name: str, names: Sequence[str]) -> list[str]:
    return [f"to-{other}" for other in _others(name, names)]


def _address(port: int) -> str:
    return f"{ports.LOOPBACK}:{port}"


def _data_folder(folder: Path) -> Path:
    return folder / "data"
