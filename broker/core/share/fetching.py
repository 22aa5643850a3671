"""ShareFetch and ShareAcknowledge: members of share groups say what became of records, and get others (KIP-932).

Acknowledgements come first: they are answered when they are written, and what they release can be had at once. A fetch
that finds nothing parks in its partitions until there is something, or its time is up; any record counts as enough
(Kafka waits for `min_bytes`). A session that closes gives back what its member has.

Kafka: KafkaApis.handleShareFetchRequest, DelayedShareFetch.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from itertools import count, groupby
from typing import Any

import msgspec

from broker.core import group_settings
from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication.replica import Key, Replica
from broker.core.replication.replicas import Replicas
from broker.core.share import reading
from broker.core.share.leading import Leading, Led
from broker.core.share.partition import Acknowledgement, Want
from broker.core.share.sessions import CLOSE_EPOCH, NEVER_MS, OPEN_EPOCH, ShareSession, ShareSessions
from broker.core.share.state import ShareKey
from broker.core.storage import Storage
from broker.wire.messages import share_acknowledge, share_fetch
from broker.wire.messages.fetch import LeaderIdAndEpoch, NodeEndpoint, Region
from broker.wire.messages.share_acknowledge import ShareAcknowledgeRequest, ShareAcknowledgeResponse
from broker.wire.messages.share_fetch import ShareFetchRequest, ShareFetchResponse

Acked = dict[Key, tuple[Code, str]]
_ELSEWHERE = frozenset({Code.NOT_LEADER_OR_FOLLOWER, Code.FENCED_LEADER_EPOCH})
_LATER = frozenset({Code.COORDINATOR_NOT_AVAILABLE, Code.COORDINATOR_LOAD_IN_PROGRESS, Code.NOT_COORDINATOR})
"""A state that can't be read now is no error of the member's: it gets nothing, and asks again."""


class _Parked(msgspec.Struct):
    """A fetch that waits; `acked`: what became of its acknowledgements, which stands in the answer."""

    request_id: object
    request: ShareFetchRequest
    session: ShareSession
    acked: Acked
    deadline_ms: int
    places: tuple[Key, ...]
    open: bool = True


class ShareFetching:
    """See the module."""

    def __init__(
        self,
        config: BrokerConfig,
        replicas: Replicas,
        storage: Storage,
        out: Outbox,
        leading: Leading,
        *,
        image: Callable[[], Image],
    ) -> None:
        self._config, self._replicas, self._storage, self._out = config, replicas, storage, out
        self._leading, self._image = leading, image
        self.sessions = ShareSessions(config.share_max_sessions)
        self._waiting: dict[Key, list[_Parked]] = {}
        self._deadlines: list[tuple[int, int, _Parked]] = []
        self._order = count()
        self._woken: dict[Key, None] = {}
        self._failed: dict[ShareKey, Code] = {}
        """Why a state could not be read, until those that wait for it have heard it."""

    @property
    def deadline_ms(self) -> int:
        """When a parked fetch must be answered, or a session forgotten."""
        while self._deadlines and not self._deadlines[0][2].open:
            heapq.heappop(self._deadlines)
        due_ms = self._deadlines[0][0] if self._deadlines else NEVER_MS
        return min(due_ms, self.sessions.deadline_ms)

    # Requests.

    def fetch(self, request_id: object, ask: ShareFetchRequest, now_ms: int) -> None:
        """Take acknowledgements, then give records."""
        acks = [
            ((topic.topic_id.hex(), one.partition_index), one.acknowledgement_batches)
            for topic in ask.topics
            for one in topic.partitions
            if one.acknowledgement_batches
        ]
        try:
            session = self._enter(ask, now_ms, has_acks=bool(acks))
        except Refused as refused:
            answer = ShareFetchResponse(error_code=refused.code, error_message=refused.message)
            self._out.replies.append(Reply(request_id, answer))
            return

        def done(acked: Acked) -> None:
            if ask.share_session_epoch == CLOSE_EPOCH:
                self._close(session, self._replicas.now_ms)
                self._answer(request_id, ask, session, acked, {})
            elif ask.is_renew_ack:
                self._answer(request_id, ask, session, acked, {})
            else:
                self._get(request_id, ask, session, acked)

        self._acknowledge(session, acks, done, now_ms)

    def _enter(self, ask: ShareFetchRequest, now_ms: int, *, has_acks: bool) -> ShareSession:
        group, member, epoch = ask.group_id or "", ask.member_id or "", ask.share_session_epoch
        if not group or not member:
            raise Refused(Code.INVALID_REQUEST, "group and member must be named")
        if ask.is_renew_ack and (ask.max_bytes or ask.min_bytes or ask.max_records or ask.max_wait_ms):
            raise Refused(Code.INVALID_REQUEST, "a fetch that renews locks asks for no records")
        come = [(topic.topic_id.hex(), one.partition_index) for topic in ask.topics for one in topic.partitions]
        if epoch == OPEN_EPOCH:
            if has_acks:
                raise Refused(Code.INVALID_REQUEST, "a session that opens has nothing to acknowledge")
            session, old = self.sessions.open(group, member, now_ms)
            for place in old.places if old is not None else ():
                if place not in come:
                    self._forget(group, place, member)
            self.sessions.change(session, come, ())
            return session
        session = self.sessions.enter(group, member, epoch, now_ms)
        if epoch != CLOSE_EPOCH:
            gone = [(topic.topic_id.hex(), index) for topic in ask.forgotten_topics_data for index in topic.partitions]
            for place in self.sessions.change(session, come, gone):
                self._forget(group, place, member)
        return session

    def _forget(self, group: str, place: Key, member: str) -> None:
        """A session has a partition no more; what its member has of it stays its own."""
        led = self._leading.get(ShareKey(group, *place))
        if led is not None:
            led.members.pop(member, None)
            self._leading.drop_idle(led)

    def acknowledge(self, request_id: object, ask: ShareAcknowledgeRequest, now_ms: int) -> None:
        """Take acknowledgements."""
        group, member, epoch = ask.group_id or "", ask.member_id or "", ask.share_session_epoch
        try:
            session = self.sessions.enter(group, member, epoch, now_ms)
        except Refused as refused:
            answer = ShareAcknowledgeResponse(error_code=refused.code, error_message=refused.message)
            self._out.replies.append(Reply(request_id, answer))
            return
        acks = [
            ((topic.topic_id.hex(), one.partition_index), one.acknowledgement_batches)
            for topic in ask.topics
            for one in topic.partitions
        ]

        def done(acked: Acked) -> None:
            if epoch == CLOSE_EPOCH:
                self._close(session, self._replicas.now_ms)
            self._out.replies.append(Reply(request_id, self._acknowledged(group, acked)))

        self._acknowledge(session, acks, done, now_ms)

    def _acknowledge(
        self,
        session: ShareSession,
        acks: list[tuple[Key, tuple[share_fetch.AcknowledgementBatch, ...]]],
        done: Callable[[Acked], None],
        now_ms: int,
    ) -> None:
        """Take what became of records; `done` gets the codes when all of it is written, or refused."""
        places = list(dict.fromkeys(place for place, _ in acks))
        acked: Acked = {}

        def settler(place: Key) -> Callable[[Code, str], None]:
            def settle(code: Code, message: str = "") -> None:
                acked[place] = code, message
                if len(acked) == len(places):
                    done({each: acked[each] for each in places})

            return settle

        if not places:
            done({})
        for place in places:
            settle = settler(place)
            batches = [one for each, found in acks if each == place for one in found]
            try:
                self._take(session, place, batches, settle, now_ms)
            except Refused as refused:
                settle(refused.code, refused.message)

    def _take(
        self,
        session: ShareSession,
        place: Key,
        batches: Iterable[share_fetch.AcknowledgementBatch],
        settle: Callable[[Code, str], None],
        now_ms: int,
    ) -> None:
        self._leading.replica(place)
        led = self._leading.get(ShareKey(session.group, *place))
        if led is None or led.partition is None:
            raise Refused(Code.INVALID_RECORD_STATE, "nothing is acquired from this leader")
        acks = [Acknowledgement(one.first_offset, one.last_offset, one.acknowledge_types) for one in batches]
        until_ms = now_ms + self._lock_ms(session.group)
        if led.partition.acknowledge(session.member, acks, now_ms, until_ms):
            self._leading.save(led, lambda code: settle(code, ""), now_ms)
        else:
            settle(Code.NONE, "")

    def _close(self, session: ShareSession, now_ms: int) -> None:
        if not self.sessions.is_open(session):
            return  # the member has another one by now, which has what this one had
        self.sessions.close(session)
        for place in session.places:
            self._leading.leave(ShareKey(session.group, *place), session.member, now_ms)

    def _lock_ms(self, group: str) -> int:
        return group_settings.value(self._config, self._image(), group, "share.record.lock.duration.ms")

    # Records.

    def _get(self, request_id: object, ask: ShareFetchRequest, session: ShareSession, acked: Acked) -> None:
        """Answer with records, or park."""
        now_ms = self._replicas.now_ms
        is_open = self.sessions.is_open(session)  # it may have ended while acknowledgements were being written
        found = self._look(ask, session, now_ms) if is_open else {}
        if found or ask.max_wait_ms <= 0 or not is_open:
            self._answer(request_id, ask, session, acked, found)
            return
        parked = _Parked(request_id, ask, session, acked, now_ms + ask.max_wait_ms, tuple(session.places))
        for place in parked.places:
            self._waiting.setdefault(place, []).append(parked)
        heapq.heappush(self._deadlines, (parked.deadline_ms, next(self._order), parked))

    def _look(self, ask: ShareFetchRequest, session: ShareSession, now_ms: int) -> dict[Key, share_fetch.PartitionData]:
        """Give the member what there is in its partitions; return those that have something to say."""
        found: dict[Key, share_fetch.PartitionData] = {}
        records, size = ask.max_records, ask.max_bytes
        for place in session.turned():
            if records <= 0 or size <= 0:
                break
            try:
                data = self._read(ask, session, place, (records, size), now_ms)
            except Refused as refused:
                found[place] = self._refusal(place, refused)
                continue
            if data is not None:
                found[place] = data
                records -= sum(one.last_offset - one.first_offset + 1 for one in data.acquired_records)
                size -= data.records.size if isinstance(data.records, Region) else 0
        return found

    def _read(
        self, ask: ShareFetchRequest, session: ShareSession, place: Key, left: tuple[int, int], now_ms: int
    ) -> share_fetch.PartitionData | None:
        """Give the member records of one partition. Raise Refused."""
        key = ShareKey(session.group, *place)
        code = self._failed.pop(key, Code.NONE)
        if code and code not in _LATER:
            raise Refused(code)
        led, replica = self._leading.find(key, now_ms)
        led.members[session.member] = None
        if led.partition is None:
            if not led.waiting:
                led.waiting.append(lambda code: self._told(led, code))
            return None
        got = self._acquire(ask, session, (led, replica), left, now_ms)
        if got.archived:
            self._leading.save(led, lambda _: None, now_ms)
        if not got.acquired:
            return None
        self._leading.locked(led)
        return share_fetch.PartitionData(
            partition_index=place[1],
            records=got.region,
            acquired_records=tuple(
                share_fetch.AcquiredRecords(first_offset=one.first, last_offset=one.last, delivery_count=one.count)
                for one in got.acquired
            ),
        )

    def _acquire(
        self,
        ask: ShareFetchRequest,
        session: ShareSession,
        at: tuple[Led, Replica],
        left: tuple[int, int],
        now_ms: int,
    ) -> reading.Got:
        led, replica = at
        assert led.partition is not None
        isolation = group_settings.text(self._config, self._image(), session.group, "share.isolation.level")
        committed = isolation.lower() == "read_committed"
        limits = reading.Limits(
            offset=replica.log.last_stable if committed else replica.log.high_watermark,
            max_bytes=left[1],
            max_locks=self._config.share_max_locks,
            until_ms=now_ms + self._lock_ms(session.group),
            committed=committed,
        )
        batch_size = ask.batch_size if ask.batch_size > 0 else left[0]
        want = Want(left[0], exact=ask.share_acquire_mode == 1, batch_size=batch_size)
        return reading.acquire(self._storage, replica.log, led.partition, session.member, want, limits)

    def _told(self, led: Led, code: Code) -> None:
        """A state was read, or could not be: those that wait for it shall hear it."""
        if code:
            self._failed[led.key] = code
        self.wake(led.place)

    # Answers.

    def _answer(
        self,
        request_id: object,
        ask: ShareFetchRequest,
        session: ShareSession,
        acked: Acked,
        found: dict[Key, share_fetch.PartitionData],
    ) -> None:
        if ask.share_session_epoch == OPEN_EPOCH:  # the first answer names all
            for place in session.places:
                found.setdefault(place, share_fetch.PartitionData(partition_index=place[1]))
        for place, (code, message) in acked.items():
            data = found.get(place) or share_fetch.PartitionData(partition_index=place[1])
            found[place] = msgspec.structs.replace(
                data,
                acknowledge_error_code=code,
                acknowledge_error_message=message or None,
                current_leader=self._leader(place) if code in _ELSEWHERE else data.current_leader,
            )
        topics = tuple(
            share_fetch.ShareFetchableTopicResponse(
                topic_id=bytes.fromhex(topic), partitions=tuple(found[place] for place in places)
            )
            for topic, places in groupby(sorted(found), key=lambda place: place[0])
        )
        answer = ShareFetchResponse(
            acquisition_lock_timeout_ms=self._lock_ms(session.group),
            responses=topics,
            node_endpoints=self._endpoints(data.current_leader for data in found.values()),
        )
        self._out.replies.append(Reply(request_id, answer))

    def _acknowledged(self, group: str, acked: Acked) -> ShareAcknowledgeResponse:
        found = {
            place: share_acknowledge.PartitionData(
                partition_index=place[1],
                error_code=code,
                error_message=message or None,
                current_leader=self._leader(place) if code in _ELSEWHERE else LeaderIdAndEpoch(),
            )
            for place, (code, message) in acked.items()
        }
        topics = tuple(
            share_acknowledge.ShareAcknowledgeTopicResponse(
                topic_id=bytes.fromhex(topic), partitions=tuple(found[place] for place in places)
            )
            for topic, places in groupby(sorted(found), key=lambda place: place[0])
        )
        return ShareAcknowledgeResponse(
            acquisition_lock_timeout_ms=self._lock_ms(group),
            responses=topics,
            node_endpoints=self._endpoints(data.current_leader for data in found.values()),
        )

    def _refusal(self, place: Key, refused: Refused) -> share_fetch.PartitionData:
        return share_fetch.PartitionData(
            partition_index=place[1],
            error_code=refused.code,
            error_message=refused.message or None,
            current_leader=self._leader(place) if refused.code in _ELSEWHERE else LeaderIdAndEpoch(),
        )

    def _leader(self, place: Key) -> LeaderIdAndEpoch:
        state = self._image().partition(*place)
        if state is None:
            return LeaderIdAndEpoch()
        return LeaderIdAndEpoch(leader_id=state.leader, leader_epoch=state.leader_epoch)

    def _endpoints(self, leaders: Iterable[LeaderIdAndEpoch]) -> tuple[NodeEndpoint, ...]:
        """Return where the leaders listen that an answer names."""
        brokers: dict[int, Any] = self._image().brokers
        named = dict.fromkeys(leader.leader_id for leader in leaders if leader.leader_id in brokers)
        return tuple(
            NodeEndpoint(node_id=node, host=place.host, port=place.port, rack=brokers[node].rack)
            for node in named
            for place in brokers[node].endpoints[:1]
        )

    # Parked fetches.

    def wake(self, place: Key) -> None:
        """There may be something in the partition: look at its fetches at the end of the step."""
        if place in self._waiting:
            self._woken[place] = None

    def watch(self, replica: Replica) -> None:
        """The partition's high watermark has moved, or the like."""
        if replica.key in self._waiting:
            self._woken[replica.key] = None

    def flush(self, now_ms: int) -> None:
        """Look again at the fetches of the partitions in which something happened."""
        woken, self._woken = self._woken, {}
        for place in woken:
            for parked in list(self._waiting.get(place, ())):
                if parked.open and (found := self._look_again(parked, now_ms)) is not None:
                    self._unpark(parked, found)
        self._failed.clear()

    def _look_again(self, parked: _Parked, now_ms: int) -> dict[Key, share_fetch.PartitionData] | None:
        """Return what to say to a parked fetch, None when it has to wait on; one of a session that is closed goes."""
        if not self.sessions.is_open(parked.session):
            return {}
        return self._look(parked.request, parked.session, now_ms) or None

    def _unpark(self, parked: _Parked, found: dict[Key, share_fetch.PartitionData]) -> None:
        parked.open = False
        for place in parked.places:
            others = [other for other in self._waiting.get(place, ()) if other.open]
            if others:
                self._waiting[place] = others
            else:
                self._waiting.pop(place, None)
        self._answer(parked.request_id, parked.request, parked.session, parked.acked, found)

    def stop(self) -> None:
        """Share groups are switched off: all sessions end, and who waits hears of it."""
        self.sessions = ShareSessions(self._config.share_max_sessions)
        for _, _, parked in self._deadlines:
            if parked.open:
                parked.open = False
                answer = ShareFetchResponse(error_code=Code.UNSUPPORTED_VERSION, error_message="share groups are off")
                self._out.replies.append(Reply(parked.request_id, answer))
        self._waiting.clear()
        self._deadlines.clear()

    def tick(self, now_ms: int) -> None:
        """Answer who has waited for long enough; forget who was silent for too long."""
        while self._deadlines and (self._deadlines[0][0] <= now_ms or not self._deadlines[0][2].open):
            parked = heapq.heappop(self._deadlines)[2]
            if parked.open:
                self._unpark(parked, self._look_again(parked, now_ms) or {})
        if self.sessions.deadline_ms <= now_ms:
            for session in self.sessions.silent(now_ms):
                self._close(session, now_ms)
