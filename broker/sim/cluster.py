"""A simulated cluster: nodes on one loop and one network, from one seed.

`start` starts the nodes; nothing happens until the loop is run. `Weather` and `Speed` say how good network, clocks and
disks are. Nodes vote and serve, all of them, as in `broker.io`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.core.config import BrokerConfig
from broker.core.metadata.records import Endpoint
from broker.core.ready import Event, Ready
from broker.sim import knobs
from broker.sim.loop import Loop
from broker.sim.network import Network, Weather
from broker.sim.node import Node, Speed, Watch

PORT = 9092
"""Every simulated node listens there; its host is its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a cluster is made of. `properties` are Kafka's, for all nodes; `settings`, fields of BrokerConfig, win."""

    nodes: int = 3
    settings: Mapping[str, int | bool] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    cluster_id: str = "simulated"
    weather: Weather = field(default_factory=Weather)
    speeds: Sequence[Speed] = ()
    """By node; the last one is everybody's who has none."""


class Cluster:
    """See the module."""

    def __init__(self, loop: Loop, shape: Shape, watch: Watch | None = None) -> None:
        self.loop, self.shape = loop, shape
        self.network = Network(loop, shape.weather)
        ids = tuple(range(1, shape.nodes + 1))
        self.nodes: dict[int, Node] = {}
        for node_id in ids:
            fields: dict[str, Any] = {**knobs.fields(shape.properties), **shape.settings}
            config = BrokerConfig(
                node_id=node_id,
                voters=ids,
                cluster_id=shape.cluster_id,
                endpoints=(Endpoint("PLAINTEXT", f"n{node_id}", PORT),),
                properties=shape.properties,
                **fields,
            )
            speed = shape.speeds[min(node_id, len(shape.speeds)) - 1] if shape.speeds else Speed()
            self.nodes[node_id] = Node(loop, self.network, config, speed, watch or Nobody())

    def start(self) -> None:
        """Start every node."""
        for node in self.nodes.values():
            node.start()

    def is_ready(self) -> bool:
        """Return whether every node that runs is active, in its own eyes and in those of an active controller."""
        processes = [node.process for node in self.nodes.values() if node.process is not None]
        brokers = [process.broker for process in processes]
        leaders = [broker for broker in brokers if broker.controller is not None]
        if not leaders:
            return False
        active = [one for one in leaders[-1].image.brokers.values() if not one.fenced]
        return len(active) == len(brokers) and all(process.takes_clients for process in processes)

    def until(self, condition: Callable[[], bool], limit_ms: float = 120_000) -> bool:
        """Run until the condition holds; return whether it did within a bound of virtual time."""
        return self.loop.run_until(self.loop.now_ns + int(limit_ms * 1_000_000), condition)


class Nobody:
    """Looks on, and says nothing; an error of a core goes on up."""

    def stepped(self, node: Node, event: Event, ready: Ready) -> None:
        """Ignore it."""

    def crashed(self, node: Node, event: Event, error: Exception) -> None:  # noqa: ARG002 - what `Watch` asks for
        """Raise it."""
        raise error

    def ended(self, node: Node, why: str) -> None:
        """Ignore it."""
