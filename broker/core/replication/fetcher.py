"""How this node follows: one fetch on its way per leader, for all partitions that this leader leads.

A partition is fetched while its metadata names another node as leader. An answer counts only if the partition still
follows that leader in that epoch and its log still ends where the fetch began; anything else is a late answer. A
refused partition rests for a moment: usually newer metadata are on their way here or there. A follower that is out of
range, or that lacks what a compacted leader has forgotten, starts anew at the leader's log start. Kafka:
AbstractFetcherThread, ReplicaFetcherThread.
"""

from __future__ import annotations

import msgspec

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.ready import Outbox
from broker.core.replication.replica import Key, Replica
from broker.core.replication.replicas import Replicas
from broker.wire.batch import CorruptBatchError
from broker.wire.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    PartitionData,
    ReplicaState,
)

CHANNEL = 1
"""Fetches of partitions have a connection of their own: they may wait at the leader."""


class _Flight(msgspec.Struct, frozen=True):
    """A fetch on its way: to whom, and what was asked per partition."""

    leader: int
    asked: dict[Key, FetchPartition]


class Fetchers:
    """See the module."""

    def __init__(self, config: BrokerConfig, replicas: Replicas, out: Outbox) -> None:
        self._config, self._replicas, self._out = config, replicas, out
        self._flights: dict[int, _Flight] = {}
        self._following: dict[int, dict[Key, None]] = {}  # leader -> partitions
        self._resting: dict[Key, int] = {}  # partition -> until when

    @property
    def deadline_ms(self) -> int:
        """When a resting partition is due."""
        return min(self._resting.values(), default=1 << 62)

    def follow(self, replica: Replica, now_ms: int) -> None:
        """Follow whom the partition's metadata names, and nobody else."""
        for partitions in self._following.values():
            partitions.pop(replica.key, None)
        self._resting.pop(replica.key, None)
        state = replica.state
        if state is not None and state.leader >= 0 and replica.leader is None:
            self._following.setdefault(state.leader, {})[replica.key] = None
            self._fetch(state.leader, now_ms)

    def forget(self, key: Key) -> None:
        """The partition is not hosted any more."""
        for partitions in self._following.values():
            partitions.pop(key, None)
        self._resting.pop(key, None)

    def _fetch(self, leader: int, now_ms: int) -> None:
        if any(flight.leader == leader for flight in self._flights.values()):
            return
        asked: dict[Key, FetchPartition] = {}
        topics: dict[str, list[FetchPartition]] = {}
        for key in self._following.get(leader, {}):
            replica = self._replicas.get(key)
            if replica is None or self._resting.get(key, 0) > now_ms:
                continue
            asked[key] = replica.next_fetch(self._config.replica_fetch_max_bytes)
            topics.setdefault(key[0], []).append(asked[key])
        if not asked:
            return
        request = FetchRequest(
            replica_id=self._config.node_id,
            replica_state=ReplicaState(replica_id=self._config.node_id, replica_epoch=self._replicas.broker_epoch),
            max_wait_ms=self._config.replica_fetch_wait_ms,
            min_bytes=1,
            max_bytes=self._config.replica_fetch_response_max_bytes,
            topics=tuple(
                FetchTopic(topic_id=bytes.fromhex(topic_id), partitions=tuple(partitions))
                for topic_id, partitions in topics.items()
            ),
        )
        timeout_ms = self._config.replica_fetch_wait_ms + self._config.request_timeout_ms
        self._flights[self._out.request(leader, CHANNEL, request, timeout_ms)] = _Flight(leader, asked)

    def owns(self, token: int) -> bool:
        """Return whether the request is one of ours."""
        return token in self._flights

    def answered(self, token: int, response: FetchResponse, now_ms: int) -> None:
        """Apply a leader's answer and ask for more."""
        flight = self._flights.pop(token)
        for topic in response.responses:
            for data in topic.partitions:
                key = (topic.topic_id.hex(), data.partition_index)
                replica, ask = self._replicas.get(key), flight.asked.get(key)
                if replica is not None and ask is not None and self._is_current(replica, ask, flight.leader):
                    self._take(replica, data, now_ms)
        self._fetch(flight.leader, now_ms)

    def _is_current(self, replica: Replica, ask: FetchPartition, leader: int) -> bool:
        return (
            replica.key in self._following.get(leader, {})
            and replica.leader_epoch == ask.current_leader_epoch
            and replica.log.end == ask.fetch_offset
        )

    def _take(self, replica: Replica, data: PartitionData, now_ms: int) -> None:
        begins_anew = data.high_watermark >= 0 or data.log_start_offset > replica.log.end
        if data.error_code == Code.OFFSET_OUT_OF_RANGE and data.log_start_offset >= 0 and begins_anew:
            replica.log.restart_at(data.log_start_offset, data.high_watermark)
            return
        if data.error_code:
            self._rest(replica, now_ms)
            return
        try:
            warning = replica.take(data)
        except CorruptBatchError as error:
            self._rest(replica, now_ms)
            warning = str(error)
        if warning:
            self._out.warnings.append(warning)

    def _rest(self, replica: Replica, now_ms: int) -> None:
        self._resting[replica.key] = now_ms + self._config.replica_fetch_backoff_ms

    def failed(self, token: int, now_ms: int) -> None:
        """The leader did not answer: its partitions rest."""
        flight = self._flights.pop(token)
        for key in flight.asked:
            if key in self._following.get(flight.leader, {}):
                self._resting[key] = now_ms + self._config.replica_fetch_backoff_ms

    def tick(self, now_ms: int) -> None:
        """Fetch what has rested long enough."""
        for key in [key for key, until in self._resting.items() if until <= now_ms]:
            del self._resting[key]
        for leader, partitions in self._following.items():
            if partitions:
                self._fetch(leader, now_ms)
