"""Fetch: what replicas and consumers get, and waiting for more.

Replicas ask leaders only, and so do consumers unless they are sent to a replica near them (`near`). A replica reads to
the log's end, a consumer to the high watermark, with read_committed to the last stable offset. A replica whose last
record is not ours learns where to cut; one that we can't bring up to date, since we may have forgotten a deletion that
it lacks, is told to begin anew: out of range, with our high watermark. A fetch that finds less than `min_bytes` parks
in its partitions; an append (for replicas) or a moving high watermark (for consumers) looks at it again, at most once a
step.

Either may ask in a session, in which it names only what changes: followers in `sessions`, consumers in
`consumer_sessions`.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

import msgspec

from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication.consumer_sessions import ConsumerSession, ConsumerSessions
from broker.core.replication.leader import Leader
from broker.core.replication.near import STAY, nearest
from broker.core.replication.replica import Key, Replica
from broker.core.replication.replicas import Replicas
from broker.core.replication.sessions import FULL_EPOCH, Sessions
from broker.core.throttled import NOBODY
from broker.wire.messages.fetch import (
    AbortedTransaction,
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    LeaderIdAndEpoch,
    PartitionData,
    Region,
)
from broker.wire.primitives import NO_UUID

BY_ID_VERSION = 13
"""Of Fetch: from then on topics are named by their ids."""
ANYWHERE_VERSION = 11
"""Of Fetch: from then on followers answer consumers with what they know to be committed."""


class _Parked(msgspec.Struct):
    """A fetch that waits. `keys` are its partitions; `full`: all of them are answered, in a session too."""

    request_id: object
    request: FetchRequest
    replica_id: int
    deadline_ms: int
    keys: list[Key]
    anywhere: bool = False
    session: ConsumerSession | None = None
    full: bool = True
    open: bool = True


class _Reader(msgspec.Struct, frozen=True):
    """Who reads: a replica (its id) or a consumer (-1), whether only committed data, and in which rack it is.

    `anywhere`: it may read from a follower, too (KIP-392: whoever speaks version 11, asked for or not).
    """

    replica_id: int
    committed: bool
    rack: str = ""
    anywhere: bool = False


class _Result(msgspec.Struct):
    """One pass over a fetch: the answer so far, and whether it should go out at once."""

    responses: list[FetchableTopicResponse]
    size: int = 0
    urgent: bool = False


class Fetching:
    """See the module. `progressed` is told when a follower moved, so that the ISR is looked at."""

    def __init__(
        self,
        replicas: Replicas,
        image: Callable[[], Image],
        out: Outbox,
        *,
        progressed: Callable[[Replica, int], None],
        rng: random.Random,
    ) -> None:
        self._replicas, self._image, self._out, self._progressed = replicas, image, out, progressed
        self._waiting: dict[Key, list[_Parked]] = {}
        self._deadlines: list[tuple[int, int, _Parked]] = []
        self._order = count()
        self._woken: dict[Key, None] = {}
        self._sessions = Sessions(self, out)
        config = replicas.config
        slots = 0 if config.has_authorizer else config.fetch_session_slots  # rules are asked of what a request names
        self._consumers = ConsumerSessions(rng, slots=slots, eviction_ms=config.fetch_session_eviction_ms)

    @property
    def deadline_ms(self) -> int:
        """When the next parked fetch must be answered."""
        sessions_ms = self._sessions.deadline_ms
        return min(self._own_deadline_ms, sessions_ms) if self._deadlines else sessions_ms

    @property
    def _own_deadline_ms(self) -> int:
        while self._deadlines and not self._deadlines[0][2].open:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else 1 << 62

    @property
    def parked(self) -> int:
        """How many fetches wait for records."""
        return sum(parked.open for _, _, parked in self._deadlines) + self._sessions.parked

    def handle(self, request_id: object, request: FetchRequest, version: int, now_ms: int) -> None:
        """Answer, or park."""
        anywhere = version >= ANYWHERE_VERSION
        state = request.replica_state
        replica_id = state.replica_id if state.replica_id >= 0 else request.replica_id
        if state.replica_id >= 0 and request.session_epoch >= FULL_EPOCH:
            self._sessions.handle(request_id, request, now_ms)
            return
        session, full = None, request.session_epoch <= FULL_EPOCH
        if replica_id < 0:
            try:
                session = self._consumers.enter(request, now_ms, by_id=version >= BY_ID_VERSION)
            except Refused as refused:
                self._out.replies.append(Reply(request_id, FetchResponse(error_code=refused.code)))
                return
            if session is not None and not full:
                request = msgspec.structs.replace(request, topics=session.topics)
        if replica_id >= 0:
            for topic in request.topics:
                for ask in topic.partitions:
                    self.note(self._key(topic, ask), (replica_id, state.replica_epoch), ask, now_ms)
        result = self._read_all(request, replica_id, anywhere=anywhere)
        asks_nothing = not any(topic.partitions for topic in request.topics)  # as whoever closes its session
        if result.urgent or result.size >= request.min_bytes or request.max_wait_ms <= 0 or asks_nothing:
            self._reply(request_id, session, result, full=full)
            return
        keys = [self._key(topic, ask) for topic in request.topics for ask in topic.partitions]
        deadline_ms = now_ms + request.max_wait_ms
        parked = _Parked(request_id, request, replica_id, deadline_ms, keys, anywhere, session, full)
        for key in keys:
            self._waiting.setdefault(key, []).append(parked)
        heapq.heappush(self._deadlines, (parked.deadline_ms, next(self._order), parked))

    def _reply(self, request_id: object, session: ConsumerSession | None, result: _Result, *, full: bool) -> None:
        """Answer with what was found; in a session, with what of it the consumer must hear."""
        responses, session_id = tuple(result.responses), 0
        if session is not None:
            responses = session.told(responses, full=full)
            session_id = session.id if self._consumers.is_open(session) else 0
        self._out.replies.append(Reply(request_id, FetchResponse(session_id=session_id, responses=responses)))

    def _key(self, topic: FetchTopic, ask: FetchPartition) -> Key:
        topic_id = topic.topic_id.hex() if topic.topic_id != NO_UUID else self._image().topic_ids.get(topic.topic, "")
        return topic_id, ask.partition

    def note(self, key: Key, follower: tuple[int, int], ask: FetchPartition, now_ms: int) -> None:
        """Let a follower's fetch count, if it is of this epoch and its log is a prefix of ours."""
        replica_id, broker_epoch = follower
        replica = self._replicas.get(key)
        leader = None if replica is None else replica.leader
        if replica is None or leader is None or replica_id not in leader.followers:
            return
        fits = ask.current_leader_epoch == leader.epoch and replica.diverging(ask) is None
        if not fits or not replica.log.start <= ask.fetch_offset <= replica.log.end:
            return
        leader.fetched(replica_id, broker_epoch, ask.fetch_offset, now_ms)
        leader.followers[replica_id].start = ask.log_start_offset
        if self._replicas.advance(replica, now_ms):
            self.wake(replica)
        self._progressed(replica, replica_id)

    def _read_all(self, request: FetchRequest, replica_id: int, *, anywhere: bool) -> _Result:
        result = _Result([])
        reader = _Reader(replica_id, request.isolation_level == 1, request.rack_id, anywhere)
        for topic in request.topics:
            answers = []
            for ask in topic.partitions:
                limits = (request.max_bytes - result.size, not result.size)
                data = self._look(self._key(topic, ask), topic, ask, reader, limits)
                must_hear = replica_id >= 0 and self.must_hear(ask, data)
                moved = data.diverging_epoch.end_offset >= 0 or data.preferred_read_replica >= 0
                if data.error_code or moved or must_hear:
                    result.urgent = True
                if isinstance(data.records, Region):
                    result.size += data.records.size
                answers.append(data)
            result.responses.append(
                FetchableTopicResponse(topic=topic.topic, topic_id=topic.topic_id, partitions=tuple(answers))
            )
        return result

    def look(
        self, key: Key, topic: FetchTopic, ask: FetchPartition, replica_id: int, limits: tuple[int, bool]
    ) -> PartitionData:
        """Return what there is for a replica; `limits` as for `_read`."""
        return self._look(key, topic, ask, _Reader(replica_id, committed=False), limits)

    def _look(
        self, key: Key, topic: FetchTopic, ask: FetchPartition, reader: _Reader, limits: tuple[int, bool]
    ) -> PartitionData:
        try:
            return self._read(key, topic, ask, reader, limits)
        except Refused as refused:
            return self._refusal(key, ask.partition, refused.code)

    def _read(
        self, key: Key, topic: FetchTopic, ask: FetchPartition, reader: _Reader, limits: tuple[int, bool]
    ) -> PartitionData:
        """Read one partition; `limits`: bytes left for this answer, and whether nothing is in it yet."""
        if self._image().partition(*key) is None:
            by_id = topic.topic_id != NO_UUID
            raise Refused(Code.UNKNOWN_TOPIC_ID if by_id else Code.UNKNOWN_TOPIC_OR_PARTITION)
        replica = self._replicas.get(key)
        if replica is None:
            raise Refused(Code.NOT_LEADER_OR_FOLLOWER)
        code = replica.check_epoch(ask.current_leader_epoch)
        if code:
            raise Refused(code)
        leader = self._check_role(replica, reader)
        log = replica.log
        if leader is not None and reader.replica_id < 0 and (elsewhere := self._elsewhere(leader, reader, ask)) >= 0:
            return PartitionData(
                partition_index=ask.partition,
                high_watermark=log.high_watermark,
                last_stable_offset=log.last_stable,
                log_start_offset=log.start,
                preferred_read_replica=elsewhere,
            )
        if reader.replica_id >= 0 and leader and not self._can_follow(leader, replica, reader.replica_id, ask):
            return PartitionData(
                partition_index=ask.partition,
                error_code=Code.OFFSET_OUT_OF_RANGE,
                high_watermark=log.high_watermark,
                log_start_offset=log.start,
            )
        diverging = replica.diverging(ask)
        if diverging is not None:
            return PartitionData(
                partition_index=ask.partition,
                high_watermark=log.high_watermark,
                last_stable_offset=log.last_stable,
                log_start_offset=log.start,
                diverging_epoch=diverging,
            )
        committed = reader.committed
        if reader.replica_id >= 0 and leader and replica.config.throttled_leaders is not NOBODY:
            region = self._throttled(leader, replica, reader, ask, limits)
        else:
            max_bytes = max(0, min(ask.partition_max_bytes, limits[0]))
            region = log.read(ask.fetch_offset, self.limit(replica, reader), max_bytes, at_least_one=limits[1])
        aborted: tuple[AbortedTransaction, ...] | None = () if committed else None
        if region is not None and committed:
            found = log.aborted_in(ask.fetch_offset, region)
            aborted = tuple(AbortedTransaction(producer_id=a.producer_id, first_offset=a.first_offset) for a in found)
        return PartitionData(
            partition_index=ask.partition,
            high_watermark=log.high_watermark,
            last_stable_offset=log.last_stable,
            log_start_offset=log.start,
            aborted_transactions=aborted,
            records=region,
        )

    def _throttled(
        self, leader: Leader, replica: Replica, reader: _Reader, ask: FetchPartition, limits: tuple[int, bool]
    ) -> Region | None:
        """Read for a follower, unless it is behind and more than the limit has been sent already."""
        config, now_ms, sent = self._replicas.config, self._replicas.now_ms, self._replicas.sent
        is_named = replica.config.throttled_leaders.has(replica.key[1], config.node_id)
        if is_named and reader.replica_id not in leader.state.isr and sent.wait_ms(now_ms):
            return None
        max_bytes = max(0, min(ask.partition_max_bytes, limits[0]))
        region = replica.log.read(ask.fetch_offset, replica.log.end, max_bytes, at_least_one=limits[1])
        if is_named and region is not None:
            sent.use(region.size, now_ms)
        return region

    def _check_role(self, replica: Replica, reader: _Reader) -> Leader | None:
        """Return the leader's part, None at a follower that may serve this reader; raises Refused."""
        leader = replica.leader
        if leader is None:
            may_read = reader.anywhere or self._replicas.config.rack_aware
            if reader.replica_id < 0 and may_read and replica.state is not None:
                return None
            raise Refused(Code.NOT_LEADER_OR_FOLLOWER)
        if reader.replica_id >= 0 and reader.replica_id not in leader.followers:
            raise Refused(Code.NOT_LEADER_OR_FOLLOWER)
        return leader

    def _elsewhere(self, leader: Leader, reader: _Reader, ask: FetchPartition) -> int:
        """Return the replica that the reader should ask instead of this one, STAY for none."""
        config = self._replicas.config
        if not config.rack_aware or not reader.rack:
            return STAY
        return nearest(self._image(), config.node_id, reader.rack, leader, ask.fetch_offset)

    def must_hear(self, ask: FetchPartition, data: PartitionData) -> bool:
        """Return whether a replica still has what is deleted here: it is told at once."""
        return 0 <= ask.log_start_offset < data.log_start_offset <= ask.fetch_offset

    def has_more(self, key: Key, ask: FetchPartition) -> bool:
        """Return whether there are records that a replica lacks."""
        replica = self._replicas.get(key)
        return replica is not None and replica.log.end > ask.fetch_offset

    def quiet(self, key: Key, ask: FetchPartition, replica_id: int) -> tuple[int, int] | None:
        """Return high watermark and log start where a replica has all there is, and nothing is wrong or throttled."""
        replica = self._replicas.get(key)
        leader = None if replica is None else replica.leader
        if replica is None or leader is None or ask.current_leader_epoch != replica.leader_epoch:
            return None
        log = replica.log
        has_all = ask.fetch_offset == log.end and replica.diverging(ask) is None
        is_usual = replica_id in leader.followers and replica.config.throttled_leaders is NOBODY
        if not has_all or not is_usual or self._image().partition(*key) is None:
            return None
        if ask.log_start_offset != log.start or ask.fetch_offset < log.cleaned.horizon:
            return None
        return log.high_watermark, log.start

    def _can_follow(self, leader: Leader, replica: Replica, follower: int, ask: FetchPartition) -> bool:
        """Return whether the follower may go on; one that is empty begins anew anyway."""
        if not replica.config.cleanup.compact:
            return True
        return leader.can_follow(follower, ask.fetch_offset, is_empty=ask.fetch_offset <= ask.log_start_offset)

    def limit(self, replica: Replica, reader: _Reader) -> int:
        """Return up to where this reader may read."""
        if reader.replica_id >= 0:
            return replica.log.end
        return replica.log.last_stable if reader.committed else replica.log.high_watermark

    def _refusal(self, key: Key, index: int, code: Code) -> PartitionData:
        replica = self._replicas.get(key)
        state = None if replica is None else replica.state
        current = LeaderIdAndEpoch()
        if state is not None and code in {Code.NOT_LEADER_OR_FOLLOWER, Code.FENCED_LEADER_EPOCH}:
            current = LeaderIdAndEpoch(leader_id=state.leader, leader_epoch=state.leader_epoch)
        start = replica.log.start if replica is not None and code is Code.OFFSET_OUT_OF_RANGE else -1
        return PartitionData(partition_index=index, error_code=code, current_leader=current, log_start_offset=start)

    # Parked fetches.

    def wake(self, replica: Replica) -> None:
        """Something changed in the partition: look at its fetches at the end of the step."""
        if replica.key in self._waiting:
            self._woken[replica.key] = None
        self._sessions.wake(replica)
        if self._replicas.watch is not None:
            self._replicas.watch(replica)

    def flush(self) -> None:
        """Look again at the fetches of the partitions that changed."""
        if self._sessions.woken:
            self._sessions.flush()
        if not self._woken:
            return
        woken, self._woken = self._woken, {}
        for key in woken:
            for parked in self._waiting.pop(key, []):
                if not parked.open:
                    continue
                result = self._read_all(parked.request, parked.replica_id, anywhere=parked.anywhere)
                if result.urgent or result.size >= parked.request.min_bytes:
                    self._answer(parked, result)
                else:
                    self._waiting.setdefault(key, []).append(parked)

    def _answer(self, parked: _Parked, result: _Result) -> None:
        parked.open = False
        for key in parked.keys:
            others = self._waiting.get(key)
            if others is not None:
                kept = [other for other in others if other is not parked]
                if kept:
                    self._waiting[key] = kept
                else:
                    del self._waiting[key]
        self._reply(parked.request_id, parked.session, result, full=parked.full)

    def tick(self, now_ms: int) -> None:
        """Answer what has waited long enough with what there is."""
        self._sessions.tick(now_ms)
        while self._own_deadline_ms <= now_ms:
            parked = heapq.heappop(self._deadlines)[2]
            self._answer(parked, self._read_all(parked.request, parked.replica_id, anywhere=parked.anywhere))
