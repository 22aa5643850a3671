"""A link on loopback, and what is at its ends, for the time of a scenario."""

import asyncio

from harness.cluster import ports
from harness.cluster.wires import Exchange

WITHIN_S = 10.0
TOKEN = "cluster"


def on_a_wire(source, target, server, scenario, ends):
    """Run `scenario(exchange, wire, control)` over the wire (source, target) to the server, which counts connections.

    ends: the writers of the clients' ends, which are cut off when it is over.
    """

    async def run():
        wire, to, control = ports.choose(3)
        listening = await asyncio.start_server(server, ports.LOOPBACK, to)
        wires = [{"source": source, "target": target, "port": wire, "host": ports.LOOPBACK, "to": to}]
        exchange = Exchange({"token": TOKEN, "control": control, "wires": wires})
        await exchange.open()
        try:
            await asyncio.wait_for(scenario(exchange, wire, control), WITHIN_S)
        finally:
            for writer in ends:
                writer.transport.abort()
            ends.clear()
            exchange.close()
            listening.close()
            await asyncio.wait_for(until(lambda: server.closed == server.opened), WITHIN_S)

    asyncio.run(run())


async def until(condition):
    """Let everything else go on until it holds; whoever calls has a deadline."""
    while not condition():  # noqa: ASYNC110 - the values are those of the code under test
        await asyncio.sleep(0)
