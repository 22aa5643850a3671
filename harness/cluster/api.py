"""What a cluster under test offers: a small interface that every provider implements, and optional powers.

Faults speak in `Action`s (what is done to nodes), `Question`s (who leads, who coordinates) and `Condition`s (what to
wait for: `harness.cluster.questions`); they never touch a provider. The nemesis client asks the provider through the
Protocols below. Each power is a Protocol of its own; a fault that needs one is refused with a clear line on a cluster
that lacks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, runtime_checkable

from harness.scenario import Commands

CLIENTS = "clients"
"""The name of all clients together, as an end of a link."""

Key = str
"""One topic-partition, e.g. "t0/3"."""


class ClusterError(Exception):
    """The cluster or its engine failed in set-up or control: exit 255. The message says what, where and what to do."""


class UsageError(Exception):
    """What the caller can correct before a run starts (option, file, engine, port): exit 254; one line."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the cluster. `name` is stable (n1, n2, ...); `id` is Kafka's node.id; `address` is for clients."""

    name: str
    id: int
    address: str
    roles: frozenset[str] = frozenset({"broker", "controller"})


@dataclass(frozen=True, slots=True)
class PartitionState:
    """Leader, ISR and replicas of one partition as node names; leader is None while there is none."""

    key: Key
    leader: str | None
    isr: tuple[str, ...]
    replicas: tuple[str, ...]


class Cluster(Protocol):
    """A Kafka cluster. `up` returns when every node answers and is unfenced, or raises ClusterError in bounded time."""

    name: str

    def up(self) -> None:
        """Start it and wait until it is ready (cluster id and live nodes checked to be its own)."""
        ...

    def down(self) -> None:
        """Stop it and leave nothing behind; safe to call twice and after a failed `up`."""
        ...

    def nodes(self) -> Sequence[Node]:
        """Return all nodes, dead ones too."""
        ...

    def bootstrap(self) -> str:
        """Return host:port[,host:port...] for clients."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what scenario.json, the report and `harness heal` need: provider, version, cluster id, handles."""
        ...


@runtime_checkable
class Killable(Protocol):
    """A cluster whose nodes can be killed (SIGKILL, no shutdown) and started again."""

    def kill(self, node: str) -> None:
        """Kill the node's process now; returns when it is gone."""
        ...

    def start(self, node: str) -> None:
        """Start the node's process; returns when it was started, not when it is ready."""
        ...

    def pid(self, node: str) -> int | None:
        """Return the process id of the node's broker, None when it is not running."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """A cluster whose nodes can be stopped in order (SIGTERM): they hand over what they lead. `start` as Killable."""

    def stop(self, node: str) -> None:
        """Ask the node to stop; returns when it is gone, or after a bound although it is not. Safe when it is dead."""
        ...


@runtime_checkable
class Upgradable(Protocol):
    """A cluster whose nodes can run another version from their next start on. `start` as Killable."""

    def versions(self) -> tuple[str, ...]:
        """Return the version that the nodes began with, and the one that they may go to, if there is one."""
        ...

    def install(self, node: str, version: str) -> None:
        """Have the node run one of the versions from its next start on."""
        ...

    def running_version(self, node: str) -> str | None:
        """Return the version that the node itself said at its last start; None: it has not said yet."""
        ...


@runtime_checkable
class Powered(Protocol):
    """A cluster whose nodes can lose power: the process ends, and what was not synced is gone. `start` as Killable."""

    def blackout(self, node: str) -> None:
        """Let the node lose power now."""
        ...

    def bytes_lost(self, node: str) -> Mapping[Key, int]:
        """Return how many bytes of each partition power losses have taken from the node so far; 0 may be left out."""
        ...


@runtime_checkable
class Disked(Protocol):
    """A cluster whose nodes' disks fail. `start` as Killable: there is room again, and what rotted stays so."""

    def fill(self, node: str) -> None:
        """Let the node's disk refuse every further byte: the node ends with the next one."""
        ...

    def full(self, node: str) -> bool:
        """Return whether the disk of the node, which runs, was filled: `start` makes room then, too."""
        ...

    def rot(self, node: str, key: Key) -> None:
        """End the node at once, and change a byte of what it would check of the partition when it starts."""
        ...

    def rotten(self, node: str) -> int:
        """Return how many bytes of the node's disk were changed so far."""
        ...


@runtime_checkable
class Reassignable(Protocol):
    """A cluster whose partitions can be moved from node to node: it is the run's own."""

    def reassign(self, key: Key, replicas: Sequence[str]) -> None:
        """Ask for the partition to be moved to these nodes; whether it is shows in its metadata. Safe to repeat."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """A dynamic setting, as a node tells it: the value that holds, and what was set while the cluster ran, or None."""

    value: str | None
    own: str | None


@runtime_checkable
class Configurable(Protocol):
    """A cluster whose settings can be changed, and its topics grow: it is the run's own. `topic` "": all brokers."""

    def configure(self, topic: str, name: str, value: str | None) -> None:
        """Ask for a value, None: for the default again; whether it holds `setting` tells. Safe to repeat."""
        ...

    def setting(self, node: str, topic: str, name: str) -> Setting | None:
        """Return what the node says of a setting (DescribeConfigs); None: it does not say."""
        ...

    def add_partitions(self, topic: str, count: int) -> None:
        """Ask for a topic of so many partitions; whether it is shows in its metadata. Safe to repeat."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """A cluster whose nodes can be stopped with SIGSTOP and continued."""

    def pause(self, node: str) -> None:
        """Stop every process of the node."""
        ...

    def resume(self, node: str) -> None:
        """Let them go on."""
        ...

    def paused(self, node: str) -> bool:
        """Return whether the operating system says that the node is stopped (state T, or frozen)."""
        ...


@runtime_checkable
class Partitionable(Protocol):
    """A cluster whose links between nodes can be cut, one direction at a time; clients still reach every node."""

    def cut(self, source: str, target: str) -> None:
        """Drop packets from source to target."""
        ...

    def join(self, source: str, target: str) -> None:
        """Undo `cut`; safe when not cut."""
        ...

    def dropped(self, source: str, target: str) -> int:
        """Return how many packets (or bytes) this cut has dropped so far; 0 when not cut."""
        ...


@runtime_checkable
class Shapeable(Protocol):
    """A cluster whose links can be slow and lossy, one direction at a time; `CLIENTS` is an end like any node.

    Where it is Partitionable too, its clients' links can be cut as well.
    """

    def shape(self, source: str, target: str, delay_s: float, loss: float) -> None:
        """Make what goes from source to target late; with that chance per piece a connection stalls and is reset."""
        ...

    def smooth(self, source: str, target: str) -> None:
        """Undo `shape`; safe when not shaped."""
        ...

    def shaped(self, source: str, target: str) -> int:
        """Return how many pieces this shape has made late or lost so far; 0 when not shaped."""
        ...


APIS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "Produce": 0,
        "OffsetCommit": 8,
        "InitProducerId": 22,
        "AddPartitionsToTxn": 24,
        "AddOffsetsToTxn": 25,
        "EndTxn": 26,
        "TxnOffsetCommit": 28,
        "ConsumerGroupHeartbeat": 68,
        "ShareAcknowledge": 79,
    }
)
"""The keys of the APIs with which clients change something."""


@dataclass(frozen=True, slots=True)
class Interception:
    """What becomes of clients' requests to a node: their answers are lost, or they come late.

    Either way the client's connection is reset: it can't know what has become of its request.
    """

    apis: tuple[str, ...]
    """By Kafka's names, those of `APIS`: requests to others pass."""
    chance_ppm: int = 1_000_000
    """Requests of a million that it is done to."""
    late_ms: int | None = None
    """So much later than its client is cut off the request reaches the node; None: at once, and its answer is lost."""
    most: int | None = None
    """It is over after so many requests; None: never."""


@runtime_checkable
class Interceptable(Protocol):
    """A cluster whose clients' requests can be singled out by their API (Kafka's key), on their way to one node."""

    def intercept(self, node: str, what: Interception) -> None:
        """Strike requests to the node from now on; in place of what was intercepted before."""
        ...

    def release(self, node: str) -> None:
        """Undo `intercept`; what is held goes its way. Safe when nothing is intercepted."""
        ...

    def intercepted(self, node: str) -> Mapping[str, int]:
        """Return how many requests it was done to so far, by API; {} when nothing is intercepted."""
        ...


@runtime_checkable
class Clocked(Protocol):
    """A cluster whose nodes' clocks on the wall can be wrong; what measures how long something takes stays right."""

    def skew(self, node: str, offset_ms: int, every_ms: int = 0) -> None:
        """Let the node's clock be off by so much, now and whenever it starts; with `every_ms` to and fro so often.

        Takes effect within about a second; in place of what was asked before.
        """
        ...

    def unskew(self, node: str) -> None:
        """Set it right; safe when it is."""
        ...

    def clock_off_ms(self, node: str) -> int | None:
        """Return how far off the node's clock is at least, by what it says itself; None: it does not say."""
        ...


@runtime_checkable
class Logged(Protocol):
    """A cluster that can hand over its nodes' logs and configuration."""

    def collect(self, folder: Path) -> None:
        """Copy each node's log and properties into folder/<node>/; bounded in size (the newest is kept)."""
        ...


@runtime_checkable
class Carried(Protocol):
    """A cluster whose connections are carried by something of the harness's own."""

    def check_carried(self) -> None:
        """Raise ClusterError if that is gone: nothing that was seen since then can be laid to Kafka."""
        ...


class Observer(Protocol):
    """Answers questions about roles, from the running cluster, in bounded time. None: nobody could say."""

    def partitions(self, keys: Sequence[Key]) -> Sequence[PartitionState]:
        """Return the partitions' leaders and ISRs; all partitions of the run's topics for an empty sequence."""
        ...

    def controller(self) -> str | None:
        """Return the active controller (from DescribeQuorum: Metadata's controller id is a random broker in KRaft)."""
        ...

    def coordinator(self, kind: str, name: str) -> PartitionState | None:
        """Return the partition that keeps a group.id (kind "group") or transactional.id ("transaction").

        Or what a share group knows of one partition (KIP-932: kind "share", named `group:topic/partition`). Its leader
        coordinates it. None also while FindCoordinator tells of another node than the metadata.
        """
        ...

    def end_offsets(self, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        """Return {key: (LSO, HW)}: read_committed asked before read_uncommitted; a missing key: nobody could say."""
        ...

    def elect_preferred(self, topic: str) -> str | None:
        """Let the first replica of each partition lead; return "" when all do, else the name of an error."""
        ...

    def quorum(self) -> tuple[str, int] | None:
        """Return who leads the metadata quorum, and in which epoch."""
        ...


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What a provider needs to make a cluster; `folder` is private to it (data, logs, configuration)."""

    name: str
    folder: Path
    nodes: int = 3
    controllers: int = 0
    version: str = "4.1.1"
    upgrade_to: str = ""
    """The version that nodes may be brought to while it runs; "": none."""
    image: str | None = None
    bootstrap: str | None = None
    client_config: dict[str, str] = field(default_factory=dict)
    """How clients get into a cluster that somebody else runs (`harness.credentials`)."""
    commands: Commands | None = None
    """What breaks and mends a cluster that somebody else runs."""
    broker_config: dict[str, str] = field(default_factory=dict)
    links: bool = True
    """Whether the connections of an embedded or a jvm cluster run through links that can be cut."""
    clocks: bool = False
    """Whether the nodes' clocks shall be such as can be wrong, where that has to be prepared."""
    seed: int = 0
    """The run's; only a simulated cluster draws from it."""
    bug: str = ""
    """A bug to plant; only providers of our own broker are asked to."""
