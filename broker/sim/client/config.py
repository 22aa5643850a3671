"""Settings of clients: node ids to begin with, time-outs in ms, what a producer and a consumer do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

RANGE, COOPERATIVE = "range", "cooperative-sticky"
CLASSIC, CONSUMER = "classic", "consumer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """What every client has. A broker that does not answer within `request_timeout_ms` loses its connection."""

    client_id: str
    bootstrap: tuple[int, ...]
    """Node ids: the network knows nodes by them."""
    request_timeout_ms: int = 3000
    connect_timeout_ms: int = 2000
    metadata_timeout_ms: int = 1500
    metadata_max_age_ms: int = 5000
    retry_backoff_ms: int = 50
    retry_backoff_max_ms: int = 500
    reconnect_backoff_ms: int = 50
    reconnect_backoff_max_ms: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerConfig:
    """A producer; with a transactional id it begins with `init`, and acks=all and idempotence are on."""

    client: ClientConfig
    acks: Literal[0, 1, -1] = -1
    idempotence: bool = True
    transactional_id: str | None = None
    transaction_timeout_ms: int = 10_000
    transaction_version: Literal[1, 2] = 2
    """1: as librdkafka and older Java clients; 2: the epoch rises with every transaction (KIP-890)."""
    delivery_timeout_ms: int = 10_000
    """A record is given up after so long."""
    replication_timeout_ms: int = 2500
    """How long a leader waits for acks=all before it answers REQUEST_TIMED_OUT."""
    max_in_flight: int = 5
    batch_records: int = 500
    compression: int = 0
    """The codec of batches, by its number in their attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig:
    """A consumer; `group_id` is needed to subscribe and to commit."""

    client: ClientConfig
    group_id: str | None = None
    read_committed: bool = True
    offset_reset: Literal["earliest", "latest", "error"] = "earliest"
    """Where to go on when an offset is out of range; `error`: `poll` raises ClientError _AUTO_OFFSET_RESET."""
    fetch_wait_ms: int = 100
    fetch_max_bytes: int = 1 << 20
    partition_max_bytes: int = 1 << 18
    session_timeout_ms: int = 6000
    heartbeat_interval_ms: int = 1000
    rebalance_timeout_ms: int = 10_000
    assignors: tuple[str, ...] = field(default=(RANGE,))
    group_protocol: Literal["classic", "consumer"] = "classic"
    """`consumer`: the coordinator assigns, and says how often to beat and how long a session is (KIP-848)."""
