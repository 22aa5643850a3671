"""Fetch (1): records for consumers and replicas, and for the quorum (KIP-595: epochs, divergence, snapshots).

`records` is what the wire carried (a view into the frame), or, on the way out, a `Region` of a segment that the driver
sends from the file without reading it.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from broker.wire.apis import Api
from broker.wire.batch import Buffer
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class Region(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a stored segment: log (folder), base offset of the segment, position and size in bytes.

    `generation` tells a segment from those of the same base offset that compaction replaced: the region may be read
    after that.
    """

    log: str
    base: int
    position: int
    size: int
    generation: int = 0


class ReplicaState(Part, frozen=True, kw_only=True, gc=False):
    """Who fetches: -1 is a consumer; a broker shows the epoch of its registration (KIP-903)."""

    replica_id: int = -1
    replica_epoch: int = -1


class FetchPartition(Part, frozen=True, kw_only=True, gc=False):
    """From where; `last_fetched_epoch` is the epoch of the record before `fetch_offset`."""

    partition: int = 0
    current_leader_epoch: int = -1
    fetch_offset: int = 0
    last_fetched_epoch: int = -1
    log_start_offset: int = -1
    partition_max_bytes: int = 0
    replica_directory_id: bytes = NO_UUID
    high_watermark: int = (1 << 63) - 1


class FetchTopic(Part, frozen=True, kw_only=True, gc=False):
    """By name up to version 12, by id from 13."""

    topic: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[FetchPartition, ...] = ()


class ForgottenTopic(Part, frozen=True, kw_only=True, gc=False):
    """Partitions to take out of the session."""

    topic: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[int, ...] = ()


class FetchRequest(Request, frozen=True, kw_only=True, gc=False):
    """Wait up to `max_wait_ms` for `min_bytes`."""

    api: ClassVar[Api] = Api.FETCH
    cluster_id: str | None = None
    replica_id: int = -1
    replica_state: ReplicaState = ReplicaState()
    max_wait_ms: int = 0
    min_bytes: int = 0
    max_bytes: int = 0x7FFFFFFF
    isolation_level: int = 0
    session_id: int = 0
    session_epoch: int = -1
    topics: tuple[FetchTopic, ...] = ()
    forgotten_topics_data: tuple[ForgottenTopic, ...] = ()
    rack_id: str = ""


class EpochEndOffset(Part, frozen=True, kw_only=True, gc=False):
    """The largest epoch of the leader up to the follower's, and where it ends there: the follower must cut."""

    epoch: int = -1
    end_offset: int = -1


class LeaderIdAndEpoch(Part, frozen=True, kw_only=True, gc=False):
    """Who leads, as far as the answering node knows."""

    leader_id: int = -1
    leader_epoch: int = -1


class SnapshotId(Part, frozen=True, kw_only=True, gc=False):
    """A snapshot holds all below `end_offset`; `epoch` is that of the last record."""

    end_offset: int = -1
    epoch: int = -1


class AbortedTransaction(Part, frozen=True, kw_only=True, gc=False):
    """From `first_offset` to the next abort marker of this producer, records are to be skipped."""

    producer_id: int = 0
    first_offset: int = 0


class PartitionData(Part, frozen=True, kw_only=True, gc=False):
    """The answer for one partition."""

    partition_index: int = 0
    error_code: int = 0
    high_watermark: int = -1
    last_stable_offset: int = -1
    log_start_offset: int = -1
    diverging_epoch: EpochEndOffset = EpochEndOffset()
    current_leader: LeaderIdAndEpoch = LeaderIdAndEpoch()
    snapshot_id: SnapshotId = SnapshotId()
    aborted_transactions: tuple[AbortedTransaction, ...] | None = None
    preferred_read_replica: int = -1
    records: Buffer | Region | None = None


class FetchableTopicResponse(Part, frozen=True, kw_only=True, gc=False):
    """By name up to version 12, by id from 13."""

    topic: str = ""
    topic_id: bytes = NO_UUID
    partitions: tuple[PartitionData, ...] = ()


class NodeEndpoint(Part, frozen=True, kw_only=True, gc=False):
    """Where the leaders listen that `current_leader` names."""

    node_id: int = 0
    host: str = ""
    port: int = 0
    rack: str | None = None


class FetchResponse(Response, frozen=True, kw_only=True, gc=False):
    """The answer; `error_code` is about the session."""

    api: ClassVar[Api] = Api.FETCH
    throttle_time_ms: int = 0
    error_code: int = 0
    session_id: int = 0
    responses: tuple[FetchableTopicResponse, ...] = ()
    node_endpoints: tuple[NodeEndpoint, ...] = ()
