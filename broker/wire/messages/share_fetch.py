"""ShareFetch (78): records for a member of a share group, and what became of those it had (KIP-932).

`records` is whole batches; of these, what is in `acquired_records` is the member's.
"""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.batch import Buffer
from broker.wire.message import Part, Request, Response
from broker.wire.messages.fetch import LeaderIdAndEpoch, NodeEndpoint, Region
from broker.wire.primitives import NO_UUID


class AcknowledgementBatch(Part, frozen=True, kw_only=True, gc=False):
    """What became of records: one type for all, or one for each. 0 gap, 1 accept, 2 release, 3 reject, 4 renew."""

    first_offset: int = 0
    last_offset: int = 0
    acknowledge_types: tuple[int, ...] = ()


class FetchPartition(Part, frozen=True, kw_only=True, gc=False):
    """A partition of the session."""

    partition_index: int = 0
    acknowledgement_batches: tuple[AcknowledgementBatch, ...] = ()


class FetchTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic of the session."""

    topic_id: bytes = NO_UUID
    partitions: tuple[FetchPartition, ...] = ()


class ForgottenTopic(Part, frozen=True, kw_only=True, gc=False):
    """Partitions to take out of the session."""

    topic_id: bytes = NO_UUID
    partitions: tuple[int, ...] = ()


class ShareFetchRequest(Request, frozen=True, kw_only=True, gc=False):
    """Session epoch 0 opens, -1 closes. `share_acquire_mode`: 0 whole batches, 1 no more than `max_records`."""

    api: ClassVar[Api] = Api.SHARE_FETCH
    group_id: str | None = None
    member_id: str | None = None
    share_session_epoch: int = 0
    max_wait_ms: int = 0
    min_bytes: int = 0
    max_bytes: int = 0x7FFFFFFF
    max_records: int = 0
    batch_size: int = 0
    share_acquire_mode: int = 0
    is_renew_ack: bool = False
    topics: tuple[FetchTopic, ...] = ()
    forgotten_topics_data: tuple[ForgottenTopic, ...] = ()


class AcquiredRecords(Part, frozen=True, kw_only=True, gc=False):
    """Records that are the member's now, and how often they have been delivered."""

    first_offset: int = 0
    last_offset: int = 0
    delivery_count: int = 0


class PartitionData(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one partition: to the fetch, and to the acknowledgements."""

    partition_index: int = 0
    error_code: int = 0
    error_message: str | None = None
    acknowledge_error_code: int = 0
    acknowledge_error_message: str | None = None
    current_leader: LeaderIdAndEpoch = LeaderIdAndEpoch()
    records: Buffer | Region | None = None
    acquired_records: tuple[AcquiredRecords, ...] = ()


class ShareFetchableTopicResponse(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[PartitionData, ...] = ()


class ShareFetchResponse(Response, frozen=True, kw_only=True, gc=False):
    """The answer; `error_code` is about the session."""

    api: ClassVar[Api] = Api.SHARE_FETCH
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    acquisition_lock_timeout_ms: int = 0
    responses: tuple[ShareFetchableTopicResponse, ...] = ()
    node_endpoints: tuple[NodeEndpoint, ...] = ()
