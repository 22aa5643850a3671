"""Room for large requests: bounded for all connections together, first come, first served."""

from hypothesis import given
from hypothesis import strategies as st

from broker.io.connection import Memory
from broker.wire.frame import LENGTH
from tests.broker.io.process import NodeProcess

LIMIT_BYTES = 100


class Waiting:
    """Stands for a connection that receives one frame."""

    def __init__(self):
        self.got = 0

    def admitted(self, size):
        self.got = size


@given(st.lists(st.tuples(st.booleans(), st.integers(1, LIMIT_BYTES)), max_size=40))
def test_no_more_is_admitted_than_there_is_and_everybody_gets_his_turn(steps):
    memory = Memory(LIMIT_BYTES)
    holding, order = [], []
    for comes, size in steps:
        if comes:
            connection = Waiting()
            connection.wants = size
            if memory.admit(connection, size):
                connection.got = size
                assert not any(one.got == 0 for one in order), "nobody is overtaken"
            order.append(connection)
        elif holding := [one for one in order if one.got]:
            gone = holding[size % len(holding)]
            order.remove(gone)
            memory.release(gone.got)
        held = [one for one in order if one.got]
        assert all(one.got == one.wants for one in held)
        assert memory.used_bytes == sum(one.got for one in held) <= LIMIT_BYTES
        waiting = [one for one in order if not one.got]
        assert not waiting or memory.used_bytes + waiting[0].wants > LIMIT_BYTES, "there is room, and it waits"
    for one in [one for one in order if not one.got]:
        memory.forget(one)
    for one in [one for one in order if one.got]:
        memory.release(one.got)
    assert memory.used_bytes == 0


def test_large_requests_that_never_end_take_no_more_memory_than_is_allowed(tmp_path):
    node = NodeProcess(tmp_path / "n", queued_max_request_bytes=4 << 20, socket_request_max_bytes=2 << 20).start()
    try:
        before = node.rss_kib()
        connections = [node.connect() for _ in range(12)]
        for one in connections:
            one.setblocking(False)
            data = LENGTH.pack(2 << 20) + bytes(1_900_000)
            for at in range(0, len(data), 65536):
                try:
                    one.send(data[at : at + 65536])
                except BlockingIOError:
                    break
        assert node.serves(), "small requests need no room"
        assert node.rss_kib() < before + 16 * 1024
        for one in connections:
            one.close()
        assert node.serves()
    finally:
        node.kill()
