"""One process's reading with a simulated consumer: what `harness.clients.reader` is for librdkafka's.

Positions that the process counts on are those of the consumer; `rewind` sets them back to what an op that came to
nothing had polled first. A change of the way (assigned, subscribed) or of the isolation makes a new consumer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from broker.sim.client.consumer import BEGINNING, Consumer
from broker.sim.client.errors import ClientError
from broker.sim.client.fetched import ConsumedRecord
from broker.sim.client.holding import Change
from broker.sim.client.metadata import Partition
from broker.sim.client.transactional import GroupMetadata
from harness.client import Now
from harness.clients import settings
from harness.clients.membership import GROUP, OnEvent, protocol_of
from harness.clients.payload import unreadable, written
from harness.clients.reader import Polled
from harness.clients.sender import split
from harness.clients.simulated.failures import failed
from harness.history import INFO, Op, Process
from harness.outcome import Failure, Stage
from harness.scenario import Isolation


def entry_of(record: ConsumedRecord) -> list[Any]:
    """Return the history's entry for a record that was read."""
    key = f"{record.topic}/{record.partition}"
    if record.damage is not None:
        return unreadable(record.offset, f"the batch at {record.offset} can't be read: {record.damage}")
    return written(key, record.offset, record.value, record.leader_epoch, record.key, record.headers)


def bad_message(record: ConsumedRecord) -> Failure:
    """Return what a poll fails with that met a batch which can't be taken apart, as librdkafka names it."""
    where = f"{record.topic}/{record.partition} at {record.offset}"
    return Failure(stage=Stage.POLL, name="_BAD_MSG", message=f"{where}: {record.damage}")


def key_of(partition: Partition) -> str:
    """Return the key of a topic-partition."""
    return f"{partition[0]}/{partition[1]}"


class Reader:
    """One consumer object at a time; used by one coroutine at a time."""

    def __init__(
        self,
        new_consumer: Callable[[Isolation], Consumer],
        process: Process,
        group: str,
        now: Now,
        on_event: OnEvent | None,
    ) -> None:
        """Prepare; the consumer is made with the first assign or subscribe."""
        self._new_consumer, self._process, self._now, self._on_event = new_consumer, process, now, on_event
        self._consumer: Consumer | None = None
        self.group = group
        self.isolation: Isolation | None = None
        """Of the consumer; None while there is none."""
        self.subscribed = False
        self.rebalances: list[dict[str, Any]] = []

    @property
    def consumer(self) -> Consumer:
        """The consumer; only while keys are assigned or topics subscribed."""
        assert self._consumer is not None, "nothing was assigned or subscribed yet"
        return self._consumer

    def assign(self, keys: Sequence[str], isolation: Isolation, *, from_beginning: bool) -> None:
        """Hold exactly these keys; those held before keep their positions, unless told otherwise."""
        self._take_consumer(isolation, subscribed=False)
        places: dict[Partition, int] = {}
        for key in keys:
            partition = split(key)
            position = None if from_beginning else self.consumer.position(partition)
            places[partition] = BEGINNING if position is None else position
        self.consumer.assign(places)

    def subscribe(self, keys: Sequence[str], isolation: Isolation) -> None:
        """Join the group for the topics of these keys."""
        self._take_consumer(isolation, subscribed=True)
        self.consumer.subscribe(list(dict.fromkeys(split(key)[0] for key in keys)), self._dealt)

    def _take_consumer(self, isolation: Isolation, *, subscribed: bool) -> None:
        if self._consumer is not None and (self.isolation, self.subscribed) == (isolation, subscribed):
            return
        old = self._consumer
        if old is not None:
            old.loop.spawn(old.leave(settings.CLOSE_S * 1000), f"{self._process} leaves")
        self._consumer = self._new_consumer(isolation)
        self.isolation, self.subscribed = isolation, subscribed

    async def poll(self, most: int) -> Polled:
        """Return what comes within about POLL_S, `most` records, by key."""
        polled = Polled()
        if self._consumer is None:
            return polled
        for record in await self._consumer.poll(settings.POLL_S * 1000, most):
            polled.records.setdefault(f"{record.topic}/{record.partition}", []).append(entry_of(record))
            if record.damage is not None:
                polled.failure = polled.failure or bad_message(record)
        return polled

    def rewind(self, first: Mapping[str, int]) -> None:
        """Go back to these offsets, so that the next poll reads again what came to nothing."""
        if self._consumer is None:
            return
        held = self._consumer.assignment
        for key, offset in first.items():
            if split(key) in held:  # else it is another member's now: it starts where the group committed
                self._consumer.seek(split(key), offset)

    async def commit(self, offsets: Mapping[str, int], deadline_ms: float) -> None:
        """Commit next offsets for the group, outside a transaction. Raises FailedError at COMMIT_OFFSETS."""
        consumer = self.consumer
        assert consumer.offsets is not None
        places = {split(key): offset for key, offset in offsets.items()}
        try:
            await consumer.offsets.commit(places, consumer.group_metadata, deadline_ms)
        except ClientError as error:
            raise failed(Stage.COMMIT_OFFSETS, error) from error

    def group_metadata(self) -> GroupMetadata:
        """Return what a transaction that commits offsets shows of this member."""
        return self.consumer.group_metadata

    def shown_positions(self) -> list[list[Any]]:
        """Return [[key, position], ...] of the keys held, those that are known."""
        if self._consumer is None:
            return []
        places = [(key, self._consumer.position(key)) for key in self._consumer.assignment]
        return [[key_of(key), position] for key, position in places if position is not None]

    def drop(self) -> None:
        """Give the consumer up as a killed process would: its membership runs out by itself."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer, self.isolation = None, None

    async def leave(self) -> None:
        """Leave the group in order, within CLOSE_S."""
        consumer, self._consumer, self.isolation = self._consumer, None, None
        if consumer is not None:
            await consumer.leave(settings.CLOSE_S * 1000)

    def _dealt(self, change: Change) -> None:
        keys = [key_of(key) for key in change.keys]
        self.rebalances.append({"keys": keys, "type": change.what})
        if self._on_event is None:
            return
        value: dict[str, Any] = {
            "process": self._process,
            "group": self.group,
            "member": change.member_id,
            "generation": change.generation,
            **protocol_of(self.consumer.config.group_protocol),
            **{kind: keys if kind == change.what else [] for kind in ("assigned", "revoked", "lost")},
        }
        self._on_event(Op(process=GROUP, type=INFO, f="rebalance", value=value, time=self._now()))
