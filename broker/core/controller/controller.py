"""The active controller: exists on the quorum's leader, for one epoch, and answers what only it may decide.

It starts from the committed image plus everything in its log (which its epoch will commit), so it never decides on a
state that a predecessor has already left. Answers wait in the pipeline until what they say is committed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from broker.core.config import BrokerConfig
from broker.core.controller import elr
from broker.core.controller.brokers import Brokers
from broker.core.controller.configs import Configs
from broker.core.controller.features import Features, first_levels
from broker.core.controller.partitions import Partitions
from broker.core.controller.pipeline import Pipeline
from broker.core.controller.quotas import ClientQuotas
from broker.core.controller.recovery import Recovery
from broker.core.controller.security import Security
from broker.core.controller.topics import Topics
from broker.core.errors import Code
from broker.core.metadata.image import Image
from broker.core.metadata.records import FeatureSet, ProducerIdsReserved
from broker.core.quorum.quorum import Quorum
from broker.core.ready import Outbox
from broker.core.security import particular
from broker.wire.messages.allocate_producer_ids import AllocateProducerIdsRequest, AllocateProducerIdsResponse
from broker.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    QuotaResult,
)
from broker.wire.messages.alter_configs import AlterConfigsRequest, AlterConfigsResponse
from broker.wire.messages.alter_configs import AlterConfigsResourceResponse as ReplacedResourceResponse
from broker.wire.messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
)
from broker.wire.messages.alter_user_scram_credentials import AlterUserScramCredentialsRequest
from broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from broker.wire.messages.broker_registration import BrokerRegistrationRequest, BrokerRegistrationResponse
from broker.wire.messages.create_acls import AclCreationResult, CreateAclsRequest, CreateAclsResponse
from broker.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopicResult,
)
from broker.wire.messages.create_topics import CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse
from broker.wire.messages.delete_acls import DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse
from broker.wire.messages.delete_topics import DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse
from broker.wire.messages.elect_leaders import ElectLeadersRequest, ElectLeadersResponse
from broker.wire.messages.incremental_alter_configs import (
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from broker.wire.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse
from broker.wire.messages.update_features import UpdateFeaturesRequest, UpdateFeaturesResponse
from broker.wire.primitives import NO_UUID

ControllerRequest = (
    BrokerRegistrationRequest
    | BrokerHeartbeatRequest
    | AlterPartitionRequest
    | CreateTopicsRequest
    | ElectLeadersRequest
    | AlterPartitionReassignmentsRequest
    | AllocateProducerIdsRequest
    | DeleteTopicsRequest
    | CreatePartitionsRequest
    | IncrementalAlterConfigsRequest
    | AlterConfigsRequest
    | UpdateFeaturesRequest
    | UnregisterBrokerRequest
    | CreateAclsRequest
    | DeleteAclsRequest
    | AlterUserScramCredentialsRequest
    | AlterClientQuotasRequest
)
PRODUCER_ID_BLOCK = 1000
"""As in Kafka."""
NEVER_MS = 1 << 62


_REFUSALS: dict[type, Callable[[Any, Code], Any]] = {
    BrokerRegistrationRequest: lambda _, code: BrokerRegistrationResponse(error_code=code),
    BrokerHeartbeatRequest: lambda _, code: BrokerHeartbeatResponse(error_code=code),
    AlterPartitionRequest: lambda _, code: AlterPartitionResponse(error_code=code),
    AllocateProducerIdsRequest: lambda _, code: AllocateProducerIdsResponse(error_code=code),
    ElectLeadersRequest: lambda _, code: ElectLeadersResponse(error_code=code),
    AlterPartitionReassignmentsRequest: lambda _, code: AlterPartitionReassignmentsResponse(error_code=code),
    CreateTopicsRequest: lambda message, code: CreateTopicsResponse(
        topics=tuple(CreatableTopicResult(name=topic.name, error_code=code) for topic in message.topics)
    ),
    DeleteTopicsRequest: lambda message, code: DeleteTopicsResponse(
        responses=tuple(
            DeletableTopicResult(name=name, topic_id=topic_id, error_code=code)
            for name, topic_id in [
                *((topic.name, topic.topic_id) for topic in message.topics),
                *((name, NO_UUID) for name in message.topic_names),
            ]
        )
    ),
    CreatePartitionsRequest: lambda message, code: CreatePartitionsResponse(
        results=tuple(CreatePartitionsTopicResult(name=topic.name, error_code=code) for topic in message.topics)
    ),
    IncrementalAlterConfigsRequest: lambda message, code: IncrementalAlterConfigsResponse(
        responses=tuple(
            AlterConfigsResourceResponse(
                error_code=code, resource_type=item.resource_type, resource_name=item.resource_name
            )
            for item in message.resources
        )
    ),
    AlterConfigsRequest: lambda message, code: AlterConfigsResponse(
        responses=tuple(
            ReplacedResourceResponse(
                error_code=code, resource_type=item.resource_type, resource_name=item.resource_name
            )
            for item in message.resources
        )
    ),
    UpdateFeaturesRequest: lambda _, code: UpdateFeaturesResponse(error_code=code),
    UnregisterBrokerRequest: lambda _, code: UnregisterBrokerResponse(error_code=code),
    CreateAclsRequest: lambda message, code: CreateAclsResponse(
        results=(AclCreationResult(error_code=code),) * len(message.creations)
    ),
    DeleteAclsRequest: lambda message, code: DeleteAclsResponse(
        filter_results=(DeleteAclsFilterResult(error_code=code),) * len(message.filters)
    ),
    AlterUserScramCredentialsRequest: particular.alter_scram,
    AlterClientQuotasRequest: lambda message, code: AlterClientQuotasResponse(
        entries=tuple(QuotaResult(error_code=code, entity=entry.entity) for entry in message.entries)
    ),
}


def refusal(message: ControllerRequest, code: Code = Code.NOT_CONTROLLER) -> Any:
    """Return the answer of a node that is not the active controller."""
    return _REFUSALS[type(message)](message, code)


class Controller:
    """See the module."""

    def __init__(
        self, config: BrokerConfig, quorum: Quorum, image: Image, out: Outbox, *, rng: random.Random, now_ms: int
    ) -> None:
        self._config = config
        first_ms = now_ms + config.imbalance_check_s * 1000
        self._balance_at_ms = first_ms if config.auto_leader_rebalance else NEVER_MS
        self._beaten_ms = now_ms
        self._pipeline = Pipeline(config, quorum, image, out)
        self._brokers = Brokers(self._pipeline, now_ms)
        self._partitions = Partitions(self._pipeline)
        self.recovery = Recovery(self._pipeline, out)
        self._topics = Topics(self._pipeline, rng)
        self._configs = Configs(self._pipeline)
        security = Security(self._pipeline)
        self._deciders: dict[type, Callable[[Any, int], Any]] = {
            BrokerRegistrationRequest: self._brokers.register,
            BrokerHeartbeatRequest: self._beat,
            AlterPartitionRequest: self._partitions.alter,
            AllocateProducerIdsRequest: self._allocate,
            ElectLeadersRequest: self._partitions.elect,
            AlterPartitionReassignmentsRequest: self._partitions.reassign,
            CreateTopicsRequest: self._topics.create,
            DeleteTopicsRequest: self._topics.delete,
            CreatePartitionsRequest: self._topics.grow,
            IncrementalAlterConfigsRequest: self._configs.alter,
            AlterConfigsRequest: self._configs.replace,
            UpdateFeaturesRequest: Features(self._pipeline).update,
            UnregisterBrokerRequest: self._brokers.unregister,
            CreateAclsRequest: security.create_acls,
            DeleteAclsRequest: security.delete_acls,
            AlterUserScramCredentialsRequest: security.alter_scram,
            AlterClientQuotasRequest: ClientQuotas(self._pipeline).alter,
        }
        if not image.features:
            for name, level in first_levels(config).items():
                self._pipeline.stage(FeatureSet(name, level))
            for record in elr.safe(config, self._pipeline.image) if config.elr else ():
                self._pipeline.stage(record)
            self._pipeline.commit(now_ms)

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        return min(self._brokers.deadline_ms, self._balance_at_ms)

    @property
    def image(self) -> Image:
        """What is decided, committed or not."""
        return self._pipeline.image

    def handle(self, request_id: object, message: ControllerRequest, now_ms: int) -> None:
        """Decide, and answer when the decision is committed."""
        answer = self._deciders[type(message)](message, now_ms)
        self._pipeline.answer(request_id, answer, refusal(message))

    def _beat(self, message: BrokerHeartbeatRequest, now_ms: int) -> BrokerHeartbeatResponse:
        """Take a sign of life: nodes that are back may have the logs that somebody waits for."""
        stood_still = now_ms - self._beaten_ms >= self._config.session_timeout_ms // 2
        self._beaten_ms = now_ms
        if stood_still or self._pipeline.is_in_doubt(now_ms):
            self._brokers.confirm(message.broker_id)
        answer = self._brokers.heartbeat(message, now_ms)
        self.recovery.look(now_ms)
        return answer

    def _allocate(self, message: AllocateProducerIdsRequest, now_ms: int) -> AllocateProducerIdsResponse:
        """Give a node a block of producer ids that nobody had before."""
        broker = self.image.brokers.get(message.broker_id)
        if broker is None or broker.epoch != message.broker_epoch:
            return AllocateProducerIdsResponse(error_code=Code.STALE_BROKER_EPOCH)
        start = self.image.next_producer_id
        self._pipeline.stage(ProducerIdsReserved(start + PRODUCER_ID_BLOCK))
        self._pipeline.commit(now_ms)
        return AllocateProducerIdsResponse(producer_id_start=start, producer_id_len=PRODUCER_ID_BLOCK)

    def gone(self, broker_id: int, now_ms: int) -> None:
        """A node's process has ended."""
        self._brokers.gone(broker_id, now_ms)

    def committed(self) -> None:
        """More is committed: answer those who waited for it."""
        self._pipeline.release()

    def tick(self, now_ms: int) -> None:
        """Fence the silent; from time to time give leaderships back to the preferred replicas."""
        self._brokers.tick(now_ms)
        if now_ms >= self._balance_at_ms:
            self._balance_at_ms = now_ms + self._config.imbalance_check_s * 1000
            self._partitions.balance(now_ms)

    def close(self) -> None:
        """The leadership is lost."""
        self._pipeline.close()
