"""What the share coordinator is asked (83 to 87, KIP-932) by partition leaders and group coordinators.

It keeps a group's state of a partition: made, read, written, deleted, and summed up.
"""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class StateBatch(Part, frozen=True, kw_only=True, gc=False):
    """Offsets in one state: 0 available, 2 acknowledged, 4 archived; and how often they were delivered."""

    first_offset: int = 0
    last_offset: int = 0
    delivery_state: int = 0
    delivery_count: int = 0


class InitializePartition(Part, frozen=True, kw_only=True, gc=False):
    """Begin anew; start -1: where the group's settings say."""

    partition: int = 0
    state_epoch: int = 0
    start_offset: int = 0


class InitializeTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[InitializePartition, ...] = ()


class InitializeShareGroupStateRequest(Request, frozen=True, kw_only=True, gc=False):
    """Partitions of one group."""

    api: ClassVar[Api] = Api.INITIALIZE_SHARE_GROUP_STATE
    group_id: str = ""
    topics: tuple[InitializeTopic, ...] = ()


class InitializeResult(Part, frozen=True, kw_only=True, gc=False):
    """Whether it began."""

    partition: int = 0
    error_code: int = 0
    error_message: str | None = None


class InitializeTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[InitializeResult, ...] = ()


class InitializeShareGroupStateResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per topic."""

    api: ClassVar[Api] = Api.INITIALIZE_SHARE_GROUP_STATE
    results: tuple[InitializeTopicResult, ...] = ()


class ReadPartition(Part, frozen=True, kw_only=True, gc=False):
    """Read for the leader of this epoch; older ones are fenced."""

    partition: int = 0
    leader_epoch: int = 0


class ReadTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[ReadPartition, ...] = ()


class ReadShareGroupStateRequest(Request, frozen=True, kw_only=True, gc=False):
    """Partitions of one group."""

    api: ClassVar[Api] = Api.READ_SHARE_GROUP_STATE
    group_id: str = ""
    topics: tuple[ReadTopic, ...] = ()


class ReadResult(Part, frozen=True, kw_only=True, gc=False):
    """The state."""

    partition: int = 0
    error_code: int = 0
    error_message: str | None = None
    state_epoch: int = 0
    start_offset: int = 0
    state_batches: tuple[StateBatch, ...] = ()


class ReadTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[ReadResult, ...] = ()


class ReadShareGroupStateResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per topic."""

    api: ClassVar[Api] = Api.READ_SHARE_GROUP_STATE
    results: tuple[ReadTopicResult, ...] = ()


class WritePartition(Part, frozen=True, kw_only=True, gc=False):
    """What has changed."""

    partition: int = 0
    state_epoch: int = 0
    leader_epoch: int = 0
    start_offset: int = 0
    delivery_complete_count: int = -1
    state_batches: tuple[StateBatch, ...] = ()


class WriteTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[WritePartition, ...] = ()


class WriteShareGroupStateRequest(Request, frozen=True, kw_only=True, gc=False):
    """Partitions of one group."""

    api: ClassVar[Api] = Api.WRITE_SHARE_GROUP_STATE
    group_id: str = ""
    topics: tuple[WriteTopic, ...] = ()


class WriteResult(Part, frozen=True, kw_only=True, gc=False):
    """Whether it is written."""

    partition: int = 0
    error_code: int = 0
    error_message: str | None = None


class WriteTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[WriteResult, ...] = ()


class WriteShareGroupStateResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per topic."""

    api: ClassVar[Api] = Api.WRITE_SHARE_GROUP_STATE
    results: tuple[WriteTopicResult, ...] = ()


class DeletePartition(Part, frozen=True, kw_only=True, gc=False):
    """Forget it."""

    partition: int = 0


class DeleteTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[DeletePartition, ...] = ()


class DeleteShareGroupStateRequest(Request, frozen=True, kw_only=True, gc=False):
    """Partitions of one group."""

    api: ClassVar[Api] = Api.DELETE_SHARE_GROUP_STATE
    group_id: str = ""
    topics: tuple[DeleteTopic, ...] = ()


class DeleteResult(Part, frozen=True, kw_only=True, gc=False):
    """Whether it is forgotten."""

    partition: int = 0
    error_code: int = 0
    error_message: str | None = None


class DeleteTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[DeleteResult, ...] = ()


class DeleteShareGroupStateResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per topic."""

    api: ClassVar[Api] = Api.DELETE_SHARE_GROUP_STATE
    results: tuple[DeleteTopicResult, ...] = ()


class SummaryPartition(Part, frozen=True, kw_only=True, gc=False):
    """Read for an administrator (leader epoch -1: whoever leads)."""

    partition: int = 0
    leader_epoch: int = 0


class SummaryTopic(Part, frozen=True, kw_only=True, gc=False):
    """A topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[SummaryPartition, ...] = ()


class ReadShareGroupStateSummaryRequest(Request, frozen=True, kw_only=True, gc=False):
    """Partitions of one group."""

    api: ClassVar[Api] = Api.READ_SHARE_GROUP_STATE_SUMMARY
    group_id: str = ""
    topics: tuple[SummaryTopic, ...] = ()


class SummaryResult(Part, frozen=True, kw_only=True, gc=False):
    """Where it begins."""

    partition: int = 0
    error_code: int = 0
    error_message: str | None = None
    state_epoch: int = 0
    leader_epoch: int = 0
    start_offset: int = 0
    delivery_complete_count: int = -1


class SummaryTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one topic."""

    topic_id: bytes = NO_UUID
    partitions: tuple[SummaryResult, ...] = ()


class ReadShareGroupStateSummaryResponse(Response, frozen=True, kw_only=True, gc=False):
    """One answer per topic."""

    api: ClassVar[Api] = Api.READ_SHARE_GROUP_STATE_SUMMARY
    results: tuple[SummaryTopicResult, ...] = ()
