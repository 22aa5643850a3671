"""Requests of clients that a link singles out: lost answers and late requests, on real connections."""

import asyncio
import contextlib
import random
import struct

import pytest

from harness.cluster import ports
from harness.cluster.api import Interception
from tests.harness.cluster.on_a_wire import on_a_wire, until

PRODUCE, END_TXN = 0, 26
ENDS = ("EndTxn",)
RNG = random.Random(1)


class Node:
    """Takes requests and answers each with its correlation id; remembers (api, id) in the order in which they came."""

    def __init__(self):
        self.took = []
        self.opened = self.closed = 0
        self.writers = []

    async def __call__(self, reader, writer):
        self.opened += 1
        self.writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                api, _, id_ = struct.unpack(">hhi", (await reader.readexactly(size))[:8])
                self.took.append((api, id_))
                writer.write(struct.pack(">ii", 4, id_))
                await writer.drain()
        self.closed += 1
        writer.close()


class Client:
    """One connection of a client."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, api, id_, body=b""):
        self.writer.write(struct.pack(">ihhi", 8 + len(body), api, 0, id_) + body)

    async def answer(self):
        return struct.unpack(">ii", await self.reader.readexactly(8))[1]

    async def is_reset(self):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await self.reader.readexactly(1)
        return True


def wired(scenario):
    """Run the scenario between clients and one node, over the node's wire for clients."""
    node, ends = Node(), []

    async def run(exchange, wire, _control):
        async def connect():
            client = Client(*await asyncio.open_connection(ports.LOOPBACK, wire))
            ends.append(client.writer)
            client.send(PRODUCE, 1)
            assert await client.answer() == 1, "the far end stands"
            return client

        await scenario(exchange.gate("clients", "n1"), node, connect)

    on_a_wire("clients", "n1", node, run, ends)


def test_a_lost_answer_resets_the_client_though_the_node_took_its_request():
    async def scenario(gate, node, connect):
        client = await connect()
        gate.intercept(Interception(ENDS), RNG)
        client.send(PRODUCE, 2)
        assert await client.answer() == 2, "others pass"
        client.send(END_TXN, 3)
        assert await client.is_reset()
        assert node.took == [(PRODUCE, 1), (PRODUCE, 2), (END_TXN, 3)]
        assert gate.interceptor.counts == {"EndTxn": 1}
        gate.release()
        client = await connect()
        client.send(END_TXN, 4)
        assert await client.answer() == 4

    wired(scenario)


def test_a_late_request_comes_when_the_client_has_sent_it_again_and_is_further_on():
    async def scenario(gate, node, connect):
        client = await connect()
        gate.intercept(Interception(ENDS, late_ms=300, most=1), RNG)
        client.send(END_TXN, 2, b"first " * 50_000)
        assert await client.is_reset()
        assert gate.interceptor.counts == {"EndTxn": 1}
        client = await connect()
        for id_ in (3, 4):
            client.send(END_TXN, id_)
            assert await client.answer() == id_
        assert (END_TXN, 2) not in node.took
        await until(lambda: len(node.took) == 5)
        assert node.took[-1] == (END_TXN, 2)
        await until(lambda: node.closed == 1)
        await until(lambda: not any(end.carried.is_late for end in gate.crossings))

    wired(scenario)


def test_a_release_sends_what_is_held_at_once_and_only_once():
    async def scenario(gate, node, connect):
        client = await connect()
        gate.intercept(Interception(ENDS, late_ms=60_000), RNG)
        client.send(END_TXN, 2)
        assert await client.is_reset()
        gate.release()
        gate.release()
        await until(lambda: node.closed == 1)
        assert node.took == [(PRODUCE, 1), (END_TXN, 2)]

    wired(scenario)


def test_a_node_that_goes_while_its_request_is_held_never_gets_it():
    async def scenario(gate, node, connect):
        client = await connect()
        gate.intercept(Interception(ENDS, late_ms=60_000), RNG)
        (end,) = gate.crossings
        client.send(END_TXN, 2)
        assert await client.is_reset()
        node.writers[0].transport.abort()
        await until(lambda: not gate.crossings)
        end.carried.deliver()  # its time has come
        client = await connect()
        client.send(PRODUCE, 3)
        assert await client.answer() == 3
        assert node.took == [(PRODUCE, 1), (PRODUCE, 1), (PRODUCE, 3)]

    wired(scenario)


def test_what_a_cut_holds_is_not_intercepted():
    async def scenario(gate, node, connect):
        client = await connect()
        gate.intercept(Interception(ENDS), RNG)
        gate.cut()
        client.send(END_TXN, 2)
        await until(lambda: gate.held_bytes)
        gate.join()
        assert await client.answer() == 2
        assert not gate.interceptor.counts

    wired(scenario)
