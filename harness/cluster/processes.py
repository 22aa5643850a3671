"""Our own broker as local processes on loopback: no Docker, no JVM, no root; kill, pause, and cut links.

Each node is a process (`python -m broker`). One more process carries all connections (`harness.cluster.wires`): every
node reaches every other through a port of its own, and clients reach every node through one, so that a direction
between two nodes can be cut while both live and serve.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.cluster import local
from harness.cluster.api import CLIENTS, ClusterError, ClusterSpec, UsageError
from harness.cluster.distribution import cache_folder
from harness.cluster.local import LocalCluster, address
from harness.cluster.properties import (
    BROKER,
    BUG,
    CLOCK,
    CONTROLLER,
    CONTROLLER_LISTENER,
    NODES_LISTENER,
    Listener,
    Member,
    node_properties,
    plan,
    refuse_ineffective,
    refuse_owned,
    render,
)
from harness.cluster.ready import await_ready
from harness.cluster.storage import random_id
from harness.cluster.wiring import FOLDER, ROOT, Wire

PROVIDER: Final = "embedded"
LEVEL: Final = "4.1.1"
"""The Apache Kafka whose protocol and defaults our broker follows."""
READY_TIMEOUT_S: Final = 60.0
"""One second on a quiet machine, ten on one that does much else."""
_CLIENT_LISTENER: Final = "CLIENT"
_READY_POLL_S: Final = 0.02
"""A look takes a few milliseconds; the whole start is less than a second."""
_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"
_LOG: Final = "server.log"
_CHECKPOINT: Final = "checkpoint"
_RECOVERY_POINT: Final = 1
"""Where it stands in what the checkpoint says of one log (`broker.core.replication.replicas.Point`)."""
_SKEW: Final = struct.Struct("<qq")
"""What a node reads of its clock: `broker.io.clock`."""
_IMPOSSIBLE: Final = re.compile(r"ERROR (?P<name>[\w.]+)=(?P<why>.*?)(?: \(\S+\))?$")
_INEFFECTIVE: Final = re.compile(r"the property (\S+) has no effect here")

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
FOREIGN: Final = frozenset({"controller.quorum.election.backoff.max.ms", "controller.quorum.request.timeout.ms"})
"""What is set for Apache Kafka and means nothing to our nodes, which would warn of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handles(local.Handles):
    """A node's ports are `broker` and `controller`, where it listens for clients and for nodes, and those of its wires.

    `clients` is where clients reach it, `to-n2` and so on where it reaches the others. A controller of its own has
    neither `broker` nor `clients`.
    """

    bug: str = ""
    clocks: bool = False
    """Whether the nodes' clocks can be set."""


class EmbeddedCluster(LocalCluster[Handles]):
    """A cluster of our own nodes."""

    provider = PROVIDER
    logs = (_LOG,)
    version = LEVEL

    def __init__(self, spec: ClusterSpec) -> None:
        """Plan the cluster: reserve the ports, claim the folder. Raises UsageError; nothing runs yet."""
        refuse_owned(spec.broker_config)
        members = plan(spec.nodes, spec.controllers)
        names = [member.name for member in members]
        roles = {}
        for member in members:
            serves = BROKER in member.roles
            linked = [*(["clients"] if serves else []), *_to(member.name, names)] if spec.links else []
            roles[member.name] = [*(["broker"] if serves else []), "controller", *linked]
        shared = local.claim(spec, random_id(), roles, control=True)
        self._begin(Handles(**shared, bug=spec.bug, links=spec.links, clocks=spec.clocks))

    @staticmethod
    def mark(cluster_id: str, name: str) -> str:
        """Return the word that only this node's command line holds (an -X option that Python ignores)."""
        return f"harness.node={cluster_id}/{name}"

    # Disks

    def _recovery_points(self, node: str) -> Mapping[str, int]:
        try:
            points = msgspec.json.decode((self._data_of(node) / _CHECKPOINT).read_bytes())
        except FileNotFoundError:
            return {}
        return {log: point[_RECOVERY_POINT] for log, point in points.items()}

    # Clocked

    def skew(self, node: str, offset_ms: int, every_ms: int = 0) -> None:
        """Let the node's clock on the wall be off; with `every_ms` to and fro."""
        if not self._handles.clocks:
            raise ClusterError(f"cluster {self.name} was started with clocks that can't be set")
        self._folder_of(node)
        with self._clock(node).open("r+b") as file:  # the same file: the node has it in its memory
            file.write(_SKEW.pack(offset_ms, every_ms))

    def unskew(self, node: str) -> None:
        """Set it right; safe when it is."""
        self.skew(node, 0)

    def _clock(self, node: str) -> Path:
        return self._folder / node / "clock"

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
        try:
            await_ready(
                self.nodes(),
                self._handles.cluster_id,
                check_alive=self._group.check_alive,
                timeout_s=READY_TIMEOUT_S,
                poll_s=_READY_POLL_S,
            )
        except ClusterError as error:
            if (theirs := self._theirs(str(error))) is not None:
                raise theirs from error
            raise
        self._was_ready = True
        self._refuse_ineffective()

    def _theirs(self, said: str) -> UsageError | None:
        """Return what is wrong with a setting of the user's, where a node has ended for that."""
        told = _IMPOSSIBLE.search(said)
        if told is None or told["name"] not in self._handles.broker_config:
            return None
        return UsageError(f"--broker-config {told['name']}={told['why']}")

    def _refuse_ineffective(self) -> None:
        """Raise UsageError for a broker setting of the user's that the nodes say they don't know."""
        name = next(iter(self._members))
        said = _INEFFECTIVE.findall((self._folder_of(name) / _LOG).read_text(errors="replace"))
        refuse_ineffective([key for key in said if key in self._handles.broker_config])

    def _port(self, member: Member) -> int:
        own = self._handles.ports[member.name]
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
        self._clock(member.name).write_bytes(_SKEW.pack(0, 0))
        (folder / "server.properties").write_text(render(self._properties(member)))

    def _properties(self, member: Member) -> dict[str, str]:
        own = self._handles.ports[member.name]
        listeners, inner = [], address(own["controller"])
        if BROKER in member.roles:
            advertised = address(self._port(member))
            listeners.append(Listener(name=_CLIENT_LISTENER, bind=address(own["broker"]), advertised=advertised))
        if CONTROLLER in member.roles:
            listeners.append(Listener(name=CONTROLLER_LISTENER, bind=inner))
        else:
            listeners.append(Listener(name=NODES_LISTENER, bind=inner, advertised=inner))
        properties = node_properties(
            member,
            listeners=listeners,
            voters={
                one.id: address(self._handles.ports[one.name]["controller"])
                for one in self._members.values()
                if CONTROLLER in one.roles
            },
            brokers=self._handles.nodes,
            log_dir=str(_data_folder(self._folder / member.name)),
            version=LEVEL,
            overrides={**TIMINGS, **self._handles.broker_config},
        )
        for foreign in FOREIGN - self._handles.broker_config.keys():
            del properties[foreign]
        if self._handles.bug:
            properties[BUG] = self._handles.bug
        if self._handles.clocks:
            properties[CLOCK] = str(self._clock(member.name))
        for other in self._members.values():
            if other is not member and self._handles.links:
                properties[f"harness.peer.{other.id}"] = address(own[f"to-{other.name}"])
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
        folder = self._folder_of(name)
        mark = ["-X", self.mark(self._handles.cluster_id, name)]
        command = [sys.executable, *mark, *_keeping_bytecode(), "-m", "broker"]
        with (folder / _LOG).open("ab") as log:
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
    local.remove(EmbeddedCluster, Handles.read(description))


def _keeping_bytecode() -> list[str]:
    """Return the options with which a node finds its modules compiled; compiling them takes longer than all the rest.

    Where Python is told to leave no bytecode beside the sources it is kept in our cache folder.
    """
    return ["-X", f"pycache_prefix={cache_folder() / 'bytecode'}"] if sys.dont_write_bytecode else []


def _others(name: str, names: Sequence[str]) -> list[str]:
    return [other for other in names if other != name]


def _to(name: str, names: Sequence[str]) -> list[str]:
    return [f"to-{other}" for other in _others(name, names)]


def _data_folder(folder: Path) -> Path:
    return folder / "data"
