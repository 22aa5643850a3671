"""Full reads: one partition from its beginning to its end, by a consumer that does nothing else.

The end is where librdkafka says that the partition ends: the last stable offset for read_committed. The consumer is
kept between scans, so that a scan takes a fetch or two and not a connection: how long it took decides what it proves.
It is given up after any error: an answer about the log's beginning may still be out, and would set the next scan back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from harness.client import Now
from harness.clients import settings
from harness.clients.completion import Scan
from harness.clients.errors import FailedError, UnreadableError, of_error, of_exception, timed_out
from harness.clients.patience import Deadline, let_go
from harness.clients.reader import entry_of, unreadable_of
from harness.clients.sender import split
from harness.outcome import Stage

OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
SLICE_S: Final = 0.5
"""One wait for messages; the end of the partition is told as one."""


class Scanner:
    """One process's scanning consumer; used by one thread."""

    def __init__(self, config: Callable[[], Mapping[str, Any]], now: Now) -> None:
        """Prepare; the consumer is made with the first scan."""
        self._config, self._now = config, now
        self._consumer: Consumer | None = None
        self._strict: Consumer | None = None

    def scan(self, key: str, deadline: Deadline) -> Scan:
        """Read the partition from its beginning to its end. Raises FailedError at stage POLL."""
        place = TopicPartition(*split(key), OFFSET_BEGINNING)
        try:
            if self._consumer is None:
                self._consumer = Consumer(dict(self._config()))
                self._consumer.list_topics(place.topic, timeout=settings.WARM_UP_S)
            begun = self._now()
            self._consumer.assign([place])
            records: list[list[Any]] = []
            while not deadline.over():
                first = self._consumer.poll(min(SLICE_S, deadline.left_s()))
                more = self._consumer.consume(settings.MAX_POLL_RECORDS, timeout=0) if first is not None else []
                for message in (*([first] if first is not None else ()), *more):
                    end = _end(message)
                    if end is not None:
                        self._consumer.unassign()
                        return Scan(records, end, [begun, self._now()])
                    records.append(entry_of(key, message))
        except KafkaException as error:
            self.close(0)
            raise FailedError(of_exception(Stage.POLL, error)) from error
        except FailedError:
            self.close(0)
            raise
        self.close(0)
        raise FailedError(timed_out(Stage.POLL, f"{key}: the end was not reached within the op's bound"))

    def read_at(self, key: str, offset: int, deadline: Deadline) -> tuple[list[Any] | None, str | None]:
        """Return the first record from `offset` on (None: the end was reached), and what the consumer was told.

        This consumer is never moved by itself: an offset that is out of range is an error, whose name is returned.
        Raises FailedError at stage POLL for any other error.
        """
        place = TopicPartition(*split(key), offset)
        try:
            if self._strict is None:
                self._strict = Consumer({**self._config(), "auto.offset.reset": "error"})
                self._strict.list_topics(place.topic, timeout=settings.WARM_UP_S)
            self._strict.assign([place])
            while not deadline.over():
                message = self._strict.poll(min(SLICE_S, deadline.left_s()))
                if message is None:
                    continue
                error = message.error()
                self._strict.unassign()
                if error is not None and error.code() in OUT_OF_RANGE:
                    return None, error.name()
                return (None if _end(message) is not None else entry_of(key, message)), None
        except KafkaException as error:
            self.close(0)
            raise FailedError(of_exception(Stage.POLL, error)) from error
        self.close(0)
        raise FailedError(timed_out(Stage.POLL, f"{key} at {offset}: no answer within the op's bound"))

    def close(self, timeout_s: float) -> None:
        """Give the consumers up."""
        things: list[Any] = [one for one in (self._consumer, self._strict) if one is not None]
        self._consumer = self._strict = None
        let_go(things, None, timeout_s)


def _end(message: Message) -> int | None:
    """Return where the partition ends, if the message says so; raises FailedError for what else it may complain of.

    UnreadableError where that is a batch which it can't take apart.
    """
    error = message.error()
    if error is None:
        return None
    if error.code() == KafkaError._PARTITION_EOF:
        return message.offset() or 0
    failure, entry = of_error(Stage.POLL, error), unreadable_of(message)
    raise FailedError(failure) if entry is None else UnreadableError(failure, entry)
