"""ShareAcknowledge (79): what became of records that a member of a share group had (KIP-932)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.messages.fetch import LeaderIdAndEpoch, NodeEndpoint
from broker.wire.messages.share_fetch import AcknowledgementBatch
from broker.wire.primitives import NO_UUID


class AcknowledgePartition(Part, frozen=True, kw_only=True, gc=False):
    """A partition."""

    partition_index: int = 0
    acknowledgement_batches: tuple[AcknowledgementBatch, ...] = ()


class AcknowledgeTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[AcknowledgePartition, ...] = ()


class ShareAcknowledgeRequest(Request, frozen=True, kw_only=True, gc=False):
    """Session epoch -1 closes the session."""

    api: ClassVar[Api] = Api.SHARE_ACKNOWLEDGE
    group_id: str | None = None
    member_id: str | None = None
    share_session_epoch: int = 0
    is_renew_ack: bool = False
    topics: tuple[AcknowledgeTopic, ...] = ()


class PartitionData(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one partition."""

    partition_index: int = 0
    error_code: int = 0
    error_message: str | None = None
    current_leader: LeaderIdAndEpoch = LeaderIdAndEpoch()


class ShareAcknowledgeTopicResponse(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[PartitionData, ...] = ()


class ShareAcknowledgeResponse(Response, frozen=True, kw_only=True, gc=False):
    """The answer; `error_code` is about the session."""

    api: ClassVar[Api] = Api.SHARE_ACKNOWLEDGE
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    acquisition_lock_timeout_ms: int = 0
    responses: tuple[ShareAcknowledgeTopicResponse, ...] = ()
    node_endpoints: tuple[NodeEndpoint, ...] = ()
