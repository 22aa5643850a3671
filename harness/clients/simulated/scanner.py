"""Full reads and reads at an offset with simulated consumers: what `harness.clients.scanner` is for librdkafka's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from broker.sim.client.consumer import BEGINNING, Consumer
from broker.sim.client.errors import TIMED_OUT, ClientError
from broker.sim.client.fetched import ConsumedRecord
from harness.client import Now
from harness.clients import settings
from harness.clients.completion import Scan
from harness.clients.errors import UnreadableError
from harness.clients.sender import split
from harness.clients.simulated.failures import failed
from harness.clients.simulated.reader import bad_message, entry_of
from harness.outcome import Stage

OUT_OF_RANGE: Final = "_AUTO_OFFSET_RESET"
SLICE_MS: Final = 150
"""One wait for records: an answer that holds none comes after FETCH_WAIT_MS."""


class Scanner:
    """One process's scanning consumers; used by one coroutine at a time."""

    def __init__(self, new_consumer: Callable[[Literal["earliest", "error"]], Consumer], now: Now) -> None:
        """Prepare; a consumer is made with the first scan, and one that is never moved with the first read."""
        self._new_consumer, self._now = new_consumer, now
        self._consumer: Consumer | None = None
        self._strict: Consumer | None = None

    async def scan(self, key: str, deadline_ms: float) -> Scan:
        """Read the partition from its beginning to its end. Raises FailedError at stage POLL."""
        if self._consumer is None:
            self._consumer = self._new_consumer("earliest")
        consumer, partition, begun = self._consumer, split(key), self._now()
        consumer.assign({partition: BEGINNING})
        records: list[list[Any]] = []
        while consumer.loop.now_ms < deadline_ms:
            found = await consumer.poll(SLICE_MS, settings.MAX_POLL_RECORDS)
            self._stop_at_damage(found)
            records += [entry_of(record) for record in found]
            end = consumer.end(partition)
            if end is not None:
                consumer.assign({})
                return Scan(records, end, [begun, self._now()])
        consumer.assign({})
        raise failed(Stage.POLL, ClientError(TIMED_OUT, f"{key}: the end was not reached within the op's bound"))

    async def read_at(self, key: str, offset: int, deadline_ms: float) -> tuple[list[Any] | None, str | None]:
        """Return the first record from `offset` on (None: the end was reached), and what the consumer was told.

        This consumer is never moved by itself: an offset that is out of range is an error, whose name is returned.
        Raises FailedError at stage POLL for any other error.
        """
        if self._strict is None:
            self._strict = self._new_consumer("error")
        consumer, partition = self._strict, split(key)
        consumer.assign({partition: offset})
        try:
            while consumer.loop.now_ms < deadline_ms:
                found = await consumer.poll(SLICE_MS, 1)
                self._stop_at_damage(found)
                if found:
                    return entry_of(found[0]), None
                if consumer.end(partition) is not None:
                    return None, None
        except ClientError as error:
            if error.name != OUT_OF_RANGE:
                raise failed(Stage.POLL, error) from error
            return None, error.name
        finally:
            consumer.assign({})
        raise failed(Stage.POLL, ClientError(TIMED_OUT, f"{key} at {offset}: no answer within the op's bound"))

    def _stop_at_damage(self, found: Sequence[ConsumedRecord]) -> None:
        """Raise UnreadableError where one of these is a batch that can't be taken apart."""
        damaged = next((record for record in found if record.damage is not None), None)
        if damaged is not None:
            self.close()
            raise UnreadableError(bad_message(damaged), entry_of(damaged))

    def close(self) -> None:
        """Give the consumers up."""
        for consumer in (self._consumer, self._strict):
            if consumer is not None:
                consumer.close()
        self._consumer = self._strict = None
