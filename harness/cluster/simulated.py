"""Our own broker on a virtual clock, inside the run's own process: the provider `simulated`.

The cluster lives in a `World` (`broker.sim.world`): nodes, disks, clocks and network, all drawn from the run's seed.
Nothing outside the process exists, so nothing can be left behind, and there is nothing to start by hand. Its powers are
those of a real cluster; they act at once, and take no virtual time. Who looks at it (`SimulatedObserver`,
`DirectProbe`) asks a node's own state, as far as the node could answer: a dead or paused one does not.

Broker settings are Kafka's properties, with the same short timings as `embedded`, and `harness.sim.*`: how good the
network, the disks and the clocks are (`broker.sim.knobs`). A planted bug is there from `up` to `down`, for the whole
process: one cluster with a bug at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from broker.bugs import planting
from broker.sim import knobs, network
from broker.sim.client.config import ClientConfig
from broker.sim.client.contact import Contact
from broker.sim.client.errors import ClientError
from broker.sim.loop import MS_NS
from broker.sim.node import Node as SimulatedNode
from broker.sim.world import World
from harness.cluster import processes as embedded
from harness.cluster.administered import Administered
from harness.cluster.api import CLIENTS, ClusterError, ClusterSpec, Key, Node, UsageError
from harness.cluster.observer import ClusterObserver
from harness.cluster.probe import Api, Probe, ProbeError, Request
from harness.cluster.properties import cluster_properties, plan, refuse_ineffective, refuse_owned
from harness.cluster.unsynced import key_of
from harness.generator import SECOND_NS

T = TypeVar("T")

PROVIDER: Final = "simulated"
TIMINGS: Final = {
    **embedded.TIMINGS,
    # Heartbeats and empty fetches are most of the steps of a quiet cluster: less of them is more simulated time.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "1500",
    "controller.quorum.fetch.timeout.ms": "1000",
    "replica.fetch.wait.max.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
"""As on `embedded`, a little slower."""
READY_S: Final = 60
"""Of virtual time. Nodes are up within a second or two; with bad links and slow disks it may take some elections."""
CHANGES: Final = {
    "ALTER_PARTITION_REASSIGNMENTS": 0,
    "CREATE_TOPICS": 7,
    "CREATE_PARTITIONS": 3,
    "ELECT_LEADERS": 2,
    "INCREMENTAL_ALTER_CONFIGS": 1,
    "PRODUCE": 12,
}
"""Requests that change something, and their versions."""
_PORT: Final = 9092
_PID: Final = 1000
"""A simulated process id: _PID times the node's id, plus which life it is."""


class SimulatedCluster(Administered):
    """A cluster on a virtual clock.

    Satisfies Cluster, Killable, Powered, Disked, Pausable, Clocked, Partitionable, Shapeable, Reassignable,
    Configurable and Logged.
    """

    def __init__(self, spec: ClusterSpec) -> None:
        """Make the world of the spec's seed; nothing runs yet. Raises UsageError."""
        refuse_owned(spec.broker_config)
        refuse_ineffective(knobs.ineffective(spec.broker_config))
        if spec.controllers:
            raise UsageError("simulated nodes have combined roles: leave the number of controllers at 0")
        self.name = spec.name
        self._bug, self._planted = spec.bug, ExitStack()
        self._members = {member.name: member for member in plan(spec.nodes, 0)}
        properties = {**cluster_properties(spec.nodes, embedded.LEVEL), **TIMINGS, **spec.broker_config}
        try:
            self.world = World(spec.seed, spec.nodes, properties)
        except ValueError as error:
            raise UsageError(f"--broker-config {error}") from error

    # Cluster

    def up(self) -> None:
        """Start the nodes and run until all are in service."""
        self._planted.enter_context(planting.planted(self._bug))
        cluster = self.world.cluster
        cluster.start()
        if not cluster.until(cluster.is_ready, READY_S * 1000):
            raise ClusterError(f"the simulated cluster was not ready after {READY_S} s of virtual time")

    def down(self) -> None:
        """End the nodes: nothing of them is left."""
        for node in self.world.nodes.values():
            if node.process is not None:
                node.process.end("the run is over")
        self._planted.close()

    def nodes(self) -> Sequence[Node]:
        """Return all nodes."""
        return [Node(one.name, one.id, f"{one.name}:{_PORT}", one.roles) for one in self._members.values()]

    def bootstrap(self) -> str:
        """Return the nodes' simulated addresses: nobody outside can reach them."""
        return ",".join(node.address for node in self.nodes())

    def describe(self) -> dict[str, Any]:
        """Return provider, version and nodes."""
        return {
            "provider": PROVIDER,
            "name": self.name,
            "version": embedded.LEVEL,
            "nodes": {node.name: {"id": node.id, "roles": sorted(node.roles)} for node in self.nodes()},
            "bootstrap": self.bootstrap(),
            "handles": {},
        }

    # Killable

    def kill(self, node: str) -> None:
        """End the node's process at once; its disk keeps what was written."""
        self._node(node).kill()

    def blackout(self, node: str) -> None:
        """End the node's process at once, and lose what its disk had not synced."""
        self.world.lose_power(self._node(node).name)

    def bytes_lost(self, node: str) -> Mapping[Key, int]:
        """Return how many bytes of each partition power losses have taken."""
        return {key_of(log): size for log, size in self._node(node).disk.lost.items() if size}

    def fill(self, node: str) -> None:
        """Let the node's disk refuse every further byte: its process ends with the next one."""
        self._node(node).disk.full = True

    def full(self, node: str) -> bool:
        """Return whether it refuses them."""
        return self._node(node).disk.full

    def rot(self, node: str, key: str) -> None:
        """End the node's process at once; change a byte of the partition that it will check."""
        self.world.rot(self._node(node).name, "-".join(key.rsplit("/", 1)))

    def rotten(self, node: str) -> int:
        """Return how many bytes were changed."""
        return self._node(node).disk.rotten

    def start(self, node: str) -> None:
        """Make room on the node's disk, start its process; safe when it runs."""
        self._node(node).disk.full = False
        self._node(node).start()

    def pid(self, node: str) -> int | None:
        """Return a number for the life of the node's process, None when it is not running."""
        found = self._node(node)
        return None if found.process is None else found.id * _PID + found.lives

    # Pausable

    def pause(self, node: str) -> None:
        """Stop the node's process where it is; ClusterError when it is not running."""
        if self._node(node).process is None:
            raise ClusterError(f"{node} is not running: it can't be paused")
        self._node(node).pause()

    def resume(self, node: str) -> None:
        """Let it go on; safe when it runs or is dead."""
        self._node(node).resume()

    def paused(self, node: str) -> bool:
        """Return whether it is stopped."""
        process = self._node(node).process
        return process is not None and process.is_paused

    # Clocked

    def skew(self, node: str, offset_ms: int, every_ms: int = 0) -> None:
        """Let the node's clock on the wall be off, beside what was drawn; with `every_ms` to and fro."""
        self._node(node).set_clock(offset_ms, every_ms)

    def unskew(self, node: str) -> None:
        """Set it as it was."""
        self._node(node).set_clock(0)

    def now_ms(self) -> float:
        """Return what a right clock on the wall shows."""
        return self.world.loop.wall_ms

    # Partitionable

    def cut(self, source: str, target: str) -> None:
        """Hold everything from source to target."""
        self.world.network.cut(self._end(source), self._end(target))

    def join(self, source: str, target: str) -> None:
        """Let it go on; safe when not cut."""
        self.world.network.join(self._end(source), self._end(target))

    def dropped(self, source: str, target: str) -> int:
        """Return how many messages the cut has held so far; 0 when not cut."""
        return self.world.network.cuts.get((source, target), 0)

    # Shapeable

    def shape(self, source: str, target: str, delay_s: float, loss: float) -> None:
        """Make what is sent from source to target late, and lose some of it."""
        self.world.network.shape(self._end(source), self._end(target), delay_s * 1000, loss)

    def smooth(self, source: str, target: str) -> None:
        """Let it pass undisturbed again; safe when not shaped."""
        self.world.network.smooth(self._end(source), self._end(target))

    def shaped(self, source: str, target: str) -> int:
        """Return how many messages this shape has made late or lost so far; 0 when not shaped."""
        found = self.world.network.shapes.get((source, target))
        return 0 if found is None else found.pieces

    # Administered

    def observer(self) -> ClusterObserver:
        """Return who asks the nodes, without a network."""
        return SimulatedObserver(self)

    # Logged

    def collect(self, folder: Path) -> None:
        """Write each node's log, and the world's trace, its newest lines."""
        for name, lines in self.world.logs.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / "server.log").write_text("".join(lines))
        trace = self.world.trace
        head = f"{trace.count} lines, sha256 {trace.digest()}; the newest {len(trace.lines)}:\n"
        (folder / "trace.txt").write_text(head + "".join(trace.lines))

    def _end(self, name: str) -> str:
        return network.CLIENTS if name == CLIENTS else self._node(name).name

    def _node(self, name: str) -> SimulatedNode:
        found = self.world.nodes.get(name)
        if found is None:
            raise ClusterError(f"there is no node {name}: there are {', '.join(self.world.nodes)}")
        return found


def from_handles(description: Mapping[str, Any]) -> NoReturn:
    """Refuse: a simulated cluster lives and ends with its run."""
    del description
    raise UsageError("a simulated cluster lives inside its run: there is nothing to start, stop or look at by hand")


def remove(description: Mapping[str, Any]) -> None:
    """Do nothing: a simulated cluster leaves nothing behind."""
    del description


class DirectProbe(Probe):
    """A probe that asks the node's state itself, in no time.

    What changes something, an election, is a request on the network like any client's: the world goes on meanwhile.
    """

    def __init__(self, node: SimulatedNode, world: World) -> None:
        """Ask this node."""
        super().__init__(node.name, _PORT)
        self._node, self._world = node, world

    def _call(self, request: Request, kind: type[Any], deadline: float | None = None) -> Any:
        del deadline
        answer = self._sent(request) if request.api.name in CHANGES else self._node.ask(request)
        if not isinstance(answer, kind):
            raise ProbeError(f"{request.api.name} to {self.address}: it can't say")
        return answer

    def _sent(self, request: Request) -> Any:
        loop, wait_ms = self._world.loop, int(self._timeout_s * 1000)
        config = ClientConfig(
            client_id="probe", bootstrap=(self._node.id,), request_timeout_ms=wait_ms, connect_timeout_ms=wait_ms
        )
        contact = Contact(loop, self._world.network, config)
        asking = contact.spawn(contact.call(self._node.id, request, CHANGES[request.api.name]), "probe")
        try:
            loop.run_until(loop.now_ns + 2 * wait_ms * MS_NS, lambda: asking.done)
            return asking.result() if asking.done else None
        except ClientError as error:
            raise ProbeError(f"{request.api.name} to {self.address}: {error}") from error
        finally:
            contact.close()

    def _negotiated(self, api: Api, deadline: float) -> tuple[int, int]:
        del api, deadline
        return 0, 99


class SimulatedObserver(ClusterObserver):
    """Answers questions about roles from the nodes' own state, as they could answer them now."""

    def __init__(self, cluster: SimulatedCluster, topics: Sequence[str] = ()) -> None:
        """Watch the cluster; `topics` are the run's."""
        super().__init__(cluster, topics)
        self._world = cluster.world

    def _ask(self, question: Callable[[Probe, Node], T], only: Iterable[str] | None = None) -> dict[str, T]:
        wanted = None if only is None else set(only)
        answers: dict[str, T] = {}
        for node in self.brokers():
            if (wanted is None or node.name in wanted) and self._can_answer(node.name):
                try:
                    answers[node.name] = question(DirectProbe(self._world.nodes[node.name], self._world), node)
                except ProbeError:
                    continue
        return answers


class VirtualClock:
    """The nemesis's clock: to wait is to let the world go on."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        """Wait on the world's loop."""
        self._loop = cluster.world.loop
        self._is_stopped = False

    def now_s(self) -> float:
        """Return seconds of virtual time."""
        return self._loop.now_ns / SECOND_NS

    def wait(self, seconds: float) -> bool:
        """Let the world go on for so long."""
        if not self._is_stopped:
            self._loop.run_until(self._loop.now_ns + int(seconds * SECOND_NS), lambda: self._is_stopped)
        return not self._is_stopped

    def stop(self) -> None:
        """End all waiting."""
        self._is_stopped = True
