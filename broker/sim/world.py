"""One simulated world: loop, network and nodes from one seed, watched: trace, node logs, invariants.

The trace has a line for each step of a node and each change of the world, in virtual time; the same seed gives the same
bytes in any process. It keeps its newest `MAX_LINES` lines and a digest of all of them.
"""

from __future__ import annotations

import hashlib
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.ready import Event, PeerFailed, PeerReply, Ready, Request
from broker.sim import knobs
from broker.sim.cluster import Cluster, Shape
from broker.sim.invariants import Invariants
from broker.sim.loop import Loop
from broker.sim.node import Node
from broker.sim.rot import CRC_COVERS, unchecked

MAX_LINES: Final = 20_000
"""Of the trace, and of each node's log: 1-2 MB; what led to a failure is at the end."""
HASHED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An invariant that does not hold, or a core that failed: always a bug of the broker, or a planted one."""

    name: str
    node: str
    key: str
    time_ns: int
    step: int
    detail: str


class Trace:
    """See the module."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=MAX_LINES)
        self.count = 0
        self._hash = hashlib.sha256()
        self._unhashed: list[str] = []

    def write(self, time_ns: int, text: str) -> None:
        """Add a line."""
        self.add(f"{time_ns} {text}\n")

    def add(self, line: str) -> None:
        """Add a whole line."""
        self.lines.append(line)
        self.count += 1
        self._unhashed.append(line)
        if not self.count % HASHED_AT_ONCE:
            self._catch_up()

    def _catch_up(self) -> None:
        self._hash.update("".join(self._unhashed).encode())
        self._unhashed = []

    def digest(self) -> str:
        """Return the digest of all lines so far."""
        self._catch_up()
        return self._hash.hexdigest()


class World:
    """See the module. Satisfies `Watch`."""

    def __init__(self, seed: int, nodes: int, properties: Mapping[str, str], cluster_id: str = "simulated") -> None:
        """Make it; nothing runs yet. Raises ValueError naming a property that is wrong."""
        knobs.refuse_unknown(properties)
        self.loop = Loop(seed)
        self.trace = Trace()
        self.violations: list[Violation] = []
        self.logs: dict[str, deque[str]] = {}
        self.steps = 0
        self._dark: dict[str, int] = {}
        self.on_violation: Callable[[Violation], None] = lambda _: None
        shape = Shape(
            nodes=nodes,
            properties=dict(properties),
            weather=knobs.weather(properties),
            speeds=knobs.speeds(properties, nodes, self.loop.random("clocks")),
            cluster_id=cluster_id,
        )
        self.cluster = Cluster(self.loop, shape, self)
        self.network = self.cluster.network
        names = [node.name for node in self.cluster.nodes.values()]
        self.network.far = knobs.far(properties, names, self.loop.random("far"))
        self.invariants = Invariants(self.cluster.nodes, self.violate)
        self.nodes = {node.name: node for node in self.cluster.nodes.values()}
        for name in self.nodes:
            self.logs[name] = deque(maxlen=MAX_LINES)

    # What nodes tell.

    def stepped(self, node: Node, event: Event, ready: Ready) -> None:
        """Trace the step, keep its warnings, check what it may have broken."""
        self.steps += 1
        effects = f"w{len(ready.writes)} r{len(ready.replies)} q{len(ready.requests)}"
        self.trace.add(f"{self.loop.now_ns} {node.name} {_label(event)} {effects}\n")
        for warning in ready.warnings:
            self.tell(node, warning)
        self.invariants.stepped(node, event, ready)

    def crashed(self, node: Node, event: Event, error: Exception) -> None:
        """An error inside the core: the node ends, and it is a bug."""
        self.tell(node, "".join(traceback.format_exception(error)))
        self.violate("CoreCrash", node.name, "", f"{type(error).__name__} at {_label(event)}: {error}")

    def ended(self, node: Node, why: str) -> None:
        """Note the end of a life."""
        self.tell(node, why)

    def check_all(self) -> None:
        """Check once more what is too dear to check after every step."""
        self.invariants.check_all()

    def lose_power(self, *names: str) -> None:
        """Let nodes lose power, and what they had not synced; who lost it before and is still down counts."""
        for name in names:
            self.nodes[name].kill(power=True)
            self._dark[name] = self.nodes[name].lives
        dark = [self.nodes[name] for name, life in self._dark.items() if self.nodes[name].lives == life]
        self.invariants.power_lost([node.id for node in dark])

    def rot(self, name: str, log: str) -> None:
        """Kill a node, and change a byte of a log's batches that it has not checkpointed: it checks them at its start.

        What lies below the recovery point nobody checks, neither here nor in Kafka: it would be served as it is.
        """
        node = self.nodes[name]
        node.kill()
        places = unchecked(node.disk, log)
        if places:
            base, position, size = places[int(self.loop.random("rot").random() * len(places))]
            at = CRC_COVERS + int(self.loop.random("rot").random() * (size - CRC_COVERS))
            node.disk.damage(log, base, position + at)
            self.invariants.damaged(node, log)

    def tell(self, node: Node, text: str) -> None:
        """Add to a node's log, and to the trace."""
        self.logs[node.name].append(f"{self.loop.now_ns / 1e9:.6f} {text}\n")
        self.trace.write(self.loop.now_ns, f"{node.name} {text}")

    def violate(self, name: str, node: str, key: str, detail: str) -> None:
        """Note that an invariant does not hold; once for each name and key."""
        if any((one.name, one.key) == (name, key) for one in self.violations):
            return
        found = Violation(name=name, node=node, key=key, time_ns=self.loop.now_ns, step=self.steps, detail=detail)
        self.violations.append(found)
        self.trace.write(self.loop.now_ns, f"{node} VIOLATION {name} {key} {detail}")
        self.on_violation(found)


def _label(event: Event) -> str:
    kind = type(event)
    if kind is Request:
        return f"{type(event.message).__name__} from {event.client_id}"  # type: ignore[union-attr]
    if kind is PeerReply:
        return f"answer {type(event.message).__name__}"  # type: ignore[union-attr]
    return "failed" if kind is PeerFailed else "tick"
