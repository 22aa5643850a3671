"""A mock cluster, and clients of it that are closed at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.clients import groups
from harness.clients.confluent import ConfluentClient, ConfluentClients
from harness.history import INVOKE, Op
from harness.scenario import Scenario
from tests.harness.clients.mock_kafka import MockKafka

SCENARIO = Scenario(topics=1, partitions=3, replication=1, min_isr=1, concurrency=4, transaction_timeout_s=3.0)
WAIT_S = 20.0


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockKafka]:
    # The probe can't ask a mock broker: its answer to ApiVersions 3 is longer than Kafka says.
    monkeypatch.setattr(groups, "_named", lambda config, deadline: {1})
    with MockKafka() as mock:
        yield mock


@pytest.fixture
def clients(mock: MockKafka) -> ConfluentClients:
    return ConfluentClients(SCENARIO, mock.bootstrap)


@pytest.fixture
def opened() -> Iterator[Callable[..., ConfluentClient]]:
    """Opens a client of some `ConfluentClients`, and closes all at the end."""
    opened: list[ConfluentClient] = []

    def open_one(clients: ConfluentClients, process: int = 0) -> ConfluentClient:
        opened.append(clients.open(process, time.monotonic_ns))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def client(clients: ConfluentClients, opened: Callable[..., ConfluentClient]) -> ConfluentClient:
    return opened(clients)


def op(f: str, value: Any = None, process: int = 0, **fields: Any) -> Op:
    return Op(process=process, type=INVOKE, f=f, value=value, **fields)


POLL = op("poll", [["poll"]])


def send(*pairs: tuple[str, int]) -> Op:
    return op("send", [["send", key, v] for key, v in pairs])


def txn(*micro_ops: list[Any], **fields: Any) -> Op:
    return op("txn", list(micro_ops), **fields)


def until(client: ConfluentClient, found: Callable[[Op], bool], invocation: Op = POLL) -> Op:
    """Repeat an op until its completion satisfies `found`; return that completion."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        done = client.invoke(invocation)
        if found(done):
            return done
    raise AssertionError(f"not found within {WAIT_S} s")


def polled(done: Op) -> dict[str, list[list[Any]]]:
    """Return what an op's polls returned, by key."""
    records: dict[str, list[list[Any]]] = {}
    for micro_op in done.value:
        if micro_op[0] == "poll" and len(micro_op) > 1:
            for key, entries in micro_op[1]:
                records.setdefault(key, []).extend(entries)
    return records


def read(client: ConfluentClient, count: int) -> dict[str, list[Any]]:
    """Poll until `count` records came; return the values by key, in the order in which they came."""
    values: dict[str, list[Any]] = {}

    def enough(done: Op) -> bool:
        for key, entries in polled(done).items():
            values.setdefault(key, []).extend(entry[1] for entry in entries)
        return sum(map(len, values.values())) >= count

    until(client, enough)
    return values


def join(client: ConfluentClient) -> None:
    """Subscribe, and poll until the group has dealt out its keys."""
    assert client.invoke(op("subscribe", ["t0/0"])).type == "ok"
    until(client, lambda _: bool(client._reader.held))
