"""A stream sends what it was given, in order and whole, or ends its connection; and it says when it is full."""

import asyncio
import os
import random
import selectors
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.ready import Append, Truncate
from broker.io import stream
from broker.io.disk import SPAN_BYTES, Disk
from broker.io.stream import Listener, Span, Stream
from broker.wire.messages.fetch import Region
from harness.cluster import ports

WITHIN_S = 20.0


class Owner:
    def __init__(self):
        self.buffer = bytearray(1 << 16)
        self.told = []
        self.got = b""
        self.ended = asyncio.get_running_loop().create_future()

    def space(self):
        return memoryview(self.buffer)

    def received(self, count):
        self.got += self.buffer[:count]

    def pause_writing(self):
        self.told.append("pause")

    def resume_writing(self):
        self.told.append("resume")

    def lost(self):
        self.ended.set_result(None)


def connected(*, small=True):
    """Two ends of a TCP connection, with small buffers."""
    listening = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(listening.getsockname())
    far, _ = listening.accept()
    listening.close()
    for one in (near, far) if small else ():
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
    return near, far


async def read_all(far):
    far.settimeout(0)
    found = bytearray()
    loop = asyncio.get_running_loop()
    while True:
        try:
            piece = await loop.sock_recv(far, 30_000)
        except ConnectionResetError:
            return bytes(found), False
        if not piece:
            return bytes(found), True
        found += piece


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody; `run` bounds it
        await asyncio.sleep(0)


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))


PIECES = st.lists(
    st.one_of(st.integers(0, 200).map(lambda size: ("bytes", size)), st.integers(1, 90_000).map(lambda n: ("file", n))),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=5))
def test_buffers_and_files_arrive_whole_and_in_order_however_slowly_they_are_read(writes):
    async def scenario():
        near, far = connected()
        owner = Owner()
        out = Stream(asyncio.get_running_loop(), near, owner)
        expected = b""
        for pieces in writes:
            chunks = []
            for kind, size in pieces:
                data = random.Random(size).randbytes(size)
                expected += data
                if kind == "file":
                    os.pwrite(descriptor, data, at[0])
                    chunks.append(Span(descriptor, at[0], size))
                    at[0] += size
                else:
                    chunks.append(data)
            out.write(chunks)
        out.close()
        assert await read_all(far) == (expected, True)
        await owner.ended
        assert out.queued_bytes == 0
        far.close()

    at = [0]
    descriptor = os.memfd_create("spans") if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDWR)
    try:
        run(scenario)
    finally:
        os.close(descriptor)


def test_a_span_outlives_the_descriptor_that_it_was_made_from(tmp_path):
    async def scenario():
        near, far = connected()
        data = random.Random(1).randbytes(3_000_000)
        (tmp_path / "f").write_bytes(data)
        descriptor = os.open(tmp_path / "f", os.O_RDONLY)
        out = Stream(asyncio.get_running_loop(), near, Owner())
        out.write([b"head", Span(descriptor, 0, len(data))])
        assert out.queued_bytes > 0, "the socket takes so much at once that nothing was queued"
        os.close(descriptor)
        (tmp_path / "f").unlink()
        out.close()
        assert await read_all(far) == (b"head" + data, True)
        far.close()

    run(scenario)


def test_what_waits_to_be_read_from_a_segment_that_is_cut_is_never_sent(tmp_path):
    async def scenario():
        disk = Disk(tmp_path)
        size = 4_000_000
        disk.write([Append("t-0", 0, 0, b"a" * size)])
        near, far = connected()
        owner = Owner()
        out = Stream(asyncio.get_running_loop(), near, owner)
        out.write([disk.chunk_of(Region("t-0", 0, 0, size))])
        disk.write([Truncate("t-0", 0, 0), Append("t-0", 0, 0, b"b" * size)])
        found, _ = await read_all(far)
        assert len(found) < size
        assert found == b"a" * len(found)
        await owner.ended
        far.close()
        disk.close()

    run(scenario)


def test_a_span_beyond_the_end_of_its_file_ends_the_connection(tmp_path):
    async def scenario():
        (tmp_path / "f").write_bytes(b"short")
        descriptor = os.open(tmp_path / "f", os.O_RDONLY)
        near, far = connected()
        owner = Owner()
        Stream(asyncio.get_running_loop(), near, owner).write([Span(descriptor, 0, SPAN_BYTES)])
        await owner.ended
        assert (await read_all(far))[0] == b"short"
        far.close()
        os.close(descriptor)

    run(scenario)


def test_the_owner_is_told_when_much_is_queued_and_when_it_has_gone():
    async def scenario():
        near, far = connected()
        owner = Owner()
        out = Stream(asyncio.get_running_loop(), near, owner)
        out.write([bytes(stream.HIGH_WATER_BYTES)])
        out.write([bytes(stream.LOW_WATER_BYTES * 2)])
        await asyncio.sleep(0)
        assert owner.told == ["pause"]
        reading = asyncio.ensure_future(read_all(far))
        await until(lambda: owner.told == ["pause", "resume"])
        assert out.queued_bytes <= stream.LOW_WATER_BYTES
        out.close()
        assert len((await reading)[0]) == stream.HIGH_WATER_BYTES + stream.LOW_WATER_BYTES * 2
        far.close()

    run(scenario)


def test_nothing_is_read_while_reading_is_paused():
    async def scenario():
        near, far = connected()
        owner = Owner()
        out = Stream(asyncio.get_running_loop(), near, owner)
        out.pause_reading()
        far.send(b"one")
        await asyncio.sleep(0.01)
        assert owner.got == b""
        out.resume_reading()
        await until(lambda: owner.got == b"one")
        far.close()
        await owner.ended

    run(scenario)


def test_of_a_large_frame_nothing_is_told_before_what_is_expected_has_come():
    async def scenario():
        near, far = connected(small=False)
        owner = Owner()
        out = Stream(asyncio.get_running_loop(), near, owner)
        out.expect(stream.EXPECT_FROM_BYTES)
        far.settimeout(WITHIN_S)
        first, second = stream.EXPECT_FROM_BYTES // 2, stream.EXPECT_FROM_BYTES
        far.sendall(bytes(first))
        with selectors.DefaultSelector() as waiting:  # `select` knows no numbers above 1023, which long sessions reach
            waiting.register(near, selectors.EVENT_READ)
            assert waiting.select(0) == []
        far.sendall(bytes(second))
        await until(lambda: len(owner.got) == first + second)
        out.expect(0)
        far.send(b"x")
        await until(lambda: len(owner.got) == first + second + 1)
        far.close()
        await owner.ended

    run(scenario)


def test_an_end_that_comes_before_what_is_expected_is_told_and_what_had_come_too():
    async def scenario():
        near, far = connected()
        owner = Owner()
        out = Stream(asyncio.get_running_loop(), near, owner)
        out.expect(1 << 30)
        far.sendall(b"half")
        far.close()
        await owner.ended
        assert owner.got == b"half"

    run(scenario)


def test_a_listener_hands_over_every_connection_until_it_is_closed():
    async def scenario():
        loop = asyncio.get_running_loop()
        (port,) = ports.choose(1)
        taken = []
        listener = Listener(loop, ("127.0.0.1", port), taken.append)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        listener.open()
        with pytest.raises(OSError, match="in use"):
            Listener(loop, ("127.0.0.1", port), taken.append)
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        await until(lambda: len(taken) == 3)
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for one in (*clients, *taken):
            one.close()

    run(scenario)
