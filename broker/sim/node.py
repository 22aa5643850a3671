"""The driver of one node on the virtual clock: the same order of things as `broker.io.node`, with faults.

A `Node` is the machine: it keeps its disk and its clock while processes come and go. A `_Process` is one life of the
broker on it:

    down -> up -> (paused -> up)* -> down        kill: at once; what it sent before is on its way, its connections close
                                                 power loss: what was not synced is gone, too

A step's writes are performed at once. Its replies and requests go out when everything that was to be synced before
them is: a sync takes `Speed.sync_ms`, and what is collected meanwhile waits for the next round. While the process is
paused the network still accepts for it; events wait, the clock goes on. A disk that refuses a write ends the process,
as the real driver does. An error inside the core ends it, too, and is told to `Watch.crashed`: that is a bug.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from broker.core import queries
from broker.core.broker import Broker
from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.lifecycle import Life
from broker.core.ready import Event, PeerFailed, PeerReply, PeerRequest, Ready, Reply, Request, Tick
from broker.core.transaction import locator
from broker.core.wall import RIGHT, Skew
from broker.sim.disk import Disk
from broker.sim.loop import EPOCH_MS, MS_NS, Loop, Timer
from broker.sim.network import Accepted, Incoming, Network
from broker.sim.peers import Peers
from broker.wire.messages.describe_quorum import DescribeQuorumResponse
from broker.wire.messages.fetch import FetchResponse, Region
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.produce import ProduceRequest
from broker.wire.messages.share_fetch import ShareFetchResponse

QUERY_CHANNEL = 16
"""Questions that the active controller must answer; the core's channels have lower numbers."""
QUERY_TIMEOUT_MS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a node is: its clock's rate and offset, and how long a sync takes."""

    clock_rate: float = 1.0
    clock_offset_ms: int = 0
    sync_ms: tuple[float, float] = (0.05, 2.0)


class Watch(Protocol):
    """Who looks on: the invariants, the trace."""

    def stepped(self, node: Node, event: Event, ready: Ready) -> None:
        """A node's core made a step, and its writes were performed."""
        ...

    def crashed(self, node: Node, event: Event, error: Exception) -> None:
        """A node's core failed."""
        ...

    def ended(self, node: Node, why: str) -> None:
        """A node's process ended."""
        ...


class Node:
    """See the module."""

    def __init__(self, loop: Loop, network: Network, config: BrokerConfig, speed: Speed, watch: Watch) -> None:
        self.config, self.speed = config, speed
        self.id = config.node_id
        self.name = f"n{config.node_id}"
        self.disk = Disk()
        self.loop, self.network, self.watch = loop, network, watch
        self.lives = 0
        self.process: Process | None = None
        self.broker: Broker | None = None
        """The core that runs, None while the node is down."""
        self._rng = loop.random(f"node/{self.name}")
        self.skew = RIGHT
        """How far the clock on its wall is off."""
        self._epoch_ms, self._rate = EPOCH_MS + speed.clock_offset_ms, speed.clock_rate

    def now_ms(self) -> int:
        """Return the time by which the node waits."""
        return self._epoch_ms + int(self.loop.now_ns * self._rate) // MS_NS

    def set_clock(self, offset_ms: int, every_ms: int = 0) -> None:
        """Let the clock on its wall be off, 0: let it be right; with `every_ms` to and fro."""
        self.skew = Skew(offset_ms, every_ms)

    def sync_ns(self) -> int:
        """Draw how long a sync takes."""
        return int(self._rng.uniform(*self.speed.sync_ms) * MS_NS)

    def ask(self, message: Any) -> Any:
        """Return what the node's state says to a question, None when it can't say; it takes no time.

        Questions change nothing: Metadata, ListOffsets, DescribeQuorum (the leader's), FindCoordinator.
        """
        process = self.process
        if process is None or not process.takes_clients or queries.is_forwarded(process.broker, message):
            return None
        broker = process.broker
        if isinstance(message, FindCoordinatorRequest):
            return locator.find(broker.config, broker.image, message, lambda _: None)
        return queries.answer(broker, self.disk, message, self.now_ms())

    def start(self) -> None:
        """Start the broker; nothing happens while it runs."""
        if self.process is None:
            self.lives += 1
            self.process = Process(self, self._rng.getrandbits(64))
            self.broker = self.process.broker
            self.process.begin()

    def kill(self, *, power: bool = False) -> None:
        """End the process at once; with `power`, lose what was not synced."""
        if self.process is not None:
            self.process.end("power lost" if power else "killed")
        self.disk.crash(self._rng, power=power)

    def pause(self) -> None:
        """Stop the process where it is."""
        if self.process is not None:
            self.process.is_paused = True

    def resume(self) -> None:
        """Let it go on."""
        if self.process is not None:
            self.process.resume()


class Process:
    """One life of a broker on a node."""

    def __init__(self, node: Node, seed: int) -> None:
        self.node = node
        self.is_paused = False
        self.is_alive = True
        self.takes_clients = not node.config.is_broker
        """Not before the node is active: what it knows when it starts is what was true in its last life."""
        self.broker = Broker(node.config, node.disk, seed, node.now_ms())
        self._peers = Peers(node.loop, node.network, node.name, self._event)
        self._connections: dict[Accepted, None] = {}
        self._late: deque[Callable[[], None]] = deque()
        self._sync: dict[str, None] = {}
        self._replies: list[Reply] = []
        self._requests: list[PeerRequest] = []
        self._syncing = False
        self._timer: Timer | None = None
        self._timer_ms = 0
        self._questions: dict[int, Incoming] = {}
        self._next_question = -1  # the core's tokens are positive

    def begin(self) -> None:
        """Listen, and let the core begin."""
        self.node.network.listen(self.node.id, self)
        self._step(Tick())

    def end(self, why: str) -> None:
        """End at once."""
        self.is_alive = False
        self.node.process = self.node.broker = None
        self.node.network.unlisten(self.node.id)
        if self._timer is not None:
            self._timer.cancel()
        self._peers.close()
        for connection in list(self._connections):
            connection.close()
        self.node.disk.close()
        self.node.watch.ended(self.node, why)

    def stop(self) -> None:
        """Begin an orderly stop; the process ends when the core has stopped."""
        self._perform(Tick(), self.broker.stop(self._now_ms()))

    def resume(self) -> None:
        """Do what has waited."""
        self.is_paused = False
        while self._late and not self.is_paused and self.is_alive:
            self._late.popleft()()

    # Events.

    def accepted(self, connection: Accepted) -> None:
        """Note a connection."""
        self._connections[connection] = None

    def closed(self, connection: Accepted) -> None:
        """Forget it."""
        self._connections.pop(connection, None)

    def received(self, request: Incoming) -> None:
        """Take a request."""
        if self.is_paused:
            self._late.append(lambda: self._asked(request))
        elif self.is_alive:
            self._asked(request)

    def _event(self, event: Event) -> None:
        if self.is_paused:
            self._late.append(lambda: self._peer_event(event))
        elif self.is_alive:
            self._peer_event(event)

    def _wake(self) -> None:
        self._timer = None
        if self.is_paused:
            self._late.append(lambda: self._step(Tick()))
        elif self.is_alive:
            self._step(Tick())

    def _asked(self, request: Incoming) -> None:
        message, connection = request.message, request.connection
        if isinstance(message, ProduceRequest):
            message = _own(message)
        if type(message) in queries.QUESTIONS:
            if queries.is_forwarded(self.broker, message) and not connection.internal:
                token, self._next_question = self._next_question, self._next_question - 1
                self._questions[token] = request
                leader = self.broker.quorum.leader_id
                self._peers.send(PeerRequest(token, leader, QUERY_CHANNEL, message, QUERY_TIMEOUT_MS))
                return
            answer = queries.answer(self.broker, self.node.disk, message, self.node.now_ms())
            if answer is not None:
                self._replies.append(Reply(request, answer))
                if not self._syncing:
                    self._flush()
                return
        event = Request(
            request, message, connection.client, "sim", internal=connection.internal, version=request.version
        )
        self._step(event)

    def _peer_event(self, event: Event) -> None:
        token = event.token if isinstance(event, PeerReply | PeerFailed) else 0
        if token > 0:
            self._step(event)
        elif isinstance(event, PeerReply):
            self._questions.pop(token).answer(event.message)
        else:
            refusal = DescribeQuorumResponse(error_code=Code.NOT_CONTROLLER, error_message="no controller answers")
            self._questions.pop(token).answer(refusal)

    # Steps.

    def _step(self, event: Event) -> None:
        try:
            ready = self.broker.step(event, self._now_ms())
        except Exception as error:  # noqa: BLE001 - the door of the process, as in the real driver
            self.node.watch.crashed(self.node, event, error)
            self.end(f"crashed: {error!r}")
            return
        self._perform(event, ready)

    def _now_ms(self) -> int:
        """Return the time of the step that begins, and tell the core how far the clock on the wall is off."""
        now_ms = self.node.now_ms()
        self.broker.replicas.skew_ms = self.node.skew.at(now_ms)
        return now_ms

    def _perform(self, event: Event, ready: Ready) -> None:
        if ready.writes:
            try:
                self.node.disk.write_all(ready.writes)
            except OSError as error:
                self.end(str(error))
                return
        for log in ready.sync:
            self._sync[log] = None
        if ready.replies:
            self._replies += ready.replies
        if ready.requests:
            self._requests += ready.requests
        if ready.wake_at_ms is not None:
            self._arm(ready.wake_at_ms)
        if self.broker.lifecycle.life is Life.RUNNING:
            self.takes_clients = True
        self.node.watch.stepped(self.node, event, ready)
        if not self._syncing and self.is_alive:
            self._flush()

    def _arm(self, wake_at_ms: int) -> None:
        """Set the timer, unless it goes off early enough: then the core will be asked again."""
        if self._timer is not None:
            if self._timer_ms <= wake_at_ms:
                return
            self._timer.cancel()
        node, speed = self.node, self.node.speed
        at_ns = int((wake_at_ms - EPOCH_MS - speed.clock_offset_ms) * MS_NS / speed.clock_rate) + MS_NS // 1000
        self._timer, self._timer_ms = node.loop.at(at_ns, self._wake), wake_at_ms

    # Syncs and sends.

    def _flush(self) -> None:
        """Send what is collected, after what must be durable before it."""
        if not self._sync:
            if self._replies or self._requests or self.broker.is_stopped:
                self._send()
            return
        logs, self._sync = self._sync, {}
        self._syncing = True
        replies, self._replies = self._replies, []
        requests, self._requests = self._requests, []

        def synced() -> None:
            if self.is_alive:
                self.node.disk.sync(logs)
            if self.is_paused:
                self._late.append(synced)
                return
            if not self.is_alive:
                return
            self._syncing = False
            later = self._replies, self._requests
            self._replies, self._requests = replies, requests
            self._send()
            self._replies, self._requests = later
            self._flush()

        self.node.loop.surely_at(self.node.loop.now_ns + self.node.sync_ns(), synced)

    def _send(self) -> None:
        replies, self._replies = self._replies, []
        requests, self._requests = self._requests, []
        for request in requests:
            self._peers.send(request)
        for reply in replies:
            message = reply.message
            if isinstance(message, FetchResponse | ShareFetchResponse):
                message = self._resolved(message)
                if message is None:
                    reply.id.connection.close()
                    self._connections.pop(reply.id.connection, None)
                    continue
            reply.id.answer(message)
        if self.broker.is_stopped and not (self._replies or self._requests or self._sync or self._syncing):
            self.end("stopped in order")

    def _resolved(self, message: FetchResponse | ShareFetchResponse) -> FetchResponse | ShareFetchResponse | None:
        """Put bytes in place of regions; None when one is not there any more."""
        responses: list[Any] | None = None
        topics: tuple[Any, ...] = message.responses
        for place, topic in enumerate(topics):
            partitions: list[Any] | None = None
            for index, data in enumerate(topic.partitions):
                region = data.records
                if isinstance(region, Region):
                    records = self.node.disk.fetch(region)
                    if len(records) != region.size:
                        return None
                    partitions = partitions or list(topic.partitions)
                    partitions[index] = msgspec.structs.replace(data, records=records)
            if partitions is not None:
                responses = responses or list(topics)
                responses[place] = msgspec.structs.replace(topic, partitions=tuple(partitions))
        return message if responses is None else msgspec.structs.replace(message, responses=tuple(responses))


def _own(message: ProduceRequest) -> ProduceRequest:
    """Return the request with buffers that may be patched: on the network they are shared with the sender."""
    topics = []
    for topic in message.topic_data:
        data = tuple(
            msgspec.structs.replace(one, records=None if one.records is None else bytearray(one.records))
            for one in topic.partition_data
        )
        topics.append(msgspec.structs.replace(topic, partition_data=data))
    return msgspec.structs.replace(message, topic_data=tuple(topics))
