"""What the controller does with partitions on request: ISR changes, elections, reassignments.

Kafka: ReplicationControlManager (alterPartition, electLeaders, alterPartitionReassignments).
"""

from __future__ import annotations

from broker.core.controller.partition_change import Election
from broker.core.controller.pipeline import Pipeline
from broker.core.controller.topics import what_is_wrong_with
from broker.core.errors import Code, Refused
from broker.core.metadata.records import PartitionState as State
from broker.wire.messages.alter_partition import (
    AlterPartitionData,
    AlterPartitionRequest,
    AlterPartitionResponse,
    PartitionState,
    TopicState,
)
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartitionResult,
    ReassignableTopicResult,
)
from broker.wire.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
    TopicPartitions,
)


def _answer(index: int, state: State) -> PartitionState:
    return PartitionState(
        partition_index=index,
        leader_id=state.leader,
        leader_epoch=state.leader_epoch,
        isr=state.isr,
        partition_epoch=state.partition_epoch,
    )


_ELECTIONS = {0: Election.PREFERRED, 1: Election.UNCLEAN}
_NOT_NEEDED = "Leader election not needed for topic partition."
MAX_BALANCED = 1000
"""Leaderships that move in one step, as in Kafka: the rest waits for the next look."""


class Partitions:
    """See the module."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    # AlterPartition: a leader's wish for another ISR.

    def alter(self, request: AlterPartitionRequest, now_ms: int) -> AlterPartitionResponse:
        """Change ISRs as their leaders ask, each on its own."""
        broker = self._pipeline.image.brokers.get(request.broker_id)
        if broker is None or broker.epoch != request.broker_epoch:
            return AlterPartitionResponse(error_code=Code.STALE_BROKER_EPOCH)
        topics = []
        for topic in request.topics:
            states = []
            for ask in topic.partitions:
                try:
                    state = self._alter_one(request.broker_id, topic.topic_id.hex(), ask)
                except Refused as refused:
                    state = PartitionState(partition_index=ask.partition_index, error_code=refused.code)
                states.append(state)
            topics.append(TopicState(topic_id=topic.topic_id, partitions=tuple(states)))
        self._pipeline.commit(now_ms)
        return AlterPartitionResponse(topics=tuple(topics))

    def _alter_one(self, broker_id: int, topic_id: str, ask: AlterPartitionData) -> PartitionState:
        image = self._pipeline.image
        if topic_id not in image.topics:
            raise Refused(Code.UNKNOWN_TOPIC_ID)
        old = image.partition(topic_id, ask.partition_index)
        if old is None:
            raise Refused(Code.UNKNOWN_TOPIC_OR_PARTITION)
        self._check(broker_id, old, ask)
        isr = tuple(state.broker_id for state in ask.new_isr_with_epochs)
        for state in ask.new_isr_with_epochs:
            broker = image.brokers.get(state.broker_id)
            current = broker is not None and state.broker_epoch in {-1, broker.epoch}
            if not current or not image.is_active(state.broker_id):
                raise Refused(Code.INELIGIBLE_REPLICA)
        new = self._pipeline.change(old, isr=isr, vouched=True) or old
        if new.leader != old.leader:
            raise Refused(Code.NEW_LEADER_ELECTED if new.leader >= 0 else Code.FENCED_LEADER_EPOCH)
        return _answer(ask.partition_index, new)

    def _check(self, broker_id: int, old: State, ask: AlterPartitionData) -> None:
        """Refuse a wish that is based on another state than ours, or that makes no sense."""
        if ask.leader_epoch > old.leader_epoch or ask.partition_epoch > old.partition_epoch:
            raise Refused(Code.NOT_CONTROLLER)
        if ask.leader_epoch < old.leader_epoch:
            raise Refused(Code.FENCED_LEADER_EPOCH)
        if ask.partition_epoch < old.partition_epoch:
            raise Refused(Code.INVALID_UPDATE_VERSION)
        isr = [state.broker_id for state in ask.new_isr_with_epochs]
        lawful = len(set(isr)) == len(isr) and set(isr) <= set(old.replicas)
        if broker_id != old.leader or broker_id not in isr or not lawful:
            raise Refused(Code.INVALID_REQUEST)

    # ElectLeaders.

    def elect(self, request: ElectLeadersRequest, now_ms: int) -> ElectLeadersResponse:
        """Elect preferred leaders, or any leaders where there are none."""
        image = self._pipeline.image
        if request.election_type not in _ELECTIONS:
            return ElectLeadersResponse(error_code=Code.INVALID_REQUEST)
        election = _ELECTIONS[request.election_type]
        asked = request.topic_partitions
        everything = asked is None
        if asked is None:
            topics = image.topics.values()
            asked = tuple(TopicPartitions(topic=topic.name, partitions=tuple(topic.partitions)) for topic in topics)
        results = []
        for item in asked:
            done = [(index, *self._elect_one(item.topic, index, election)) for index in item.partitions]
            kept = tuple(
                PartitionResult(partition_id=index, error_code=code, error_message=message or None)
                for index, code, message in done
                if not (everything and code is Code.ELECTION_NOT_NEEDED)
            )
            if kept:
                results.append(ReplicaElectionResult(topic=item.topic, partition_result=kept))
        self._pipeline.commit(now_ms)
        return ElectLeadersResponse(replica_election_results=tuple(results))

    def _elect_one(self, name: str, index: int, election: Election) -> tuple[Code, str]:
        topic = self._pipeline.image.topic(name)
        old = None if topic is None else topic.partitions.get(index)
        if old is None:
            return Code.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{index}"
        if election is Election.PREFERRED and old.leader == old.replicas[0]:
            return Code.ELECTION_NOT_NEEDED, _NOT_NEEDED
        if election is Election.UNCLEAN and old.leader >= 0:
            return Code.ELECTION_NOT_NEEDED, _NOT_NEEDED
        new = self._pipeline.change(old, election=election)
        if election is Election.PREFERRED and (new is None or new.leader != old.replicas[0]):
            return Code.PREFERRED_LEADER_NOT_AVAILABLE, "the preferred replica is not in the ISR or not alive"
        if new is None or new.leader < 0:
            return Code.ELIGIBLE_LEADERS_NOT_AVAILABLE, "no replica is alive"
        return Code.NONE, ""

    def balance(self, now_ms: int) -> None:
        """Let preferred replicas lead again that are in the ISR and alive, `MAX_BALANCED` at a time."""
        moved = 0
        for old in self._pipeline.image.partitions():
            if 0 <= old.leader != old.replicas[0] in old.isr and moved < MAX_BALANCED:
                new = self._pipeline.change(old, election=Election.PREFERRED)
                moved += new is not None
        self._pipeline.commit(now_ms)

    # Reassignment (KIP-455).

    def reassign(self, request: AlterPartitionReassignmentsRequest, now_ms: int) -> AlterPartitionReassignmentsResponse:
        """Start or cancel moves."""
        responses = []
        for topic in request.topics:
            results = []
            for ask in topic.partitions:
                code, message = Code.NONE, None
                try:
                    may_resize = request.allow_replication_factor_change
                    self._reassign_one(topic.name, ask.partition_index, ask.replicas, may_resize=may_resize)
                except Refused as refused:
                    code, message = refused.code, refused.message
                results.append(
                    ReassignablePartitionResult(
                        partition_index=ask.partition_index, error_code=code, error_message=message
                    )
                )
            responses.append(ReassignableTopicResult(name=topic.name, partitions=tuple(results)))
        self._pipeline.commit(now_ms)
        return AlterPartitionReassignmentsResponse(
            allow_replication_factor_change=request.allow_replication_factor_change, responses=tuple(responses)
        )

    def _reassign_one(self, name: str, index: int, target: tuple[int, ...] | None, *, may_resize: bool) -> None:
        image = self._pipeline.image
        topic = image.topic(name)
        old = None if topic is None else topic.partitions.get(index)
        if old is None:
            raise Refused(Code.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{index}")
        original = tuple(replica for replica in old.replicas if replica not in old.adding)
        if target is None:
            if not old.adding and not old.removing:
                raise Refused(Code.NO_REASSIGNMENT_IN_PROGRESS, "No partition reassignment is in progress.")
            isr = tuple(replica for replica in old.isr if replica in original)
            if not isr:
                raise Refused(Code.INVALID_REPLICA_ASSIGNMENT, f"no original replica of {name}-{index} is in sync")
            self._pipeline.change(old, replicas=original, adding=(), removing=(), isr=isr)
            return
        wrong = what_is_wrong_with(target, image.brokers)
        if wrong is not None:
            raise Refused(Code.INVALID_REPLICA_ASSIGNMENT, wrong)
        if not may_resize and len(target) != len(original):
            why = f"The replication factor is changed from {len(original)} to {len(target)}"
            raise Refused(Code.INVALID_REPLICATION_FACTOR, why)
        adding = tuple(replica for replica in target if replica not in original)
        removing = tuple(replica for replica in original if replica not in target)
        replicas = (*target, *removing)
        isr = tuple(replica for replica in old.isr if replica in replicas)
        if not isr:
            raise Refused(Code.INVALID_REPLICA_ASSIGNMENT, f"no replica of {name}-{index} in sync would remain")
        self._pipeline.change(old, replicas=replicas, adding=adding, removing=removing, isr=isr)
