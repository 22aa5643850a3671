"""Unclean recovery (KIP-966): who leads a partition when nobody is eligible is decided by comparing logs.

A node that did not stop in order leaves ISR and ELR when it is back, since it may have lost records; most often it has
not (its process was killed, its disk is whole). So when ISR and ELR are empty, nobody is known to have everything, but
somebody may have it. By `unclean.recovery.strategy`:

    Balanced     when all are back who were the last to be in sync or eligible (the last known ELR, the last leader)
    Aggressive   as soon as anybody lives, also while an eligible replica is away
    None         never: the last known leader leads when it is back, whatever it has lost, as in Apache Kafka 4

all live replicas are asked for the epoch of their last record and their log's end, and the one with the highest
(epoch, end) leads. All that was committed lies in the log of a member of the last known ELR that has lost nothing.
Records of a later epoch follow only what its leader had, and that leader had all that was committed before; of two logs
that end in the same epoch the shorter is a prefix of the longer. So nobody wins who lacks what such a member has, and
to ask more replicas is never wrong. One replica alone has nobody to be compared with, and leads at once.

A replica that left the partition is not waited for, nor a node that was unregistered; if all the last known are gone in
this way, only an administrator can say who leads (ElectLeaders, UNCLEAN).

An answer counts for the node's registration and for the partition's leader epoch that it names, as long as both are the
present ones: a process that has restarted has another registration, and without a leader a log does not change once its
node knows that epoch. All of this is soft state: another controller asks again. Nodes are asked when one of them beats,
so nothing here has a clock; an answer that does not come, or does not count, is asked for with the next beat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from broker.core.config import setting
from broker.core.controller.pipeline import Pipeline
from broker.core.metadata.records import NO_LEADER, PartitionState
from broker.core.ready import Outbox
from broker.core.replication.replica import Key
from broker.core.topic_settings import AGGRESSIVE, NO_RECOVERY, RECOVERY
from broker.wire.messages.get_replica_log_info import (
    GetReplicaLogInfoRequest,
    GetReplicaLogInfoResponse,
    TopicPartitions,
)

if TYPE_CHECKING:
    from broker.core.controller.controller import Controller

CHANNEL = 10
MAX_ASKED = 1000
"""Partitions in one request, as in Kafka."""


class LogInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a node said of its replica, and for which of its registrations and which leader epoch."""

    broker_epoch: int
    leader_epoch: int
    last_epoch: int
    end: int


class Recovery:
    """See the module."""

    def __init__(self, pipeline: Pipeline, out: Outbox) -> None:
        self._pipeline, self._out = pipeline, out
        self._told: dict[Key, dict[int, LogInfo]] = {}
        self._flights: dict[int, int] = {}  # token -> node

    def look(self, now_ms: int) -> None:
        """A node has beaten: ask for what is missing, elect where nothing is."""
        asks: dict[int, list[Key]] = {}
        for broker, key in self._settle(now_ms):
            asks.setdefault(broker, []).append(key)
        for broker in sorted(asks.keys() - self._flights.values()):
            keys = asks[broker]
            for at in range(0, len(keys), MAX_ASKED):
                request = GetReplicaLogInfoRequest(topic_partitions=_by_topic(keys[at : at + MAX_ASKED]))
                timeout_ms = self._pipeline.config.session_timeout_ms  # who is silent for so long is fenced anyway
                self._flights[self._out.request(broker, CHANNEL, request, timeout_ms)] = broker

    def owns(self, token: int) -> bool:
        """Return whether the request is ours."""
        return token in self._flights

    def answered(self, token: int, message: GetReplicaLogInfoResponse, now_ms: int) -> None:
        """A node told about its replicas."""
        broker = self._flights.pop(token)
        for topic in message.topic_partition_log_info_list:
            for one in topic.partition_log_info:
                if not one.error_code:
                    self._told.setdefault((topic.topic_id.hex(), one.partition), {})[broker] = LogInfo(
                        broker_epoch=message.broker_epoch,
                        leader_epoch=one.current_leader_epoch,
                        last_epoch=one.last_written_leader_epoch,
                        end=one.log_end_offset,
                    )
        self._settle(now_ms)

    def failed(self, token: int) -> None:
        """No answer will come."""
        del self._flights[token]

    def _settle(self, now_ms: int) -> list[tuple[int, Key]]:
        """Elect where all have told; return which node is still to tell of which partition."""
        leaderless, missing = self._pipeline.leaderless, list[tuple[int, Key]]()
        for key in self._told.keys() - leaderless.keys():
            del self._told[key]
        for key in list(leaderless):
            state = self._pipeline.image.partition(*key)
            if state is None:
                del leaderless[key]
                continue
            asked = self._to_ask(state)
            known = {replica: log for replica in asked if (log := self._log(state, replica)) is not None}
            if asked and len(known) == len(asked):
                self._elect(state, known)
            else:
                missing += [(replica, key) for replica in asked if replica not in known]
        self._pipeline.commit(now_ms)
        return missing

    def _to_ask(self, state: PartitionState) -> list[int]:
        """Return whose logs are to be compared; nobody's, if it is not time for it."""
        image = self._pipeline.image
        alive = [replica for replica in state.replicas if image.is_active(replica)]
        if not alive or not image.has_elr:
            return []
        strategy = setting(self._pipeline.config, image, image.topics[state.topic_id].name, RECOVERY)
        if strategy == AGGRESSIVE:
            return alive
        if strategy == NO_RECOVERY or state.isr or state.elr:
            return []
        awaited = _last_known(state) & image.brokers.keys()
        return alive if awaited and awaited <= set(alive) else []

    def _log(self, state: PartitionState, replica: int) -> LogInfo | None:
        """Return what the node has told, if that still counts."""
        log = self._told.get((state.topic_id, state.index), {}).get(replica)
        broker = self._pipeline.image.brokers[replica]
        if log is None or log.broker_epoch != broker.epoch or log.leader_epoch != state.leader_epoch:
            return None
        return log

    def _elect(self, state: PartitionState, logs: dict[int, LogInfo]) -> None:
        best = self.most_complete(logs)
        name = f"{self._pipeline.image.topics[state.topic_id].name}-{state.index}"
        told = ", ".join(f"{replica}: {log.end} in epoch {log.last_epoch}" for replica, log in logs.items())
        self._out.warnings.append(
            f"{name}: node {best} leads, its log is the most complete ({told}); what none of them has is lost"
        )
        self._pipeline.change(state, best=best)

    def most_complete(self, logs: dict[int, LogInfo]) -> int:
        """Return whose log nobody's exceeds, the first one of equals."""
        return max(logs, key=lambda replica: (logs[replica].last_epoch, logs[replica].end))


def _last_known(state: PartitionState) -> set[int]:
    """Return who may have everything; where nobody has noted that (in an older log), any replica may."""
    known = set(state.last_known_elr or state.replicas)
    if state.last_leader != NO_LEADER:
        known.add(state.last_leader)
    return known & set(state.replicas)


def _by_topic(keys: list[Key]) -> tuple[TopicPartitions, ...]:
    topics: dict[str, list[int]] = {}
    for topic_id, index in keys:
        topics.setdefault(topic_id, []).append(index)
    return tuple(
        TopicPartitions(topic_id=bytes.fromhex(topic_id), partitions=tuple(indexes))
        for topic_id, indexes in topics.items()
    )


class WhileLeading:
    """Takes the answers for the controller that this node is at the moment; those for an earlier one are dropped."""

    def __init__(self, controller: Callable[[], Controller | None]) -> None:
        self._controller = controller

    def owns(self, token: int) -> bool:
        """Return whether the present controller sent the request."""
        controller = self._controller()
        return controller is not None and controller.recovery.owns(token)

    def answered(self, token: int, message: GetReplicaLogInfoResponse, now_ms: int) -> None:
        """A node told about its replicas."""
        controller = self._controller()
        assert controller is not None  # see `owns`
        controller.recovery.answered(token, message, now_ms)

    def failed(self, token: int, now_ms: int) -> None:
        """No answer will come."""
        controller = self._controller()
        assert controller is not None  # see `owns`
        controller.recovery.failed(token)
        del now_ms
