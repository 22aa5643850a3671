"""Questions to share coordinators, each about one partition of one group, asked again until answered or too late.

Who coordinates is found anew for every try: the leader of the key's partition of `__share_group_state`, which is made
when first needed. A coordinator that loads, has moved, or did not answer is tried again for `PATIENCE_MS`; then whoever
asked hears COORDINATOR_NOT_AVAILABLE and does not know what became of it. A write may thus be executed twice: it says
what holds, not what to add. Kafka: PersisterStateManager.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.metadata.image import Image
from broker.core.ready import Outbox
from broker.core.share.coordinator import TOPIC
from broker.core.share.partition import Written
from broker.core.share.state import ShareKey
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages import share_group_state as wire

CHANNEL = 9
"""A state's log may be slow; nothing else should wait behind it."""
PATIENCE_MS = 10_000
"""An election takes a few seconds; clients wait for 30."""
TRY_MS = 3000
"""For one try: a node that was stopped does not answer, and another one may coordinate meanwhile."""
CREATE_EVERY_MS = 1000
"""Until then the wish for the topic is not repeated."""
NEVER_MS = 1 << 62
_AGAIN = frozenset({Code.COORDINATOR_LOAD_IN_PROGRESS, Code.COORDINATOR_NOT_AVAILABLE, Code.NOT_COORDINATOR})

Done = Callable[[Any], None]
"""Gets the result of the one partition: its `error_code` and what else the answer has."""


class _Asked(msgspec.Struct):
    """A question on its way, or waiting for its next try."""

    key: ShareKey
    message: Any
    unanswered: Any
    done: Done
    until_ms: int
    retry_at_ms: int = 0


class Persister:
    """See the module. `create` asks for the topic."""

    def __init__(
        self, config: BrokerConfig, out: Outbox, *, image: Callable[[], Image], create: Callable[[int], None]
    ) -> None:
        self._config, self._out, self._image, self._create = config, out, image, create
        self.is_on = False
        """While share groups are off nobody is asked: who asks hears so at once."""
        self._sent: dict[int, _Asked] = {}
        self._waiting: list[_Asked] = []
        self._created_ms = -CREATE_EVERY_MS

    @property
    def deadline_ms(self) -> int:
        """When a question must be asked again, or given up."""
        retry_ms = min((one.retry_at_ms for one in self._waiting), default=NEVER_MS)
        return min([retry_ms, *(one.until_ms for one in self._sent.values())])

    def initialize(self, key: ShareKey, state_epoch: int, start: int, done: Done, now_ms: int) -> None:
        """Begin a state anew."""
        ask = wire.InitializePartition(partition=key.partition, state_epoch=state_epoch, start_offset=start)
        topic = wire.InitializeTopic(topic_id=bytes.fromhex(key.topic), partitions=(ask,))
        message = wire.InitializeShareGroupStateRequest(group_id=key.group, topics=(topic,))
        self._ask(key, message, wire.InitializeResult, done, now_ms)

    def read(self, key: ShareKey, leader_epoch: int, done: Done, now_ms: int) -> None:
        """Read a state as the partition's leader."""
        ask = wire.ReadPartition(partition=key.partition, leader_epoch=leader_epoch)
        topic = wire.ReadTopic(topic_id=bytes.fromhex(key.topic), partitions=(ask,))
        message = wire.ReadShareGroupStateRequest(group_id=key.group, topics=(topic,))
        self._ask(key, message, wire.ReadResult, done, now_ms)

    def write(self, key: ShareKey, epochs: tuple[int, int], what: Written, done: Done, now_ms: int) -> None:
        """Write what has changed; `epochs`: state epoch and leader epoch."""
        ask = wire.WritePartition(
            partition=key.partition,
            state_epoch=epochs[0],
            leader_epoch=epochs[1],
            start_offset=what.start,
            delivery_complete_count=what.done,
            state_batches=tuple(
                wire.StateBatch(
                    first_offset=one.first, last_offset=one.last, delivery_state=one.state, delivery_count=one.count
                )
                for one in what.batches
            ),
        )
        topic = wire.WriteTopic(topic_id=bytes.fromhex(key.topic), partitions=(ask,))
        message = wire.WriteShareGroupStateRequest(group_id=key.group, topics=(topic,))
        self._ask(key, message, wire.WriteResult, done, now_ms)

    def delete(self, key: ShareKey, done: Done, now_ms: int) -> None:
        """Forget a state."""
        topic = wire.DeleteTopic(
            topic_id=bytes.fromhex(key.topic), partitions=(wire.DeletePartition(partition=key.partition),)
        )
        message = wire.DeleteShareGroupStateRequest(group_id=key.group, topics=(topic,))
        self._ask(key, message, wire.DeleteResult, done, now_ms)

    def summary(self, key: ShareKey, done: Done, now_ms: int) -> None:
        """Read where a state begins, as an administrator."""
        ask = wire.SummaryPartition(partition=key.partition, leader_epoch=-1)
        topic = wire.SummaryTopic(topic_id=bytes.fromhex(key.topic), partitions=(ask,))
        message = wire.ReadShareGroupStateSummaryRequest(group_id=key.group, topics=(topic,))
        self._ask(key, message, wire.SummaryResult, done, now_ms)

    def _ask(self, key: ShareKey, message: Any, kind: Any, done: Done, now_ms: int) -> None:
        unanswered = kind(
            partition=key.partition,
            error_code=Code.COORDINATOR_NOT_AVAILABLE,
            error_message="no share coordinator answers",
        )
        if self.is_on:
            self._send(_Asked(key, message, unanswered, done, now_ms + PATIENCE_MS), now_ms)
        else:
            done(unanswered)

    def _send(self, one: _Asked, now_ms: int) -> None:
        topic = self._image().topic(TOPIC)
        if topic is None:
            if now_ms - self._created_ms >= CREATE_EVERY_MS:
                self._created_ms = now_ms
                self._create(now_ms)
            self._wait(one, now_ms)
            return
        state = topic.partitions.get(partition_for(one.key.coordinator_key, len(topic.partitions)))
        if state is None or state.leader < 0:
            self._wait(one, now_ms)
            return
        wait_ms = min(TRY_MS, max(1, one.until_ms - now_ms))
        self._sent[self._out.request(state.leader, CHANNEL, one.message, wait_ms)] = one

    def _wait(self, one: _Asked, now_ms: int) -> None:
        one.retry_at_ms = min(one.until_ms, now_ms + self._config.retry_backoff_ms)
        self._waiting.append(one)

    def stop(self) -> None:
        """Share groups are switched off: give all questions up."""
        given_up = [*self._sent.values(), *self._waiting]
        self._sent, self._waiting = {}, []
        for one in given_up:
            one.done(one.unanswered)

    def tick(self, now_ms: int) -> None:
        """Ask again what is due, give up what has waited for too long."""
        if self.deadline_ms > now_ms:
            return
        for token in [token for token, one in self._sent.items() if one.until_ms <= now_ms]:
            one = self._sent.pop(token)  # this node's own log is stuck: it does not fail a request to itself
            one.done(one.unanswered)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one.retry_at_ms > now_ms:
                self._waiting.append(one)
            elif now_ms >= one.until_ms:
                one.done(one.unanswered)
            else:
                self._send(one, now_ms)

    def owns(self, token: int) -> bool:
        """Return whether the request is one of these."""
        return token in self._sent

    def answered(self, token: int, message: Any, now_ms: int) -> None:
        """Pass the answer on, unless it is to be asked again."""
        one = self._sent.pop(token)
        results = [result for topic in getattr(message, "results", ()) for result in topic.partitions]
        if len(results) != 1 or results[0].error_code in _AGAIN:
            self._wait(one, now_ms)
        else:
            one.done(results[0])

    def failed(self, token: int, now_ms: int) -> None:
        """Nobody answered: there may be another coordinator soon."""
        self._wait(self._sent.pop(token), now_ms)
