"""The network as TCP gives it: connections that carry messages in order and once until they are reset.

What goes wrong, goes wrong as it does under TCP:
* a lost packet is a stall of its connection's direction, and at worst a reset; nothing on one connection is ever
  reordered or duplicated;
* a cut link (one direction) holds what is sent or in flight over it; when the link is joined, it arrives after a
  retransmission pause; a direction that was held for longer than the sender's patience is reset;
* duplication and reordering come from the layer above: who closes a connection and retries on another one may overtake
  what is still in flight on the old one, since a closed connection still delivers what was sent before.

* a shaped link makes what is sent over it later, and loses some of it: the connection stands still, then is reset.

Ends have names: "n1" for a node, anything for a client; `CLIENTS` stands for all clients but `ALOOF` ones in cuts and
shapes. Messages are the structs of `broker.wire`, not bytes; whoever
receives a message must not change it, and records in it are shared: the node copies what it patches.

    connect -> open -> (stalled | held) -> closed by one end (the other hears of it in order) | reset (both hear)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec

from broker.sim import connections
from broker.sim.connections import ConnectionLostError
from broker.sim.loop import MS_NS, Future, Loop, TimedOutError

CLIENTS = "clients"
"""The end of all clients' links together."""
ALOOF = "probe"
"""A client that is none of them: who asks nodes how they are must reach them whatever happens to the clients."""
STANDSTILL_MS = 300.0
"""How long a connection stands still before it is reset, when a shaped link has lost something of it."""
CONNECT_TIMEOUT_MS = 10_000.0
"""How long to wait for a connection that nobody answers, as clients do by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How good the network is. Times in ms; chances per message."""

    latency_ms: tuple[float, float] = (0.1, 2.0)
    stall_chance: float = 0.0
    stall_ms: tuple[float, float] = (20.0, 1000.0)
    loss_chance: float = 0.0
    """Of a direction that delivers nothing any more, and is reset when its sender's patience is over."""
    patience_ms: tuple[float, float] = (1000.0, 20_000.0)
    retransmit_ms: float = 2000.0
    """Longest pause between a join and the next retransmission."""
    far_ms: tuple[float, float] = (50.0, 150.0)
    """One way, to and from far nodes, beside the latency of all links."""


@dataclass(slots=True)
class Shape:
    """What a link does to what passes: it comes later, and some is lost. `pieces` counts both, in messages."""

    delay_ms: float
    loss: float
    pieces: int = 0


class Server(Protocol):
    """What listens: a node."""

    @property
    def takes_clients(self) -> bool:
        """Whether it listens for others than nodes, too."""
        ...

    def accepted(self, connection: Accepted) -> None:
        """A connection stands."""
        ...

    def received(self, request: Incoming) -> None:
        """A request arrived; `request.answer` sends the answer in its turn."""
        ...

    def closed(self, connection: Accepted) -> None:
        """The other end closed the connection, or it was reset."""
        ...


Link = tuple[str, str]
"""Whose sendings to whom: (source, target)."""


class _Direction:
    """One direction of a connection: a queue in order, and what happens to it."""

    __slots__ = (
        "_at_ns",
        "_far",
        "_held",
        "_is_calm",
        "_least_ms",
        "_lost",
        "_network",
        "_patience",
        "_spread_ms",
        "_standstill",
        "deliver",
        "links",
        "reset",
    )

    def __init__(self, network: Network, links: tuple[Link, ...]) -> None:
        self._network = network
        self.links = links
        weather = network.weather
        self._far = not network.far.isdisjoint(links[0])
        self._least_ms, self._spread_ms = weather.latency_ms[0], weather.latency_ms[1] - weather.latency_ms[0]
        self._is_calm = not (weather.stall_chance or weather.loss_chance or self._far)
        self.deliver: Callable[[Any], None] = lambda _: None
        self.reset: Callable[[], None] = lambda: None
        self._at_ns = 0
        self._held: deque[Any] = deque()
        self._lost = False
        self._patience = False
        self._standstill = False

    def send(self, item: Any) -> None:
        """Send in order."""
        network = self._network
        loop = network.loop
        delay_ms = self._least_ms + self._spread_ms * network.rng.random()
        if not self._is_calm or network.shapes:
            delay_ms = self._weathered_ms(delay_ms)
        at_ns = loop.now_ns + int(delay_ms * MS_NS)
        self._at_ns = max(self._at_ns, at_ns)
        loop.surely_at(self._at_ns, partial(self._arrive, item))

    def _weathered_ms(self, delay_ms: float) -> float:
        """Return the delay with what the weather and a shaped link add to it; they may lose something, too."""
        network = self._network
        weather, rng = network.weather, network.rng
        if weather.stall_chance and rng.random() < weather.stall_chance:
            delay_ms += rng.uniform(*weather.stall_ms)
        if weather.loss_chance and rng.random() < weather.loss_chance:
            self._lost = True
        if self._far:
            delay_ms += rng.uniform(*weather.far_ms)
        shape = network.shape_of(self.links) if network.shapes else None
        if shape is not None:
            delay_ms += shape.delay_ms
            shape.pieces += bool(shape.delay_ms)
            if shape.loss and rng.random() < shape.loss:
                shape.pieces += not shape.delay_ms
                self._lost = self._standstill = True
        return delay_ms

    def _arrive(self, item: Any) -> None:
        if self._lost or self._held or (self._network.cuts and self._network.is_cut(self.links)):
            self._network.count(self.links)
            if not self._held:
                self._network.hold(self)
            self._held.append(item)
            if not self._patience:
                self._patience = True
                patience_ms = self._network.weather.patience_ms
                wait_ms = STANDSTILL_MS if self._standstill else self._network.rng.uniform(*patience_ms)
                self._network.loop.later(wait_ms, self._give_up)
            return
        self.deliver(item)

    def _give_up(self) -> None:
        self._patience = False
        if self._held:
            self._network.release(self)
            self._held.clear()
            self.reset()

    def joined(self) -> None:
        """The link carries again: what was held comes after a pause, unless it was cut again or lost."""
        pause_ms = self._network.rng.uniform(0, self._network.weather.retransmit_ms)
        self._network.loop.later(pause_ms, self._retransmit)

    def _retransmit(self) -> None:
        if self._lost or self._network.is_cut(self.links) or not self._held:
            return
        self._network.release(self)
        held, self._held = self._held, deque()
        for item in held:
            self.deliver(item)


class _Call(msgspec.Struct):
    """A request on its way; `on_reply` gets the answer, or None when the connection is lost first.

    Seen by the garbage collector: `on_reply` leads back to the world that holds it.
    """

    message: Any
    version: int
    on_reply: Callable[[Any | None], None] | None


class _End:
    """The mark that the sender closed."""


class Incoming:
    """A request at the server. Answers leave in the order of the requests that want one; `is_silent`: it does not."""

    __slots__ = ("_answer", "connection", "is_silent", "message", "version")

    def __init__(self, connection: Accepted, message: Any, version: int, *, is_silent: bool) -> None:
        self.connection = connection
        self.message = message
        self.version = version
        self.is_silent = is_silent
        self._answer: Any = None

    def answer(self, message: Any) -> None:
        """Send the answer, or keep it until its turn; one that nobody waits for is a refusal: the connection goes."""
        if self.is_silent:
            self.connection.close()
            return
        self._answer = message
        self.connection.flush()


class Accepted:
    """The server's end of a connection."""

    __slots__ = ("_out", "_server", "_slots", "client", "internal", "is_open")

    def __init__(self, server: Server, client: str, out: _Direction, *, internal: bool) -> None:
        self.client, self.internal = client, internal
        self.is_open = True
        self._server, self._out = server, out
        self._slots: deque[Incoming] = deque()

    def arrived(self, item: Any) -> None:
        """Take what came from the client."""
        if not self.is_open:
            return
        if isinstance(item, _End):
            self.lost()
            return
        request = Incoming(self, item.message, item.version, is_silent=item.on_reply is None)
        if not request.is_silent:
            self._slots.append(request)
        self._server.received(request)

    def flush(self) -> None:
        """Send the answers whose turn it is."""
        slots = self._slots
        while self.is_open and slots and slots[0]._answer is not None:
            self._out.send(slots.popleft()._answer)

    def close(self) -> None:
        """Close: the client hears of it after the answers that were sent."""
        if self.is_open:
            self.is_open = False
            self._slots.clear()
            self._out.send(_End())

    def lost(self) -> None:
        """The other end is gone."""
        if self.is_open:
            self.is_open = False
            self._slots.clear()
            self._server.closed(self)


class Connection(connections.Connection):
    """The client's end in a simulation."""

    __slots__ = ("_out", "_waiting")

    def __init__(self, loop: Loop, node_id: int, out: _Direction) -> None:
        super().__init__(loop, node_id, is_open=True)
        self._out = out
        self._waiting: deque[Callable[[Any | None], None]] = deque()

    def send(self, message: Any, version: int, on_reply: Callable[[Any | None], None] | None) -> None:
        """Send a request; `on_reply` gets the answer, or None once the connection is lost. None: it has no answer."""
        if not self.is_open:
            if on_reply is not None:
                self.loop.soon(partial(on_reply, None))
            return
        if on_reply is not None:
            self._waiting.append(on_reply)
        self._out.send(_Call(message, version, on_reply))

    def arrived(self, item: Any) -> None:
        """Take an answer, or the news that the server closed."""
        if not self.is_open:
            return
        if isinstance(item, _End):
            self.lost()
        else:
            self._waiting.popleft()(item)

    def close(self) -> None:
        """Close: what was sent still arrives, no answer does; calls that wait fail."""
        if self.is_open:
            self._out.send(_End())
            self.lost()

    def lost(self) -> None:
        """The connection is gone: all that waits fails."""
        if self.is_open:
            self.is_open = False
            waiting, self._waiting = self._waiting, deque()
            for on_reply in waiting:
                self.loop.soon(partial(on_reply, None))


class Network:
    """Who listens, which links are cut. Cuts are one-way: (source, target)."""

    def __init__(self, loop: Loop, weather: Weather) -> None:
        self.loop, self.weather = loop, weather
        self.rng = loop.random("network")
        self.cuts: dict[tuple[str, str], int] = {}
        """What each cut link has swallowed so far, in messages."""
        self.shapes: dict[Link, Shape] = {}
        self.far: frozenset[str] = frozenset()
        """Nodes that are far from everybody; to be said before anybody connects."""
        self._servers: dict[int, Server] = {}
        self._held: dict[_Direction, None] = {}

    # Links.

    def cut(self, source: str, target: str) -> None:
        """Let nothing pass from source to target any more."""
        self.cuts.setdefault((source, target), 0)

    def join(self, source: str, target: str) -> None:
        """Let it pass again."""
        if (source, target) in self.cuts:
            del self.cuts[source, target]
            for direction in [one for one in self._held if (source, target) in one.links]:
                direction.joined()

    def shape(self, source: str, target: str, delay_ms: float, loss: float) -> None:
        """Make what is sent from source to target from now on later, and lose some of it."""
        self.shapes[source, target] = Shape(delay_ms, loss)

    def smooth(self, source: str, target: str) -> None:
        """Let it pass undisturbed again."""
        self.shapes.pop((source, target), None)

    def shape_of(self, links: tuple[Link, ...]) -> Shape | None:
        """Return what a link does to what passes; None: nothing."""
        return next((self.shapes[link] for link in links if link in self.shapes), None)

    def is_cut(self, links: tuple[Link, ...]) -> bool:
        """Return whether nothing passes."""
        return bool(self.cuts) and any(link in self.cuts for link in links)

    def count(self, links: tuple[Link, ...]) -> None:
        """Count a message that a cut swallowed."""
        for link in links:
            if link in self.cuts:
                self.cuts[link] += 1

    def hold(self, direction: _Direction) -> None:
        """Note a direction that holds something."""
        self._held[direction] = None

    def release(self, direction: _Direction) -> None:
        """It does not any more."""
        self._held.pop(direction, None)

    # Connections.

    def listen(self, node_id: int, server: Server) -> None:
        """Let a node's process accept connections."""
        self._servers[node_id] = server

    def unlisten(self, node_id: int) -> None:
        """Refuse connections to the node: no process listens."""
        self._servers.pop(node_id, None)

    async def connect(self, client: str, node_id: int, *, timeout_ms: float = CONNECT_TIMEOUT_MS) -> Connection:
        """Return a connection to a node. Raises ConnectionLostError when it is refused or nobody answers."""
        future: Future[Connection] = self.loop.future()
        self.open(client, node_id, future.set, future.fail)
        try:
            return await self.loop.within(future, timeout_ms)
        except TimedOutError:
            raise ConnectionLostError(f"node {node_id} does not answer") from None

    def open(
        self,
        client: str,
        node_id: int,
        then: Callable[[Connection], None],
        refused: Callable[[ConnectionLostError], None],
        *,
        internal: bool = False,
    ) -> None:
        """Connect: `then` or `refused` is called, or neither while the link is cut (SYN or its answer are lost)."""
        node = f"n{node_id}"
        there: tuple[Link, ...] = ((client, node),)
        back: tuple[Link, ...] = ((node, client),)
        if not internal and client != ALOOF:
            there, back = (*there, (CLIENTS, node)), (*back, (node, CLIENTS))

        def latency() -> float:
            return self.rng.uniform(*self.weather.latency_ms)

        def syn() -> None:
            for links in (there, back):
                if self.is_cut(links):
                    self.count(links)
                    return
            server = self._servers.get(node_id)
            if server is None or not (internal or server.takes_clients):
                error = ConnectionLostError(f"node {node_id} refuses connections")
                self.loop.later(latency(), lambda: refused(error))
                return
            connection = self._connected(server, client, node_id, there, back, internal=internal)
            self.loop.later(latency(), lambda: then(connection))

        self.loop.later(latency(), syn)

    def _connected(
        self,
        server: Server,
        client: str,
        node_id: int,
        there: tuple[Link, ...],
        back: tuple[Link, ...],
        *,
        internal: bool,
    ) -> Connection:
        out, home = _Direction(self, there), _Direction(self, back)
        connection = Connection(self.loop, node_id, out)
        accepted = Accepted(server, client, home, internal=internal)
        out.deliver, home.deliver = accepted.arrived, connection.arrived

        def reset() -> None:
            connection.lost()
            accepted.lost()

        out.reset = home.reset = reset
        server.accepted(accepted)
        return connection
