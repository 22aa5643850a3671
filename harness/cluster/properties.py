"""The configuration of an Apache Kafka node as data, in Kafka's own property names, shared by its providers.

`plan` says which nodes a cluster has (combined roles: n1, n2, ...; isolated: brokers n1 ..., controllers c1 ...).
`node_properties` gives one node's properties. The provider says where the node listens; the rest is chosen here so that
faults show within seconds: short sessions and elections, few partitions of the internal topics, no rebalance delay.
What the user asks for (`--broker-config K=V`) wins over everything but what the provider itself must own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.cluster.api import UsageError

BROKER, CONTROLLER = "broker", "controller"
CONTROLLER_LISTENER = "CONTROLLER"
NODES_LISTENER = "NODES"
"""Where other nodes reach one of our own nodes that is no controller."""
BUG = "harness.bug"
"""Our own broker's property for the bug that it shall have."""
CLOCK = "harness.clock"
"""The same for the file that says how far off its clock is."""
INTERNAL_TOPIC_PARTITIONS = 5
"""DESIGN.md, Defaults: Kafka's 50 cost seconds at every start and election."""

OWNED = frozenset(
    {
        BUG,
        CLOCK,
        "advertised.listeners",
        "controller.listener.names",
        "controller.quorum.bootstrap.servers",
        "controller.quorum.voters",
        "inter.broker.listener.name",
        "listener.security.protocol.map",
        "listeners",
        "log.dir",
        "log.dirs",
        "metadata.log.dir",
        "node.id",
        "broker.id",
        "process.roles",
    }
)
"""Properties that only the provider may set: another value would make a cluster that nobody can reach."""

TIMINGS = {
    # A dead broker is fenced after the session; measured in KAFKA.md: 3.3-4.9 s without writes after a kill.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "replica.lag.time.max.ms": "3000",
    "replica.fetch.backoff.ms": "200",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.election.backoff.max.ms": "500",
    # 1000 ms was once too short on an overloaded machine: the quorum lost its leader without any fault.
    "controller.quorum.fetch.timeout.ms": "2000",
    "controller.quorum.request.timeout.ms": "2000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
}

SIZES = {
    # A node lives in a heap of 384 MB; the log cleaner alone would take 128 MB of it.
    "log.cleaner.dedupe.buffer.size": "8388608",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One planned node: its name, Kafka's node.id and its roles ("broker", "controller")."""

    name: str
    id: int
    roles: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where a node listens. `bind` is host:port (an empty host binds every address: only inside a container).

    advertised: host:port that clients or other nodes are told; None: nothing (a controller's listener may have none).
    """

    name: str
    bind: str
    advertised: str | None = None


def plan(nodes: int, controllers: int) -> tuple[Member, ...]:
    """Return a cluster's nodes: combined roles with `controllers` = 0, else isolated controllers after the brokers."""
    if nodes < 1:
        raise UsageError(f"a cluster needs at least one node, not {nodes}")
    if controllers < 0:
        raise UsageError(f"the number of controllers can't be {controllers}")
    roles = frozenset({BROKER}) if controllers else frozenset({BROKER, CONTROLLER})
    brokers = tuple(Member(f"n{number}", number, roles) for number in range(1, nodes + 1))
    only = frozenset({CONTROLLER})
    return brokers + tuple(Member(f"c{number}", nodes + number, only) for number in range(1, controllers + 1))


def node_properties(
    member: Member,
    *,
    listeners: Sequence[Listener],
    voters: Mapping[int, str],
    brokers: int,
    log_dir: str,
    version: str,
    overrides: Mapping[str, str],
) -> dict[str, str]:
    """Return the properties of one node.

    listeners: its own, clients' first; a broker speaks to other brokers through the first one, or through the one named
    `NODES_LISTENER`. The controller's is named `CONTROLLER_LISTENER`. voters: host:port of every controller's listener
    by node id.
    Raises UsageError when an override touches what the provider owns.
    """
    refuse_owned(overrides)
    properties = {
        "node.id": str(member.id),
        "process.roles": ",".join(sorted(member.roles)),
        "controller.quorum.voters": ",".join(f"{id_}@{address}" for id_, address in sorted(voters.items())),
        "controller.listener.names": CONTROLLER_LISTENER,
        "listeners": ",".join(f"{listener.name}://{listener.bind}" for listener in listeners),
        "log.dirs": log_dir,
    }
    names = {listener.name for listener in listeners} | {CONTROLLER_LISTENER}
    properties["listener.security.protocol.map"] = ",".join(f"{name}:PLAINTEXT" for name in sorted(names))
    if BROKER in member.roles:
        clients = [listener for listener in listeners if listener.name != CONTROLLER_LISTENER]
        inner = [listener for listener in clients if listener.name == NODES_LISTENER]
        properties["inter.broker.listener.name"] = (*inner, *clients)[0].name
    told = [f"{one.name}://{one.advertised}" for one in listeners if one.advertised is not None]
    if told:
        properties["advertised.listeners"] = ",".join(told)
    return properties | cluster_properties(brokers, version) | dict(overrides)


def cluster_properties(brokers: int, version: str) -> dict[str, str]:
    """Return what is the same on every node of a cluster with that many brokers."""
    copies, in_sync, partitions = str(min(3, brokers)), str(min(2, brokers)), str(INTERNAL_TOPIC_PARTITIONS)
    properties = {
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.num.partitions": partitions,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": partitions,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "unclean.leader.election.enable": "false",
    }
    if int(version.split(".", maxsplit=1)[0]) >= 4:
        properties |= {
            "share.coordinator.state.topic.num.partitions": partitions,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_sync,
        }
    return properties | TIMINGS | SIZES


def refuse_owned(overrides: Mapping[str, str]) -> None:
    """Raise UsageError when the user's broker configuration touches what only the provider may set."""
    owned = sorted(OWNED & overrides.keys())
    if owned:
        raise UsageError(f"--broker-config can't set {', '.join(owned)}: the cluster sets it itself")


def refuse_ineffective(names: Sequence[str]) -> None:
    """Raise UsageError for a setting of the user's that our own broker does not know: who believes it is deceived."""
    for name in names:
        raise UsageError(f"--broker-config {name}: our own broker has no such property, it would have no effect")


def render(properties: Mapping[str, str]) -> str:
    """Return the text of a .properties file (java.util.Properties: ISO 8859-1, backslash escapes)."""
    return "".join(f"{_escape(key, key=True)}={_escape(value)}\n" for key, value in sorted(properties.items()))


def _escape(text: str, *, key: bool = False) -> str:
    special = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if key:
        special |= {"=": "\\=", ":": "\\:", " ": "\\ ", "#": "\\#", "!": "\\!"}
    escaped = "".join(special.get(char) or (char if " " <= char <= "~" else _unicode(char)) for char in text)
    return f"\\{escaped}" if escaped.startswith(" ") else escaped


def _unicode(char: str) -> str:
    """Return the escapes of a character: one for each UTF-16 unit, as Java counts."""
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def settings_of(given: Mapping[str, object] | None) -> dict[str, str]:
    """Return settings as Kafka has them: `True` is "true"."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in (given or {}).items()
    }
