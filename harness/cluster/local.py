"""A cluster of processes on this machine: what our own nodes (`processes`) and local JVMs (`jvm`) have in common.

States: planned (ids, ports and folder are fixed, nothing runs) -> up -> down (processes, ports, files are gone). From
the moment it is planned `describe` holds the handles from which another process can find the cluster again
(`from_handles`) or take it away (`remove`): the folder and the cluster's random id, which every process carries in its
command line. So a harness that was killed at any moment leaves nothing that `harness heal` would not find, and no pid
file can lie. The owner writes the handles down before `up`.

After an `up` that failed, `down` keeps the nodes' logs and configuration: the error names them.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from harness.cluster import pids, ports
from harness.cluster.administered import Administered
from harness.cluster.api import ClusterError, ClusterSpec, Node, UsageError
from harness.cluster.disks import Disks
from harness.cluster.group import NodeGroup
from harness.cluster.jvm_node import last_words, tail
from harness.cluster.properties import BROKER, Member, plan
from harness.cluster.wiring import FOLDER, Linked, Wire, Wires

_ID_FILE: Final = "cluster-id"
"""Says whose folder it is: nothing is deleted from a folder that does not hold the id of the handles."""
_DATA: Final = "data"
_TEMPORARY: Final = "tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handles:
    """All that is needed to find a cluster again: the JSON under "handles" in `describe`."""

    name: str
    cluster_id: str
    folder: str
    nodes: int
    controllers: int = 0
    """Nodes that vote and hold no partition; 0: every node does both."""
    broker_config: dict[str, str]
    ports: dict[str, dict[str, int]]
    """By node, and by what the port is for."""
    control: int = 0
    """The port on which the wires take commands."""
    links: bool = True
    """Whether connections run through the wires; without, they go to the nodes directly, and nothing can be cut."""

    @classmethod
    def read(cls, description: Mapping[str, Any]) -> Self:
        """Return the handles from what `describe` returned, or from its "handles"."""
        return cls(**description.get("handles", description))


H = TypeVar("H", bound=Handles)


class LocalCluster(Administered, Disks, Linked, Generic[H]):
    """A cluster on this machine, thread-safe.

    Killable, Stoppable, Pausable, Powered, Disked, Partitionable, Shapeable, Interceptable, Reassignable, Configurable,
    Logged and Carried. A provider says how its nodes are started.
    """

    provider: ClassVar[str]
    logs: ClassVar[tuple[str, ...]]
    """A node's logs, by the name of the file in its folder."""

    def _begin(self, handles: H) -> None:
        """Take the handles; nothing runs yet."""
        self.name, self._handles = handles.name, handles
        self._folder = Path(handles.folder)
        self._members = {member.name: member for member in plan(handles.nodes, handles.controllers)}
        self._wires = Wires(handles.cluster_id, handles.control) if handles.links else None
        self._carrier: subprocess.Popen[bytes] | None = None
        self._was_ready = False
        self._begin_disks()
        self._group = NodeGroup(
            list(self._members),
            mark=lambda name: self.mark(handles.cluster_id, name),
            launch=self._launch,
            died=lambda name: last_words(self._folder / name),
        )

    @classmethod
    def from_handles(cls, handles: H) -> Self:
        """Return the cluster of these handles, with the processes that run."""
        cluster = cls.__new__(cls)
        cluster._begin(handles)
        cluster._group.find()
        cluster._was_ready = True
        return cluster

    # What a provider says

    @staticmethod
    @abstractmethod
    def mark(cluster_id: str, name: str) -> str:
        """Return the word that only this node's command line holds."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Return the Apache Kafka that the nodes are, or follow."""

    @abstractmethod
    def _launch(self, name: str) -> subprocess.Popen[bytes]:
        """Start the node's process."""

    @abstractmethod
    def _port(self, member: Member) -> int:
        """Return where clients reach a broker; for a controller, where it listens."""

    @abstractmethod
    def _plan(self) -> list[Wire]:
        """Return every connection that there may be."""

    # Cluster

    @abstractmethod
    def up(self) -> None:
        """Start it and wait until it is ready."""

    def down(self) -> None:
        """Kill the processes, give the ports back, delete the folder (logs and configuration stay if `up` failed)."""
        remove(type(self), self._handles, keep_logs=not self._was_ready)
        self._group.reap()
        if self._carrier is not None:
            self._carrier.wait(pids.GONE_TIMEOUT_S)
            self._carrier = None

    # Carried

    def check_carried(self) -> None:
        """Raise ClusterError if the process behind the links has ended by itself."""
        if self._carrier is not None and self._carrier.poll() is not None:
            raise ClusterError(
                f"the cluster's links (process {self._carrier.pid}) ended during the run: what the history shows since "
                "then is no failure of the cluster, and it is not judged; run it again"
            )

    def nodes(self) -> Sequence[Node]:
        """Return all nodes; a controller's address is its quorum listener, which no client can use."""
        return [
            Node(member.name, member.id, address(self._port(member)), member.roles) for member in self._members.values()
        ]

    def bootstrap(self) -> str:
        """Return the brokers' addresses."""
        return ",".join(node.address for node in self.nodes() if BROKER in node.roles)

    def describe(self) -> dict[str, Any]:
        """Return provider, version, cluster id and the handles, as JSON values; complete before `up`."""
        return {
            "provider": self.provider,
            "name": self.name,
            "version": self.version,
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
            for file in (*self.logs, "server.properties"):
                if text := tail(source / file):
                    (target / file).write_bytes(text)

    # Disks

    def _data_of(self, node: str) -> Path:
        return self._folder / node / _DATA

    def _folder_of(self, name: str) -> Path:
        """Return the folder of a node that can be started; ClusterError when it has gone."""
        folder = self._folder / name
        if not folder.is_dir():
            raise ClusterError(f"{name} has no files in {folder}: is the cluster down?")
        return folder


def claim(spec: ClusterSpec, cluster_id: str, roles: Mapping[str, Sequence[str]], *, control: bool) -> dict[str, Any]:
    """Make the folder ours (logs of a failed `up` in it go) and reserve the ports; return what all handles hold.

    roles: by node, what it needs ports for. UsageError: the folder is another cluster's, or there are no ports.
    """
    _claim_folder(spec.folder, cluster_id, list(roles))
    try:
        reserved = iter(ports.reserve(control + sum(map(len, roles.values())), spec.folder))
    except UsageError:
        (spec.folder / _ID_FILE).unlink()
        raise
    return {
        "name": spec.name,
        "cluster_id": cluster_id,
        "folder": str(spec.folder.resolve()),
        "nodes": spec.nodes,
        "controllers": spec.controllers,
        "broker_config": dict(spec.broker_config),
        "control": next(reserved) if control else 0,
        "ports": {name: {role: next(reserved) for role in own} for name, own in roles.items()},
    }


def remove(provider: type[LocalCluster[Any]], handles: Handles, *, keep_logs: bool = False) -> None:
    """Take away processes, ports and files; safe to call twice."""
    folder, cluster_id = Path(handles.folder), handles.cluster_id
    marks = (provider.mark(cluster_id, ""), Wires(cluster_id, handles.control).mark())
    while processes := [process for mark in marks for _, process in pids.marked(mark)]:  # till one look finds none:
        for process in processes:  # what a harness that was killed was about to start has its mark only after its exec
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
        for part in (_DATA, _TEMPORARY) if keep_logs else ("",):
            if (folder / name / part).exists():
                shutil.rmtree(folder / name / part)
    (folder / _ID_FILE).unlink()
    with contextlib.suppress(OSError):  # something else is there
        folder.rmdir()


def address(port: int) -> str:
    """Return the address of a port here."""
    return f"{ports.LOOPBACK}:{port}"


def _claim_folder(folder: Path, cluster_id: str, names: Sequence[str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _ID_FILE).open("x") as file:
            file.write(cluster_id)
        for name in (*names, FOLDER):
            if (folder / name).exists():
                shutil.rmtree(folder / name)
    except FileExistsError as error:
        raise UsageError(f"another cluster lives in the folder {folder}") from error
    except OSError as error:
        raise UsageError(f"can't make the cluster's folder {folder}: {error.strerror}") from error
