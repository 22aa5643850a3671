"""Connections as TCP gives them: in order, once, until a reset; cuts hold, and old requests may come late."""

from __future__ import annotations

import pytest

from broker.sim.connections import ConnectionLostError
from broker.sim.loop import Loop, TimedOutError
from broker.sim.network import CLIENTS, STANDSTILL_MS, Network, Weather


class Echo:
    """Notes what it gets; answers `m` with `m!` when told to."""

    takes_clients = True

    def __init__(self, *, at_once=True):
        self.got, self.pending, self.gone, self.at_once = [], [], 0, at_once

    def accepted(self, connection):
        self.connection = connection

    def received(self, request):
        self.got.append(request.message)
        if self.at_once:
            request.answer(request.message + "!")
        else:
            self.pending.append(request)

    def closed(self, connection):
        self.gone += 1


def start(weather=None, *, seed=1, at_once=True):
    loop = Loop(seed)
    network = Network(loop, weather or Weather())
    server = Echo(at_once=at_once)
    network.listen(1, server)
    return loop, network, server


@pytest.mark.parametrize("seed", range(20))
def test_pipelined_requests_arrive_and_are_answered_in_order_whatever_the_weather(seed):
    weather = Weather(latency_ms=(0, 50), stall_chance=0.2)
    loop, network, server = start(weather, seed=seed)

    async def client():
        connection = await network.connect("c", 1)
        return await loop.all([connection.call(f"{n}") for n in range(20)])

    assert loop.run(client()) == [f"{n}!" for n in range(20)]
    assert server.got == [f"{n}" for n in range(20)]


def test_answers_wait_for_their_turn():
    loop, network, server = start(at_once=False)

    async def client():
        connection = await network.connect("c", 1)
        first, second = loop.spawn(connection.call("a")), loop.spawn(connection.call("b"))
        await loop.sleep(10)
        server.pending[1].answer("B")
        await loop.sleep(10)
        assert not second.done
        server.pending[0].answer("A")
        return await first, await second

    assert loop.run(client()) == ("A", "B")


def test_what_nobody_listens_for_is_refused_and_a_cut_times_out():
    loop, network, _ = start()
    network.unlisten(1)

    async def refused():
        with pytest.raises(ConnectionLostError, match="refuses"):
            await network.connect("c", 1)

    loop.run(refused())
    network.listen(1, Echo())
    network.cut("n1", "c")

    async def silent():
        with pytest.raises(ConnectionLostError, match="does not answer"):
            await network.connect("c", 1, timeout_ms=50)

    loop.run(silent())
    assert network.cuts["n1", "c"] == 1


def test_a_cut_holds_messages_and_a_join_delivers_them_once():
    loop, network, server = start()

    async def client():
        connection = await network.connect("c", 1)
        network.cut("c", "n1")
        call = loop.spawn(connection.call("late"))
        await loop.sleep(100)
        assert server.got == []
        network.join("c", "n1")
        return await call

    assert loop.run(client()) == "late!"
    assert server.got == ["late"]


def test_a_long_cut_resets_and_then_nothing_of_it_arrives():
    loop, network, server = start(Weather(patience_ms=(100, 100)))

    async def client():
        connection = await network.connect("c", 1)
        network.cut("c", "n1")
        with pytest.raises(ConnectionLostError):
            await connection.call("never")
        network.join("c", "n1")
        await loop.sleep(10_000)

    loop.run(client())
    assert (server.got, server.gone) == ([], 1)


def test_a_retry_overtakes_the_request_in_flight_on_a_closed_connection():
    loop, network, server = start()

    async def client():
        connection = await network.connect("c", 1)
        await connection.call("warm")
        network.cut("c", "n1")
        with pytest.raises(TimedOutError):
            await connection.call("old", timeout_ms=50)
        connection.close()
        network.weather = Weather(retransmit_ms=1000)
        network.join("c", "n1")
        again = await network.connect("c", 1)
        await again.call("retry")
        await loop.sleep(5000)

    loop.run(client())
    assert sorted(server.got) == ["old", "retry", "warm"]
    assert server.got[1] == "retry"


def test_a_server_that_closes_is_heard_of_after_its_answers():
    loop, network, server = start(at_once=False)

    async def client():
        connection = await network.connect("c", 1)
        first, second = loop.spawn(connection.call("a")), loop.spawn(connection.call("b"))
        await loop.sleep(10)
        server.pending[0].answer("A")
        server.connection.close()
        assert await first == "A"
        with pytest.raises(ConnectionLostError):
            await second

    loop.run(client())


def test_a_lost_direction_stalls_and_is_reset():
    loop, network, server = start(Weather(loss_chance=1.0, patience_ms=(200, 200)))

    async def client():
        connection = await network.connect("c", 1)
        began = loop.now_ms
        with pytest.raises(ConnectionLostError):
            await connection.call("gone")
        return loop.now_ms - began

    assert 200 <= loop.run(client()) <= 210
    assert server.got == []


def test_a_cut_of_all_clients_holds_theirs_and_lets_nodes_and_probes_pass():
    loop, network, server = start()
    answers = []

    async def client(name):
        connection = await network.connect(name, 1)
        answers.append(await connection.call(name, timeout_ms=500))

    network.cut(CLIENTS, "n1")
    network.open("n2", 1, lambda one: one.send("n2", 0, answers.append), answers.append, internal=True)
    for name in ("c1", "c2", "probe"):
        loop.spawn(client(name))
    loop.run_until(loop.now_ns + 1_000_000_000)
    assert sorted(server.got) == ["n2", "probe"]
    assert network.cuts[CLIENTS, "n1"] == 2
    network.join(CLIENTS, "n1")
    assert loop.run(network.connect("c3", 1)) is not None


def test_a_slow_link_is_late_by_its_delay_in_its_direction_alone():
    loop, network, server = start(Weather(latency_ms=(1, 1)))

    async def client():
        connection = await network.connect("c", 1)
        network.shape(CLIENTS, "n1", 100, 0.0)
        began = loop.now_ms
        await connection.call("a")
        slow = loop.now_ms - began
        network.smooth(CLIENTS, "n1")
        began = loop.now_ms
        await connection.call("b")
        return slow, loop.now_ms - began

    slow, quick = loop.run(client())
    assert (round(slow), round(quick)) == (102, 2)
    assert server.got == ["a", "b"]


def test_a_link_that_loses_makes_the_connection_stand_still_and_resets_it():
    loop, network, server = start(Weather(latency_ms=(1, 1), patience_ms=(60_000, 60_000)))

    async def client():
        connection = await network.connect("c", 1)
        network.shape("n1", CLIENTS, 0, 1.0)
        began = loop.now_ms
        with pytest.raises(ConnectionLostError):
            await connection.call("a")
        return loop.now_ms - began

    assert round(loop.run(client())) == STANDSTILL_MS + 2
    assert server.got == ["a"]
    assert network.shapes["n1", CLIENTS].pieces == 1


def test_what_goes_to_and_from_a_far_node_takes_longer():
    loop = Loop(1)
    network = Network(loop, Weather(latency_ms=(1, 1), far_ms=(50, 50)))
    network.far = frozenset({"n2"})
    took = []

    async def client(node_id):
        network.listen(node_id, Echo())
        connection = await network.connect("c", node_id)
        began = loop.now_ms
        await connection.call("a")
        took.append(round(loop.now_ms - began))

    for node_id in (1, 2):
        loop.run(client(node_id))
    assert took == [2, 102]
