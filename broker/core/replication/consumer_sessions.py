"""Incremental fetches of consumers (KIP-227): a consumer names only what changes, and hears only what has changed.

    full request (epoch 0) -> session -> incremental requests (epoch 1, 2, ...) -> closed (epoch -1), replaced by the
    next full request that names it, or given up for another one

A session is what its consumer asks of each partition, in an order: what has given records goes to the end, so that
every partition has its turn when an answer is full. A request is read as if it named all of it. An answer leaves out
what has no records, no error, and the high watermark and log start that were told before. A session that is not here,
an epoch out of turn, and topics by name in a session of topics by id (or the other way round) are refused; the consumer
begins anew. Whoever gets no session (id 0) asks in full for ever, which costs more and works as well.

Bounds: `slots` sessions, and `MAX_PARTITIONS` in all of them together. When all slots are taken, a new session takes
that of the one that was not used for longest, if that is `eviction_ms` ago, else that of the smallest one of those who
are that old, if it is smaller than the new one. Kafka: FetchSession, FetchSessionCache.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import groupby

from broker.core.errors import Code, Refused
from broker.core.replication.sessions import FULL_EPOCH
from broker.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchTopic,
    PartitionData,
    Region,
)

FINAL_EPOCH = -1
"""The epoch of a request outside of any session; it closes the one that it names."""
MAX_EPOCH = (1 << 31) - 1
"""After it comes 1 again: 0 would begin another session."""
MAX_PARTITIONS = 100_000
"""About 30 MB."""

_Topic = bytes | str
_Place = tuple[_Topic, int]


class ConsumerSession:
    """One consumer's; see the module."""

    __slots__ = ("_asks", "_told", "_topics", "by_id", "created_ms", "epoch", "id", "used_ms")

    def __init__(self, session_id: int, now_ms: int, *, by_id: bool) -> None:
        self.id, self.epoch = session_id, FULL_EPOCH
        self.created_ms = self.used_ms = now_ms
        self.by_id = by_id
        self._asks: dict[_Place, FetchPartition] = {}
        self._told: dict[_Place, tuple[int, int]] = {}
        self._topics: tuple[FetchTopic, ...] | None = None

    def __len__(self) -> int:
        return len(self._asks)

    @property
    def topics(self) -> tuple[FetchTopic, ...]:
        """Everything that the consumer asks, in the session's order; a topic may come more than once."""
        if self._topics is None:
            groups = groupby(self._asks.items(), key=lambda item: item[0][0])
            self._topics = tuple(_topic(name, tuple(ask for _, ask in asks)) for name, asks in groups)
        return self._topics

    def take(self, request: FetchRequest) -> None:
        """Note what the request asks and forgets."""
        if request.topics or request.forgotten_topics_data:
            self._topics = None
        for topic in request.topics:
            name: _Topic = topic.topic_id if self.by_id else topic.topic
            self._asks.update(((name, ask.partition), ask) for ask in topic.partitions)
        for gone in request.forgotten_topics_data:
            name = gone.topic_id if self.by_id else gone.topic
            for index in gone.partitions:
                self._asks.pop((name, index), None)
                self._told.pop((name, index), None)

    def told(self, responses: Iterable[FetchableTopicResponse], *, full: bool) -> tuple[FetchableTopicResponse, ...]:
        """Return what of a whole answer the consumer must hear (`full`: all of it), and remember that it did."""
        heard = []
        moved: list[_Place] = []
        for topic in responses:
            name: _Topic = topic.topic_id if self.by_id else topic.topic
            kept = [data for data in topic.partitions if self._must_hear((name, data.partition_index), data) or full]
            if kept:
                heard.append(FetchableTopicResponse(topic=topic.topic, topic_id=topic.topic_id, partitions=tuple(kept)))
            moved += [(name, data.partition_index) for data in kept if isinstance(data.records, Region)]
        if len(moved) < len(self._asks):
            for place in moved:
                ask = self._asks.pop(place, None)
                if ask is not None:  # else it was forgotten while the request waited
                    self._asks[place] = ask
                    self._topics = None
        return tuple(heard)

    def _must_hear(self, place: _Place, data: PartitionData) -> bool:
        known = (data.high_watermark, data.log_start_offset)
        is_known = self._told.get(place) == known
        is_said = data.error_code or data.preferred_read_replica >= 0 or data.diverging_epoch.end_offset >= 0
        if place in self._asks:
            self._told[place] = (-1, -1) if data.error_code else known  # an error's end is told in any case
        return bool(is_said) or isinstance(data.records, Region) or not is_known


class ConsumerSessions:
    """All sessions of a node's consumers; see the module."""

    def __init__(self, rng: random.Random, *, slots: int, eviction_ms: int) -> None:
        self._rng, self._slots, self._eviction_ms = rng, slots, eviction_ms
        self._sessions: dict[int, ConsumerSession] = {}  # in the order of their last use
        self._partitions = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def enter(self, request: FetchRequest, now_ms: int, *, by_id: bool) -> ConsumerSession | None:
        """Return the session that the request belongs to, with what it asks in it; None: it stands for itself.

        Raise Refused when its session is not here, or it is not its turn.
        """
        if request.session_epoch in {FULL_EPOCH, FINAL_EPOCH}:
            if request.session_id:
                self._close(request.session_id)
            return self._begin(request, now_ms, by_id=by_id) if request.session_epoch == FULL_EPOCH else None
        session = self._sessions.get(request.session_id)
        if session is None:
            raise Refused(Code.FETCH_SESSION_ID_NOT_FOUND, f"there is no fetch session {request.session_id}")
        if request.session_epoch != session.epoch:
            message = f"fetch session {session.id} is at epoch {session.epoch}, not {request.session_epoch}"
            raise Refused(Code.INVALID_FETCH_SESSION_EPOCH, message)
        if session.by_id != by_id:
            raise Refused(Code.FETCH_SESSION_TOPIC_ID_ERROR, f"fetch session {session.id} names topics otherwise")
        before = len(session)
        session.take(request)
        self._partitions += len(session) - before
        session.epoch = _after(session.epoch)
        session.used_ms = now_ms
        self._sessions[session.id] = self._sessions.pop(session.id)
        if not len(session) or self._partitions > MAX_PARTITIONS:
            self._close(session.id)
        return session

    def is_open(self, session: ConsumerSession) -> bool:
        """Return whether the session is here still: its consumer may go on with it."""
        return self._sessions.get(session.id) is session

    def _close(self, session_id: int) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._partitions -= len(session)

    def _begin(self, request: FetchRequest, now_ms: int, *, by_id: bool) -> ConsumerSession | None:
        size = sum(len(topic.partitions) for topic in request.topics)
        if not size or not self._has_room(size, now_ms):
            return None
        session_id = self._rng.randrange(1, 1 << 31)
        while session_id in self._sessions:
            session_id = self._rng.randrange(1, 1 << 31)
        session = ConsumerSession(session_id, now_ms, by_id=by_id)
        session.take(request)
        session.epoch = _after(FULL_EPOCH)
        self._sessions[session_id] = session
        self._partitions += len(session)
        return session

    def _has_room(self, size: int, now_ms: int) -> bool:
        """Make room for a session of that size if need be; return whether there is."""
        if self._partitions + size > MAX_PARTITIONS:
            return False
        if len(self._sessions) < self._slots:
            return True
        then_ms = now_ms - self._eviction_ms
        victim = next(iter(self._sessions.values()), None)
        if victim is None or victim.used_ms >= then_ms:
            older = (one for one in self._sessions.values() if one.created_ms < then_ms and len(one) < size)
            victim = min(older, key=len, default=None)
        if victim is None:
            return False
        self._close(victim.id)
        return True


def _topic(name: _Topic, partitions: tuple[FetchPartition, ...]) -> FetchTopic:
    if isinstance(name, bytes):
        return FetchTopic(topic_id=name, partitions=partitions)
    return FetchTopic(topic=name, partitions=partitions)


def _after(epoch: int) -> int:
    return 1 if epoch == MAX_EPOCH else epoch + 1
