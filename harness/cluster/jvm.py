"""Apache Kafka as local JVM processes on loopback: no Docker, no root; kill, pause, and cut links.

One more process carries all connections (`harness.cluster.wires`), as for our own nodes. Kafka tells every node the
same address of a peer, so what differs is where the name leads: each JVM has a hosts file of its own
(`jdk.net.hosts.file`), in which a peer's name is the loopback address of the wire from here to there, 127.100.FROM.TO,
with the peer's own ports. Clients are told the port of their wire. Where only 127.0.0.1 is an address of the loopback
(macOS) there are no links: nothing can be cut.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.cluster import cds, faketime, jvm_node, local, ports
from harness.cluster.api import CLIENTS, ClusterError, ClusterSpec
from harness.cluster.distribution import ensure, find_java, line
from harness.cluster.local import LocalCluster, address
from harness.cluster.properties import (
    BROKER,
    CONTROLLER,
    CONTROLLER_LISTENER,
    Listener,
    Member,
    node_properties,
    plan,
    refuse_owned,
    render,
)
from harness.cluster.ready import READY_TIMEOUT_S, await_ready
from harness.cluster.storage import formatted, random_id
from harness.cluster.wiring import FOLDER, Wire

PROVIDER: Final = "jvm"
_HOSTS_FILE: Final = "hosts"
_CLIENT_LISTENER: Final = "CLIENT"
_INTERNAL_LISTENER: Final = "INTERNAL"
_INTERNAL: Final = "internal"
_CLIENTS: Final = "clients"
_LINKED: Final = (_INTERNAL, _CLIENTS)
"""Further ports of a broker with links: where the other brokers, and where clients reach it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handles(local.Handles):
    """A broker has the ports `broker` and, with links, `internal` and `clients`; a controller has `controller`."""

    version: str
    upgrade_to: str = ""
    """Another version that nodes may be brought to; "": none."""
    links: bool = False
    clocks: bool = False
    """Whether the nodes' clocks can be set."""


class JvmCluster(LocalCluster[Handles]):
    """A cluster of local JVMs."""

    provider = PROVIDER
    logs = (*jvm_node.LOGS, "hs_err.log")
    mark = staticmethod(jvm_node.mark)

    def __init__(self, spec: ClusterSpec) -> None:
        """Plan the cluster: check Java, fetch the jars, reserve the ports. Raises UsageError; nothing runs yet."""
        refuse_owned(spec.broker_config)
        for version in filter(None, (spec.version, spec.upgrade_to)):
            find_java(version)
            ensure(version)
        links = spec.links and links_work()
        roles = {
            member.name: [*sorted(member.roles), *(_LINKED if links and BROKER in member.roles else ())]
            for member in plan(spec.nodes, spec.controllers)
        }
        claimed = local.claim(spec, random_id(), roles, control=links)
        self._begin(
            Handles(**claimed, version=spec.version, upgrade_to=spec.upgrade_to, links=links, clocks=spec.clocks)
        )

    def _begin(self, handles: Handles) -> None:
        super()._begin(handles)
        self._ready_to_launch: dict[str, jvm_node.Launch] = {}
        self._installed = dict.fromkeys(self._members, handles.version)
        self._clocks = faketime.FakedClocks(self._folder) if handles.clocks else None

    @property
    def version(self) -> str:
        """Return the Apache Kafka that runs, or that it began with."""
        return self._handles.version

    # Upgradable

    def versions(self) -> tuple[str, ...]:
        """Return the version that the nodes began with, and the one that they may go to, if there is one."""
        return tuple(filter(None, (self._handles.version, self._handles.upgrade_to)))

    def install(self, node: str, version: str) -> None:
        """Have the node run one of the versions from its next start on."""
        if version not in self.versions():
            raise ClusterError(f"{node} can't run {version}: the cluster has {', '.join(self.versions())}")
        self._installed[node] = version
        properties = self._properties(self._members[node])
        (self._folder_of(node) / jvm_node.PROPERTIES).write_text(render(properties))

    def running_version(self, node: str) -> str | None:
        """Return the version that the node's log names last."""
        return jvm_node.said_version(self._folder_of(node))

    # Disks

    def _recovery_points(self, node: str) -> Mapping[str, int]:
        return jvm_node.recovery_points(self._data_of(node))

    # Clocked

    def skew(self, node: str, offset_ms: int, every_ms: int = 0) -> None:
        """Let the node's clock on the wall be off; with `every_ms` to and fro, a step a second at most."""
        self._faked().skew(self._known(node), offset_ms, every_ms)

    def unskew(self, node: str) -> None:
        """Set it right; safe when it is."""
        self._faked().unskew(self._known(node))

    def _faked(self) -> faketime.FakedClocks:
        if self._clocks is None:
            raise ClusterError(f"cluster {self.name} was started with clocks that can't be set")
        return self._clocks

    def _known(self, node: str) -> str:
        return self._folder_of(node).name

    # Cluster

    def down(self) -> None:
        """Kill the processes, and take away all that is left of them."""
        with faketime.swept(self._folder):
            super().down()

    def up(self) -> None:
        """Start the wires and every node, and wait until the cluster is ready; ClusterError names a node that died."""
        launch = self._launched(self._handles.version)
        for version in self.versions():
            self._launched(version)  # what takes long is done before the clients begin
        seed = formatted(self._handles.version, launch.jars)
        for member in self._members.values():
            folder, properties = self._folder / member.name, self._properties(member)
            jvm_node.prepare(folder, properties, cluster_id=self._handles.cluster_id, seed=seed)
            (folder / _HOSTS_FILE).write_text(self._hosts(member))
        if self._wires is not None:
            self._carrier = self._wires.start(self._folder / FOLDER, self._plan())
            self._wires.await_answers(self._carrier, self._folder / FOLDER)
        for name in self._members:
            self.start(name)
        check_alive = self._group.check_alive
        await_ready(self.nodes(), self._handles.cluster_id, check_alive=check_alive, timeout_s=READY_TIMEOUT_S)
        self._was_ready = True

    def _launch(self, name: str) -> subprocess.Popen[bytes]:
        folder = self._folder_of(name)
        options = [f"-Djdk.net.hosts.file={folder / _HOSTS_FILE}"] if self._handles.links else []
        marked = self.mark(self._handles.cluster_id, name)
        launch, clocks = self._launched(self._installed[name]), self._clocks
        env = clocks.environment(name) if clocks is not None else None
        child = jvm_node.start(launch, folder, marked=marked, options=options, env=env)
        if clocks is not None:
            clocks.started(name, child.pid)
        return child

    def _launched(self, version: str) -> jvm_node.Launch:
        if version not in self._ready_to_launch:
            java, jars = find_java(version), ensure(version)
            archive = cds.archive(java, jars, version, owner_id=self._handles.cluster_id)
            self._ready_to_launch[version] = jvm_node.Launch(java.command, jars, version, archive)
        return self._ready_to_launch[version]

    def _port(self, member: Member) -> int:
        own = self._handles.ports[member.name]
        if BROKER not in member.roles:
            return own[CONTROLLER]
        return own[_CLIENTS] if self._handles.links else own[BROKER]

    def _properties(self, member: Member) -> dict[str, str]:
        own, links, version = self._handles.ports[member.name], self._handles.links, self._installed[member.name]
        listeners = []
        if BROKER in member.roles:
            if links:
                bind, advertised = address(own[_INTERNAL]), f"{member.name}:{own[_INTERNAL]}"
                listeners.append(Listener(name=_INTERNAL_LISTENER, bind=bind, advertised=advertised))
            bind, advertised = address(own[BROKER]), address(self._port(member))
            listeners.append(Listener(name=_CLIENT_LISTENER, bind=bind, advertised=advertised))
        if CONTROLLER in member.roles:
            # From 3.9 on a new leader of the quorum tells its address: that must be its name too.
            told = self._quorum_address(member) if links and line(version) >= (3, 9) else None
            listeners.append(Listener(name=CONTROLLER_LISTENER, bind=address(own[CONTROLLER]), advertised=told))
        return node_properties(
            member,
            listeners=listeners,
            voters={one.id: self._quorum_address(one) for one in self._members.values() if CONTROLLER in one.roles},
            brokers=self._handles.nodes,
            log_dir=str(jvm_node.data_folder(self._folder / member.name)),
            version=version,
            overrides=self._handles.broker_config,
        )

    def _quorum_address(self, member: Member) -> str:
        port = self._handles.ports[member.name][CONTROLLER]
        return f"{member.name}:{port}" if self._handles.links else address(port)

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
    handles = Handles.read(description)
    with faketime.swept(Path(handles.folder)):
        local.remove(JvmCluster, handles)


def lacks_clocks() -> str | None:
    """Return what to install before the nodes' clocks can be set; None: nothing."""
    return faketime.missing()


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
