"""One TCP connection of the event loop: bytes into a buffer that the owner gives, bytes and file spans out, in order.

    open -> (reading paused) -> open -> closing (what is queued is still sent) -> closed

What asyncio's transports do, without their copies: buffers go out as they are, several in one system call; a `Span` of
a file goes from the page cache to the socket (`sendfile`) without passing through here. What the socket does not take
at once is queued; beyond `HIGH_WATER_BYTES` the owner is told to stop (`pause_writing`), and again when it may go on.
Queued buffers must not change any more: they are not copied.

A span that waits keeps a descriptor of its own. Its bytes are those of the moment at which it was asked for, or none
at all: when its file was cut meanwhile (`Span.spoil`), or is shorter than it, the connection is aborted.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, Self

Buffer = bytes | bytearray | memoryview

HIGH_WATER_BYTES = 4 * 1024 * 1024
"""Unsent bytes beyond which the owner should add nothing."""
LOW_WATER_BYTES = 1024 * 1024
BACKLOG = 512
ACCEPTS = 64
"""Connections that are taken in one turn."""
ACCEPT_PAUSE_S = 0.5
"""Before it is tried again when there are no descriptors."""
MAX_VECTORS = 512
"""Buffers in one call; below IOV_MAX everywhere."""
EXPECT_FROM_BYTES = 64 * 1024
EXPECT_BYTES = 512 * 1024
"""What is waited for at a time of a frame that is larger."""
_MORE = getattr(socket, "MSG_MORE", 0)
"""A header that a file follows goes out with it, where the system can do that."""
_AGAIN = (BlockingIOError, InterruptedError)


class Span:
    """Bytes of an open file. Unless it is sent at once it is `keep`ed: then the descriptor is its own."""

    __slots__ = ("__weakref__", "_descriptor", "_is_kept", "is_spoilt", "position", "size")

    def __init__(self, descriptor: int, position: int, size: int) -> None:
        self._descriptor, self.position, self.size = descriptor, position, size
        self._is_kept = self.is_spoilt = False

    def __len__(self) -> int:
        return self.size

    def keep(self) -> None:
        """Outlive the turn of the loop in which it was made."""
        if not self._is_kept:
            self._descriptor, self._is_kept = os.dup(self._descriptor), True

    def spoil(self) -> None:
        """The file was cut: what is read now may be something else."""
        self.is_spoilt = True

    def send(self, to: int) -> int:
        """Send what goes; return how much. Raises OSError, BlockingIOError and BrokenSpanError."""
        if self.is_spoilt:
            raise BrokenSpanError("the file was cut before it was sent")
        sent = os.sendfile(to, self._descriptor, self.position, self.size)
        if not sent:
            raise BrokenSpanError(f"the file ends {self.size} bytes before what was asked of it")
        self.position += sent
        self.size -= sent
        return sent

    def read(self) -> bytes:
        """Return what was not sent, and be done. Raises OSError and BrokenSpanError."""
        data = b"" if self.is_spoilt else os.pread(self._descriptor, self.size, self.position)
        if self.is_spoilt or len(data) != self.size:
            raise BrokenSpanError("the file was cut before it was sent")
        self.drop()
        return data

    def drop(self) -> None:
        """Give the descriptor back."""
        if self._is_kept:
            self._is_kept = False
            os.close(self._descriptor)


class BrokenSpanError(Exception):
    """A span's bytes are not there any more."""


Chunk = Buffer | Span


class Owner(Protocol):
    """What a stream tells; called from the event loop, never from within the owner's own calls."""

    def space(self) -> memoryview:
        """Return where to receive; never empty."""
        ...

    def received(self, count: int) -> None:
        """Take so many bytes."""
        ...

    def pause_writing(self) -> None:
        """Much is queued: the other end does not read."""
        ...

    def resume_writing(self) -> None:
        """It does again."""
        ...

    def lost(self) -> None:
        """The connection is gone: once, after which nothing more is told."""
        ...


class Stream:
    """See the module."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: socket.socket, owner: Owner) -> None:
        connection.settimeout(0)
        if connection.family in {socket.AF_INET, socket.AF_INET6}:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop, self._socket, self._owner = loop, connection, owner
        self._number = connection.fileno()
        self._queue: deque[Chunk] = deque()
        self._queued_bytes = 0
        self._expected_bytes = 1
        self._is_reading = self._is_full = False
        self.is_closing = self._is_closed = False
        self.resume_reading()

    # Reading.

    def resume_reading(self) -> None:
        """Read again."""
        if not self._is_reading and not self.is_closing:
            self._is_reading = True
            self._loop.add_reader(self._number, self._readable)

    def pause_reading(self) -> None:
        """Read nothing for now."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._number)

    def _readable(self) -> None:
        try:
            count = self._socket.recv_into(self._owner.space())
        except _AGAIN:
            return
        except OSError:
            self.abort()
            return
        if count:
            self._owner.received(count)
        else:
            self.close()

    def expect(self, count: int) -> None:
        """Tell nothing before so many bytes have come, or the end: a large frame takes few turns instead of dozens."""
        expected = min(count, EXPECT_BYTES) if count >= EXPECT_FROM_BYTES else 1
        if expected != self._expected_bytes and not self.is_closing:
            self._expected_bytes = expected
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, expected)

    # Writing.

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the socket."""
        return self._queued_bytes

    def write(self, chunks: list[Chunk]) -> None:
        """Send, or queue what does not go at once."""
        if self.is_closing:
            drop_spans(chunks)
            return
        queue = self._queue
        must_wait = bool(queue)
        if not must_wait and len(chunks) == 1 and self._send_whole(chunks[0]):
            return
        queue += chunks
        self._queued_bytes += sum(map(len, chunks))
        if not must_wait:
            if not self._push() or not queue:
                return
            self._loop.add_writer(self._number, self._writable)
        for chunk in chunks:
            if isinstance(chunk, Span) and chunk.size:
                chunk.keep()
        if self._queued_bytes > HIGH_WATER_BYTES and not self._is_full:
            self._is_full = True
            self._loop.call_soon(self._tell_full)

    def _send_whole(self, chunk: Chunk) -> bool:
        """Send the only one, the usual case; False: nothing of it went, it must be queued."""
        if isinstance(chunk, Span):
            return False
        try:
            sent = self._socket.send(chunk)
        except _AGAIN:
            return False
        except OSError:
            self._lose()
            return True
        if sent < len(chunk):
            self._queue.append(memoryview(chunk)[sent:])
            self._queued_bytes += len(chunk) - sent
            self._loop.add_writer(self._number, self._writable)
        return True

    def _tell_full(self) -> None:
        if self._is_full and not self._is_closed:
            self._owner.pause_writing()

    def _push(self) -> bool:
        """Send from the queue until the socket takes no more; False when the connection is lost."""
        queue = self._queue
        try:
            while queue:
                first = queue[0]
                if isinstance(first, Span):
                    self._queued_bytes -= first.send(self._number)
                    if not first.size:
                        queue.popleft().drop()  # type: ignore[union-attr]  # it is `first`
                    continue
                if not self._push_buffers():
                    break
        except _AGAIN:
            pass
        except (OSError, BrokenSpanError):
            self._lose()
            return False
        return True

    def _push_buffers(self) -> bool:
        """Send the buffers at the head; return whether all of them went."""
        queue = self._queue
        buffers: list[Buffer] = []
        follows = 0
        for chunk in queue:
            if isinstance(chunk, Span) or len(buffers) == MAX_VECTORS:
                follows = _MORE
                break
            buffers.append(chunk)
        sent = self._socket.sendmsg(buffers, (), follows)
        self._queued_bytes -= sent
        for buffer in buffers:
            if sent < len(buffer):
                queue[0] = memoryview(buffer)[sent:]
                return False
            sent -= len(buffer)
            queue.popleft()
        return True

    def _writable(self) -> None:
        if not self._push():
            return
        if not self._queue:
            self._loop.remove_writer(self._number)
            if self.is_closing:
                self._lose()
                return
        if self._is_full and self._queued_bytes <= LOW_WATER_BYTES:
            self._is_full = False
            self._owner.resume_writing()

    # The end.

    def close(self) -> None:
        """Close when everything is sent."""
        if self.is_closing:
            return
        self.pause_reading()
        self.is_closing = True
        if not self._queue:
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        """Close now."""
        self.pause_reading()
        self.is_closing = True
        self._loop.call_soon(self._lose)

    def _lose(self) -> None:
        """Let go of everything, and tell the owner, once."""
        if self._is_closed:
            return
        self.pause_reading()
        self.is_closing = self._is_closed = True
        self._loop.remove_writer(self._number)
        drop_spans(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        self._socket.close()
        self._loop.call_soon(self._owner.lost)


def drop_spans(chunks: Iterable[Chunk]) -> None:
    """Give back what chunks hold that will not be sent."""
    for chunk in chunks:
        if isinstance(chunk, Span):
            chunk.drop()


class Listener:
    """Takes connections in from `open` to `close`; `take` gets each one's socket."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, address: tuple[str, int], take: Callable[[socket.socket], None]
    ) -> None:
        """Take the address; who connects is refused yet. Raises OSError."""
        self._loop, self._take = loop, take
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self._sockets = []
        try:
            for family, kind, protocol, _, place in dict.fromkeys(found):
                one = socket.socket(family, kind, protocol)
                self._sockets.append(one)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind(place)
                one.settimeout(0)
        except OSError:
            self.close()
            raise

    def open(self) -> Self:
        """Listen; safe when it does. Raises OSError."""
        for one in self._sockets:
            one.listen(BACKLOG)
            self._loop.add_reader(one.fileno(), self._acceptable, one)
        return self

    def _acceptable(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, _ = listening.accept()
            except _AGAIN:
                return
            except OSError:  # no descriptor is left, or the client has gone: whoever waits is taken later
                self._loop.remove_reader(listening.fileno())
                self._loop.call_later(ACCEPT_PAUSE_S, self._resume, listening)
                return
            self._take(connection)

    def _resume(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening.fileno(), self._acceptable, listening)

    def close(self) -> None:
        """Listen no more."""
        for one in self._sockets:
            if one.fileno() >= 0:
                self._loop.remove_reader(one.fileno())
                one.close()
