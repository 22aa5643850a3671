"""FetchSnapshot (59): a follower of the metadata quorum that lags behind the leader's log start (KIP-630)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.messages.fetch import LeaderIdAndEpoch, SnapshotId
from broker.wire.messages.quorum import METADATA_TOPIC
from broker.wire.primitives import NO_UUID


class PartitionSnapshot(Part, frozen=True, kw_only=True, gc=False):
    """Which snapshot, from which byte."""

    partition: int = 0
    current_leader_epoch: int = -1
    snapshot_id: SnapshotId = SnapshotId()
    position: int = 0
    replica_directory_id: bytes = NO_UUID


class TopicSnapshot(Part, frozen=True, kw_only=True, gc=False):
    """The one topic."""

    name: str = METADATA_TOPIC
    partitions: tuple[PartitionSnapshot, ...] = ()


class FetchSnapshotRequest(Request, frozen=True, kw_only=True, gc=False):
    """Ask for a slice."""

    api: ClassVar[Api] = Api.FETCH_SNAPSHOT
    cluster_id: str | None = None
    replica_id: int = -1
    max_bytes: int = 0x7FFFFFFF
    topics: tuple[TopicSnapshot, ...] = ()


class PartitionSnapshotData(Part, frozen=True, kw_only=True, gc=False):
    """A slice; `size` is that of the whole snapshot."""

    index: int = 0
    error_code: int = 0
    snapshot_id: SnapshotId = SnapshotId()
    current_leader: LeaderIdAndEpoch = LeaderIdAndEpoch()
    size: int = 0
    position: int = 0
    unaligned_records: bytes = b""


class TopicSnapshotData(Part, frozen=True, kw_only=True, gc=False):
    """The one topic."""

    name: str = METADATA_TOPIC
    partitions: tuple[PartitionSnapshotData, ...] = ()


class FetchSnapshotResponse(Response, frozen=True, kw_only=True, gc=False):
    """The slice."""

    api: ClassVar[Api] = Api.FETCH_SNAPSHOT
    throttle_time_ms: int = 0
    error_code: int = 0
    topics: tuple[TopicSnapshotData, ...] = ()
