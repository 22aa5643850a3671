"""One librdkafka producer: sends that await their report, and the steps of a transaction, each with a bound.

Order contract: `init` once, then for each transaction `begin`, `send`s, at most one `send_offsets`, then `commit` or
`abort`. A sender without a transactional id only sends. After a fatal error it is of no more use.

Retriable errors of init, commit and abort mean that the call goes on in the background; the same call is resumed until
the deadline. That never does a thing twice: librdkafka keeps one state per transaction and sends EndTxn for it with one
producer id and epoch. A commit that is still under way when the deadline passes can't be followed by an abort
(librdkafka answers _CONFLICT): the transaction's outcome stays unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from harness.clients.errors import FailedError, of_error, of_exception, timed_out
from harness.clients.patience import Deadline, OutOfPatienceError, bounded, let_go
from harness.clients.settings import MIN_OFFSETS_S, SOCKET_TIMEOUT_MS, WARM_UP_S
from harness.outcome import NO_SUCH_CODEC, Failure, Stage

SERVE_S: Final = 0.1
"""One wait for callbacks. Producer.poll(0.2) and longer waits to its end, even when a report has come."""
OVERDUE_S: Final = SOCKET_TIMEOUT_MS / 1000 + 2
"""So long behind its time-out a call has not been late, but hangs."""
MIN_CALL_S: Final = 0.1
"""A call near its deadline still gets so long."""
MAX_RESUMES: Final = 200
"""Resumed calls that return at once; with SERVE_S between them it is 20 s, more than any op may take."""

UNTOLD: Final = frozenset({"_PURGE_QUEUE", "_PURGE_INFLIGHT", "_FATAL"})
"""Errors of a record in a transaction that only say that the transaction has failed before."""

Reports = list[tuple[KafkaError | None, Message]]
"""Of one record: empty until there is its report."""


def split(key: str) -> tuple[str, int]:
    """Return (topic, partition) of a key such as "t0/3"."""
    topic, _, partition = key.rpartition("/")
    if not topic:
        raise ValueError(f"a key is topic/partition, e.g. t0/3; this one is {key!r}")
    return topic, int(partition)


class Sender:
    """One producer object and its transactions; used by one thread."""

    def __init__(self, config: Mapping[str, Any], any_topic: str) -> None:
        """Make the producer; connecting goes on in its threads. Raises KafkaException for settings that clash.

        any_topic: one that exists, to ask for metadata of.
        """
        self._transactional = "transactional.id" in config
        self._codec = config.get("compression.type", "none")
        self._any_topic = any_topic
        self._producer: Producer | None = Producer(dict(config))

    @property
    def producer(self) -> Producer:
        """The producer; not to be used after `drop`."""
        assert self._producer is not None, "this sender was dropped"
        return self._producer

    def queue(
        self,
        key: str,
        value: bytes | None,
        record_key: bytes | None = None,
        headers: list[tuple[str, str | bytes | None]] | None = None,
    ) -> Reports:
        """Take a record that is to be sent; what `report` awaits. Raises FailedError at stage PRODUCE."""
        topic, partition = split(key)
        reports: Reports = []
        try:
            self.producer.produce(
                topic,
                value,
                record_key,
                partition=partition,
                headers=headers or [],
                on_delivery=lambda error, message: reports.append((error, message)),
            )
        except (KafkaException, BufferError) as error:
            raise FailedError(self._cause(of_exception(Stage.PRODUCE, error))) from error
        return reports

    def report(self, reports: Reports, deadline: Deadline) -> int | None:
        """Await a record's report; return its offset, None where the broker told none.

        Raises FailedError at stage DELIVERY.
        """
        while not reports:
            if deadline.over():
                raise FailedError(timed_out(Stage.DELIVERY, "no delivery report within the op's bound"))
            try:
                self.producer.poll(min(deadline.left_s(), SERVE_S))
            except KafkaException as error:
                raise FailedError(self._cause(of_exception(Stage.DELIVERY, error))) from error
        failed, message = reports[0]
        if failed is not None:
            raise FailedError(self._told(self._cause(of_error(Stage.DELIVERY, failed))))
        offset = message.offset()
        return offset if offset is not None and offset >= 0 else None

    def _told(self, failure: Failure) -> Failure:
        """Return the failure; of a codec that is refused it says which one, and what to do."""
        if failure.name != NO_SUCH_CODEC:
            return failure
        message = f"{failure.message}: the broker takes no batch in {self._codec}; --compression names another codec"
        return replace(failure, message=message)

    def _cause(self, failure: Failure) -> Failure:
        """Return why the transaction had failed, where the record's own error does not tell.

        begin_transaction answers with that reason, and changes nothing while a transaction is open.
        """
        if failure.name not in UNTOLD or not self._transactional:
            return failure
        try:
            self.producer.begin_transaction()
        except KafkaException as error:
            reason = of_exception(failure.stage, error)
            return failure if reason.name == "_STATE" else reason
        raise AssertionError("begin_transaction began a transaction within a transaction")

    def init(self, deadline: Deadline) -> None:
        """Take the transactional id: fences the session that had it, ends its transaction."""
        with suppress(KafkaException):  # a head start: without a connection librdkafka tries again only 0.5 s later
            self.producer.list_topics(self._any_topic, timeout=min(WARM_UP_S, deadline.left_s()))
        self._resume(Stage.INIT, self.producer.init_transactions, deadline)

    def begin(self) -> None:
        """Begin a transaction."""
        try:
            self.producer.begin_transaction()
        except KafkaException as error:
            raise FailedError(of_exception(Stage.BEGIN, error)) from error

    def send_offsets(self, offsets: Mapping[str, int], group_metadata: Any, deadline: Deadline) -> None:
        """Commit the next offsets of keys for a group, with the transaction.

        librdkafka returns up to one socket time-out after the time it was given, or now and then never: then the
        producer is of no more use.
        """
        partitions = [TopicPartition(*split(key), offset) for key, offset in offsets.items()]
        timeout_s = deadline.sooner(SOCKET_TIMEOUT_MS / 1000).left_s(at_least=MIN_OFFSETS_S)
        send = partial(self.producer.send_offsets_to_transaction, partitions, group_metadata, timeout_s)
        try:
            bounded(send, timeout_s + OVERDUE_S)
        except OutOfPatienceError as error:
            raise FailedError(replace(timed_out(Stage.SEND_OFFSETS, str(error)), fatal=True)) from error
        except KafkaException as error:
            raise FailedError(of_exception(Stage.SEND_OFFSETS, error)) from error

    def commit(self, deadline: Deadline) -> None:
        """Commit; raises FailedError when it did not return ok before the deadline."""
        self._resume(Stage.COMMIT, self.producer.commit_transaction, deadline)

    def abort(self, deadline: Deadline) -> None:
        """Abort; raises FailedError when it did not return ok before the deadline."""
        self._resume(Stage.ABORT, self.producer.abort_transaction, deadline)

    def _resume(self, stage: Stage, call: Callable[[float], None], deadline: Deadline) -> None:
        for _ in range(MAX_RESUMES):
            try:
                call(deadline.left_s(at_least=MIN_CALL_S))
            except KafkaException as error:
                failure = of_exception(stage, error)
                if not failure.retriable or failure.fatal or failure.requires_abort or deadline.over():
                    raise FailedError(failure) from error
                self.producer.poll(min(deadline.left_s(), SERVE_S))
            else:
                return
        raise FailedError(timed_out(stage, f"still not done after {MAX_RESUMES} calls"))

    def drop(self, timeout_s: float) -> bool:
        """Throw the producer away as a crash would: no flush, no abort. Return whether it was gone in time."""
        things: list[Any] = [self._producer] if self._producer is not None else []
        self._producer = None
        return let_go(things, None, timeout_s)
