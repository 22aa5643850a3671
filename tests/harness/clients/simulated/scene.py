"""A simulated cluster and clients for a scenario; whole runs without the command around them."""

from __future__ import annotations

import msgspec

from broker.sim.cluster import Cluster, Shape
from broker.sim.loop import Loop
from harness.clients.simulated.client import SimulatedClients
from harness.clients.simulated.probe import SimulatedProbes
from harness.history import INVOKE, NEMESIS, Op
from harness.scenario import Scenario
from harness.virtual import VirtualInterpreter
from tests.broker.sim.client.scene import SETTINGS

SMALL = Scenario(
    workload="txn",
    cluster="simulated",
    time_limit_s=10,
    concurrency=4,
    rate=20,
    topics=1,
    partitions=2,
    crash_interval_s=0,
    transaction_timeout_s=4,
)


class Nemesis:
    """Does nothing, and says what the drain wants to know."""

    def __init__(self, scene):
        self.scene = scene

    def open(self, process, now):
        return self

    async def invoke(self, op):
        value = None
        if op.f == "await-stable":
            value = {"ends": await self.scene.stable_ends(op.value["keys"], op.value["bound-s"])}
        return op.completed("info", value=value)

    async def close(self):
        pass


class OpScene:
    def __init__(self, seed=1, **changes):
        self.scenario = msgspec.structs.replace(SMALL, seed=seed, **changes)
        self.loop = Loop(seed)
        self.cluster = Cluster(self.loop, Shape(nodes=3, settings=SETTINGS))
        self.cluster.start()
        assert self.cluster.until(self.cluster.is_ready)
        self.events = []
        nodes = tuple(self.cluster.nodes)
        self.clients = SimulatedClients(
            self.scenario, self.loop, self.cluster.network, nodes, on_event=self.events.append
        )
        self.keys = self.run(self.clients.prepare())

    def now(self):
        return self.loop.now_ns

    def run(self, coro, limit_s=300):
        result = self.loop.run(coro, self.loop.now_ns + limit_s * 10**9)
        self.loop.check()
        return result

    def open(self, process=0):
        return self.clients.open(process, self.now)

    def do(self, client, f, value=None, process=0, **fields):
        return self.run(client.invoke(Op(process=process, type=INVOKE, f=f, value=value, **fields)))

    async def stable_ends(self, keys, bound_s):
        """LSO and HW of each key, once they are equal everywhere, or the bound has passed."""
        until_ns = self.loop.now_ns + bound_s * 10**9
        while True:
            ends = await self.ends(keys)
            stable = len(ends) == len(keys) and all(lso == hw for lso, hw in ends.values())
            if stable or self.loop.now_ns >= until_ns:
                return ends
            await self.loop.sleep(200)

    async def ends(self, keys):
        found = {}
        for key in keys:
            for node in self.cluster.nodes:
                probe = SimulatedProbes(self.loop, self.cluster.network, node, {}).open("probe", self.now)
                ask = Op(process="probe", type=INVOKE, f="probe", value={"api": "ListOffsets", "key": key})
                answer = await probe.invoke(ask)
                await probe.close()
                if answer.type == "ok":
                    found[key] = [answer.value["lso"], answer.value["hw"]]
        return found

    def drive(self, generator, record):
        VirtualInterpreter(
            self.loop, generator, self.scenario.concurrency, self.clients, {NEMESIS: Nemesis(self)}, record
        ).run()
        self.loop.check()
