"""AlterPartition (56): a partition's leader asks the controller for a new ISR (KIP-497, KIP-903)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class BrokerState(Part, frozen=True, kw_only=True, gc=False):
    """A replica and the epoch of the registration in which it caught up."""

    broker_id: int = 0
    broker_epoch: int = -1


class AlterPartitionData(Part, frozen=True, kw_only=True, gc=False):
    """The state that the leader has, and the ISR that it wants."""

    partition_index: int = 0
    leader_epoch: int = 0
    new_isr: tuple[int, ...] = ()
    new_isr_with_epochs: tuple[BrokerState, ...] = ()
    leader_recovery_state: int = 0
    partition_epoch: int = 0


class AlterPartitionTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic_id: bytes = NO_UUID
    partitions: tuple[AlterPartitionData, ...] = ()


class AlterPartitionRequest(Request, frozen=True, kw_only=True, gc=False):
    """From a leader of these partitions."""

    api: ClassVar[Api] = Api.ALTER_PARTITION
    broker_id: int = 0
    broker_epoch: int = -1
    topics: tuple[AlterPartitionTopic, ...] = ()


class PartitionState(Part, frozen=True, kw_only=True, gc=False):
    """The state that now holds, or why not."""

    partition_index: int = 0
    error_code: int = 0
    leader_id: int = 0
    leader_epoch: int = 0
    isr: tuple[int, ...] = ()
    leader_recovery_state: int = 0
    partition_epoch: int = 0


class TopicState(Part, frozen=True, kw_only=True, gc=False):
    """A topic's partitions."""

    topic_id: bytes = NO_UUID
    partitions: tuple[PartitionState, ...] = ()


class AlterPartitionResponse(Response, frozen=True, kw_only=True, gc=False):
    """The outcome per partition."""

    api: ClassVar[Api] = Api.ALTER_PARTITION
    throttle_time_ms: int = 0
    error_code: int = 0
    topics: tuple[TopicState, ...] = ()
