"""One inbound connection: frames in, answers out in the order of their requests.

    open -> (reading paused: too many open requests, a reader that does not read, or no memory) -> open -> closed

A request takes a `Slot`; its answer may come in any step, and goes out when all slots before it have gone. A request
that gets no answer (acks=0) takes none; where it is refused, the connection goes. At most `MAX_OPEN` requests wait at a
time, and none is taken up while the peer does not read what we have written: a client pays for its own backlog. Frames
larger than the starting buffer are admitted by `Memory`, which bounds them all together; whoever finds no room waits in
turn, and TCP makes its client wait.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from broker.io.door import Answered, Asked
from broker.io.framing import START_BYTES, Inbox
from broker.io.secure import SecureStream, open_stream
from broker.io.session import Session, peer_certificate
from broker.io.stream import Chunk
from broker.wire.errors import WireError
from broker.wire.message import Response

MAX_OPEN = 128
"""Requests of one connection that may wait for their answers; Kafka takes one, clients send five or so."""


class Slot:
    """The place of one request in its connection's order; the `id` of a request for the core."""

    __slots__ = ("answer", "connection", "correlation_id", "finish", "is_silent", "version")

    def __init__(self, connection: Connection, version: int, correlation_id: int) -> None:
        self.connection = connection
        self.version, self.correlation_id = version, correlation_id
        self.answer: Response | bytes | None = None
        self.finish: Callable[[Any], Response] | None = None
        """What makes the core's answer the whole one, when a part of the request was refused before."""
        self.is_silent = False
        """Nobody waits for an answer: who is refused hears it by the end of the connection."""

    def narrowed(self, finish: Callable[[Any], Response]) -> None:
        """A part of the request is refused; `finish` puts that into the answer."""
        self.finish = finish
        if self.is_silent:
            self.connection.close()


class Memory:
    """Bounds the large frames that are being received; first come, first served."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0
        self._waiting: deque[tuple[Connection, int]] = deque()

    def admit(self, connection: Connection, size: int) -> bool:
        """Take room for a frame; False: there is none, `connection.admitted` will be called."""
        if self._waiting or self.used_bytes + size > self._limit_bytes:
            self._waiting.append((connection, size))
            return False
        self.used_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give room back, and let the next ones in."""
        self.used_bytes -= size
        while self._waiting and self.used_bytes + self._waiting[0][1] <= self._limit_bytes:
            connection, wanted = self._waiting.popleft()
            self.used_bytes += wanted
            connection.admitted(wanted)

    def forget(self, connection: Connection) -> None:
        """The connection does not wait any more."""
        self._waiting = deque(item for item in self._waiting if item[0] is not connection)


class Host(Protocol):
    """What a connection needs of its node."""

    memory: Memory
    max_request_bytes: int

    def begin_turn(self) -> None:
        """Bytes have come in."""
        ...

    def end_turn(self) -> None:
        """They are taken: what they led to may go out."""
        ...

    def opened(self, connection: Connection) -> bool:
        """Note a new connection; False: it must go."""
        ...

    def closed(self, connection: Connection) -> None:
        """Forget it."""
        ...

    def open_frame(self, connection: Connection, payload: memoryview) -> Asked | Answered:
        """Return what a frame asks. Raises WireError."""
        ...

    def asked(self, connection: Connection, slot: Slot, asked: Asked) -> None:
        """Hand a request to the core; the answer comes back through the slot."""
        ...

    def chunks(self, slot: Slot, answer: Response) -> list[Chunk]:
        """Return an answer's frame. Raises WireError and ShortReadError."""
        ...


class Connection:
    """See the module. `to_nodes`: at the nodes' door."""

    def __init__(
        self,
        host: Host,
        connection: socket.socket,
        *,
        to_nodes: bool,
        expects_answer: Callable[[Asked], bool],
        session: Session,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """context: TLS is spoken."""
        self.to_nodes = to_nodes
        self.session = session
        self._loop = asyncio.get_running_loop()
        self.active_s = self._loop.time()
        self._host = host
        self._expects_answer = expects_answer
        self._inbox = Inbox(host.max_request_bytes)
        self._slots: deque[Slot] = deque()
        self._admitted_bytes = 0
        self._waits_for_memory = self._peer_is_slow = self._reading_paused = self._is_taking = self._is_lost = False
        self._held_until_s = 0.0
        self.peer = _name(connection)
        self.host = f"/{self.peer.rpartition(':')[0]}"  # as Kafka shows it
        self._stream = open_stream(self._loop, connection, self, context, is_server=True)
        if not host.opened(self):
            self.close()

    # What the stream tells.

    def space(self) -> memoryview:
        """Return where to receive."""
        return self._inbox.space()

    def received(self, count: int) -> None:
        """Take what came."""
        self.active_s = self._loop.time()
        self._host.begin_turn()
        try:
            self._take(count)
        finally:
            self._host.end_turn()

    def certificate(self) -> Any:
        """Return the certificate that a TLS client showed and that was checked, None for none."""
        return peer_certificate(self._stream.tls) if isinstance(self._stream, SecureStream) else None

    def lost(self) -> None:
        """Forget what waits: nobody will read it."""
        self._is_lost = True
        self._slots.clear()
        self._host.memory.forget(self)
        self._host.memory.release(self._admitted_bytes)
        self._admitted_bytes = 0
        self._host.closed(self)

    def pause_writing(self) -> None:
        """The other end does not read."""
        self._peer_is_slow = True
        self._decide_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self._peer_is_slow = False
        self.flush()
        self._resume()

    # Requests.

    def _take(self, count: int) -> None:
        """Take frames until one is not whole, or this connection must wait."""
        self._is_taking = True
        try:
            self._inbox.came(count)
            while not self._must_wait():
                payload = self._inbox.frame()
                if payload is None:
                    break
                self._open(payload)
            if self._admitted_bytes or self._inbox.pending:
                self._admit()
        except WireError:
            self.close()  # whoever sends this does not speak Kafka; nobody knows where the next frame begins
        finally:
            self._is_taking = False
        self._stream.expect(self._inbox.missing)
        self._decide_reading()

    def _open(self, payload: memoryview) -> None:
        asked = self._host.open_frame(self, payload)
        if isinstance(asked, Answered):
            slot = Slot(self, 0, 0)
            slot.answer = asked.data
            self._slots.append(slot)
            self.flush()
            return
        slot = Slot(self, asked.header.version, asked.header.correlation_id)
        if self._expects_answer(asked):
            self._slots.append(slot)
        else:
            slot.is_silent = True
        self._host.asked(self, slot, asked)

    def _admit(self) -> None:
        """Ask for room for a frame that has begun and is large; give room back when there is none of that size."""
        wanted = self._inbox.wanted
        wanted = wanted if wanted > START_BYTES else 0
        if wanted != self._admitted_bytes:
            self._host.memory.release(self._admitted_bytes)
            self._admitted_bytes = 0
            if wanted and not self._waits_for_memory:
                self._waits_for_memory = not self._host.memory.admit(self, wanted)
                self._admitted_bytes = 0 if self._waits_for_memory else wanted

    def admitted(self, size: int) -> None:
        """There is room for the frame now."""
        self._waits_for_memory = False
        self._admitted_bytes = size
        self._decide_reading()

    def hold(self, delay_ms: int) -> None:
        """Take up no request for so long: the client is beyond its limit."""
        until_s = self._loop.time() + delay_ms / 1000
        if not self._held_until_s:
            self._loop.call_at(until_s, self._let_go)
        self._held_until_s = max(self._held_until_s, until_s)
        if not self._is_taking:
            self._decide_reading()

    def _let_go(self) -> None:
        if self._loop.time() < self._held_until_s:  # more has been used meanwhile
            self._loop.call_at(self._held_until_s, self._let_go)
            return
        self._held_until_s = 0.0
        self._resume()

    def _must_wait(self) -> bool:
        return self._peer_is_slow or self._is_lost or self._held_until_s > 0.0 or len(self._slots) >= MAX_OPEN

    def _decide_reading(self) -> None:
        if self._stream.is_closing:
            return
        wait = self._must_wait() or self._waits_for_memory
        if wait and not self._reading_paused:
            self._reading_paused = True
            self._stream.pause_reading()
        elif not wait and self._reading_paused:
            self._reading_paused = False
            self._stream.resume_reading()

    def _resume(self) -> None:
        """Go on with the frames that are here already, then with reading."""
        if self._reading_paused and not self._is_taking and not self._must_wait():
            self._take(0)

    # Answers.

    def flush(self) -> None:
        """Send the answers whose turn it is."""
        slots = self._slots
        if self._peer_is_slow:
            return
        out: list[Chunk] = []
        while slots and slots[0].answer is not None:
            slot = slots.popleft()
            answer = slot.answer
            assert answer is not None
            if isinstance(answer, bytes):
                out.append(answer)
            else:
                out += self._host.chunks(slot, answer)
        if out:
            self._stream.write(out)
        if self.session.is_refused and not slots:
            self.close()
            return
        if self._reading_paused:
            self._resume()

    @property
    def is_paused(self) -> bool:
        """Whether requests may wait here that are taken up as soon as an answer is sent."""
        return self._reading_paused

    @property
    def unsent_bytes(self) -> int:
        """Bytes of answers that the client has not taken yet."""
        return self._stream.queued_bytes

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return len(self._slots)

    @property
    def is_idle(self) -> bool:
        """Whether no request waits."""
        return not self._slots

    def close(self) -> None:
        """Close, sending first what is written already."""
        self._stream.close()

    def abort(self) -> None:
        """Close at once."""
        self._stream.abort()


def _name(connection: socket.socket) -> str:
    try:
        name = connection.getpeername()
    except OSError:  # it has gone already
        return "?"
    return f"{name[0]}:{name[1]}"
