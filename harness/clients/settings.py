"""librdkafka's settings for the clients, and every bound on how long they may wait.

A client has to notice a leader change within a second of the election and must never hang. Requests to a broker that
is paused (its connection stays open) end with `socket.timeout.ms`; metadata is asked for every second, and at once when
a connection breaks; a record is given up after the transaction time-out. librdkafka's defaults (60 s, 5 minutes) would
turn each fault into a stall of the client.

What librdkafka can't do together is refused here in one line, before a run starts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from harness.clients.packing import CODECS, MIXED, PLAIN, Packing, sizes_bytes
from harness.cluster.api import UsageError
from harness.cluster.questions import Coordinator
from harness.credentials import Credentials
from harness.scenario import TRANSACTIONAL, Isolation, Scenario, app_group_of, group_of, groups_of, share_group_of

SOCKET_TIMEOUT_MS: Final = 3000
"""A request without an answer for so long is given up and retried elsewhere; shorter, and a busy broker looks dead."""
BROKER_WAIT_MS: Final = 2500
"""How long a leader waits for acks=all before it answers REQUEST_TIMED_OUT: a little before we stop listening."""
CONNECT_TIMEOUT_MS: Final = 2000
METADATA_INTERVAL_MS: Final = 1000
TOGETHER_MS: Final = 2
"""How long a producer whose records go together waits for the next one."""
FETCH_WAIT_MS: Final = 100
"""How long a fetch waits at the broker. A new position is fetched from only after that: it bounds a rewind's delay."""
SESSION_TIMEOUT_MS: Final = 6000
"""The least that brokers allow by default: a member that crashed leaves its group soon."""

OP_GRACE_S: Final = 5.0
"""What an op may take beyond the transaction time-out: commit and abort still have to be told of its end."""
RECORD_SHARE: Final = 0.8
"""A record in a transaction is given up after this share of its time-out, so that the abort comes in time."""
MIN_OFFSETS_S: Final = 2.0
"""send_offsets_to_transaction gets at least so long, even when the sends before it took all of the time."""
POLL_S: Final = 0.1
"""How long a poll waits for a first record, as in Jepsen."""
MAX_POLL_RECORDS: Final = 5000
"""So many records one poll returns at most: a line of the history stays below about 150 KB."""
WARM_UP_S: Final = 1.0
"""How long a new consumer waits for its first metadata. Without it librdkafka looks for offsets only 0.5 s later."""
POLL_COMMIT_S: Final = 5.0
"""How long a poll outside a transaction waits for the commit of what it read."""
COMMITTED_S: Final = 1.0
"""How long a consumer may ask for what its group committed, where it is not known whether it began there."""
CLOSE_S: Final = 2.0
"""How long close() waits. What takes longer goes on in a thread of its own."""

Overrides = Mapping[str, Any]
"""Settings of librdkafka by name, put over ours."""

LEAST_COPIED: Final = 2
"""Topics of the workload `copy`."""


_SILENT: Final = logging.getLogger("harness.librdkafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


def _ignore(_: KafkaError) -> None:
    """Errors of connections are told nobody here: each op hears of what it needed to know from its own calls."""


def op_bound_s(scenario: Scenario) -> float:
    """Return how long an op may take; one that sends offsets can pass it by MIN_OFFSETS_S and a socket time-out."""
    return scenario.transaction_timeout_s + OP_GRACE_S


MAX_TRANSACTION = "transaction.max.timeout.ms"
MAX_TRANSACTION_MS = 15 * 60 * 1000
"""Kafka's default (TransactionStateManagerConfig)."""


def refuse_impossible(scenario: Scenario) -> None:
    """Raise UsageError, one line, for what can't work together; needs no cluster."""
    acks, workload = scenario.acks, scenario.workload
    if workload in TRANSACTIONAL and acks != "all":
        raise UsageError(f"--acks {acks} needs --workload send-poll: a transaction needs acks=all")
    if scenario.keep_producers and workload not in TRANSACTIONAL:
        raise UsageError(f"--keep-producers is about transactions: --workload {workload} has none")
    if workload in TRANSACTIONAL and not scenario.idempotence:
        raise UsageError("--no-idempotence needs --workload send-poll: a transaction needs an idempotent producer")
    if scenario.idempotence and acks != "all":
        raise UsageError(f"--acks {acks} needs --no-idempotence: an idempotent producer needs acks=all")
    if not scenario.sub_via or not set(scenario.sub_via) <= {"assign", "subscribe"}:
        raise UsageError(f"--sub-via {','.join(scenario.sub_via)}: it is assign, subscribe or both")
    _refuse_impossible_shape(scenario)
    sizes_bytes(scenario.value_size)
    if scenario.transaction_timeout_s * 1000 < SOCKET_TIMEOUT_MS:
        least_s = SOCKET_TIMEOUT_MS / 1000
        raise UsageError(f"a transaction time-out of {scenario.transaction_timeout_s} s: {least_s} s at least")
    _refuse_too_long(scenario)
    if scenario.topics < 1 or scenario.partitions < 1:
        raise UsageError(f"--topics {scenario.topics} and --partitions {scenario.partitions} must be at least 1")
    if not 1 <= scenario.min_isr <= scenario.replication:
        raise UsageError(f"--min-isr {scenario.min_isr} must be between 1 and --replication {scenario.replication}")
    if scenario.bootstrap is None and scenario.replication > scenario.nodes:
        raise UsageError(f"--replication {scenario.replication}: the cluster has only {scenario.nodes} nodes")


def _refuse_too_long(scenario: Scenario) -> None:
    """Refuse what brokers would refuse to each producer; what those of somebody else's cluster allow nobody knows."""
    allowed_ms = scenario.broker_config.get(MAX_TRANSACTION, str(MAX_TRANSACTION_MS))
    if scenario.bootstrap is None and allowed_ms.isdigit() and scenario.transaction_timeout_s * 1000 > int(allowed_ms):
        raise UsageError(
            f"--transaction-timeout {scenario.transaction_timeout_s:g} is more than brokers allow: "
            f"{MAX_TRANSACTION}={allowed_ms} (see --broker-config)"
        )


def _refuse_impossible_shape(scenario: Scenario) -> None:
    if scenario.workload == "copy" and (scenario.topics < LEAST_COPIED or "subscribe" not in scenario.sub_via):
        raise UsageError("--workload copy needs --topics 2, to copy from and to, and --sub-via subscribe")
    if scenario.id_sharers > 1 and scenario.workload not in TRANSACTIONAL:
        raise UsageError(f"--id-sharers is about transactional ids: --workload {scenario.workload} has none")


def refuse_codecs(scenario: Scenario) -> None:
    """Raise UsageError, one line, for a codec that this machine's librdkafka was built without."""
    for codec in CODECS if scenario.compression == MIXED else (scenario.compression,):
        try:
            Producer({"compression.type": codec, "log_level": 0})
        except KafkaException as error:
            raise UsageError(f"--compression {scenario.compression}: librdkafka has no {codec} here") from error


def coordinated(
    scenario: Scenario, keys: Iterable[str], transactional_id: Callable[[int], str]
) -> tuple[Coordinator, ...]:
    """Return whom the run's processes need coordinators for: their groups, and their transactional ids as they are now.

    And what a share group knows of each of the keys. transactional_id: that of the process of a number below the
    concurrency.
    """
    groups = [Coordinator("group", name) for name in groups_of(scenario)]
    if scenario.app:
        groups.append(Coordinator("group", app_group_of(scenario)))
    if scenario.workload == "share":
        groups += (Coordinator("share", f"{share_group_of(scenario)}:{key}") for key in keys)
    if scenario.workload not in TRANSACTIONAL:
        return tuple(groups)
    ids = dict.fromkeys(map(transactional_id, range(scenario.concurrency)))
    return (*groups, *(Coordinator("transaction", name) for name in ids))


def common(scenario: Scenario, bootstrap: str, client_id: str) -> dict[str, Any]:
    """Return what every client object is made with."""
    return {
        "bootstrap.servers": bootstrap,
        "client.id": client_id,
        "log_level": 0,  # else a broker that is down floods stderr
        "logger": _SILENT,  # fatal errors are logged at level 0 too
        "error_cb": _ignore,  # without it a fatal error is raised from whatever call polls next
        "socket.timeout.ms": SOCKET_TIMEOUT_MS,
        "socket.connection.setup.timeout.ms": CONNECT_TIMEOUT_MS,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        "retry.backoff.ms": 50,
        "retry.backoff.max.ms": 500,
        "topic.metadata.refresh.interval.ms": METADATA_INTERVAL_MS,
        "topic.metadata.refresh.fast.interval.ms": 50,
        "enable.metrics.push": False,
        **dict(Credentials.of(scenario.client_config).settings),
    }


def producer(
    scenario: Scenario,
    bootstrap: str,
    client_id: str,
    transactional_id: str | None,
    packing: Packing = PLAIN,
) -> dict[str, Any]:
    """Return a producer's settings: transactional where an id is given, else by the scenario's acks and idempotence."""
    timeout_ms = int(scenario.transaction_timeout_s * 1000)
    config = common(scenario, bootstrap, client_id) | {
        "linger.ms": TOGETHER_MS if packing.together else 0,
        "compression.type": packing.codec,
        "allow.auto.create.topics": False,
        "message.timeout.ms": timeout_ms,
        "request.timeout.ms": BROKER_WAIT_MS,
        "acks": scenario.acks,
        "enable.idempotence": scenario.idempotence,
    }
    if transactional_id is not None:
        config |= {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": timeout_ms,
            "message.timeout.ms": int(timeout_ms * RECORD_SHARE),
        }
    return config


def consumer(
    scenario: Scenario, bootstrap: str, client_id: str, isolation: Isolation, packing: Packing = PLAIN
) -> dict[str, Any]:
    """Return a consumer's settings: quick and complete reads, offsets committed only when told to."""
    pieces = {} if packing.fetch_bytes is None else {"max.partition.fetch.bytes": packing.fetch_bytes}
    membership: dict[str, Any] = {"session.timeout.ms": SESSION_TIMEOUT_MS, "heartbeat.interval.ms": 1000}
    if scenario.group_protocol != "classic":
        membership = {"group.protocol": scenario.group_protocol}  # the brokers set the times
    return (
        common(scenario, bootstrap, client_id)
        | membership
        | pieces
        | {
            "group.id": group_of(scenario),
            "isolation.level": isolation,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,  # tells the position behind control records and compacted offsets
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "fetch.error.backoff.ms": 50,
            "fetch.queue.backoff.ms": 10,
            "coordinator.query.interval.ms": 5000,
        }
    )
