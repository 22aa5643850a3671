"""A stream with TLS inside: what `broker.io.stream.Stream` does, encrypted on its way.

    shaking hands -> open -> closing -> closed

The plain stream below carries ciphertext; Python's `ssl` translates in memory. What is written before the handshake is
over waits. Spans of files are read and encrypted: the page cache can't be sent as it is. A peer that fails the
handshake is closed, without a word to the owner but `lost`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

from broker.io.stream import BrokenSpanError, Chunk, Owner, Span, Stream, drop_spans

RECEIVE_BYTES = 64 * 1024
"""Ciphertext that is taken at once; a TLS record has up to 16 KiB."""
HANDSHAKE_S = 10.0
"""A peer that takes longer is closed: it holds a connection and nobody knows who it is."""


class SecureStream:
    """See the module; it has the methods of `Stream`, and tells its owner the same."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        owner: Owner,
        context: ssl.SSLContext,
        *,
        is_server: bool,
    ) -> None:
        self._loop, self._owner = loop, owner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=is_server)
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._early: list[Chunk] = []
        self._is_open = self._is_paused = self._is_lost = self.is_closing = False
        self._under = Stream(loop, connection, self)
        self._limit = loop.call_later(HANDSHAKE_S, self._give_up)
        if not is_server:
            loop.call_soon(self._advance)

    def _give_up(self) -> None:
        if not self._is_open:
            self.abort()

    # What the stream below tells.

    def space(self) -> memoryview:
        """Return where ciphertext is received."""
        return self._buffer

    def received(self, count: int) -> None:
        """Take ciphertext."""
        self._incoming.write(self._buffer[:count])
        self._advance()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._owner.resume_writing()

    def lost(self) -> None:
        """Pass it on, once."""
        self._limit.cancel()
        self._is_lost = True
        self._early.clear()
        self._owner.lost()

    # Reading.

    def _advance(self) -> None:
        """Go on with the handshake, then hand over what can be read."""
        if self._is_lost or self._under.is_closing:
            return
        try:
            if not self._is_open:
                self.tls.do_handshake()
                self._is_open = True
                self._limit.cancel()
                early, self._early = self._early, []
                self.write(early)
                if self.is_closing:
                    self._finish()
                    return
            self._read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._send()  # the alert that says why
            self._under.close()
            return
        self._send()

    def _read(self) -> None:
        while not self._is_paused and not self.is_closing:
            space = self._owner.space()
            read: Any = self.tls.read  # with a buffer it returns how much it put there
            count: int = read(len(space), space)
            if not count:
                self.close()
                return
            self._owner.received(count)

    def pause_reading(self) -> None:
        """Hand over nothing for now; what is decrypted already stays inside."""
        self._is_paused = True
        self._under.pause_reading()

    def resume_reading(self) -> None:
        """Hand over again, first what is here."""
        if self._is_paused:
            self._is_paused = False
            self._under.resume_reading()
            self._loop.call_soon(self._advance)

    def expect(self, count: int) -> None:
        """Decrypt what comes as it comes."""

    # Writing.

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the socket."""
        return self._under.queued_bytes

    def write(self, chunks: list[Chunk]) -> None:
        """Encrypt and send."""
        if not self._is_open:
            for chunk in chunks:
                if isinstance(chunk, Span):
                    chunk.keep()
            self._early += chunks
            return
        try:
            for chunk in chunks:
                data = chunk.read() if isinstance(chunk, Span) else chunk
                if len(data):
                    self.tls.write(data)
        except (ssl.SSLError, OSError, BrokenSpanError):
            drop_spans(chunks)
            self.abort()
            return
        self._send()

    def _send(self) -> None:
        data = self._outgoing.read()
        if data:
            self._under.write([data])

    # The end.

    def close(self) -> None:
        """Close when everything is sent."""
        if not self.is_closing:
            self.is_closing = True
            if self._is_open:
                self._finish()
            elif not self._early:
                self._under.close()

    def _finish(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # it wants the other end's farewell: that need not be waited for
            self.tls.unwrap()
        self._send()
        self._under.close()

    def abort(self) -> None:
        """Close now."""
        self.is_closing = True
        self._under.abort()


AnyStream = Stream | SecureStream


def open_stream(
    loop: asyncio.AbstractEventLoop,
    connection: socket.socket,
    owner: Owner,
    context: ssl.SSLContext | None,
    *,
    is_server: bool,
) -> AnyStream:
    """Return a stream on a socket, with TLS where there is a context for it."""
    if context is None:
        return Stream(loop, connection, owner)
    return SecureStream(loop, connection, owner, context, is_server=is_server)
