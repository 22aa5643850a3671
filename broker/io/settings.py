"""What a node is told at its start: Kafka's own property names, `harness.peer.N`, `harness.bug`, `harness.clock`.

    node.id, process.roles, listeners, advertised.listeners, controller.listener.names, controller.quorum.voters,
    log.dirs (one folder), broker.rack, and the times and sizes of `TIMES` and `SIZES`

    process.roles        votes, as one of the voters   listener for nodes               listener for clients
    broker,controller    yes                           controller.listener.names        the other one
    controller           yes                           controller.listener.names        none
    broker               no                            inter.broker.listener.name       the other one

A node that only holds partitions needs a listener for other nodes too: clients' doors let nobody follow. It is
registered beside the clients', so that nodes find one another that do not vote. The cluster's id stands in
`meta.properties` in the data folder, as a formatted Kafka folder has it. `harness.peer.N=host:port` says how this node
reaches peer N when that is not where peer N listens: through a link that can be cut. `harness.bug=NAME` makes the node
wrong on purpose (`broker.bugs`). `harness.clock=FILE` says how far off its clock is (`broker.io.clock`). Topic defaults
(`log.*`, `min.insync.replicas`, ...) are the core's to read. A property of Kafka that acts on threads or memory that
this broker does not have is checked and has no effect; a name that nobody knows is reported and has none either, as in
Kafka.

Sync: `log.flush.interval.messages=1` (or a topic's `flush.messages=1`) syncs before every ack; without it, as in
Kafka, replication is what makes records durable, and a segment is synced when it is sealed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.bugs.registry import BUGS
from broker.core.config import BrokerConfig
from broker.core.metadata.records import Endpoint
from broker.core.node_settings import CHOICES, KNOWN, SIZES, SWITCHES, TIMES, WITHOUT_EFFECT
from broker.io.properties import Properties, SettingsError, address_of, parse
from broker.io.security import OPEN, Security, is_known, security
from broker.wire.frame import MAX_FRAME_BYTES

SELECTOR = "replica.selector.class"
RACK_AWARE = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
LEADERS = "org.apache.kafka.common.replica.LeaderSelector"
META_FILE = "meta.properties"
PEER_PREFIX = "harness.peer."
BUG = "harness.bug"
CLOCK = "harness.clock"
DEFAULT_MEMORY_BYTES = 512 * 1024 * 1024
"""Bound on the requests that are being received, all connections together (queued.max.request.bytes)."""

MAY_BE_ZERO = frozenset(
    {
        "group.initial.rebalance.delay.ms",
        "max.incremental.fetch.session.cache.slots",
        "offset.metadata.max.bytes",
    }
)
_TEXTS = frozenset(
    {
        BUG,
        CLOCK,
        SELECTOR,
        "advertised.listeners",
        "broker.rack",
        "controller.listener.names",
        "controller.quorum.voters",
        "inter.broker.listener.name",
        "listener.security.protocol.map",
        "listeners",
        "log.dirs",
        "process.roles",
    }
)
_NUMBERS = frozenset(
    {"connections.max.idle.ms", "max.connections", "node.id", "queued.max.request.bytes", "socket.request.max.bytes"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a node takes from its connections."""

    max_connections: int = 10_000
    max_request_bytes: int = MAX_FRAME_BYTES
    max_memory_bytes: int = DEFAULT_MEMORY_BYTES
    max_idle_ms: int = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One node. `peers`: where other nodes are reached; `unknown`: names of properties that nobody here knows."""

    core: BrokerConfig
    folder: Path
    client_address: tuple[str, int] | None
    node_address: tuple[str, int]
    peers: Mapping[int, tuple[str, int]]
    limits: Limits = Limits()
    security: Security = OPEN
    unknown: tuple[str, ...] = ()
    bug: str = ""
    """The bug to plant, "" for none."""
    clock: Path | None = None
    """What says how far off the clock on the node's wall is; None: it is right."""


def load(path: Path) -> Settings:
    """Return the settings of a .properties file; raises SettingsError."""
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise SettingsError(f"can't read {path}: {error.strerror}") from error
    return settings(parse(text))


def settings(values: Mapping[str, str]) -> Settings:
    """Return the settings that these properties mean; raises SettingsError."""
    given = Properties(values)
    node_id = given.number("node.id", lowest=0)
    roles = _roles(given)
    voters = _voters(given)
    if ("controller" in roles) != (node_id in voters):
        what = "is not among" if "controller" in roles else "votes nothing and is among"
        raise SettingsError(f"controller.quorum.voters: node.id={node_id} {what} {sorted(voters)}")
    for name in sorted(WITHOUT_EFFECT & values.keys()):
        given.number(name)
    folder = _folder(given)
    controller_name = given.text("controller.listener.names", "CONTROLLER")
    nodes_name = controller_name if "controller" in roles else given.text("inter.broker.listener.name", "")
    name, client_address, node_address = _listeners(given, nodes_name, serves="broker" in roles)
    numbers: dict[str, Any] = {
        field: given.number(key, lowest=0 if key in MAY_BE_ZERO else 1)
        for key, field in {**TIMES, **SIZES}.items()
        if key in values
    }
    numbers |= {field: given.one_of(key, values_) for key, (field, values_) in CHOICES.items() if key in values}
    numbers |= {field: given.switch(key) for key, field in SWITCHES.items() if key in values}
    guard = security(given, name, nodes_name)
    core = BrokerConfig(
        node_id=node_id,
        voters=tuple(sorted(voters)),
        cluster_id=_cluster_id(folder, node_id),
        is_broker="broker" in roles,
        endpoints=_endpoints(given, (name, client_address), (nodes_name, node_address)),
        rack=values.get("broker.rack"),
        rack_aware=_is_rack_aware(values.get(SELECTOR, "")),
        one_min_isr=True,
        has_authorizer=guard.authorizer is not None,
        properties={key: value for key, value in values.items() if not is_known(key)},  # no secret goes further
        **numbers,
    )
    peers = {peer: address for peer, address in voters.items() if peer != node_id}
    for key, value in values.items():
        if key.startswith(PEER_PREFIX) and key.removeprefix(PEER_PREFIX).isdecimal():
            peers[int(key.removeprefix(PEER_PREFIX))] = address_of(key, value)
    return Settings(
        core=core,
        folder=folder,
        client_address=client_address,
        node_address=node_address,
        peers=peers,
        limits=_limits(given),
        security=guard,
        unknown=_unknown(values),
        bug=_bug(values.get(BUG, "")),
        clock=Path(values[CLOCK]) if CLOCK in values else None,
    )


def _is_rack_aware(name: str) -> bool:
    """Return whether consumers are sent to near replicas; raises SettingsError for a selector that is not ours."""
    if name not in {"", RACK_AWARE, LEADERS}:
        raise SettingsError(f"{SELECTOR}={name}: it must be {RACK_AWARE} or {LEADERS}")
    return name == RACK_AWARE


def _bug(name: str) -> str:
    if name and name not in BUGS:
        raise SettingsError(f"{BUG}={name}: there is no such bug, only {', '.join(BUGS)}")
    return name


def _roles(given: Properties) -> frozenset[str]:
    roles = given.words("process.roles", "broker,controller")
    if not roles or len(set(roles)) != len(roles) or not {"broker", "controller"}.issuperset(roles):
        raise SettingsError(f"process.roles={','.join(roles)}: it must be broker, controller, or both with a comma")
    return frozenset(roles)


def _voters(given: Properties) -> dict[int, tuple[str, int]]:
    voters = {}
    for part in given.words("controller.quorum.voters"):
        number, at, address = part.partition("@")
        if not at or not number.isdecimal():
            raise SettingsError(f"controller.quorum.voters={part}: it must be id@host:port")
        voters[int(number)] = address_of("controller.quorum.voters", address)
    return voters


def _folder(given: Properties) -> Path:
    folders = given.words("log.dirs")
    if len(folders) != 1:
        raise SettingsError(f"log.dirs={','.join(folders)}: one folder is supported")
    return Path(folders[0])


def _listeners(
    given: Properties, nodes_name: str, *, serves: bool
) -> tuple[str, tuple[str, int] | None, tuple[str, int]]:
    """Return the clients' listener, its name first ("" and None where clients are not served), and the nodes'."""
    listeners = given.addresses("listeners")
    if nodes_name not in listeners:
        why = "controller.listener.names, or of a node that is no controller: inter.broker.listener.name"
        raise SettingsError(f"listeners: the listener {nodes_name} for other nodes ({why}) is missing")
    nodes = listeners.pop(nodes_name)
    if not serves and listeners:
        raise SettingsError(f"listeners: a node with process.roles=controller serves no clients at {sorted(listeners)}")
    if serves and len(listeners) != 1:
        raise SettingsError(f"listeners: one listener for clients is supported, not {sorted(listeners)}")
    (name, clients), *_ = listeners.items() or (("", None),)
    return name, clients, nodes


def _endpoints(
    given: Properties, clients: tuple[str, tuple[str, int] | None], nodes: tuple[str, tuple[str, int]]
) -> tuple[Endpoint, ...]:
    """Return where clients and nodes are told to find this node."""
    name, address = clients
    if address is None:
        return ()
    advertised = given.addresses("advertised.listeners", f"{name}://{address[0]}:{address[1]}")
    if name not in advertised:
        raise SettingsError(f"advertised.listeners: the listener {name} is missing")
    return Endpoint(name, *advertised[name]), Endpoint(nodes[0], *advertised.get(nodes[0], nodes[1]))


def _cluster_id(folder: Path, node_id: int) -> str:
    path = folder / META_FILE
    try:
        meta = parse(path.read_text(encoding="latin-1"))
    except OSError as error:
        raise SettingsError(
            f"log.dirs: {path} can't be read ({error.strerror}): format the folder first (--format CLUSTER_ID)"
        ) from error
    if meta.get("node.id") != str(node_id) or not meta.get("cluster.id"):
        raise SettingsError(f"log.dirs: {path} is of node.id={meta.get('node.id')}, this is node.id={node_id}")
    return meta["cluster.id"]


def format_folder(values: Mapping[str, str], cluster_id: str) -> Path:
    """Make the data folder of the node with these properties; return its `meta.properties`. Raises SettingsError."""
    given = Properties(values)
    folder = _folder(given)
    path = folder / META_FILE
    if path.exists():
        raise SettingsError(f"log.dirs: {path} exists already")
    folder.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(f"version=1\nnode.id={given.number('node.id', lowest=0)}\ncluster.id={cluster_id}\n")
    draft.replace(path)
    return path


def _limits(given: Properties) -> Limits:
    default = Limits()
    memory = given.number("queued.max.request.bytes", -1)
    largest = given.number("socket.request.max.bytes", default.max_request_bytes, lowest=1)
    return Limits(
        max_connections=given.number("max.connections", default.max_connections, lowest=1),
        max_request_bytes=largest,
        max_memory_bytes=max(largest, memory if memory > 0 else default.max_memory_bytes),
        max_idle_ms=given.number("connections.max.idle.ms", default.max_idle_ms),
    )


def _unknown(values: Mapping[str, str]) -> tuple[str, ...]:
    known = KNOWN | _TEXTS | _NUMBERS
    return tuple(
        name for name in sorted(values) if name not in known and not name.startswith(PEER_PREFIX) and not is_known(name)
    )
