"""Apache Kafka as local JVM processes on loopback: no Docker, no root; kill and pause, no network faults.

States of a cluster: planned (ids, ports and folder are fixed, nothing runs) -> up -> down (processes, ports, files are
gone). From the moment it is planned `describe` holds the handles from which another process can find it again
(`from_handles`) or take it away (`remove`): the folder and the cluster's random id, which every node carries in its
command line. So a harness that was killed at any moment leaves nothing that `harness heal` would not find, and no pid
file can lie. The owner writes the handles down before `up`.

After an `up` that failed, `down` keeps the nodes' logs and configuration: the error names them.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from harness.cluster import cds, jvm_node, pids, ports
from harness.cluster.api import ClusterError, ClusterSpec, Node, UsageError
from harness.cluster.distribution import ensure, find_java
from harness.cluster.properties import (
    CONTROLLER_LISTENER,
    Listener,
    Member,
    node_properties,
    plan,
    refuse_owned,
)
from harness.cluster.ready import READY_TIMEOUT_S, await_ready
from harness.cluster.storage import bootstrap_checkpoint, random_id

PROVIDER: Final = "jvm"
_ID_FILE: Final = "cluster-id"
"""Says whose folder it is: nothing is deleted from a folder that does not hold the id of the handles."""
_CLIENT_LISTENER: Final = "CLIENT"


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
    """By node and role."""

    @classmethod
    def read(cls, description: Mapping[str, Any]) -> Self:
        """Return the handles from what `describe` returned, or from its "handles"."""
        return cls(**description.get("handles", description))


class JvmCluster:
    """A cluster of local JVMs; satisfies Cluster, Killable, Pausable and Logged. Thread-safe node control."""

    def __init__(self, spec: ClusterSpec) -> None:
        """Plan the cluster: check Java, fetch the jars, reserve the ports. Raises UsageError; nothing runs yet."""
        refuse_owned(spec.broker_config)
        members = plan(spec.nodes, spec.controllers)
        find_java(spec.version)
        ensure(spec.version)
        cluster_id = random_id()
        _claim(spec.folder, cluster_id, members)
        try:
            # One port for clients, one for the quorum; a node needs only those of its roles.
            reserved = iter(ports.reserve(sum(len(member.roles) for member in members), spec.folder))
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
                ports={member.name: {role: next(reserved) for role in sorted(member.roles)} for member in members},
            )
        )

    @classmethod
    def from_handles(cls, handles: Handles) -> Self:
        """Return the cluster of these handles, with the processes that run."""
        cluster = cls.__new__(cls)
        cluster._set(handles)
        for word, process in pids.marked(jvm_node.mark(handles.cluster_id, "")):
            cluster._running[word.rpartition("/")[2]] = process
        cluster._was_ready = True
        return cluster

    def _set(self, handles: Handles) -> None:
        self.name, self._handles = handles.name, handles
        self._folder = Path(handles.folder)
        self._members = {member.name: member for member in plan(handles.nodes, handles.controllers)}
        self._running: dict[str, pids.Running] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._launch: jvm_node.Launch | None = None
        self._was_ready = False
        self._lock = threading.RLock()

    # Cluster

    def up(self) -> None:
        """Start every node and wait until the cluster is ready; ClusterError names the node that died, and its log."""
        launch = self._launched()
        checkpoint = bootstrap_checkpoint(self._handles.version, launch.jars)
        for member in self._members.values():
            properties = self._properties(member)
            jvm_node.prepare(
                self._folder / member.name, properties, cluster_id=self._handles.cluster_id, checkpoint=checkpoint
            )
        for name in self._members:
            self.start(name)
        await_ready(self.nodes(), self._handles.cluster_id, check_alive=self._check_alive, timeout_s=READY_TIMEOUT_S)
        self._was_ready = True

    def down(self) -> None:
        """Kill the nodes, give the ports back, delete the folder (logs and configuration stay if `up` failed)."""
        with self._lock:
            _remove(self._handles, keep_logs=not self._was_ready)
            for child in self._children.values():
                child.wait(pids.GONE_TIMEOUT_S)
            self._children.clear()
            self._running.clear()

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

    # Killable

    def kill(self, node: str) -> None:
        """SIGKILL the node; returns when it is gone. Safe when it is dead."""
        with self._lock:
            process = self._process(node)
            if process is not None:
                pids.send(process, signal.SIGKILL)
                child = self._children.pop(node, None)
                if child is not None:
                    child.wait(pids.GONE_TIMEOUT_S)
                pids.wait_gone(process)
            self._running.pop(node, None)

    def start(self, node: str) -> None:
        """Start the node's process; safe when it runs."""
        with self._lock:
            if self._process(node) is not None:
                return
            folder = self._folder / node
            if not folder.is_dir():
                raise ClusterError(f"{node} has no files in {folder}: is the cluster down?")
            child = jvm_node.start(self._launched(), folder, marked=jvm_node.mark(self._handles.cluster_id, node))
            self._children[node] = child
            process = pids.identify(child.pid)
            if process is None:
                raise ClusterError(f"{node} ended at once: {jvm_node.last_words(folder)}")
            self._running[node] = process

    def pid(self, node: str) -> int | None:
        """Return the node's process id, None when it is not running."""
        with self._lock:
            process = self._process(node)
            return process.pid if process else None

    # Pausable

    def pause(self, node: str) -> None:
        """SIGSTOP the node; ClusterError when it is not running."""
        with self._lock:
            process = self._process(node)
            if process is None:
                raise ClusterError(f"{node} can't be paused: it is not running")
            pids.stop(process)

    def resume(self, node: str) -> None:
        """SIGCONT the node; safe when it runs or is dead."""
        with self._lock:
            process = self._process(node)
            if process is not None:
                pids.send(process, signal.SIGCONT)

    def paused(self, node: str) -> bool:
        """Return whether the operating system says that the node is stopped."""
        with self._lock:
            process = self._process(node)
            return process is not None and pids.is_stopped(process)

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

    def _process(self, node: str) -> pids.Running | None:
        self._member(node)
        child = self._children.get(node)
        if child is not None:
            child.poll()  # reaps it, if it has ended
        process = self._running.get(node)
        return process if process and pids.is_alive(process) else None

    def _member(self, node: str) -> Member:
        try:
            return self._members[node]
        except KeyError:
            raise ClusterError(f"no node {node!r}: there are {', '.join(self._members)}") from None

    def _check_alive(self) -> None:
        for name in self._members:
            if self._process(name) is None:
                raise ClusterError(f"{name} died: {jvm_node.last_words(self._folder / name)}")

    def _launched(self) -> jvm_node.Launch:
        if self._launch is None:
            java, jars, version = find_java(self._handles.version), ensure(self._handles.version), self._handles.version
            archive = cds.archive(java, jars, version, owner_id=self._handles.cluster_id)
            self._launch = jvm_node.Launch(java.command, jars, version, archive)
        return self._launch

    def _port(self, member: Member) -> int:
        return self._handles.ports[member.name]["broker" if "broker" in member.roles else "controller"]

    def _properties(self, member: Member) -> dict[str, str]:
        listeners = []
        if "broker" in member.roles:
            address = f"{ports.LOOPBACK}:{self._port(member)}"
            listeners.append(Listener(name=_CLIENT_LISTENER, bind=address, advertised=address))
        if "controller" in member.roles:
            listeners.append(Listener(name=CONTROLLER_LISTENER, bind=self._quorum_address(member)))
        return node_properties(
            member,
            listeners=listeners,
            voters={one.id: self._quorum_address(one) for one in self._members.values() if "controller" in one.roles},
            brokers=self._handles.nodes,
            log_dir=str(jvm_node.data_folder(self._folder / member.name)),
            version=self._handles.version,
            overrides=self._handles.broker_config,
        )

    def _quorum_address(self, member: Member) -> str:
        return f"{ports.LOOPBACK}:{self._handles.ports[member.name]['controller']}"


def from_handles(description: Mapping[str, Any]) -> JvmCluster:
    """Return a controllable cluster from what `describe` returned (or its "handles")."""
    return JvmCluster.from_handles(Handles.read(description))


def remove(description: Mapping[str, Any]) -> None:
    """Take away processes, ports and files, from what `describe` returned (or its "handles"); safe to call twice."""
    _remove(Handles.read(description), keep_logs=False)


def _remove(handles: Handles, *, keep_logs: bool) -> None:
    folder, cluster_id = Path(handles.folder), handles.cluster_id
    processes = [process for _, process in pids.marked(jvm_node.mark(cluster_id, ""))]
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
    (folder / _ID_FILE).unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _claim(folder: Path, cluster_id: str, members: Sequence[Member]) -> None:
    """Make the folder ours; logs of a failed `up` in it go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _ID_FILE).open("x") as file:
            file.write(cluster_id)
        for member in members:
            if (folder / member.name).exists():
                shutil.rmtree(folder / member.name)
    except FileExistsError as error:
        raise UsageError(f"another cluster lives in the folder {folder}") from error
    except OSError as error:
        raise UsageError(f"can't make the cluster's folder {folder}: {error.strerror}") from error
