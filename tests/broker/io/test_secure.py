"""TLS: what goes in comes out, whatever its size, and who has no certificate of the authority stays outside."""

import asyncio
import contextlib
import socket
import ssl

import pytest

from broker.io.secure import SecureStream
from broker.io.stream import Span, Stream
from tests.broker.io.certificates import Authority

WITHIN_S = 30.0


class Owner:
    def __init__(self):
        self.got = bytearray()
        self.is_lost = asyncio.Event()
        self.more = asyncio.Event()
        self._buffer = memoryview(bytearray(1000))

    def space(self):
        return self._buffer

    def received(self, count):
        self.got += self._buffer[:count]
        self.more.set()

    def pause_writing(self):
        pass

    def resume_writing(self):
        pass

    def lost(self):
        self.is_lost.set()

    async def has(self, size):
        async with asyncio.timeout(WITHIN_S):
            while len(self.got) < size:
                self.more.clear()
                await self.more.wait()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stores(authority):
    return {name: authority.store(name) for name in ("node", "client")}


def server_context(authority, stores, *, wants=ssl.CERT_NONE):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(stores["node"])
    context.load_verify_locations(authority.trusted)
    context.verify_mode = wants
    return context


def client_context(authority, store=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority.trusted)
    if store is not None:
        context.load_cert_chain(store)
    return context


@contextlib.asynccontextmanager
async def pair(server, client):
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    owners = Owner(), Owner()
    streams = (
        SecureStream(loop, one, owners[0], server, is_server=True),
        SecureStream(loop, other, owners[1], client, is_server=False) if client else Stream(loop, other, owners[1]),
    )
    try:
        yield streams, owners
    finally:
        for stream, owner in zip(streams, owners, strict=True):
            stream.abort()
            await asyncio.wait_for(owner.is_lost.wait(), WITHIN_S)


def test_what_goes_in_comes_out_in_both_directions(authority, stores, tmp_path):
    file = tmp_path / "segment"
    file.write_bytes(bytes(range(256)) * 400)
    large = b"x" * 3_000_000

    async def scenario():
        async with pair(server_context(authority, stores), client_context(authority)) as (streams, owners):
            server, client = streams
            client.write([b"early, before the handshake is over"])
            client.write([large, memoryview(b"last")])
            with file.open("rb") as opened:
                server.write([b"answer ", Span(opened.fileno(), 10, 100_000), b" end"])
                await owners[1].has(100_011)
            await owners[0].has(len(large) + 39)
            assert bytes(owners[0].got) == b"early, before the handshake is over" + large + b"last"
            assert bytes(owners[1].got) == b"answer " + file.read_bytes()[10:100_010] + b" end"

    asyncio.run(scenario())


def test_reading_can_be_held_back_and_goes_on_with_what_is_here(authority, stores):
    async def scenario():
        async with pair(server_context(authority, stores), client_context(authority)) as (streams, owners):
            streams[1].write([b"a" * 100])
            await owners[0].has(100)
            streams[0].pause_reading()
            streams[1].write([b"b" * 50_000])
            streams[0].resume_reading()
            await owners[0].has(50_100)
            assert bytes(owners[0].got) == b"a" * 100 + b"b" * 50_000

    asyncio.run(scenario())


def test_a_client_without_a_certificate_stays_outside_where_one_is_required(authority, stores):
    async def scenario():
        required = server_context(authority, stores, wants=ssl.CERT_REQUIRED)
        async with pair(required, client_context(authority)) as (streams, owners):
            streams[1].write([b"let me in"])
            await asyncio.wait_for(owners[0].is_lost.wait(), WITHIN_S)
            assert owners[0].got == b""

    asyncio.run(scenario())


def test_the_certificate_that_was_checked_is_told(authority, stores):
    async def scenario():
        required = server_context(authority, stores, wants=ssl.CERT_REQUIRED)
        async with pair(required, client_context(authority, stores["client"])) as (streams, owners):
            streams[1].write([b"hello"])
            await owners[0].has(5)
            subject = dict(item for rdn in streams[0].tls.getpeercert()["subject"] for item in rdn)
            assert subject == {"organizationName": "tests", "commonName": "client"}

    asyncio.run(scenario())


def test_who_does_not_speak_tls_is_closed(authority, stores):
    async def scenario():
        async with pair(server_context(authority, stores), None) as (streams, owners):
            streams[1].write([b"\0\0\0\x10 not a client hello"])
            await asyncio.wait_for(owners[0].is_lost.wait(), WITHIN_S)
            assert owners[0].got == b""

    asyncio.run(scenario())


def test_what_was_written_before_the_close_still_arrives(authority, stores):
    async def scenario():
        async with pair(server_context(authority, stores), client_context(authority)) as (streams, owners):
            streams[0].write([b"the last words"])
            streams[0].close()
            await owners[1].has(14)
            await asyncio.wait_for(owners[1].is_lost.wait(), WITHIN_S)
            assert bytes(owners[1].got) == b"the last words"

    asyncio.run(scenario())
