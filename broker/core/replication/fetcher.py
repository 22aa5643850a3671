"""How this node follows: one incremental fetch on its way per leader, for all partitions that this leader leads.

A partition is fetched while its metadata names another node as leader. An answer counts only if the partition still
follows that leader in that epoch, its log still ends where the fetch began, and no later request has named it anew (its
log may have been cut meanwhile, and in a third epoch the same node may lead); anything else is a late answer. A
refused partition rests for a moment: usually newer metadata are on their way here or there. A follower that is out of
range (its log may start past the end of a leader that was elected uncleanly), or that lacks what a compacted leader has
forgotten, starts anew at the leader's log start. Kafka:
AbstractFetcherThread, ReplicaFetcherThread, FetchSessionHandler.

Of a session (`broker.core.replication.sessions`) this end remembers what the leader knows that it asks; a request names
what has changed since. While one waits at the leader for records, a second one may follow it to name partitions that
are followed from now on. A session that the leader refuses, or whose connection broke, is over, and what was on its way
in it means nothing any more.
"""

from __future__ import annotations

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.ready import Outbox
from broker.core.replication.replica import Key, Replica
from broker.core.replication.replicas import Replicas
from broker.core.replication.sessions import FULL_EPOCH
from broker.core.throttled import NOBODY
from broker.wire.batch import CorruptBatchError
from broker.wire.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    ForgottenTopic,
    PartitionData,
    ReplicaState,
)

CHANNEL = 1
"""Fetches of partitions have a connection of their own: they may wait at the leader."""
MAX_FLIGHTS = 2
"""One that waits at the leader, and one that names more."""


class Tail:
    """One leader whom this node follows, and the session with it."""

    __slots__ = (
        "asked",
        "changed",
        "flights",
        "forgotten",
        "leader",
        "named_in",
        "new",
        "next_epoch",
        "partitions",
        "session_id",
    )

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self.partitions: dict[Key, None] = {}
        self.changed: dict[Key, None] = {}
        """What the next request must name."""
        self.new = False
        """Whether something among them is not being fetched at all."""
        self.flights: dict[int, int] = {}
        """Tokens of the requests of the present session that are on their way, and their epochs in it."""
        self._reset()

    def _reset(self) -> None:
        self.session_id = 0
        self.next_epoch = FULL_EPOCH
        self.asked: dict[Key, FetchPartition] = {}
        self.named_in: dict[Key, int] = {}
        """The epoch of the request that first asked this: earlier ones asked from elsewhere, or in another epoch."""
        self.forgotten: dict[Key, None] = {}

    def end(self) -> None:
        """The session is over: the next request begins another one, and names everything."""
        self._reset()
        self.flights.clear()
        self.changed = dict.fromkeys(self.partitions)

    def name(self, key: Key) -> None:
        """Ask anew."""
        self.changed[key] = None

    def forget(self, key: Key) -> None:
        """Ask no more."""
        self.changed.pop(key, None)
        self.named_in.pop(key, None)
        if self.asked.pop(key, None) is not None:
            self.forgotten[key] = None


class Fetchers:
    """See the module."""

    def __init__(self, config: BrokerConfig, replicas: Replicas, out: Outbox) -> None:
        self._config, self._replicas, self._out = config, replicas, out
        self._tails: dict[int, Tail] = {}
        self._flights: dict[int, Tail] = {}
        self._resting: dict[Key, int] = {}  # partition -> until when
        self.deadline_ms = 1 << 62
        """When a resting partition is due, at the earliest."""
        self._caught_up: dict[Key, int] = {}  # of topics with limits: the epoch in which the partition had caught up

    def follow(self, replica: Replica, now_ms: int) -> None:
        """Follow whom the partition's metadata names, and nobody else."""
        state, key = replica.state, replica.key
        leader = -1 if state is None or replica.leader is not None else state.leader
        for tail in self._tails.values():
            if tail.leader != leader and key in tail.partitions:
                del tail.partitions[key]
                tail.forget(key)
        self._resting.pop(key, None)
        if leader < 0:
            return
        tail = self._tails.setdefault(leader, Tail(leader))
        tail.partitions[key] = None
        tail.name(key)
        tail.new = True
        self._fetch(tail, now_ms)

    def forget(self, key: Key) -> None:
        """The partition is not hosted any more."""
        for tail in self._tails.values():
            if key in tail.partitions:
                del tail.partitions[key]
                tail.forget(key)
        self._resting.pop(key, None)

    def _fetch(self, tail: Tail, now_ms: int) -> None:
        """Send the next request, unless one is on its way that need not be overtaken."""
        may_overtake = tail.new and tail.session_id and len(tail.flights) < MAX_FLIGHTS
        if tail.flights and not may_overtake:
            return
        named: dict[str, list[FetchPartition]] = {}
        for key in list(tail.changed):
            replica = self._replicas.get(key)
            if replica is None or self._resting.get(key, 0) > now_ms:
                continue
            if replica.config.throttled_followers is not NOBODY and (wait_ms := self._throttle_ms(replica, now_ms)):
                self._rest(tail, key, now_ms, wait_ms)
                continue
            del tail.changed[key]
            before, ask = tail.asked.get(key), replica.next_fetch(self._config.replica_fetch_max_bytes)
            tail.asked[key] = ask
            if before is None or not _same(before, ask):
                tail.named_in[key] = tail.next_epoch
            tail.forgotten.pop(key, None)
            named.setdefault(key[0], []).append(ask)
        tail.new = False
        if not tail.asked:
            if not tail.flights:
                tail.end()
            return
        wait_ms = self._config.replica_fetch_wait_ms
        request = FetchRequest(
            replica_id=self._config.node_id,
            replica_state=ReplicaState(replica_id=self._config.node_id, replica_epoch=self._replicas.broker_epoch),
            max_wait_ms=wait_ms,
            min_bytes=1,
            max_bytes=self._config.replica_fetch_response_max_bytes,
            session_id=tail.session_id,
            session_epoch=tail.next_epoch,
            topics=tuple(
                FetchTopic(topic_id=bytes.fromhex(topic_id), partitions=tuple(partitions))
                for topic_id, partitions in named.items()
            ),
            forgotten_topics_data=_forgotten(tail),
        )
        tail.forgotten.clear()
        token = self._out.request(tail.leader, CHANNEL, request, wait_ms + self._config.request_timeout_ms)
        self._flights[token] = tail
        tail.flights[token] = tail.next_epoch
        tail.next_epoch += 1

    def _throttle_ms(self, replica: Replica, now_ms: int) -> int:
        """Return how long a replica that is behind has to wait for its next fetch."""
        is_named = replica.config.throttled_followers.has(replica.key[1], self._config.node_id)
        if not is_named or self._caught_up.get(replica.key) == replica.leader_epoch:
            return 0
        return self._replicas.fetched.wait_ms(now_ms)

    def _note_fetched(self, replica: Replica, data: PartitionData, now_ms: int) -> None:
        """Count what a replica has fetched whose topic has limits, and note whether it is still behind."""
        records = data.records
        if replica.config.throttled_followers.has(replica.key[1], self._config.node_id):
            if isinstance(records, bytes | bytearray | memoryview):
                self._replicas.fetched.use(len(records), now_ms)
            if data.high_watermark <= replica.log.end:
                self._caught_up[replica.key] = replica.leader_epoch
            else:
                self._caught_up.pop(replica.key, None)

    def owns(self, token: int) -> bool:
        """Return whether the request is one of ours."""
        return token in self._flights

    def answered(self, token: int, response: FetchResponse, now_ms: int) -> None:
        """Apply a leader's answer and ask for more."""
        tail = self._flights.pop(token)
        epoch = tail.flights.pop(token, None)
        if epoch is None:
            return  # of a session that is over
        if response.error_code:
            tail.end()
            for key in tail.partitions:
                self._rest(tail, key, now_ms)
            return
        for topic in response.responses:
            topic_id = topic.topic_id.hex()
            for data in topic.partitions:
                key = (topic_id, data.partition_index)
                replica, ask = self._replicas.get(key), tail.asked.get(key)
                if replica is None or ask is None or key not in tail.partitions:
                    continue
                if tail.named_in[key] <= epoch:  # else what was asked since is still to be answered
                    self._apply(tail, replica, ask, data, now_ms)
        if tail.session_id == 0 and response.session_id == 0:
            tail.end()  # the leader has no sessions: everything is named again
        tail.session_id = response.session_id
        self._replicas.renew()
        self._fetch(tail, now_ms)

    def _apply(self, tail: Tail, replica: Replica, ask: FetchPartition, data: PartitionData, now_ms: int) -> None:
        is_current = replica.leader_epoch == ask.current_leader_epoch and replica.log.end == ask.fetch_offset
        if is_current and not self._take(replica, data):
            self._rest(tail, replica.key, now_ms)
            return
        if is_current and replica.config.throttled_followers is not NOBODY:
            self._note_fetched(replica, data, now_ms)
        has_moved = replica.log.end != ask.fetch_offset
        if has_moved or replica.next_fetch(self._config.replica_fetch_max_bytes) != ask:
            tail.name(replica.key)

    def _take(self, replica: Replica, data: PartitionData) -> bool:
        """Take what the leader says of a partition; return whether it may be asked again at once."""
        log = replica.log
        is_empty = log.start == log.end  # nothing that could be cut is left: only an unclean leader has less
        begins_anew = data.high_watermark >= 0 or data.log_start_offset > log.end or is_empty
        if data.error_code == Code.OFFSET_OUT_OF_RANGE and data.log_start_offset >= 0 and begins_anew:
            log.restart_at(data.log_start_offset, data.high_watermark)
            self._replicas.fell(log)
            return True
        if data.error_code:
            return False
        known = log.high_watermark
        try:
            warning = replica.take(data)
        except CorruptBatchError as error:
            self._out.warnings.append(str(error))
            return False
        if data.diverging_epoch.end_offset >= 0:
            self._replicas.fell(log)
        if warning:
            self._out.warnings.append(warning)
        if self._config.rack_aware and log.high_watermark > known:
            self._replicas.wake(replica)  # consumers wait at followers too
        return True

    def _rest(self, tail: Tail, key: Key, now_ms: int, rest_ms: int = 0) -> None:
        """Leave a partition alone for a moment; then it is asked anew."""
        tail.forget(key)
        tail.name(key)
        until_ms = now_ms + (rest_ms or self._config.replica_fetch_backoff_ms)
        self._resting[key] = until_ms
        self.deadline_ms = min(self.deadline_ms, until_ms)

    def failed(self, token: int, now_ms: int) -> None:
        """The leader did not answer: its partitions rest."""
        tail = self._flights.pop(token)
        if token in tail.flights:
            tail.end()
            for key in tail.partitions:
                self._rest(tail, key, now_ms)

    def tick(self, now_ms: int) -> None:
        """Fetch what has rested long enough."""
        if now_ms < self.deadline_ms:
            return
        for key in [key for key, until in self._resting.items() if until <= now_ms]:
            del self._resting[key]
        self.deadline_ms = min(self._resting.values(), default=1 << 62)
        for tail in self._tails.values():
            tail.new = tail.new or bool(tail.changed)
            self._fetch(tail, now_ms)


def _same(one: FetchPartition, other: FetchPartition) -> bool:
    """Return whether an answer to the one is an answer to the other: a log with the same last record is the same."""
    epochs = one.current_leader_epoch, one.last_fetched_epoch
    return one.fetch_offset == other.fetch_offset and epochs == (other.current_leader_epoch, other.last_fetched_epoch)


def _forgotten(tail: Tail) -> tuple[ForgottenTopic, ...]:
    topics: dict[str, list[int]] = {}
    for topic_id, index in tail.forgotten:
        topics.setdefault(topic_id, []).append(index)
    return tuple(
        ForgottenTopic(topic_id=bytes.fromhex(topic_id), partitions=tuple(indexes))
        for topic_id, indexes in topics.items()
    )
