"""The share partitions of the partitions that this node leads: read when a group first asks, written as they change.

    reading -> (a group that begins: the start that its settings say is written) -> served -> dropped

One lives for one leader epoch of its partition. It is dropped, and whoever waits for it is told so, when the leadership
goes, when its coordinator says that somebody else has come (a leader, an administrator), when the outcome of a write is
not known, and when no session has it any more: the next one reads what is written. One write is under way at a time;
what changes meanwhile goes with the next. Kafka: SharePartitionManager, SharePartition.maybeInitialize.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from broker.core import group_settings
from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.log.time_lookup import first_at
from broker.core.metadata.image import Image
from broker.core.replication.replica import Key, Replica
from broker.core.replication.replicas import Replicas
from broker.core.share.partition import NEVER_MS, Batch, SharePartition, Written
from broker.core.share.persister import Persister
from broker.core.share.state import UNKNOWN_START, ShareKey
from broker.core.storage import Storage

Done = Callable[[Code], None]
_TRANSLATED = {
    Code.FENCED_LEADER_EPOCH: Code.NOT_LEADER_OR_FOLLOWER,
    Code.FENCED_STATE_EPOCH: Code.NOT_LEADER_OR_FOLLOWER,
}
"""What a coordinator says, in words that a consumer knows: ask who leads, and come again."""


class Led:
    """One group's part of one led partition; `partition` is None until it is read."""

    __slots__ = ("acks", "deadline_ms", "epoch", "key", "members", "partition", "sent", "waiting")

    def __init__(self, key: ShareKey, epoch: int) -> None:
        self.key, self.epoch = key, epoch
        self.partition: SharePartition | None = None
        self.members: dict[str, None] = {}
        """Members whose sessions have it."""
        self.waiting: list[Done] = []
        """Told when it is read."""
        self.acks: list[Done] = []
        """Told when the next write is done."""
        self.sent: list[Done] | None = None
        """Told when the write that is under way is done, None when none is."""

    @property
    def place(self) -> Key:
        """The partition."""
        return self.key.topic, self.key.partition


class Leading:
    """See the module. `freed` is told when there may be records to get."""

    def __init__(
        self,
        config: BrokerConfig,
        replicas: Replicas,
        storage: Storage,
        persister: Persister,
        *,
        image: Callable[[], Image],
        freed: Callable[[Key], None],
    ) -> None:
        self._config, self._replicas, self._storage, self._persister = config, replicas, storage, persister
        self._image, self._freed = image, freed
        self._led: dict[Key, dict[str, Led]] = {}
        self.deadline_ms = NEVER_MS
        """When a lock may run out."""

    def __iter__(self) -> Iterator[Led]:
        return (led for groups in self._led.values() for led in groups.values())

    def get(self, key: ShareKey) -> Led | None:
        """Return what is here, read or being read."""
        return self._led.get((key.topic, key.partition), {}).get(key.group)

    def replica(self, place: Key) -> Replica:
        """Return a partition that this node leads. Raise Refused."""
        if self._image().partition(*place) is None:
            unknown = place[0] not in self._image().topics
            raise Refused(Code.UNKNOWN_TOPIC_ID if unknown else Code.UNKNOWN_TOPIC_OR_PARTITION)
        replica = self._replicas.get(place)
        if replica is None or replica.leader is None:
            raise Refused(Code.NOT_LEADER_OR_FOLLOWER)
        return replica

    def find(self, key: ShareKey, now_ms: int) -> tuple[Led, Replica]:
        """Return a group's part of a partition, and begin to read it if it is not here. Raise Refused."""
        replica = self.replica((key.topic, key.partition))
        assert replica.leader is not None
        led = self.get(key)
        if led is not None and led.epoch != replica.leader.epoch:
            self.drop(led, Code.NOT_LEADER_OR_FOLLOWER)
            led = None
        if led is None:
            led = Led(key, replica.leader.epoch)
            self._led.setdefault(led.place, {})[key.group] = led
            self._begin(led, now_ms)
        return led, replica

    def _begin(self, led: Led, now_ms: int) -> None:
        self._persister.read(led.key, led.epoch, lambda result: self._read(led, result), now_ms)

    def _is_here(self, led: Led) -> bool:
        return self.get(led.key) is led

    # Reading.

    def _read(self, led: Led, result: Any) -> None:
        if not self._is_here(led):
            return
        now_ms = self._replicas.now_ms
        if result.error_code:
            self.drop(led, Code(result.error_code))
            return
        batches = tuple(
            Batch(one.first_offset, one.last_offset, one.delivery_state, one.delivery_count)
            for one in result.state_batches
        )
        if result.start_offset != UNKNOWN_START:
            self._serve(led, result.start_offset, result.state_epoch, batches)
            return
        try:
            start = self._first(led.key, self.replica(led.place), now_ms)
        except Refused as refused:
            self.drop(led, refused.code)
            return

        def done(answer: Any) -> None:
            if self._is_here(led):
                if answer.error_code:
                    self.drop(led, Code(answer.error_code))
                else:
                    self._serve(led, start, result.state_epoch, ())

        # What was delivered and not acknowledged must not be passed over by a leader that begins at a later end.
        self._persister.write(led.key, (result.state_epoch, led.epoch), Written(start, 0, ()), done, now_ms)

    def _first(self, key: ShareKey, replica: Replica, now_ms: int) -> int:
        """Return where a group begins that has no state yet."""
        reset = group_settings.text(self._config, self._image(), key.group, "share.auto.offset.reset")
        log, leader = replica.log, replica.leader
        assert leader is not None
        if reset == "earliest":
            return log.start
        if leader.epoch_start > log.high_watermark:  # the end may be one of the past
            raise Refused(Code.NOT_LEADER_OR_FOLLOWER)
        if reset == "latest":
            return log.high_watermark
        since_ms = now_ms - group_settings.duration_ms(reset)
        offset, _ = first_at(self._storage, log, max(0, since_ms), log.high_watermark)
        return offset if offset >= 0 else log.high_watermark

    def _serve(self, led: Led, start: int, state_epoch: int, batches: tuple[Batch, ...]) -> None:
        led.partition = SharePartition(start, state_epoch, batches, max_deliveries=self._config.share_max_deliveries)
        waiting, led.waiting = led.waiting, []
        for done in waiting:
            done(Code.NONE)
        self._freed(led.place)
        self.drop_idle(led)  # all that wanted it may have gone meanwhile

    # Writing.

    def save(self, led: Led, done: Done, now_ms: int) -> None:
        """Write what has changed; `done` when it is written, or why that is not known."""
        led.acks.append(done)
        self._push(led, now_ms)

    def _push(self, led: Led, now_ms: int) -> None:
        partition = led.partition
        if led.sent is not None or partition is None:
            return
        acks, led.acks = led.acks, []
        what = partition.write()
        if what is None:
            for done in acks:
                done(Code.NONE)
            return
        led.sent = acks
        epochs = (partition.state_epoch, led.epoch)
        self._persister.write(led.key, epochs, what, lambda result: self._wrote(led, result), now_ms)

    def _wrote(self, led: Led, result: Any) -> None:
        if not self._is_here(led):
            return
        if result.error_code:
            self.drop(led, Code(result.error_code))
            return
        partition, sent = led.partition, led.sent or []
        assert partition is not None
        led.sent = None
        partition.written()
        for done in sent:
            done(Code.NONE)
        if self._is_here(led):
            self._push(led, self._replicas.now_ms)
            self._freed(led.place)
            self.drop_idle(led)

    # Going.

    def drop(self, led: Led, code: Code) -> None:
        """Give it up: what is written is the truth."""
        groups = self._led.get(led.place, {})
        if groups.get(led.key.group) is led:
            del groups[led.key.group]
            if not groups:
                del self._led[led.place]
        told = [*led.waiting, *(led.sent or ()), *led.acks]
        led.waiting, led.sent, led.acks = [], None, []
        for done in told:
            done(_TRANSLATED.get(code, code))
        self._freed(led.place)

    def drop_idle(self, led: Led) -> None:
        """Give it up if nobody has it, and nothing is under way."""
        partition = led.partition
        if led.members or led.waiting or led.sent is not None or led.acks:
            return
        if partition is not None and partition.is_idle and self._is_here(led):
            self.drop(led, Code.NOT_LEADER_OR_FOLLOWER)

    def leave(self, key: ShareKey, member: str, now_ms: int) -> None:
        """A session that had it is closed: what its member has goes back."""
        led = self.get(key)
        if led is None:
            return
        led.members.pop(member, None)
        if led.partition is not None and led.partition.close(member):
            self.save(led, lambda _: None, now_ms)
        self.drop_idle(led)

    def moved(self, place: Key) -> None:
        """The partition's state in the metadata has changed: who leads it may be another."""
        groups = self._led.get(place)
        if groups is None:
            return
        replica = self._replicas.get(place)
        leader = None if replica is None else replica.leader
        for led in list(groups.values()):
            if leader is None or leader.epoch != led.epoch:
                self.drop(led, Code.NOT_LEADER_OR_FOLLOWER)

    def stop(self) -> None:
        """Share groups are switched off: whether what is on its way will be written, nobody knows."""
        for led in list(self):
            self.drop(led, Code.COORDINATOR_NOT_AVAILABLE)

    # Time.

    def locked(self, led: Led) -> None:
        """Records of it have been given away: look when their locks run out."""
        if led.partition is not None:
            self.deadline_ms = min(self.deadline_ms, led.partition.deadline_ms)

    def tick(self, now_ms: int) -> None:
        """Take back what was locked for too long."""
        if now_ms < self.deadline_ms:
            return
        for led in list(self):
            partition = led.partition
            if partition is not None and partition.deadline_ms <= now_ms and partition.expire(now_ms):
                self.save(led, lambda _: None, now_ms)
        deadlines = (led.partition.deadline_ms for led in self if led.partition is not None)
        self.deadline_ms = min(deadlines, default=NEVER_MS)
