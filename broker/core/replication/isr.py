"""How leaders change their ISR: wishes go to the active controller, one request at a time (KIP-497).

A wish stays until it is answered or until newer metadata make it void; a request that got no answer is repeated with
the same wishes, since the controller may have granted them. A granted state is taken over at once, before it comes by
the metadata log.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.ready import Outbox
from broker.core.replication.replica import Key, Replica
from broker.core.replication.replicas import Replicas
from broker.wire.messages.alter_partition import (
    AlterPartitionData,
    AlterPartitionRequest,
    AlterPartitionResponse,
    AlterPartitionTopic,
    BrokerState,
    PartitionState,
)

CHANNEL = 2
"""Requests to the controller."""
_RETRIABLE = {Code.NOT_CONTROLLER, Code.UNKNOWN_SERVER_ERROR}


class IsrKeeper:
    """See the module. `controller` says where to send; `moved` is told when a high watermark may move."""

    def __init__(
        self,
        config: BrokerConfig,
        replicas: Replicas,
        out: Outbox,
        *,
        controller: Callable[[], int],
        moved: Callable[[Replica, int], None],
    ) -> None:
        self._config, self._replicas, self._out = config, replicas, out
        self._controller, self._moved = controller, moved
        self._wishes: dict[Key, None] = {}
        self._flight: int | None = None
        self._asked: dict[Key, int] = {}  # what is on its way: partition -> the partition epoch that the wish stands on
        self._retry_at_ms = 0
        self._check_at_ms = 0

    @property
    def deadline_ms(self) -> int:
        """When followers are checked for lag, or wishes are due."""
        if self._wishes and self._flight is None:
            return min(self._retry_at_ms, self._check_at_ms)
        return self._check_at_ms

    def fetched(self, replica: Replica, follower: int) -> None:
        """A follower has just fetched: it may join the ISR."""
        leader = replica.leader
        if leader is not None and leader.wish is None and leader.may_join(follower, self._replicas.eligible):
            leader.want(leader.joined(follower), self._replicas.broker_epoch)
            self._wishes[replica.key] = None

    def check(self, now_ms: int) -> None:
        """Take those out of the ISRs who fell behind."""
        self._check_at_ms = now_ms + self._config.replica_lag_ms // 2
        for replica in self._replicas:
            leader = replica.leader
            if leader is None or leader.wish is not None:
                continue
            isr = leader.shrunk(self._config.replica_lag_ms, now_ms)
            if isr != leader.state.isr:
                leader.want(isr, self._replicas.broker_epoch)
                self._wishes[replica.key] = None
            self._moved(replica, now_ms)

    def send(self, now_ms: int) -> None:
        """Send the open wishes, if none are on their way and a controller is known."""
        if not self._wishes or self._flight is not None or now_ms < self._retry_at_ms:
            return
        target = self._controller()
        if target < 0:
            return
        topics: dict[str, list[AlterPartitionData]] = {}
        self._asked = {}
        for key in list(self._wishes):
            replica = self._replicas.get(key)
            leader = None if replica is None else replica.leader
            if leader is None or leader.wish is None:
                del self._wishes[key]
                continue
            isr = tuple(BrokerState(broker_id=broker, broker_epoch=epoch) for broker, epoch in leader.wish.isr)
            data = AlterPartitionData(
                partition_index=key[1],
                leader_epoch=leader.epoch,
                new_isr_with_epochs=isr,
                partition_epoch=leader.wish.partition_epoch,
            )
            topics.setdefault(key[0], []).append(data)
            self._asked[key] = leader.wish.partition_epoch
        if not topics:
            return
        request = AlterPartitionRequest(
            broker_id=self._config.node_id,
            broker_epoch=self._replicas.broker_epoch,
            topics=tuple(
                AlterPartitionTopic(topic_id=bytes.fromhex(topic), partitions=tuple(data))
                for topic, data in topics.items()
            ),
        )
        self._flight = self._out.request(target, CHANNEL, request, self._config.request_timeout_ms)

    def owns(self, token: int) -> bool:
        """Return whether the request is ours."""
        return token == self._flight

    def answered(self, token: int, response: AlterPartitionResponse, now_ms: int) -> None:
        """Take over what the controller decided."""
        assert token == self._flight
        self._flight = None
        if response.error_code:
            self._retry_at_ms = now_ms + self._config.retry_backoff_ms
            return
        for topic in response.topics:
            for state in topic.partitions:
                self._decided((topic.topic_id.hex(), state.partition_index), state, now_ms)

    def _decided(self, key: Key, answer: PartitionState, now_ms: int) -> None:
        replica = self._replicas.get(key)
        leader = None if replica is None else replica.leader
        if replica is None or leader is None:
            self._wishes.pop(key, None)
            return
        if leader.wish is None or leader.wish.partition_epoch != self._asked.get(key):
            return  # newer metadata came first; what is wished now has not been asked yet
        if answer.error_code in _RETRIABLE:
            self._retry_at_ms = now_ms + self._config.retry_backoff_ms
            return
        self._wishes.pop(key, None)
        if answer.error_code:
            if answer.error_code in {Code.INELIGIBLE_REPLICA, Code.INVALID_REQUEST}:
                leader.wish = None  # refused for certain: not added, and not to be waited for
                self._moved(replica, now_ms)
            return  # otherwise newer metadata is on its way and makes the wish void
        if answer.leader_epoch == leader.epoch and answer.partition_epoch >= leader.state.partition_epoch:
            assert replica.state is not None
            state = msgspec.structs.replace(
                replica.state, isr=answer.isr, partition_epoch=answer.partition_epoch, leader=answer.leader_id
            )
            if answer.partition_epoch == leader.state.partition_epoch:
                leader.wish = None
            replica.become(self._config.node_id, state, now_ms)
            self._moved(replica, now_ms)

    def failed(self, token: int, now_ms: int) -> None:
        """Nobody answered: ask again later, perhaps another controller."""
        assert token == self._flight
        self._flight = None
        self._retry_at_ms = now_ms + self._config.retry_backoff_ms

    def tick(self, now_ms: int) -> None:
        """Do what is due."""
        if now_ms >= self._check_at_ms:
            self.check(now_ms)
        if self._wishes:
            self.send(now_ms)
