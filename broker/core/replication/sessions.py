"""Incremental fetches of followers (KIP-227): who follows a thousand partitions names and hears only those that move.

    full request (epoch 0) -> session -> incremental requests (epoch 1, 2, ...) -> replaced by the next full one

A session remembers what its follower has asked of every partition. A request names the partitions that it asks anew,
and those that it forgets; an answer holds the partitions with records, an error, a divergence, or a high watermark or
log start that was not told yet. `dirty` are the partitions of which something may have to be told: a request costs what
moved, not what is followed. So that nothing depends on somebody having marked it, and so that a quiet follower counts
as caught up, now and then a request counts for all of its partitions (`FULL_PASS_MS`).

A follower has one session, and one request in it waits; a second one ends the waiting of the first, whose answer then
goes out as it is. A request of a session that is not here (another life of this node), or out of turn, is refused, and
the follower begins anew. Only followers get sessions.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Protocol

from broker.core.errors import Code
from broker.core.ready import Outbox, Reply
from broker.core.replication.replica import Key, Replica
from broker.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    PartitionData,
    Region,
)

FULL_PASS_MS = 200
"""Well below every lag time that makes sense; a pass over a thousand partitions takes a few ms."""
FULL_EPOCH = 0
"""The epoch of a request that begins a session."""


class Source(Protocol):
    """What sessions need of `broker.core.replication.fetch`."""

    def note(self, key: Key, follower: tuple[int, int], ask: FetchPartition, now_ms: int) -> None:
        """Let a follower's fetch count; `follower`: its id and broker epoch."""
        ...

    def look(
        self, key: Key, topic: FetchTopic, ask: FetchPartition, replica_id: int, limits: tuple[int, bool]
    ) -> PartitionData:
        """Return what there is for a follower; `limits`: bytes left, and whether nothing is in the answer yet."""
        ...

    def must_hear(self, ask: FetchPartition, data: PartitionData) -> bool:
        """Return whether the follower must be told at once."""
        ...

    def has_more(self, key: Key, ask: FetchPartition) -> bool:
        """Return whether there are records that the follower lacks."""
        ...

    def quiet(self, key: Key, ask: FetchPartition, replica_id: int) -> tuple[int, int] | None:
        """Return high watermark and log start where that is all that `look` would find; None where it may be more."""
        ...


class Session:
    """One follower's."""

    __slots__ = ("asks", "dirty", "epoch", "full_pass_ms", "id", "parked", "replica_id", "told")

    def __init__(self, session_id: int, replica_id: int, now_ms: int) -> None:
        self.id, self.replica_id = session_id, replica_id
        self.epoch = 1
        self.asks: dict[Key, tuple[FetchTopic, FetchPartition]] = {}
        self.dirty: dict[Key, None] = {}
        self.told: dict[Key, tuple[int, int]] = {}
        """High watermark and log start that the follower has heard."""
        self.full_pass_ms = now_ms + FULL_PASS_MS
        self.parked: tuple[object, FetchRequest, int] | None = None
        """The request that waits: id, request, deadline."""


class Sessions:
    """All sessions of a node's followers; see the module."""

    def __init__(self, source: Source, out: Outbox) -> None:
        self._source, self._out = source, out
        self._by_replica: dict[int, Session] = {}
        self._watching: dict[Key, dict[int, Session]] = {}
        self.woken: dict[int, None] = {}
        self._deadlines: list[tuple[int, int, Session]] = []
        self._order, self._ids = count(), count(1)

    @property
    def deadline_ms(self) -> int:
        """When the next parked request must be answered."""
        heap = self._deadlines
        while heap and (heap[0][2].parked is None or heap[0][2].parked[2] > heap[0][0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else 1 << 62

    @property
    def parked(self) -> int:
        """How many requests wait."""
        return sum(session.parked is not None for session in self._by_replica.values())

    def handle(self, request_id: object, request: FetchRequest, now_ms: int) -> None:
        """Answer a follower's request, or park it."""
        replica_id = request.replica_state.replica_id
        session = self._by_replica.get(replica_id)
        if session is not None:
            self._release(session)
        if request.session_epoch == FULL_EPOCH:
            session = self._begin(replica_id, now_ms)
        elif session is None or session.id != request.session_id:
            self._refuse(request_id, Code.FETCH_SESSION_ID_NOT_FOUND)
            return
        elif session.epoch != request.session_epoch:
            self._refuse(request_id, Code.INVALID_FETCH_SESSION_EPOCH)
            return
        else:
            session.epoch += 1
        self._take(session, request, now_ms)
        if self._answer(session, request_id, request, at_once=request.max_wait_ms <= 0):
            return
        deadline_ms = now_ms + request.max_wait_ms
        session.parked = (request_id, request, deadline_ms)
        heapq.heappush(self._deadlines, (deadline_ms, next(self._order), session))

    def _refuse(self, request_id: object, code: Code) -> None:
        self._out.replies.append(Reply(request_id, FetchResponse(error_code=code)))

    def _begin(self, replica_id: int, now_ms: int) -> Session:
        old = self._by_replica.get(replica_id)
        for key in old.asks if old is not None else ():
            self._unwatch(key, replica_id)
        session = self._by_replica[replica_id] = Session(next(self._ids), replica_id, now_ms)
        return session

    def _unwatch(self, key: Key, replica_id: int) -> None:
        watching = self._watching.get(key)
        if watching is not None and watching.pop(replica_id, None) is not None and not watching:
            del self._watching[key]

    def _take(self, session: Session, request: FetchRequest, now_ms: int) -> None:
        """Note what the request asks and forgets, and what its follower has."""
        for gone in request.forgotten_topics_data:
            for index in gone.partitions:
                key = (gone.topic_id.hex(), index)
                session.asks.pop(key, None)
                session.dirty.pop(key, None)
                session.told.pop(key, None)
                self._unwatch(key, session.replica_id)
        named: list[Key] = []
        for topic in request.topics:
            topic_id = topic.topic_id.hex()
            for ask in topic.partitions:
                key = (topic_id, ask.partition)
                before = session.asks.get(key)
                if before is not None and before[1].current_leader_epoch != ask.current_leader_epoch:
                    session.told.pop(key, None)  # a follower takes nothing from an answer to an epoch that is over
                session.asks[key] = (topic, ask)
                session.dirty[key] = None
                self._watching.setdefault(key, {})[session.replica_id] = session
                named.append(key)
        if now_ms >= session.full_pass_ms:
            session.full_pass_ms = now_ms + FULL_PASS_MS
            named = list(session.asks)
            session.dirty.update(dict.fromkeys(named))
        follower = (session.replica_id, request.replica_state.replica_epoch)
        for key in named:
            self._source.note(key, follower, session.asks[key][1], now_ms)

    def _answer(self, session: Session, request_id: object, request: FetchRequest, *, at_once: bool) -> bool:
        """Answer with what there is, if that is enough to be told; return whether it was."""
        if not at_once and request.min_bytes > 0 and self._is_quiet(session):
            return False
        found: list[tuple[Key, PartitionData]] = []
        size, urgent = 0, at_once
        for key in list(session.dirty):
            topic, ask = session.asks[key]
            data = self._source.look(key, topic, ask, session.replica_id, (request.max_bytes - size, not size))
            has_error = data.error_code != 0 or data.diverging_epoch.end_offset >= 0
            urgent = urgent or has_error or self._source.must_hear(ask, data)
            if isinstance(data.records, Region):
                size += data.records.size
            elif not has_error and session.told.get(key) == (data.high_watermark, data.log_start_offset):
                if not size or not self._source.has_more(key, ask):  # else there was no room left for them
                    del session.dirty[key]
                continue
            found.append((key, data))
        if not urgent and size < request.min_bytes:
            return False
        for key, data in found:
            if data.diverging_epoch.end_offset < 0:  # else the follower cuts, and takes nothing from the answer
                session.told[key] = (data.high_watermark, data.log_start_offset)
            if data.records is not None or not self._source.has_more(key, session.asks[key][1]):
                del session.dirty[key]  # what got records is named by the follower's next request
        self._out.replies.append(Reply(request_id, _response(session, found)))
        return True

    def _is_quiet(self, session: Session) -> bool:
        """Return whether the follower has all there is, as after nearly every request: found without a look at each."""
        told = []
        for key in session.dirty:
            heard = self._source.quiet(key, session.asks[key][1], session.replica_id)
            if heard is None:
                return False
            if session.told.get(key) == heard:
                told.append(key)
        for key in told:
            del session.dirty[key]
        return True

    # What happens while a request waits.

    def wake(self, replica: Replica) -> None:
        """Something changed in the partition: look at those who follow it at the end of the step."""
        watching = self._watching.get(replica.key)
        if watching is not None:
            for replica_id, session in watching.items():
                session.dirty[replica.key] = None
                if session.parked is not None:
                    self.woken[replica_id] = None

    def flush(self) -> None:
        """Look at the requests whose partitions changed."""
        if not self.woken:
            return
        woken, self.woken = self.woken, {}
        for replica_id in woken:
            session = self._by_replica[replica_id]
            if session.parked is not None and self._answer(session, *session.parked[:2], at_once=False):
                session.parked = None

    def tick(self, now_ms: int) -> None:
        """Answer what has waited long enough with what there is."""
        while self.deadline_ms <= now_ms:
            self._release(heapq.heappop(self._deadlines)[2])

    def _release(self, session: Session) -> None:
        """Answer the request that waits, if one does."""
        parked, session.parked = session.parked, None
        if parked is not None:
            self._answer(session, *parked[:2], at_once=True)


def _response(session: Session, found: list[tuple[Key, PartitionData]]) -> FetchResponse:
    topics: dict[str, list[PartitionData]] = {}
    for key, data in found:
        topics.setdefault(key[0], []).append(data)
    return FetchResponse(
        session_id=session.id,
        responses=tuple(
            FetchableTopicResponse(topic_id=bytes.fromhex(topic_id), partitions=tuple(partitions))
            for topic_id, partitions in topics.items()
        ),
    )
