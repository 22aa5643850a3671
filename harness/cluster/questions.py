"""What a fault asks of a cluster, and what it waits for, as data: answered through an `Observer` and the powers.

`harness.cluster.observer` answers them for clusters that run; see `harness.cluster.api`.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.cluster.api import Key


@dataclass(frozen=True, slots=True)
class LeaderOf:
    """Answer: the partition's `PartitionState`, or None while nobody could say."""

    key: Key


@dataclass(frozen=True, slots=True)
class Controller:
    """Answer: the active controller's node name, or None."""


@dataclass(frozen=True, slots=True)
class QuorumLeader:
    """Answer: (node, epoch) of who leads the metadata quorum; None: nobody could say."""


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Answer: the `PartitionState` of what keeps `name`, led by its coordinator, or None: see `Observer`.

    kind: "group", "transaction", or "share": a share group's state of one partition, named `group:topic/partition`.
    """

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Pid:
    """Answer: the node's process id, None when it is not running."""

    node: str


@dataclass(frozen=True, slots=True)
class Versions:
    """Answer: the version that the nodes began with, and the one that they may go to, if there is one."""


@dataclass(frozen=True, slots=True)
class RunningVersion:
    """Answer: the version that the node said at its last start, None when it has not said yet."""

    node: str


@dataclass(frozen=True, slots=True)
class Rotten:
    """Answer: how many bytes of the node's disk were changed so far."""

    node: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Answer: how many bytes of each partition power losses have taken from the node so far."""

    node: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Answer: whether the operating system says that the node's processes are stopped."""

    node: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """Answer: packets (or bytes) that the cut from source to target has dropped so far."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class ClockOff:
    """Answer: how many ms off the node's clock is at least, by what it says itself; None: it does not say."""

    node: str


@dataclass(frozen=True, slots=True)
class PreferredElection:
    """Ask that the first replicas of a topic's partitions lead. Answer: "" when they do, an error's name, or None."""

    topic: str


@dataclass(frozen=True, slots=True)
class SettingOf:
    """Answer: the `Setting` of the key's topic, as its leader tells it (a replica while there is none), or None."""

    key: Key
    name: str
    of_brokers: bool = False
    """Of all brokers instead."""


@dataclass(frozen=True, slots=True)
class KeysOf:
    """Answer: the topic's partitions, () while nobody could say."""

    topic: str


@dataclass(frozen=True, slots=True)
class Shaped:
    """Answer: pieces that the shape from source to target has made late or lost so far."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Intercepted:
    """Answer: how many requests to the node had their answers lost, or were held, so far, by API."""

    node: str


Roles = LeaderOf | Controller | QuorumLeader | Coordinator
Question = (
    Roles
    | Pid
    | Versions
    | RunningVersion
    | Rotten
    | Lost
    | Stopped
    | ClockOff
    | Dropped
    | Shaped
    | Intercepted
    | PreferredElection
    | SettingOf
    | KeysOf
)


@dataclass(frozen=True, slots=True)
class LeaderElected:
    """The partition has a leader, and it is none of `other_than`."""

    key: Key
    other_than: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ControllerElected:
    """Somebody leads the metadata quorum, and it is none of `other_than`."""

    other_than: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Coordinated:
    """What is coordinated has a coordinator, and it is none of `other_than`."""

    of: Coordinator
    other_than: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NodeAnswers:
    """The node is registered, unfenced and listed by a live broker."""

    node: str


@dataclass(frozen=True, slots=True)
class FullIsr:
    """Every replica of every partition of the run's topics (and the internal ones) is in its ISR."""


@dataclass(frozen=True, slots=True)
class IsrShrunk:
    """The partition's ISR holds none of `nodes`."""

    key: Key
    nodes: frozenset[str]


@dataclass(frozen=True, slots=True)
class AssignedTo:
    """The partition's replicas are these nodes, in this order, and all are in its ISR."""

    key: Key
    replicas: tuple[str, ...]
    instead_of: tuple[str, ...] = ()
    """Where it lay. Given, it is enough that the move has begun: these nodes stand before those that are to go."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The setting was given this value, and it holds; None: it has no value of its own."""

    of: SettingOf
    value: str | None


@dataclass(frozen=True, slots=True)
class ClockWithin:
    """The node says itself that its clock is off by something within these bounds, in ms."""

    node: str
    least_ms: float
    most_ms: float


@dataclass(frozen=True, slots=True)
class PacketsDropped:
    """The cut from source to target has dropped at least one packet."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class PiecesShaped:
    """The shape from source to target has made at least one piece late, or lost it."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class RequestsIntercepted:
    """At least one request to the node was answered in vain, or held."""

    node: str


@dataclass(frozen=True, slots=True)
class Stable:
    """LSO = HW on each of the keys: no transaction is open, none waits for markers."""

    keys: tuple[Key, ...]


Elected = LeaderElected | ControllerElected | Coordinated
Shown = PacketsDropped | PiecesShaped | RequestsIntercepted
Condition = Elected | NodeAnswers | FullIsr | IsrShrunk | AssignedTo | Configured | ClockWithin | Shown | Stable
