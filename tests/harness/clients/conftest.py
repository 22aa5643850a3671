"""A mock cluster and clients for it, with time-outs short enough for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.clients.confluent import ConfluentClient, ConfluentClients
from harness.history import INVOKE, Op
from harness.scenario import Scenario
from tests.harness.clients.mock_kafka import MockKafka

SCENARIO = Scenario(topics=1, partitions=3, replication=1, min_isr=1, concurrency=4, transaction_timeout_s=3.0)
WAIT_S = 20.0


@pytest.fixture
def mock() -> Iterator[MockKafka]:
    with MockKafka() as mock:
        yield mock


def op(f: str, value: Any = None, process: int = 0, **fields: Any) -> Op:
    return Op(process=process, type=INVOKE, f=f, value=value, **fields)


def now() -> int:
    return time.monotonic_ns()


def clients_of(mock: MockKafka, scenario: Scenario = SCENARIO, **options: Any) -> ConfluentClients:
    return ConfluentClients(scenario, mock.bootstrap, **options)


@pytest.fixture
def open_client(mock: MockKafka) -> Iterator[Callable[..., ConfluentClient]]:
    """Opens clients of one `ConfluentClients` and closes them at the end."""
    opened: list[ConfluentClient] = []
    factories: dict[Any, ConfluentClients] = {}

    def open_one(process: int = 0, scenario: Scenario = SCENARIO, **options: Any) -> ConfluentClient:
        key = (id(scenario), *options.items()) if not any(isinstance(o, dict) for o in options.values()) else None
        if key is None or key not in factories:
            factories[key] = clients_of(mock, scenario, **options)
        opened.append(factories[key].open(process, now))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


def until(client: ConfluentClient, found: Callable[[Op], bool], invocation: Op | None = None) -> Op:
    """Repeat an op (a poll, if none is given) until its completion satisfies `found`; return that completion."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        done = client.invoke(invocation or op("poll", [["poll"]]))
        if found(done):
            return done
    raise AssertionError(f"not found within {WAIT_S} s")


def read_all(client: ConfluentClient, key: str, count: int) -> list[Any]:
    """Poll until `count` records of the key were read; return them."""
    records: list[Any] = []
    deadline = time.monotonic() + WAIT_S
    while len(records) < count and time.monotonic() < deadline:
        for micro_op in client.invoke(op("poll", [["poll"]])).value:
            records += dict(micro_op[1]).get(key, [])
    return records
