"""The loop in real time, and what it does with nodes that speak nonsense."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from broker.sim.client.config import ClientConfig
from broker.sim.client.contact import Contact
from broker.sim.client.errors import ClientError
from broker.sim.loop import TimedOutError
from broker.wire.messages.metadata import MetadataRequest
from harness.clients.native.loop import RealLoop
from harness.clients.native.sockets import Sockets


@pytest.fixture
def loop():
    loop = RealLoop(1)
    yield loop
    loop.close()


def test_a_coroutine_is_run_on_the_loops_thread_and_returns_to_its_caller(loop):
    async def where():
        before, gone_off = loop.now_ns, loop.future()
        loop.later(30, lambda: gone_off.set(loop.now_ns))
        return threading.current_thread().name, await gone_off - before

    name, waited_ns = loop.call(where())
    assert name == "native-clients"
    assert waited_ns >= 30e6


@pytest.mark.parametrize("error", [ValueError, TimeoutError])
def test_what_a_coroutine_raises_is_raised_where_it_was_called(loop, error):
    async def wrong():
        raise error("wrong")

    with pytest.raises(error, match="wrong"):
        loop.call(wrong())


def test_timers_go_off_in_the_order_of_their_times_and_waits_have_bounds(loop):
    order = []

    async def all_of_them():
        last = loop.future()
        for ms in (40, 10, 25):
            loop.later(ms, lambda ms=ms: order.append(ms))
        loop.later(41, lambda: last.set(None))
        await last
        await loop.within(loop.future(), 5)

    with pytest.raises(TimedOutError):
        loop.call(all_of_them())
    assert order == [10, 25, 40]


def test_callers_of_many_threads_are_served_side_by_side(loop):
    """Each waits for all the others."""
    callers, came, everybody = 20, [], loop.future()

    async def meet():
        came.append(None)
        if len(came) == callers:
            everybody.set(None)
        await loop.within(everybody, 30_000)

    ended = []
    threads = [threading.Thread(target=lambda: ended.append(loop.call(meet()))) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == callers


def test_the_date_is_the_machines(loop):
    assert abs(loop.wall_ms - time.time() * 1000) < 1000


def test_an_error_that_nobody_saw_is_told_at_the_end():
    async def wrong():
        raise ValueError("unseen")

    async def begin():
        loop.spawn(wrong())

    loop = RealLoop(1)
    loop.call(begin())
    with pytest.raises(ValueError, match="unseen"):
        loop.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_that_broke_says_so_instead_of_waiting():
    def broken():
        raise ZeroDivisionError

    async def never():
        loop.soon(broken)
        await loop.future()

    loop = RealLoop(1)
    with pytest.raises(RuntimeError, match="the thread of our own clients has ended"):
        loop.call(never())
    loop.close()


def answers(*chunks):
    """Listen, and answer whoever connects with these bytes; return the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                for chunk in chunks:
                    connection.sendall(chunk)

    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([], id="nothing"),
        pytest.param([b"HTTP/1.1 400 Bad Request\r\n\r\n"], id="not-Kafka"),
        pytest.param([b"\xff\xff\xff\xff"], id="a-negative-length"),
        pytest.param([b"\x00\x00\x00\x08\x00\x00\x00\x63\x00\x00\x00\x00"], id="an-answer-to-nobody"),
        pytest.param([b"\x00\x00\x00\x05\x00\x00\x00\x01\x00"], id="a-truncated-answer"),
        pytest.param([b"\x00\x00\x10"], id="half-a-length"),
    ],
)
def test_nonsense_is_a_lost_connection(loop, chunks):
    with answers(*chunks) as listener:
        network = Sockets(loop, f"127.0.0.1:{listener.getsockname()[1]}")
        contact = Contact(loop, network, ClientConfig(client_id="c", bootstrap=network.bootstrap))
        with pytest.raises(ClientError) as caught:
            loop.call(contact.call(-1, MetadataRequest(), 12, 2000))
        assert caught.value.name == "_TRANSPORT"
        assert caught.value.retriable


def test_a_name_that_is_none_and_a_port_that_nobody_has(loop):
    network = Sockets(loop, "127.0.0.1:1,nowhere.invalid:9092")
    for node in network.bootstrap:
        contact = Contact(loop, network, ClientConfig(client_id="c", bootstrap=(node,)))
        with pytest.raises(ClientError) as caught:
            loop.call(contact.call(node, MetadataRequest(), 12, 5000))
        assert caught.value.name == "_TRANSPORT"
    with pytest.raises(ClientError):
        loop.call(contact.call(77, MetadataRequest(), 12, 1000))
