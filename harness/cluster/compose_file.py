"""The plan of a Compose cluster as data, and the compose file that follows from it.

`Handles` is everything that names one cluster; it goes into a run's `cluster.json`, and what it says never depends on
the machine's state. `compose_yaml` fills `compose/cluster.yaml.j2` from it: configuration goes to the nodes as KAFKA_*
variables, as the official image takes it, so the file is whole and can be started by hand.

Of each node's listeners INTERNAL (brokers) and CONTROLLER are on its fixed address in the cluster's network; EXTERNAL
is published on a port of 127.0.0.1 and advertised as such.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from ipaddress import ip_network

import jinja2

from harness.cluster import ports
from harness.cluster.api import ClusterError, UsageError
from harness.cluster.distribution import resource
from harness.cluster.properties import (
    BROKER,
    CONTROLLER,
    CONTROLLER_LISTENER,
    Listener,
    Member,
    node_properties,
    plan,
    render,
)

DATA = "/var/lib/kafka/data"
INTERNAL_PORT, CONTROLLER_PORT, EXTERNAL_PORT = 9092, 9093, 9094
FIRST_ADDRESS = 10
"""Of the subnet: Docker itself takes the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handles:
    """All that is needed to find a cluster again: the JSON under "handles" in `describe`."""

    name: str
    project: str
    cluster_id: str
    folder: str
    version: str
    image: str | None
    nodes: int
    controllers: int
    broker_config: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    """By broker: where clients on this machine reach it."""
    subnet: str | None = None
    containers: dict[str, str] = field(default_factory=dict)
    """By node: the id of the container that `up` started."""

    def members(self) -> dict[str, Member]:
        """Return the planned nodes by name."""
        return {member.name: member for member in plan(self.nodes, self.controllers)}

    def client_address(self, member: Member) -> str:
        """Return where clients reach a broker, empty before it has a port; a controller's address is in the network."""
        if BROKER not in member.roles:
            return f"{member.name}:{CONTROLLER_PORT}"
        port = self.ports.get(member.name)
        return f"{ports.LOOPBACK}:{port}" if port else ""

    def addresses(self) -> dict[str, str]:
        """Return the nodes' addresses in the cluster's network, by name."""
        if self.subnet is None:
            raise ClusterError(f"{self.name} has no network: is the cluster up?")
        network = ip_network(self.subnet)
        return {one.name: str(network[FIRST_ADDRESS + one.id]) for one in self.members().values()}


def compose_yaml(handles: Handles) -> str:
    """Return the compose file of a cluster whose image, ports and subnet are chosen."""
    addresses = handles.addresses()
    nodes = [
        {
            "name": member.name,
            "ip": addresses[member.name],
            "port": handles.ports.get(member.name),
            "environment": {
                variable(key): render({"x": value}).rstrip("\n").removeprefix("x=")
                for key, value in properties_of(handles, member).items()
            },
        }
        for member in handles.members().values()
    ]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return template.from_string(resource("cluster.yaml.j2").read_text()).render(
        nodes=nodes,
        project=handles.project,
        image=handles.image,
        cluster_id=handles.cluster_id,
        subnet=handles.subnet,
    )


def properties_of(handles: Handles, member: Member) -> dict[str, str]:
    """Return one node's server.properties."""
    members = handles.members().values()
    internal = Listener(name="INTERNAL", bind=f":{INTERNAL_PORT}", advertised=f"{member.name}:{INTERNAL_PORT}")
    external = Listener(name="EXTERNAL", bind=f":{EXTERNAL_PORT}", advertised=handles.client_address(member))
    control = Listener(name=CONTROLLER_LISTENER, bind=f":{CONTROLLER_PORT}")
    return node_properties(
        member,
        listeners=[
            *([internal, external] if BROKER in member.roles else []),
            *([control] if CONTROLLER in member.roles else []),
        ],
        voters={one.id: f"{one.name}:{CONTROLLER_PORT}" for one in members if CONTROLLER in one.roles},
        brokers=handles.nodes,
        log_dir=DATA,
        version=handles.version,
        overrides=handles.broker_config,
    )


def project_name(name: str) -> str:
    """Return a Compose project's name for a cluster of that name: readable, and never the same again."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:30]
    return "-".join(part for part in ("kafka-harness", readable, secrets.token_hex(4)) if part)


def variable(key: str) -> str:
    """Return the environment variable from which the image makes that property; UsageError when none can say it."""
    name = "KAFKA_" + key.replace("_", "__").replace("-", "___").replace(".", "_").upper()
    said = name.removeprefix("KAFKA_").lower().replace("_", ".").replace("...", "-").replace("..", "_")
    if said != key:
        raise UsageError(f"--broker-config {key}: the image can't be told a property of that name")
    return name
