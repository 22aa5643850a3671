"""What a consumer group has committed, as a client can ask: stable offsets from the coordinator.

Read with a consumer of the group that never joins it. read_committed makes librdkafka ask with require_stable, so that
offsets of open transactions are waited for and not passed over.

A coordinator that was deposed and has not heard of it answers with the past (Kafka has no lease, and a read needs no
majority), and librdkafka does not tell who answered. So all nodes are asked who coordinates, before and after: an
answer counts only if every node that lives named the same one both times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from harness.clients.errors import FailedError, of_error, of_exception, timed_out
from harness.clients.membership import key_of
from harness.clients.patience import Deadline, let_go
from harness.clients.sender import split
from harness.cluster.probe import Probe, ProbeError, split_address
from harness.credentials import Credentials
from harness.outcome import Failure, Stage

MOVING: Final = frozenset(
    {"NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS", "_TRANSPORT"}
)
"""The coordinator is elsewhere by now; librdkafka hands this through instead of looking for it again."""
DEPOSED: Final = "NOT_COORDINATOR"
SAYS_WITHIN_S: Final = 1.0
ASK_AGAIN_S: Final = 0.2
MAX_QUESTIONS: Final = 100


def of_one_coordinator(config: Mapping[str, Any], keys: Sequence[str], deadline: Deadline) -> dict[str, int | None]:
    """Return what `committed_offsets` does; FailedError (NOT_COORDINATOR) where a deposed one may have answered."""
    before = _named(config, deadline)
    offsets = committed_offsets(config, keys, deadline) if _is_sure(before) else {}
    if not _is_sure(before) or _named(config, deadline) != before:
        message = "the nodes do not agree on the coordinator: a deposed one may have answered"
        raise FailedError(Failure(stage=Stage.COMMITTED, name=DEPOSED, message=message, retriable=True))
    return offsets


def _is_sure(named: set[int | None]) -> bool:
    return len(named) == 1 and None not in named


def _named(config: Mapping[str, Any], deadline: Deadline) -> set[int | None]:
    """Return whom the nodes call the group's coordinator; None among them for a node that is there and says nothing."""
    named: set[int | None] = set()
    credentials = Credentials.among(config)
    for node in str(config["bootstrap.servers"]).split(","):
        within_s = min(SAYS_WITHIN_S, deadline.left_s())
        try:
            with Probe(*split_address(node), within_s, credentials=credentials) as probe:
                named.add(probe.find_coordinator("group", str(config["group.id"])))
        except ProbeError as error:
            if not isinstance(error.__cause__, ConnectionRefusedError):  # nobody listens: it is dead, and tells nothing
                named.add(None)
    return named


def committed_offsets(config: Mapping[str, Any], keys: Sequence[str], deadline: Deadline) -> dict[str, int | None]:
    """Return per key the group's committed next offset, None where it has none. Raises FailedError at COMMITTED."""
    things: list[Any] = [Consumer(dict(config))]
    try:
        for _ in range(MAX_QUESTIONS):
            try:
                return _ask(things[0], keys, deadline)
            except FailedError as failed:
                if failed.failure.name not in MOVING or deadline.over():
                    raise
            things[0].poll(min(deadline.left_s(), ASK_AGAIN_S))
        raise FailedError(timed_out(Stage.COMMITTED, f"no coordinator after {MAX_QUESTIONS} questions"))
    finally:
        let_go(things, None, 0)


def _ask(consumer: Consumer, keys: Sequence[str], deadline: Deadline) -> dict[str, int | None]:
    try:
        answers = consumer.committed([TopicPartition(*split(key)) for key in keys], timeout=deadline.left_s())
    except KafkaException as error:
        raise FailedError(of_exception(Stage.COMMITTED, error)) from error
    for answer in answers:
        if answer.error is not None:
            raise FailedError(of_error(Stage.COMMITTED, answer.error))
    return {key_of(answer): answer.offset if answer.offset >= 0 else None for answer in answers}
