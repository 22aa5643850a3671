"""One node of our broker as a process, and clients of our own that speak to it over TCP."""

from __future__ import annotations

import itertools
import time

import pytest

from harness.clients.native.client import NativeClients
from harness.clients.topics import create_topics
from harness.history import INVOKE, Op
from harness.scenario import Scenario
from tests.broker.io.process import NodeProcess

NUMBERS = itertools.count(1)
WAIT_S = 30.0


@pytest.fixture(scope="package")
def node(tmp_path_factory):
    node = NodeProcess(tmp_path_factory.mktemp("node")).start()
    yield node
    node.kill()


class Scene:
    """Topics and clients of one test; K0 and K1 are its keys."""

    def __init__(self, address, changes):
        fields = {"topics": 1, "partitions": 2, "replication": 1, "min_isr": 1, "nodes": 1, "concurrency": 4}
        self.scenario = Scenario(**{**fields, "prefix": f"x{next(NUMBERS)}-", "client": "native", **changes})
        self.events = []
        self.K0, self.K1 = create_topics(address, self.scenario)
        self.clients = NativeClients(self.scenario, address, on_event=self.events.append)
        self.opened = []

    def open(self, process=0):
        self.opened.append(self.clients.open(process, time.monotonic_ns))
        return self.opened[-1]

    def close(self):
        for client in self.opened:
            client.close()
        self.clients.close()


@pytest.fixture
def scene(node):
    """Makes a scene; all are closed at the end."""
    made = []

    def make(at=node, **changes):
        made.append(Scene(at.address, changes))
        return made[-1]

    yield make
    for one in made:
        one.close()


def do(client, f, value=None, process=0, **fields):
    return client.invoke(Op(process=process, type=INVOKE, f=f, value=value, **fields))


def read(client, count, **fields):
    """Poll until so many records came; return [offset, value] by key."""
    found, deadline = {}, time.monotonic() + WAIT_S
    while sum(map(len, found.values())) < count:
        assert time.monotonic() < deadline, f"{count} records did not come: {found}"
        done = do(client, "poll", [["poll"]], **fields)
        assert done.type == "ok", done
        for key, records in done.value[0][1]:
            found.setdefault(key, []).extend(record[:2] for record in records)
    return found


def nothing(client):
    """Return whether some polls give nothing."""
    return all(do(client, "poll", [["poll"]]).value == [["poll", []]] for _ in range(3))
