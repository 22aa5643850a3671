"""Requests to other nodes: one connection per (peer, channel), opened when first needed, answered in order.

Every token is answered once: a `PeerReply`, or a `PeerFailed` when there is no connection, when it breaks, or when
the oldest request on it has passed its time-out; then all that wait on that connection fail with it, since answers come
in order. Where a peer is reached is fixed by the configuration, or else asked each time: a node that was added later is
where it has registered. All nodes of a cluster run the same software: versions are not negotiated, the highest one that
can carry the message is spoken (a client's forwarded request may be in the words of an older one).

A node whose process has ended is told from one that is slow, stopped or cut off (`PeerFailed.gone`): its kernel refuses
the connection, where that of the others accepts it. Something that stands in between and accepts in its place (the
harness's links, a proxy) closes what it can't pass on: a connection that ends at once is looked into with another one,
on which nothing is said; a node that lives leaves it open.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from broker.core.ready import Event, PeerFailed, PeerReply, PeerRequest
from broker.io import hot_fetch
from broker.io.framing import Inbox
from broker.io.secure import AnyStream, open_stream
from broker.io.served import SERVED
from broker.io.stream import Chunk
from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.errors import WireError
from broker.wire.frame import MAX_FRAME_BYTES, frame
from broker.wire.message import Request, Response
from broker.wire.messages.fetch import FetchRequest

MAX_CORRELATION = 1 << 31
EARLY_S = 0.1
"""A connection that ends sooner, without an answer, may be to nobody; on one that stalls the end comes later."""
LOOK_S = 0.1
"""How long a look at a node's door may take; on one machine the end of a connection comes within milliseconds."""


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    """A request that was sent, or waits for the connection."""

    token: int
    correlation_id: int
    api: int
    version: int
    deadline_s: float


class Peers:
    """All outgoing connections of a node. `deliver` takes the events."""

    def __init__(
        self,
        node_id: int,
        addresses: Mapping[int, tuple[str, int]],
        deliver: Callable[[Event], None],
        context: ssl.SSLContext | None = None,
        registered: Callable[[int], tuple[str, int] | None] = lambda _: None,
    ) -> None:
        """context: the other nodes' doors speak TLS. registered: where a node is that has no fixed address."""
        self._context, self._registered = context, registered
        self._client_id = f"node-{node_id}"
        self._addresses, self._deliver = addresses, deliver
        self._channels: dict[tuple[int, int], Channel] = {}

    def send(self, request: PeerRequest) -> None:
        """Send a request, or answer it with PeerFailed (later, never from here)."""
        key = (request.peer, request.channel)
        channel = self._channels.pop(key, None)
        fixed = self._addresses.get(request.peer)
        address = fixed or self._registered(request.peer)
        if channel is not None and fixed is None and channel.address != address:
            asyncio.get_running_loop().call_soon(channel.give_up)
            channel = None
        if channel is None:
            if address is None:
                asyncio.get_running_loop().call_soon(self._deliver, PeerFailed(request.token))
                return
            channel = Channel(request.peer, address, self._client_id, self._deliver, self._context)
        self._channels[key] = channel
        try:
            channel.send(request)
        except WireError:
            asyncio.get_running_loop().call_soon(self._deliver, PeerFailed(request.token))

    def close(self) -> None:
        """Close the connections; what waits is not answered any more."""
        for channel in self._channels.values():
            channel.close()


class Channel:
    """The way to one peer for one kind of request; see the module. It outlives its connections."""

    def __init__(
        self,
        peer: int,
        address: tuple[str, int],
        client_id: str,
        deliver: Callable[[Event], None],
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.context = context
        self._peer, self.address = peer, address
        self._client_id, self._deliver = client_id, deliver
        self._loop = asyncio.get_running_loop()
        self._look_task: asyncio.Task[None] | None = None
        self._link: _Link | None = None
        self._waiting: deque[_Waiting] = deque()
        self._next_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def send(self, request: PeerRequest) -> None:
        """Send it now, or when the connection stands. Raises WireError when no version can carry it."""
        message = request.message
        self._next_id = (self._next_id + 1) % MAX_CORRELATION
        version, payload = _encoded(message, self._next_id, self._client_id)
        loop = self._loop
        deadline_s = loop.time() + request.timeout_ms / 1000
        self._waiting.append(_Waiting(request.token, self._next_id, message.api, version, deadline_s))
        if self._link is None:
            self._link = _Link(self)
            self._link.task = loop.create_task(self._link.connect(self.address))
        self._link.write(frame(payload))
        if self._timer is None:
            self._timer = loop.call_at(deadline_s, self._expire)

    def _expire(self) -> None:
        """Look whether a request has waited too long."""
        self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        first = min(one.deadline_s for one in self._waiting)
        if loop.time() >= first:
            self.give_up()
        else:
            self._timer = loop.call_at(first, self._expire)

    def lost(self, link: _Link) -> None:
        """The connection is gone; unless we have given it up before, all that waits fails."""
        if link is not self._link:
            return
        if link.ended_early and self._waiting and not self._closed:
            self._look_task = asyncio.get_running_loop().create_task(self._look(link))
        else:
            self.give_up(gone=link.refused)

    async def _look(self, link: _Link) -> None:
        """Find out whether anybody is at the peer's door, then fail all that waits."""
        gone = await _nobody_at(self.address)
        if link is self._link:
            self.give_up(gone=gone)

    def give_up(self, *, gone: bool = False) -> None:
        """Drop the connection: all that waits fails."""
        link, self._link = self._link, None
        if link is not None:
            link.abort()
        waiting, self._waiting = self._waiting, deque()
        if not self._closed:
            for one in waiting:
                self._deliver(PeerFailed(one.token, self._peer if gone else -1))

    def received(self, link: _Link, payload: memoryview) -> None:
        """Match an answer with the oldest request. Raises WireError."""
        if link is not self._link:
            return
        if not self._waiting:
            raise WireError("an answer that nobody waits for")
        one = self._waiting[0]
        found: tuple[int, Response] | None = None
        if one.api == Api.FETCH:
            found = hot_fetch.read_answer(payload, one.version)
        correlation_id, message = found or codec.decode_response(SERVED[one.api].response, one.version, payload)
        if correlation_id != one.correlation_id:
            raise WireError(f"the answer has id {correlation_id}, {one.correlation_id} was asked")
        self._waiting.popleft()
        self._deliver(PeerReply(one.token, message))

    def close(self) -> None:
        """Send what is written, and close."""
        self._closed = True
        if self._look_task is not None:
            self._look_task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            self._link.close()


def _encoded(message: Request, correlation_id: int, client_id: str) -> tuple[int, bytes]:
    """Return the highest version that can carry the message, and its payload in it. Raises WireError."""
    served = SERVED[message.api]
    if isinstance(message, FetchRequest):
        usual = hot_fetch.write_request(message, served.highest, correlation_id, client_id)
        if usual is not None:
            return served.highest, usual
        message = msgspec.structs.replace(message, replica_id=-1)  # named otherwise in the version that nodes speak
    for version in range(served.highest, served.lowest - 1, -1):
        try:
            return version, codec.encode_request(message, version, correlation_id=correlation_id, client_id=client_id)
        except WireError:
            if version == served.lowest:
                raise
    raise AssertionError(f"{message.api.name} is served in no version")


class _Link:
    """One connection of a channel; what is written before it stands is sent then."""

    def __init__(self, channel: Channel) -> None:
        self.task: asyncio.Task[None] | None = None
        self._channel = channel
        self._stream: AnyStream | None = None
        self._inbox = Inbox(MAX_FRAME_BYTES)
        self._unsent: list[Chunk] = []
        self._opened_s = self._ended_s = 0.0
        self.refused = self._has_heard = False

    @property
    def ended_early(self) -> bool:
        """Whether the connection stood, and ended at once without an answer."""
        return bool(self._opened_s) and not self._has_heard and self._ended_s - self._opened_s < EARLY_S

    async def connect(self, address: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection = await _connected(address)
        except OSError as error:
            self.refused = isinstance(error, ConnectionRefusedError)
            self._channel.lost(self)
            return
        self._opened_s = loop.time()
        self._stream = open_stream(loop, connection, self, self._channel.context, is_server=False)
        if self._unsent:
            self._stream.write(self._unsent)
        self._unsent = []

    def write(self, data: bytes) -> None:
        if self._stream is None:
            self._unsent.append(data)
        else:
            self._stream.write([data])

    def abort(self) -> None:
        if self._stream is not None:
            self._stream.abort()
        elif self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        else:
            self.abort()

    # What the stream tells.

    def space(self) -> memoryview:
        return self._inbox.space()

    def received(self, count: int) -> None:
        self._has_heard = True
        try:
            for payload in self._inbox.take(count):
                self._channel.received(self, payload)
        except WireError:
            self._channel.lost(self)
        if self._stream is not None:
            self._stream.expect(self._inbox.missing)

    def pause_writing(self) -> None:
        """A core waits for the answers to what it has asked: what is queued is bounded by that."""

    def resume_writing(self) -> None:
        """Nothing was paused."""

    def lost(self) -> None:
        self._ended_s = asyncio.get_running_loop().time()
        self._channel.lost(self)


async def _connected(address: tuple[str, int]) -> socket.socket:
    """Return a socket that is connected to the address. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM) if _is_name(address[0]) else None
    family = found[0][0] if found else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(0)
    try:
        await loop.sock_connect(connection, found[0][4] if found else address)
    except BaseException:  # a cancelled attempt too: nobody else holds the socket, and the cause goes on up
        connection.close()
        raise
    return connection


async def _nobody_at(address: tuple[str, int]) -> bool:
    """Return whether a connection to the address is refused, or ended at once though nothing was said on it."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOK_S):
            connection = await _connected(address)
            try:
                return not await loop.sock_recv(connection, 1)
            finally:
                connection.close()
    except TimeoutError:
        return False
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    except OSError:
        return False


def _is_name(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return True
    return False
