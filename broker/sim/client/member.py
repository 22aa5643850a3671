"""One consumer's membership of a group whose coordinator assigns (KIP-848): heartbeats, and what it is told to hold.

    joining (epoch 0) -> member: beats, hears a target -> gives up what is not in it -> takes what is new -> ...
                           '--- fenced, or unknown ---> the application loses all -> joining

As in Kafka's client: beats go on while the application is busy, and say what it holds; what it holds changes in `poll`
alone, which calls `changes`: first it gives up, and says so with the next beat, then it takes. What is told is said in
full at first and after every failure, else only what it holds. Nothing but the coordinator's word ends the membership:
who is cut off goes on until it hears that it is fenced, and may commit until then, in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.sim.client.config import ConsumerConfig
from broker.sim.client.contact import Contact
from broker.sim.client.coordinator import Coordinator
from broker.sim.client.errors import ClientError
from broker.sim.client.holding import Holding, Rebalance
from broker.sim.client.metadata import Partition
from broker.sim.loop import Future, Task, TimedOutError
from broker.wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)

VERSION: Final = 0
JOIN, LEAVE = 0, -1
FENCED: Final = frozenset({"FENCED_MEMBER_EPOCH", "UNKNOWN_MEMBER_ID", "GROUP_ID_NOT_FOUND"})
"""The member is out of the group, or of its past: it lets go of everything, and joins anew."""


class Member(Holding):
    """See the module. `wake` ends the wait of a poll. `generation` is the member's epoch."""

    def __init__(
        self, contact: Contact, config: ConsumerConfig, coordinator: Coordinator, wake: Callable[[], None]
    ) -> None:
        """Prepare; `subscribe` joins."""
        assert config.group_id is not None
        super().__init__(contact, JOIN, wake)
        self._config, self._coordinator = config, coordinator
        self._group_id = config.group_id
        self._topics: tuple[str, ...] = ()
        self._target: tuple[TopicPartitions, ...] = ()
        self._signal: Future[None] = contact.loop.future()
        self._reconciling: Task[None] | None = None
        self._is_full = True
        self._is_running = False

    def subscribe(self, topics: tuple[str, ...], listener: Rebalance) -> None:
        """Want these topics from now on."""
        self._topics, self._listener, self._is_full = topics, listener, True
        for topic in topics:
            self._contact.watch(topic)
        if self._is_running:
            self._signal.set(None)
        else:
            self._is_running = True
            self._contact.spawn(self._run(), f"{self._config.client.client_id} member")

    async def leave(self, timeout_ms: float) -> None:
        """Tell the group that this member goes; what goes wrong is of no interest any more."""
        if not self.member_id:
            return
        ask = ConsumerGroupHeartbeatRequest(group_id=self._group_id, member_id=self.member_id, member_epoch=LEAVE)
        try:
            await self._coordinator.ask(ask, VERSION, self._contact.loop.now_ms + timeout_ms, _code)
        except ClientError:
            return

    async def _run(self) -> None:
        """Be a member until the client is closed."""
        contact, attempt = self._contact, 0
        while True:
            self._signal = contact.loop.future()
            full, self._is_full = self._is_full, False
            deadline_ms = contact.loop.now_ms + self._config.session_timeout_ms
            answer: ConsumerGroupHeartbeatResponse
            try:
                answer = await self._coordinator.ask_once(self._beat(full=full), VERSION, deadline_ms, _code)
            except ClientError as error:
                self._is_full = True
                if error.name in FENCED:
                    await self._lose()
                attempt += 1
                await contact.loop.sleep(contact.backoff_ms(attempt))
                continue
            attempt, self.generation = 0, answer.member_epoch
            self.member_id = answer.member_id or self.member_id
            if answer.assignment is not None:
                self._target = answer.assignment.topic_partitions
                self._reconcile()
            try:
                await contact.loop.within(self._signal, answer.heartbeat_interval_ms)
            except TimedOutError:
                continue

    def _beat(self, *, full: bool) -> ConsumerGroupHeartbeatRequest:
        ids = self._contact.metadata.topic_ids
        owned: dict[bytes, list[int]] = {}
        for topic, index in self._owned:
            owned.setdefault(ids[topic], []).append(index)
        holds = tuple(TopicPartitions(topic_id=one, partitions=tuple(indexes)) for one, indexes in owned.items())
        if not full:
            return ConsumerGroupHeartbeatRequest(
                group_id=self._group_id,
                member_id=self.member_id,
                member_epoch=self.generation,
                topic_partitions=holds,
            )
        return ConsumerGroupHeartbeatRequest(
            group_id=self._group_id,
            member_id=self.member_id,
            member_epoch=self.generation,
            rebalance_timeout_ms=self._config.rebalance_timeout_ms,
            subscribed_topic_names=self._topics,
            topic_partitions=holds,
        )

    def _reconcile(self) -> Task[None]:
        """Begin to go from what is held to the target, if that is not under way."""
        if self._reconciling is None or self._reconciling.done:
            self._reconciling = self._contact.spawn(self._step(), f"{self._config.client.client_id} reconciles")
        return self._reconciling

    async def _step(self) -> None:
        """Give up first, then take; a target that changes meanwhile counts from the next step on."""
        while True:
            target = await self._named()
            taken = tuple(key for key in self._owned if key not in target)
            given = tuple(key for key in target if key not in self._owned)
            if taken:
                await self._change("revoked", taken)
            elif given:
                await self._change("assigned", given)
            else:
                return
            self._signal.set(None)

    async def _named(self) -> tuple[Partition, ...]:
        """Return the target's partitions by topic name, as soon as all names are known."""
        contact, attempt = self._contact, 0
        while any(topic.topic_id not in contact.metadata.names for topic in self._target):
            attempt += 1
            if not await contact.refresh() or attempt > 1:
                await contact.loop.sleep(contact.backoff_ms(attempt))
        names = contact.metadata.names
        return tuple((names[topic.topic_id], index) for topic in self._target for index in topic.partitions)

    async def _lose(self) -> None:
        """Let the application hear that all is gone, then be nobody."""
        self._is_lost, self._target = True, ()
        await self._reconcile()
        self._is_lost, self.generation = False, JOIN


def _code(answer: ConsumerGroupHeartbeatResponse) -> int:
    return answer.error_code
