"""One process's reading: a librdkafka consumer, the positions that the process counts on, and its group.

Two ways to hold keys. *Assigned*: the process names them; a key that it held before keeps its position, a new one
starts at its beginning. *Subscribed*: the group deals them out; positions start where the group committed, else at the
beginning, and each rebalance begins anew. A change of the way, or of the isolation, makes a new consumer: librdkafka
serves the old subscription's last rebalance in a later poll, where it would take an assignment away.

Positions are ours: the offset after the last record polled, or where librdkafka said that the partition ends (behind
control records and compacted offsets). `rewind` sets them back to what an op that came to nothing had polled first.

Rebalances are noted in `rebalances`, which the client empties before each op (`clients.membership`); a record may have
been read before one of them in the same poll. Where librdkafka was still waiting for the group's offset of a key when
another one came, it may go to the key's beginning: such a key's first record has to lie where the group committed, or
the consumer is given up for another. `strays` are the keys that this op has read and the group then took: what
was read of them must not be committed any more, since their next reader began where the group had committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from harness.client import Now
from harness.clients import settings
from harness.clients.errors import FailedError, of_error, of_exception, timed_out
from harness.clients.membership import Membership, OnEvent, generation_and_member, leave
from harness.clients.patience import Deadline, OutOfPatienceError, bounded, let_go
from harness.clients.payload import NOBODY, unreadable, written
from harness.clients.sender import split
from harness.history import Process
from harness.outcome import Failure, Stage
from harness.scenario import Isolation

START = 0
"""Where a new key is read from. Not the logical BEGINNING: librdkafka asks the broker where that is, and when another
assign overtakes the answer it asks once more half a second later, and goes back there in the middle of its reading
(docs/findings.md). Where the log begins later, the broker says so, and `auto.offset.reset` leads to its beginning."""

TAKEN_AWAY = "_ASSIGNMENT_LOST"
"""librdkafka's name, where we say it ourselves: the group has taken keys, and what was read of them is not ours."""

UNREADABLE = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG})
"""librdkafka's errors for a batch that it can't take apart. It stays there, and asks for the same one again."""

Records = dict[str, list[list[Any]]]
"""Per key what was read, in the order in which it came: [offset, v] or [offset, v, {...}]."""


@dataclass(slots=True)
class Polled:
    """What one poll brought. `failure` is the first error that came with it; the records count all the same."""

    records: Records = field(default_factory=dict)
    failure: Failure | None = None


class Reader:
    """One consumer object at a time; used by one thread."""

    def __init__(
        self,
        config: Callable[[Isolation], dict[str, Any]],
        process: Process,
        group: str,
        now: Now,
        on_event: OnEvent | None,
        *,
        protocol: str = "classic",
        origins: frozenset[str] = NOBODY,
    ) -> None:
        """Prepare; origins: see `clients.payload.written`; the consumer is made with the first assign or subscribe."""
        self._protocol = protocol
        self._origins = origins
        self._config = config
        self._process = process
        self._now = now
        self._on_event = on_event
        self._consumer: Consumer | None = None
        self.group = group
        self.isolation: Isolation | None = None
        """Of the consumer; None while there is none."""
        self.subscribed = False
        self.positions: dict[str, int] = {}
        self.held: list[str] = []
        """The keys assigned now, by whichever way."""
        self.rebalances: list[dict[str, Any]] = []
        self._read: set[str] = set()
        """The keys that the op has read."""
        self.strays: set[str] = set()
        self._overtaken: set[str] = set()
        """The keys that the consumer held, not knowing where to begin, when it heard of a rebalance."""
        self._topic_keys: list[str] = []
        """What the subscription was asked for."""
        self._membership: Membership | None = None

    @property
    def consumer(self) -> Consumer:
        """The consumer; only while keys are assigned or topics subscribed."""
        assert self._consumer is not None, "nothing was assigned or subscribed yet"
        return self._consumer

    def begin_op(self) -> None:
        """Forget what the last op heard and read."""
        self.rebalances.clear()
        self._read.clear()
        self.strays.clear()

    def assign(self, keys: Sequence[str], isolation: Isolation, *, from_beginning: bool) -> None:
        """Hold exactly these keys. Raises FailedError at stage ASSIGN."""
        self._take_consumer(isolation, topics=[split(key)[0] for key in keys], subscribed=False)
        kept = {} if from_beginning else {key: self.positions[key] for key in keys if key in self.positions}
        try:
            self.consumer.assign([TopicPartition(*split(key), kept.get(key, START)) for key in keys])
        except KafkaException as error:
            raise FailedError(of_exception(Stage.ASSIGN, error)) from error
        self.held, self.positions = list(keys), kept

    def subscribe(self, keys: Sequence[str], isolation: Isolation) -> None:
        """Join the group for the topics of these keys. Raises FailedError at stage SUBSCRIBE.

        A consumer that has not read all of its keys yet is given up for a new one: librdkafka deals it the same keys
        again, and where it was still waiting for their offsets it goes to their beginning (docs/findings.md).
        """
        topics = list(dict.fromkeys(split(key)[0] for key in keys))
        if self.subscribed and any(key not in self.positions for key in self.held):
            self.close(0)
        self._take_consumer(isolation, topics=topics, subscribed=True)
        self._disown()
        self._membership = member = Membership(
            self._process,
            self.group,
            self._now,
            on_event=self._on_event,
            on_keys=self._dealt,
            protocol=self._protocol,
        )
        try:
            self.consumer.subscribe(topics, on_assign=member.assigned, on_revoke=member.revoked, on_lost=member.lost)
        except KafkaException as error:
            raise FailedError(of_exception(Stage.SUBSCRIBE, error)) from error
        self.positions, self._topic_keys = {}, list(keys)

    def _take_consumer(self, isolation: Isolation, *, topics: Sequence[str], subscribed: bool) -> None:
        if self._consumer is not None and (self.isolation, self.subscribed) == (isolation, subscribed):
            return
        self.close(0)
        self._consumer, self._overtaken = Consumer(self._config(isolation)), set()
        self.isolation, self.subscribed, self.held = isolation, subscribed, []
        try:
            for topic in dict.fromkeys(topics):
                self._consumer.list_topics(topic, timeout=settings.WARM_UP_S)
        except KafkaException:
            return  # only a head start: the consumer goes on looking by itself

    def poll(self, most: int) -> Polled:
        """Return what comes within about POLL_S: the first record and all that is there with it, `most`, by key."""
        polled = Polled()
        if self._consumer is None:
            return polled
        deadline = Deadline(settings.POLL_S)
        try:
            while self._consumer is not None and not deadline.over():
                first = self._consumer.poll(deadline.left_s())
                if first is None or self._is_astray(first):
                    continue
                if self._take(first, polled):
                    for message in self._consumer.consume(most - 1, timeout=0) if most > 1 else ():
                        if self._is_astray(message):
                            break
                        self._take(message, polled)
                    break
        except KafkaException as error:  # a fatal error of the consumer
            polled.failure = polled.failure or of_exception(Stage.POLL, error)
        return polled

    def _take(self, message: Message, polled: Polled) -> bool:
        """Note one message; return whether it was something to return from poll with."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self.positions[f"{topic}/{partition}"] = offset or 0
                return False
            polled.failure = polled.failure or of_error(Stage.POLL, error)
            if (entry := unreadable_of(message)) is not None:
                polled.records.setdefault(f"{topic}/{partition}", []).append(entry)
            return True
        assert offset is not None
        key = f"{topic}/{partition}"
        self._read.add(key)
        polled.records.setdefault(key, []).append(entry_of(key, message, self._origins))
        self.positions[key] = offset + 1
        return True

    def _is_astray(self, message: Message) -> bool:
        """Return whether the message is of a key that was begun before the group's offset; another consumer begins."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        key = f"{topic}/{partition}"
        if key not in self._overtaken or topic is None or partition is None or offset is None:
            return False
        try:
            (told,) = self.consumer.committed([TopicPartition(topic, partition)], timeout=settings.COMMITTED_S)
            astray = told.error is not None or told.offset > offset  # below 0: nothing was committed
        except KafkaException:
            astray = True  # a transaction may still change it: whoever waited for it would have nothing to read yet
        self._overtaken.discard(key)
        if astray:
            assert self.isolation is not None
            self.strays.update(self._read)
            try:
                self.subscribe(self._topic_keys, self.isolation)
            except FailedError:
                self.close(0)  # without keys it reads nothing until the next assign or subscribe
        return astray

    def rewind(self, first: Mapping[str, int]) -> None:
        """Go back to these offsets, so that the next poll reads again what came to nothing."""
        for key, offset in first.items():
            if key not in self.held:
                continue  # another member's now: it starts where the group committed
            self.positions[key] = offset
            try:
                self.consumer.seek(TopicPartition(*split(key), offset))
            except KafkaException:
                if not self.subscribed:
                    self._assign_anew()

    def _assign_anew(self) -> None:
        """Where a seek is refused (the partition is not being fetched right now), all positions are given again."""
        places = [TopicPartition(*split(key), self.positions.get(key, START)) for key in self.held]
        try:
            self.consumer.assign(places)
        except KafkaException as error:
            raise FailedError(of_exception(Stage.ASSIGN, error)) from error

    def commit(self, offsets: Mapping[str, int], deadline: Deadline) -> None:
        """Commit next offsets for the group, outside a transaction. Raises FailedError at COMMIT_OFFSETS.

        After its bound the call still goes on, and keeps the consumer: this reader then has a new one.
        """
        consumer = self.consumer
        partitions = [TopicPartition(*split(key), offset) for key, offset in offsets.items()]
        try:
            answers = bounded(lambda: consumer.commit(offsets=partitions, asynchronous=False), deadline.left_s())
        except OutOfPatienceError as error:
            self._begin_anew()
            raise FailedError(timed_out(Stage.COMMIT_OFFSETS, str(error))) from error
        except KafkaException as error:
            raise FailedError(of_exception(Stage.COMMIT_OFFSETS, error)) from error
        for answer in answers or ():
            if answer.error is not None:
                raise FailedError(of_error(Stage.COMMIT_OFFSETS, answer.error))

    def _begin_anew(self) -> None:
        """Take the same keys with another consumer; the old one belongs to a call that has not returned."""
        isolation, held, positions = self.isolation, self.held, self.positions
        assert isolation is not None
        self._disown()
        self._consumer = None
        try:
            if self.subscribed:
                self.subscribe(self._topic_keys, isolation)
            else:
                self.positions = positions
                self.assign(held, isolation, from_beginning=False)
        except FailedError:
            self.close(0)  # without keys it reads nothing until the next assign or subscribe

    def group_metadata(self) -> Any:
        """Return what send_offsets_to_transaction wants to know of this member. Raises FailedError at SEND_OFFSETS.

        In a classic group: of the member as it was dealt its keys. librdkafka may have been told since that it is out,
        which no poll has heard of yet; it would then name no member, and brokers take anything from nobody in
        particular (KIP-447), also what another member has committed meanwhile.
        """
        metadata = self._membership.metadata if self._membership is not None and self._protocol == "classic" else None
        metadata = metadata or self.consumer.consumer_group_metadata()
        generation, _ = generation_and_member(metadata)
        if self.strays or (generation is not None and generation < 0):
            message = f"not a member any more, or taken away since they were read: {', '.join(sorted(self.strays))}"
            raise FailedError(Failure(stage=Stage.SEND_OFFSETS, name=TAKEN_AWAY, message=message))
        return metadata

    def shown_positions(self) -> list[list[Any]]:
        """Return [[key, position], ...] of the keys held, those that are known."""
        return [[key, self.positions[key]] for key in self.held if key in self.positions]

    def close(self, timeout_s: float, *, gracefully: bool = True) -> bool:
        """Give the consumer up; a member leaves its group only when gracefully. Return whether it was gone in time."""
        self._disown()
        things: list[Any] = [self._consumer] if self._consumer is not None else []
        farewell = leave if gracefully and self.subscribed else None
        self._consumer, self.isolation, self.held = None, None, []
        return let_go(things, farewell, timeout_s)

    def _disown(self) -> None:
        """Stop listening to the callbacks of the last subscription."""
        if self._membership is not None:
            self._membership.active = False
        self._membership = None

    def _dealt(self, what: str, keys: list[str]) -> None:
        """Hear of a rebalance: positions of keys that come or go are not ours any more."""
        self._overtaken.update(key for key in self.held if key not in self.positions)
        left = [key for key in self.held if key not in keys]
        if what == "assigned":
            self.held = keys if self._protocol == "classic" else [*left, *keys]  # there what comes is added
        else:
            self.held = left
            self.strays.update(self._read.intersection(keys))
        for key in keys:
            self.positions.pop(key, None)
        self.rebalances.append({"keys": keys, "type": what})


def unreadable_of(message: Message) -> list[Any] | None:
    """Return the history's entry for a batch that librdkafka says it can't take apart; None for any other message."""
    error, offset = message.error(), message.offset()
    if error is None or error.code() not in UNREADABLE or message.topic() is None or offset is None or offset < 0:
        return None
    return unreadable(offset, f"the batch at {offset} can't be read: {error.name()}")


def entry_of(key: str, message: Message, origins: frozenset[str] = NOBODY) -> list[Any]:
    """Return the history's entry for a record that was read."""
    offset, value, record_key = message.offset(), message.value(), message.key()
    assert offset is not None
    if record_key is not None and not isinstance(record_key, bytes):
        record_key = record_key.encode()
    return written(key, offset, value, message.leader_epoch(), record_key, message.headers(), origins)
