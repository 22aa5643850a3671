"""The active controller: exists on the quorum's leader, for one epoch, and answers what only it may decide.

It starts from the committed image plus everything in its log (which its epoch will commit), so it never decides on a
state that a predecessor has already left. Answers wait in the pipeline until what they say is committed.
"""

from __future__ import annotations

import random
from typing import Any

from broker.core.config import BrokerConfig
from broker.core.controller.brokers import Brokers
from broker.core.controller.partitions import Partitions
from broker.core.controller.pipeline import Pipeline
from broker.core.controller.topics import Topics
from broker.core.errors import Code
from broker.core.metadata.image import ELR_FEATURE, Image
from broker.core.metadata.records import FeatureSet, ProducerIdsReserved
from broker.core.quorum.quorum import Quorum
from broker.core.ready import Outbox
from broker.wire.messages.allocate_producer_ids import AllocateProducerIdsRequest, AllocateProducerIdsResponse
from broker.wire.messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
)
from broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from broker.wire.messages.broker_registration import BrokerRegistrationRequest, BrokerRegistrationResponse
from broker.wire.messages.create_topics import CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse
from broker.wire.messages.elect_leaders import ElectLeadersRequest, ElectLeadersResponse

ControllerRequest = (
    BrokerRegistrationRequest
    | BrokerHeartbeatRequest
    | AlterPartitionRequest
    | CreateTopicsRequest
    | ElectLeadersRequest
    | AlterPartitionReassignmentsRequest
    | AllocateProducerIdsRequest
)
PRODUCER_ID_BLOCK = 1000
"""As in Kafka."""


def refusal(message: ControllerRequest, code: Code = Code.NOT_CONTROLLER) -> Any:
    """Return the answer of a node that is not the active controller."""
    match message:
        case BrokerRegistrationRequest():
            return BrokerRegistrationResponse(error_code=code)
        case BrokerHeartbeatRequest():
            return BrokerHeartbeatResponse(error_code=code)
        case AlterPartitionRequest():
            return AlterPartitionResponse(error_code=code)
        case CreateTopicsRequest():
            results = tuple(CreatableTopicResult(name=topic.name, error_code=code) for topic in message.topics)
            return CreateTopicsResponse(topics=results)
        case ElectLeadersRequest():
            return ElectLeadersResponse(error_code=code)
        case AlterPartitionReassignmentsRequest():
            return AlterPartitionReassignmentsResponse(error_code=code)
        case AllocateProducerIdsRequest():
            return AllocateProducerIdsResponse(error_code=code)


class Controller:
    """See the module."""

    def __init__(
        self, config: BrokerConfig, quorum: Quorum, image: Image, out: Outbox, *, rng: random.Random, now_ms: int
    ) -> None:
        self._pipeline = Pipeline(config, quorum, image, out)
        self._brokers = Brokers(self._pipeline, now_ms)
        self._partitions = Partitions(self._pipeline)
        self._topics = Topics(self._pipeline, rng)
        if not image.features:
            self._pipeline.stage(FeatureSet(ELR_FEATURE, int(config.elr)))
            self._pipeline.commit(now_ms)

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        return self._brokers.deadline_ms

    @property
    def image(self) -> Image:
        """What is decided, committed or not."""
        return self._pipeline.image

    def handle(self, request_id: object, message: ControllerRequest, now_ms: int) -> None:
        """Decide, and answer when the decision is committed."""
        self._pipeline.answer(request_id, self._decide(message, now_ms), refusal(message))

    def _decide(self, message: ControllerRequest, now_ms: int) -> Any:
        match message:
            case BrokerRegistrationRequest():
                return self._brokers.register(message, now_ms)
            case BrokerHeartbeatRequest():
                return self._brokers.heartbeat(message, now_ms)
            case AlterPartitionRequest():
                return self._partitions.alter(message, now_ms)
            case CreateTopicsRequest():
                return self._topics.create(message, now_ms)
            case ElectLeadersRequest():
                return self._partitions.elect(message, now_ms)
            case AlterPartitionReassignmentsRequest():
                return self._partitions.reassign(message, now_ms)
            case AllocateProducerIdsRequest():
                return self._allocate(message, now_ms)

    def _allocate(self, message: AllocateProducerIdsRequest, now_ms: int) -> AllocateProducerIdsResponse:
        """Give a node a block of producer ids that nobody had before."""
        broker = self.image.brokers.get(message.broker_id)
        if broker is None or broker.epoch != message.broker_epoch:
            return AllocateProducerIdsResponse(error_code=Code.STALE_BROKER_EPOCH)
        start = self.image.next_producer_id
        self._pipeline.stage(ProducerIdsReserved(start + PRODUCER_ID_BLOCK))
        self._pipeline.commit(now_ms)
        return AllocateProducerIdsResponse(producer_id_start=start, producer_id_len=PRODUCER_ID_BLOCK)

    def committed(self) -> None:
        """More is committed: answer those who waited for it."""
        self._pipeline.release()

    def tick(self, now_ms: int) -> None:
        """Fence the silent."""
        self._brokers.tick(now_ms)

    def close(self) -> None:
        """The leadership is lost."""
        self._pipeline.close()
