"""The run's topics: their keys, their making, and the wait until every partition can take writes at full strength.

A topic that exists already is refused: its old records would be read as phantoms. On a cluster that runs share, a
prefix keeps them apart.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any, Final, Protocol, cast

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from harness.clients import settings
from harness.clients.share.setup import SHARE, RefusedError, UnassignedError, prepare
from harness.clients.share.wire import Wire
from harness.cluster.api import ClusterError, UsageError
from harness.credentials import Credentials
from harness.scenario import Scenario, app_topics, topic_names

CREATE_S: Final = 30.0
"""Bound of making topics; a controller that was just elected answers within a few seconds."""
AGAIN_S: Final = 0.5
"""Before CreateTopics is sent again: a broker went, or a controller has just changed."""
READY_S: Final = 60.0
"""Bound of the wait for leaders and full ISRs; a busy machine needs some seconds for replicas to be fetched first."""
LOOK_EVERY_S: Final = 0.2
METADATA_S: Final = 5.0

_CALLERS_FAULT: Final[Mapping[int, str]] = {
    KafkaError.TOPIC_ALREADY_EXISTS: "it exists already, with other records: delete it, or use a fresh cluster",
    KafkaError.INVALID_REPLICATION_FACTOR: "--replication {replication}: the cluster has not so many brokers",
    KafkaError.INVALID_CONFIG: "--topic-config is refused",
    KafkaError.INVALID_PARTITIONS: "--partitions {partitions} is refused",
    KafkaError.TOPIC_EXCEPTION: "its name is refused",
    KafkaError.POLICY_VIOLATION: "a policy of the cluster refuses it",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the cluster does not let this client make topics",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the cluster does not let this client make topics",
}


_PASSING: Final = frozenset(
    {
        KafkaError.NOT_CONTROLLER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
    }
)


class TopicAdmin(Protocol):
    """The part of confluent-kafka's AdminClient that makes topics and looks at them."""

    def create_topics(self, new_topics: list[NewTopic], **options: Any) -> dict[str, Future[None]]:
        """Ask for topics; a future for each."""
        ...

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """Return the cluster's metadata."""
        ...


def keys(scenario: Scenario) -> tuple[str, ...]:
    """Return the run's keys, topic/partition: t0/0, t0/1, ..."""
    return tuple(f"{topic}/{partition}" for topic in topic_names(scenario) for partition in range(scenario.partitions))


def inputs_of(scenario: Scenario) -> tuple[str, ...]:
    """Return the keys that a program of the user's copies from; () where there is none."""
    if not scenario.app:
        return ()
    inputs, _ = app_topics(scenario)
    return tuple(key for key in keys(scenario) if key.rpartition("/")[0] in inputs)


def create_topics(bootstrap: str, scenario: Scenario, admin: TopicAdmin | None = None) -> tuple[str, ...]:
    """Make the run's topics, wait until each partition has a leader and its full ISR, and return their keys.

    Raises UsageError for what the caller can correct (a topic that exists, a replication factor, a topic
    configuration), ClusterError when the cluster does not answer or does not get ready in time.
    """
    settings.refuse_impossible(scenario)
    if admin is None:
        admin = cast(
            "TopicAdmin", AdminClient(settings.common(scenario, bootstrap, f"{scenario.prefix}harness-topics"))
        )
    config = {"min.insync.replicas": str(scenario.min_isr), **scenario.topic_config}
    wanted = [
        NewTopic(name, num_partitions=scenario.partitions, replication_factor=scenario.replication, config=dict(config))
        for name in topic_names(scenario)
    ]
    is_ours = bool(scenario.prefix) and not scenario.app_input  # nobody else has that prefix
    make(admin, wanted, bootstrap, may_be_ours=is_ours)
    _await_ready(admin, scenario, bootstrap)
    if scenario.workload == SHARE:
        _prepare_shares(bootstrap, scenario)
    return keys(scenario)


def make(admin: TopicAdmin, wanted: list[NewTopic], bootstrap: str, *, may_be_ours: bool = False) -> None:
    """Have the topics made; what fails on the way is asked for again, and may have been made all the same.

    It is not waited for their leaders. may_be_ours: a topic that exists already is one of them. Raises as
    `create_topics`.
    """
    deadline = time.monotonic() + CREATE_S
    while wanted:
        left_s = max(deadline - time.monotonic(), 1.0)
        made = admin.create_topics(wanted, operation_timeout=left_s, request_timeout=left_s)
        left = []
        for topic in wanted:
            try:
                made[topic.topic].result(left_s + METADATA_S)
            except KafkaException as error:
                told = error.args[0]
                if told.code() == KafkaError.TOPIC_ALREADY_EXISTS and may_be_ours:
                    continue
                if not _passes(told) or time.monotonic() >= deadline:
                    raise _refusal(topic, bootstrap, told) from error
                left.append(topic)
            except TimeoutError as error:
                raise ClusterError(
                    f"topic {topic.topic}: {bootstrap} did not answer within {CREATE_S:.0f} s"
                ) from error
        wanted, may_be_ours = left, True
        if left:
            time.sleep(AGAIN_S)


def _prepare_shares(bootstrap: str, scenario: Scenario) -> None:
    steps = prepare(
        scenario, topic_names(scenario), lambda: time.monotonic() * 1000, is_ours=scenario.bootstrap is None
    )
    with closing(Wire(bootstrap, Credentials.of(scenario.client_config))) as wire:
        try:
            wire.perform(steps)
        except UnassignedError as error:
            raise ClusterError(f"{bootstrap}: {error}") from error
        except RefusedError as refused:
            if scenario.bootstrap is None:
                raise ClusterError(f"{bootstrap}: {refused}") from refused
            raise UsageError(f"{bootstrap} can't have share groups (share.version 1): {refused}") from refused


def _passes(error: KafkaError) -> bool:
    """Return whether it may go better a moment later: librdkafka's own errors, and those of a controller on its way."""
    return error.code() < 0 or error.code() in _PASSING


def _refusal(topic: NewTopic, bootstrap: str, error: KafkaError) -> Exception:
    reason = _CALLERS_FAULT.get(error.code())
    if reason is None:
        return ClusterError(f"topic {topic.topic} could not be made at {bootstrap}: {error.name()}: {error.str()}")
    told = reason.format(replication=topic.replication_factor, partitions=topic.num_partitions)
    return UsageError(f"topic {topic.topic}: {told} ({error.str()})")


def _await_ready(admin: TopicAdmin, scenario: Scenario, bootstrap: str) -> None:
    names = topic_names(scenario)
    deadline = time.monotonic() + READY_S
    while missing := _not_ready(admin, names, scenario):
        if time.monotonic() >= deadline:
            raise ClusterError(
                f"{bootstrap}: after {READY_S:.0f} s still without a leader or a full ISR: {', '.join(missing)}"
            )
        time.sleep(LOOK_EVERY_S)


def _not_ready(admin: TopicAdmin, names: Sequence[str], scenario: Scenario) -> list[str]:
    """Return the keys whose partition lacks a leader or has not all replicas in its ISR, as one broker sees it."""
    try:
        topics = admin.list_topics(timeout=METADATA_S).topics
    except KafkaException as error:
        return [f"(no metadata: {error.args[0].name()})"]
    ready = {
        f"{name}/{number}"
        for name in names
        if name in topics
        for number, partition in topics[name].partitions.items()
        if partition.leader >= 0 and len(partition.isrs) == scenario.replication
    }
    return [key for key in keys(scenario) if key not in ready]
