"""Links in user space: what a cut, a join, a delay and a loss do to connections on loopback."""

import asyncio
import contextlib
import json
import time

import pytest

from harness.cluster import ports
from harness.cluster.wires import MAX_HELD_BYTES, Exchange
from tests.harness.cluster.on_a_wire import TOKEN, WITHIN_S, on_a_wire, until

writers = []
"""Of the clients, to be closed at the end of a test."""


class Echo:
    """A server that answers every byte with itself, and counts its connections."""

    def __init__(self):
        self.received = bytearray()
        self.opened = self.closed = 0

    async def __call__(self, reader, writer):
        self.opened += 1
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.received += data
                writer.write(data)
                await writer.drain()
        self.closed += 1
        writer.close()


def wired(scenario):
    """Run the scenario between n1 and an echo at n2, over the wire (n1, n2)."""
    echo = Echo()
    on_a_wire("n1", "n2", echo, lambda exchange, wire, control: scenario(exchange, echo, wire, control), writers)


async def connect(port):
    reader, writer = await asyncio.open_connection(ports.LOOPBACK, port)
    writers.append(writer)
    return reader, writer


def test_without_faults_bytes_pass_in_both_directions_and_the_end_follows():
    async def scenario(_exchange, echo, wire, _control):
        data = bytes(range(256)) * 4000
        reader, writer = await connect(wire)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await until(lambda: echo.closed == 1)

    wired(scenario)


def test_a_cut_holds_one_direction_and_a_join_lets_everything_go_on_in_order():
    async def scenario(exchange, echo, wire, _control):
        reader, writer = await connect(wire)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        exchange.gate("n1", "n2").cut()
        writer.write(b"bcd")
        await until(lambda: exchange.gate("n1", "n2").held_bytes == 3)
        assert exchange.gate("n2", "n1").held_bytes == 0
        assert echo.received == b"a"
        assert echo.closed == 0, "the connection stays open"
        exchange.gate("n1", "n2").join()
        assert await reader.readexactly(3) == b"bcd"
        writer.close()

    wired(scenario)


def test_a_cut_of_the_way_back_holds_the_answers_only():
    async def scenario(exchange, echo, wire, _control):
        reader, writer = await connect(wire)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        exchange.gate("n2", "n1").cut()
        writer.write(b"b")
        await until(lambda: echo.received == b"ab")
        await until(lambda: exchange.gate("n2", "n1").held_bytes == 1)
        exchange.gate("n2", "n1").join()
        assert await reader.readexactly(1) == b"b"
        writer.close()

    wired(scenario)


@pytest.mark.parametrize("direction", [("n1", "n2"), ("n2", "n1")])
def test_a_connection_that_is_opened_into_a_cut_gets_through_after_the_join(direction):
    async def scenario(exchange, echo, wire, _control):
        exchange.gate(*direction).cut()
        reader, writer = await connect(wire)
        writer.write(b"x")
        await until(lambda: exchange.gate(*direction).held_bytes > 0)
        assert echo.opened == 0
        exchange.gate(*direction).join()
        assert await reader.readexactly(1) == b"x"
        writer.close()

    wired(scenario)


def test_the_end_of_a_connection_is_held_like_its_bytes():
    async def scenario(exchange, echo, wire, _control):
        _, writer = await connect(wire)
        writer.write(b"a")
        await until(lambda: echo.received == b"a")
        exchange.gate("n1", "n2").cut()
        writer.write(b"b")
        await writer.drain()
        writer.close()
        await until(lambda: exchange.gate("n1", "n2").held_bytes == 1)
        assert echo.closed == 0
        exchange.gate("n1", "n2").join()
        await until(lambda: echo.closed == 1)
        assert echo.received == b"ab"

    wired(scenario)


def test_a_cut_holds_no_more_than_its_bound_and_loses_nothing():
    async def scenario(exchange, echo, wire, _control):
        reader, writer = await connect(wire)
        writer.write(b"a")
        await reader.readexactly(1)
        gate = exchange.gate("n1", "n2")
        gate.cut()
        data = b"y" * (16 << 20)  # more than the kernels and the wire hold together
        writer.write(data)
        await until(lambda: gate.held_bytes >= MAX_HELD_BYTES)
        assert gate.held_bytes < MAX_HELD_BYTES + (1 << 20)
        gate.join()
        assert await reader.readexactly(len(data)) == data
        assert len(echo.received) == len(data) + 1

    wired(scenario)


def test_delay_makes_bytes_late_and_keeps_their_order():
    async def scenario(exchange, _echo, wire, _control):
        reader, writer = await connect(wire)
        exchange.gate("n1", "n2").shape(0.1, 0.0, 0.0)
        began = time.monotonic()
        for piece in (b"a", b"b", b"c"):
            writer.write(piece)
            await writer.drain()
        assert await reader.readexactly(3) == b"abc"
        assert time.monotonic() - began >= 0.1
        writer.close()

    wired(scenario)


def test_loss_stalls_a_connection_and_resets_it_and_spares_the_next_when_it_is_over():
    async def scenario(exchange, echo, wire, _control):
        exchange.gate("n1", "n2").shape(0.0, 1.0, 0.05)
        reader, writer = await connect(wire)
        writer.write(b"lost?")
        with pytest.raises(ConnectionError):
            await reader.readexactly(5)
        assert echo.received == b"", "no byte is missing: none came"
        exchange.gate("n1", "n2").shape(0.0, 0.0, 0.0)
        reader, writer = await connect(wire)
        writer.write(b"whole")
        assert await reader.readexactly(5) == b"whole"
        writer.close()

    wired(scenario)


def test_a_wire_to_nowhere_resets_its_clients():
    async def run():
        wire, nowhere, control = ports.choose(3)
        wires = [{"source": "n1", "target": "n2", "port": wire, "host": ports.LOOPBACK, "to": nowhere}]
        exchange = Exchange({"token": TOKEN, "control": control, "wires": wires})
        await exchange.open()
        reader, writer = await connect(wire)
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        writer.transport.abort()
        exchange.close()
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), WITHIN_S))


def test_commands_need_the_clusters_token_and_name_a_gate_that_exists():
    async def scenario(exchange, _echo, _wire, control):
        reader, writer = await connect(control)

        async def ask(**asked):
            writer.write(json.dumps(asked).encode() + b"\n")
            return json.loads(await reader.readline())

        cut = {"do": "cut", "source": "n1", "target": "n2"}
        assert "another cluster" in (await ask(token="other", **cut))["error"]
        assert not exchange.gate("n1", "n2").is_cut
        assert (await ask(token=TOKEN, **cut)) == {"ok": True}
        assert exchange.gate("n1", "n2").is_cut
        assert (await ask(token=TOKEN, do="held", source="n1", target="n2")) == {"ok": True, "bytes": 0}
        assert "n9" in (await ask(token=TOKEN, do="cut", source="n9", target="n2"))["error"]
        assert "unknown command" in (await ask(token=TOKEN, do="burn", source="n1", target="n2"))["error"]
        writer.write(b"no json\n")
        assert "error" in json.loads(await reader.readline())
        writer.close()

    wired(scenario)
