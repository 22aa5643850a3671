"""A scenario's settings for the simulated clients: the bounds of the confluent-kafka client, on the virtual clock.

`harness.clients.settings` says why each is what it is.
"""

from __future__ import annotations

from typing import Final

from broker.sim.client.config import ClientConfig, ConsumerConfig, ProducerConfig
from harness.clients import settings
from harness.clients.packing import CODECS, Packing
from harness.scenario import Isolation, Scenario, group_of

ACKS: Final = {"all": -1, "1": 1, "0": 0}
FETCH_BYTES: Final = 1 << 18
"""What a consumer fetches of a partition at a time."""
REBALANCE_TIMEOUT_MS: Final = 4000
"""How long a rebalance waits for a member that does not poll. librdkafka's default, 5 minutes, outlasts most runs."""


def client(scenario: Scenario, nodes: tuple[int, ...], client_id: str) -> ClientConfig:
    """Return what every client is made with."""
    del scenario
    return ClientConfig(
        client_id=client_id,
        bootstrap=nodes,
        request_timeout_ms=settings.SOCKET_TIMEOUT_MS,
        connect_timeout_ms=settings.CONNECT_TIMEOUT_MS,
    )


def producer(
    scenario: Scenario, common: ClientConfig, transactional_id: str | None, packing: Packing
) -> ProducerConfig:
    """Return a producer's settings; transactional where an id is given."""
    timeout_ms = int(scenario.transaction_timeout_s * 1000)
    share = settings.RECORD_SHARE if transactional_id is not None else 1.0
    return ProducerConfig(
        client=common,
        acks=ACKS[scenario.acks],  # type: ignore[arg-type]  # of the three that there are
        idempotence=scenario.idempotence,
        transactional_id=transactional_id,
        transaction_timeout_ms=timeout_ms,
        transaction_version=scenario.transaction_protocol,
        delivery_timeout_ms=int(timeout_ms * share),
        replication_timeout_ms=settings.BROKER_WAIT_MS,
        compression=CODECS.index(packing.codec),
    )


def consumer(scenario: Scenario, common: ClientConfig, isolation: Isolation, packing: Packing) -> ConsumerConfig:
    """Return a consumer's settings."""
    return ConsumerConfig(
        partition_max_bytes=packing.fetch_bytes or FETCH_BYTES,
        client=common,
        group_id=group_of(scenario),
        read_committed=isolation == "read_committed",
        fetch_wait_ms=settings.FETCH_WAIT_MS,
        session_timeout_ms=settings.SESSION_TIMEOUT_MS,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        group_protocol=scenario.group_protocol,
    )
