"""Where the real client is brought to meet the errors of the outcome table: librdkafka's mock cluster, and hooks.

A proof gets a `Scene` and returns the completion of the op that met the error. In a transaction there are two kinds:
`open` proofs, after which no abort has returned ok (the row's `outcome`), and `aborted` ones (its `aborted`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import KafkaException

from harness.clients.confluent import ConfluentClient, ConfluentClients
from harness.history import Op
from harness.outcome import Stage
from harness.scenario import Scenario
from tests.harness.clients.mock_kafka import Api, MockKafka

TXN = Scenario(topics=1, partitions=3, replication=1, min_isr=1, concurrency=4, transaction_timeout_s=1.0)
PLAIN = msgspec.structs.replace(TXN, workload="send-poll", idempotence=False)
NO_RETRIES = {"retries": 0}
FOREVER_MS = 120_000
WAIT_S = 20.0
SEND = ["send", "t0/0", 7]
MAX_TRIES = 12
REFUSED = 29
"""TOPIC_AUTHORIZATION_FAILED: makes an EndTxn fail at once."""

TWO_BROKERS = frozenset({(True, Stage.COMMIT, "_INCONSISTENT"), (True, Stage.COMMIT, "_TIMED_OUT")})
"""Rows whose proof needs a broker that fails and a coordinator that does not."""

Proof = Callable[["Scene"], Op]
OPEN: dict[tuple[bool, Stage, str], Proof] = {}
ABORTED: dict[tuple[bool, Stage, str], Proof] = {}


@dataclass
class Scene:
    """A mock cluster, and clients of it whose clock can spring an action on them between two micro-ops."""

    mock: MockKafka
    clients: list[ConfluentClient] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)
    _at: int | None = None
    _action: Callable[[], object] = lambda: None

    def client(self, scenario: Scenario, consumer: Any = None, **producer: Any) -> ConfluentClient:
        factory = ConfluentClients(
            scenario, self.mock.bootstrap, producer_overrides=producer, consumer_overrides=consumer or {}
        )
        self.clients.append(factory.open(0, self._now))
        return self.clients[-1]

    def _now(self) -> int:
        if next(self._count) == self._at:
            self._at = None
            self._action()
        return time.monotonic_ns()

    def before_micro_op(self, position: int, action: Callable[[], object]) -> None:
        """Act in the next op, right before its micro-op `position`; past the last one: right before commit."""
        self._count, self._at, self._action = itertools.count(), 2 * position, action

    def close(self) -> None:
        for client in self.clients:
            client.close()


def proves(
    stage: Stage, name: str, *, transactional: bool = False, into: dict[tuple[bool, Stage, str], Proof] = OPEN
) -> Callable[[Proof], Proof]:
    def register(proof: Proof) -> Proof:
        key = (transactional, stage, name)
        assert key not in into, f"{key} has two proofs"
        into[key] = proof
        return proof

    return register


def raw(client: ConfluentClient):
    """The client's own producer, to act behind the client's back."""
    sender = client._plain or client._transactions._sender
    return sender.producer


def wait_for(condition: Callable[[], bool]) -> None:
    deadline, never = time.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        never.wait(0.01)


def break_producer(scene: Scene, client: ConfluentClient, code: int) -> None:
    """Let the producer meet a fatal error that is not the op's."""
    scene.mock.push(Api.PRODUCE, code)
    with suppress(KafkaException):  # the fatal error
        raw(client).produce("t0", b"x", partition=0)
        raw(client).flush(5)
