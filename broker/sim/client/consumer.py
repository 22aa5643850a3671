"""A consumer: partitions assigned by hand or by a group, positions, fetches from leaders, committed offsets.

Each partition that is held has a position, the offset that the application sees next: from `assign` or `seek`, else
from broker.wire.errors import error_name
from what the group committed, else by `offset_reset`. Records are fetched when a poll finds none at hand, one request
to each leader at a time; what an answer brings after the poll's end waits for the next poll. `seek`, and a new
assignment, make what was under way void.

Rebalances happen inside `poll` (librdkafka and Java do it so): the group's `Membership` asks the listener there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.sim.client.config import CONSUMER, ConsumerConfig
from broker.sim.client.contact import Contact
from broker.sim.client.errors import MOVED, ClientError
from broker.sim.client.fetched import ConsumedRecord, records_of
from broker.sim.client.group import Membership
from broker.sim.client.holding import Rebalance
from broker.sim.client.member import Member
from broker.sim.client.metadata import Leader, Partition
from broker.sim.client.offsets import Offsets
from broker.sim.client.transactional import GroupMetadata
from broker.sim.connections import Network
from broker.sim.loop import MS_NS, Future, Loop, TimedOutError
from broker.wire.batch import CorruptBatchError
from broker.wire.errors import error_name
from broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic, PartitionData
from broker.wire.messages.list_offsets import (
    EARLIEST,
    LATEST,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)

FETCH_VERSION: Final = 13
LIST_VERSION: Final = 7
BEGINNING: Final = -2
"""A position that is yet to be asked for: the log's start."""
TICK_MS: Final = 0.001
"""Every wait lasts at least so long: a fraction of a nanosecond would stop the clock."""


@dataclass(slots=True, eq=False)
class _Held:
    """A partition that is held. `position` None: it is not known yet."""

    key: Partition
    position: int | None
    from_group: bool
    reset_to: int | None = None
    """EARLIEST or LATEST, when the position must be asked for."""
    buffer: deque[ConsumedRecord] = field(default_factory=deque)
    behind: int = 0
    """The position behind the buffer."""
    epoch: int = -1
    """Leader epoch of the record before the position, -1 where none was read."""
    end: int | None = None
    """Where the partition ended when it was last fetched from to its end: the last stable offset, or high watermark."""
    failure: ClientError | None = None
    """What `poll` raises: the partition is not read any more."""
    busy: bool = False
    not_before_ms: float = 0
    attempts: int = 0


class Consumer:
    """See the module. Used by coroutines of one loop; `close` drops it as a crash would, `leave` first says goodbye."""

    def __init__(self, loop: Loop, network: Network, config: ConsumerConfig) -> None:
        """Prepare; nothing connects yet."""
        self.loop, self.config = loop, config
        self.contact = Contact(loop, network, config.client)
        self.offsets = (
            Offsets(self.contact, config.group_id, config.group_protocol) if config.group_id is not None else None
        )
        self.membership: Membership | Member | None = None
        self._held: dict[Partition, _Held] = {}
        self._fetching: dict[int, None] = {}
        self._woken: Future[None] | None = None
        self._turn = 0

    # What to read.

    def assign(self, places: Mapping[Partition, int]) -> None:
        """Hold exactly these partitions, from these offsets (BEGINNING: the log's start)."""
        self._held = {}
        for key, offset in places.items():
            self.contact.watch(key[0])
            asked = offset < 0
            self._held[key] = _Held(
                key, None if asked else offset, from_group=False, reset_to=EARLIEST if asked else None
            )
        self._wake()

    def seek(self, key: Partition, offset: int) -> None:
        """Read on from this offset. Raises ClientError _STATE when the partition is not held."""
        if key not in self._held:
            raise ClientError("_STATE", f"{key} is not assigned")
        self._held[key] = _Held(key, offset, from_group=False)

    def subscribe(self, topics: Sequence[str], listener: Rebalance) -> None:
        """Join the group for these topics, or change what to read; `listener` is called inside `poll`."""
        assert self.offsets is not None, "a consumer that subscribes has a group id"
        if self.membership is None:
            self._held = {}
            made = Member if self.config.group_protocol == CONSUMER else Membership
            self.membership = made(self.contact, self.config, self.offsets.coordinator, self._wake)
        self.membership.subscribe(tuple(topics), listener)

    @property
    def assignment(self) -> tuple[Partition, ...]:
        """The partitions that are held."""
        return tuple(self._held)

    def position(self, key: Partition) -> int | None:
        """Return the offset that is read next, None while it is not known or the partition is not held."""
        held = self._held.get(key)
        return None if held is None else held.position

    @property
    def group_metadata(self) -> GroupMetadata:
        """What a transaction shows that commits offsets for this consumer."""
        assert self.config.group_id is not None
        epochs = {key: held.epoch for key, held in self._held.items() if held.epoch >= 0}
        if self.membership is None:
            return GroupMetadata(self.config.group_id, epochs=epochs)
        member = self.membership
        return GroupMetadata(self.config.group_id, member.generation, member.member_id, epochs)

    def end(self, key: Partition) -> int | None:
        """Return where the partition ended when all of it up to there had been read, None while it is not."""
        held = self._held.get(key)
        return None if held is None or held.buffer or held.end != held.position else held.end

    # Reading.

    async def poll(self, timeout_ms: float, most: int) -> list[ConsumedRecord]:
        """Return the records at hand, or the first to come within the time; none if none come.

        Raises ClientError _AUTO_OFFSET_RESET where an offset is out of range and there is no policy for it.
        """
        deadline_ns = self.loop.now_ns + int(timeout_ms * MS_NS)
        while True:
            self._rebalance()
            for held in self._held.values():
                if held.failure is not None:
                    raise held.failure
            records = self._take(most)
            left_ns = deadline_ns - self.loop.now_ns
            if records or left_ns <= 0:
                return records
            retry_ms = self._go_on()
            self._woken = self.loop.future()
            try:
                await self.loop.within(self._woken, min(left_ns / MS_NS, retry_ms) + TICK_MS)
            except TimedOutError:
                pass
            finally:
                self._woken = None

    def _rebalance(self) -> None:
        """Let the group change what is held."""
        if self.membership is None:
            return
        for taken, given in self.membership.changes():
            for key in taken:
                self._held.pop(key, None)
            for key in given:
                self.contact.watch(key[0])
                self._held[key] = _Held(key, None, from_group=True)

    def _take(self, most: int) -> list[ConsumedRecord]:
        """Return what is at hand; begin with another partition each time, so that none starves."""
        found: list[ConsumedRecord] = []
        all_held = list(self._held.values())
        self._turn += 1
        for held in (*all_held[self._turn % max(len(all_held), 1) :], *all_held[: self._turn % max(len(all_held), 1)]):
            while held.buffer and len(found) < most:
                record = held.buffer.popleft()
                found.append(record)
                held.position = record.offset + 1 if held.buffer else held.behind
                held.epoch = record.leader_epoch
        return found

    def _go_on(self) -> float:
        """Ask for positions and records where nothing is under way; return the ms after which to look again."""
        now_ms, wait_ms = self.loop.now_ms, float(self.config.fetch_wait_ms)
        by_leader: dict[int, list[tuple[_Held, Leader]]] = {}
        from_group: list[_Held] = []
        for held in self._held.values():
            if held.buffer or held.busy:
                continue
            leader = self.contact.known_leader(held.key) if now_ms >= held.not_before_ms else None
            if leader is None:
                held.not_before_ms = max(held.not_before_ms, now_ms + 1)
                wait_ms = min(wait_ms, max(held.not_before_ms - now_ms, self.config.client.retry_backoff_ms))
            elif held.position is not None:
                by_leader.setdefault(leader.node, []).append((held, leader))
            elif held.reset_to is not None:
                held.busy = True
                self.contact.spawn(self._look_up(held, leader), "offset reset")
            else:
                held.busy = True
                from_group.append(held)
        if from_group:
            self.contact.spawn(self._look_up_committed(from_group), "committed offsets")
        for node, parts in by_leader.items():
            if node not in self._fetching:
                self._fetching[node] = None
                self.contact.spawn(self._fetch(node, parts), f"{self.config.client.client_id} fetch n{node}")
        return max(wait_ms, 1.0)

    def _wake(self) -> None:
        if self._woken is not None:
            self._woken.set(None)

    def _is_held(self, held: _Held) -> bool:
        return self._held.get(held.key) is held

    def _later(self, held: _Held, name: str) -> None:
        """Something stood against it: try again after a pause."""
        held.attempts += 1
        held.not_before_ms = self.loop.now_ms + self.contact.backoff_ms(held.attempts)
        if name in MOVED:
            self.contact.refresh()

    async def _fetch(self, node: int, parts: list[tuple[_Held, Leader]]) -> None:
        config, metadata = self.config, self.contact.metadata
        wanted: dict[str, list[FetchPartition]] = {}
        asked: dict[tuple[str, int], tuple[_Held, int]] = {}
        for held, leader in parts:
            assert held.position is not None
            topic, index = held.key
            part = FetchPartition(
                partition=index,
                current_leader_epoch=leader.epoch,
                fetch_offset=held.position,
                partition_max_bytes=config.partition_max_bytes,
            )
            wanted.setdefault(topic, []).append(part)
            asked[topic, index] = held, held.position
        request = FetchRequest(
            max_wait_ms=config.fetch_wait_ms,
            min_bytes=1,
            max_bytes=config.fetch_max_bytes,
            isolation_level=READ_COMMITTED if config.read_committed else READ_UNCOMMITTED,
            topics=tuple(
                FetchTopic(topic_id=metadata.topic_ids[topic], partitions=tuple(found))
                for topic, found in wanted.items()
            ),
        )
        try:
            answer = await self.contact.call(node, request, FETCH_VERSION)
        except ClientError as error:
            for held, _ in parts:
                self._later(held, error.name)
        else:
            for topic_answer in answer.responses:
                name = metadata.names.get(topic_answer.topic_id, "")
                for data in topic_answer.partitions:
                    found_held = asked.get((name, data.partition_index))
                    if found_held is not None:
                        self._take_in(*found_held, data)
        finally:
            self._fetching.pop(node, None)
            self._wake()

    def _take_in(self, held: _Held, offset: int, data: PartitionData) -> None:
        """Take one partition's answer, unless the position is another by now."""
        if not self._is_held(held) or held.position != offset or held.buffer:
            return
        name = error_name(data.error_code)
        if name == "OFFSET_OUT_OF_RANGE" and self.config.offset_reset == "error":
            held.failure = ClientError("_AUTO_OFFSET_RESET", f"{held.key} at {offset}: {name}")
        elif name == "OFFSET_OUT_OF_RANGE":
            held.position, held.reset_to = None, EARLIEST if self.config.offset_reset == "earliest" else LATEST
        elif data.error_code:
            self.contact.metadata.told(held.key, data.current_leader.leader_id, data.current_leader.leader_epoch)
            self._later(held, name)
        elif data.records:
            held.attempts = 0
            try:
                records, behind = records_of(*held.key, data.records, offset, data.aborted_transactions or ())  # type: ignore[arg-type]
            except CorruptBatchError as error:  # it stays there, and asks for the same batch again
                self._later(held, "CORRUPT_MESSAGE")
                records, behind = (
                    [ConsumedRecord(*held.key, offset, None, None, held.epoch, 0, damage=str(error))],
                    offset,
                )
            held.buffer.extend(records)
            held.behind = behind
            if not records:
                held.position = behind
            self._note_end(held, behind, data)
        else:
            self._note_end(held, offset, data)

    def _note_end(self, held: _Held, behind: int, data: PartitionData) -> None:
        """Keep where the partition ends, if all before that end is here."""
        end = data.last_stable_offset if self.config.read_committed else data.high_watermark
        held.end = behind if behind >= end >= 0 else None

    async def _look_up(self, held: _Held, leader: Leader) -> None:
        """Ask the leader where the log starts or ends."""
        assert held.reset_to is not None
        topic, index = held.key
        ask = ListOffsetsRequest(
            isolation_level=READ_COMMITTED if self.config.read_committed else READ_UNCOMMITTED,
            topics=(
                ListOffsetsTopic(
                    name=topic,
                    partitions=(
                        ListOffsetsPartition(
                            partition_index=index, current_leader_epoch=leader.epoch, timestamp=held.reset_to
                        ),
                    ),
                ),
            ),
        )
        try:
            answer = await self.contact.call(leader.node, ask, LIST_VERSION)
            part = answer.topics[0].partitions[0]
            if part.error_code:
                self._later(held, error_name(part.error_code))
            elif self._is_held(held):
                held.position, held.reset_to, held.attempts = part.offset, None, 0
        except ClientError as error:
            self._later(held, error.name)
        finally:
            held.busy = False
            self._wake()

    async def _look_up_committed(self, parts: list[_Held]) -> None:
        """Ask the group where to begin; what it has not committed begins by the reset policy."""
        assert self.offsets is not None
        deadline_ms = self.loop.now_ms + self.config.client.request_timeout_ms
        try:
            committed = await self.offsets.committed([held.key for held in parts], deadline_ms)
            for held in parts:
                if not self._is_held(held):
                    continue
                held.position = committed[held.key]
                if held.position is None:
                    held.reset_to = EARLIEST if self.config.offset_reset == "earliest" else LATEST
        except ClientError as error:
            for held in parts:
                self._later(held, error.name)
        finally:
            for held in parts:
                held.busy = False
            self._wake()

    # The end.

    async def leave(self, timeout_ms: float) -> None:
        """Leave the group in order, then close."""
        if self.membership is not None:
            await self.membership.leave(timeout_ms)
        self.close()

    def close(self) -> None:
        """Drop everything."""
        self.contact.close()
