"""The follower's half of metadata replication: what to ask the leader next, and what to do with its answer.

The answer to a fetch is records, or where to cut (`diverging_epoch`), or the id of a snapshot when the leader's log no
longer reaches back to us; the snapshot then comes in slices, collected in memory until it is whole.
"""

from __future__ import annotations

import msgspec

from broker.core.errors import Code
from broker.core.quorum.metadata_log import MetadataLog, Snapshot
from broker.core.quorum.state import QuorumConfig
from broker.wire.batch import CorruptBatchError
from broker.wire.messages.fetch import (
    EpochEndOffset,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    PartitionData,
    ReplicaState,
    SnapshotId,
)
from broker.wire.messages.fetch_snapshot import (
    FetchSnapshotRequest,
    FetchSnapshotResponse,
    PartitionSnapshot,
    TopicSnapshot,
)
from broker.wire.messages.quorum import METADATA_TOPIC

METADATA_TOPIC_ID = bytes(15) + b"\x01"


class Outcome(msgspec.Struct, frozen=True):
    """What an answer said: an error with the leader that it names, or success with the leader's watermark."""

    code: Code = Code.NONE
    leader_id: int = -1
    leader_epoch: int = -1
    high_watermark: int = -1
    snapshot: Snapshot | None = None


def leader_named(message: FetchResponse, peer: int, epoch: int) -> tuple[int, int]:
    """Return (epoch, leader) as an answer names them; the peer itself, if it has answered as our epoch's leader."""
    data = message.responses[0].partitions[0] if message.responses and message.responses[0].partitions else None
    if data is None or message.error_code:
        return epoch, -1
    if data.error_code:
        return data.current_leader.leader_epoch, data.current_leader.leader_id
    return epoch, peer


class Followership:
    """Lives while this node follows one leader in one epoch."""

    def __init__(self, config: QuorumConfig, epoch: int, metadata: MetadataLog) -> None:
        self.heard = False
        """Whether the leader has answered a fetch in this epoch: then no pre-vote is granted against it."""
        self._config, self._epoch, self._metadata = config, epoch, metadata
        self._wanted: SnapshotId | None = None
        self._slices = bytearray()

    def next_request(self) -> FetchRequest | FetchSnapshotRequest:
        """Return what to ask the leader."""
        config = self._config
        if self._wanted is not None:
            slice_ = PartitionSnapshot(
                current_leader_epoch=self._epoch, snapshot_id=self._wanted, position=len(self._slices)
            )
            return FetchSnapshotRequest(
                cluster_id=config.cluster_id,
                replica_id=config.node_id,
                max_bytes=config.fetch_max_bytes,
                topics=(TopicSnapshot(partitions=(slice_,)),),
            )
        partition = FetchPartition(
            current_leader_epoch=self._epoch,
            fetch_offset=self._metadata.end,
            last_fetched_epoch=self._metadata.last_epoch,
            partition_max_bytes=config.fetch_max_bytes,
            high_watermark=self._metadata.log.high_watermark,
        )
        return FetchRequest(
            cluster_id=config.cluster_id,
            replica_id=config.node_id,
            replica_state=ReplicaState(replica_id=config.node_id),
            max_wait_ms=config.wait_ms,
            max_bytes=config.fetch_max_bytes,
            topics=(FetchTopic(topic=METADATA_TOPIC, topic_id=METADATA_TOPIC_ID, partitions=(partition,)),),
        )

    def fetched(self, message: FetchResponse | FetchSnapshotResponse) -> Outcome:
        """Take the leader's answer. Raise CorruptBatchError where its bytes are bad."""
        if isinstance(message, FetchSnapshotResponse):
            return self._take_slice(message)
        if message.error_code or not message.responses or not message.responses[0].partitions:
            return Outcome(Code(message.error_code) or Code.INVALID_REQUEST)
        data = message.responses[0].partitions[0]
        if data.error_code:
            leader = data.current_leader
            return Outcome(Code(data.error_code), leader.leader_id, leader.leader_epoch)
        self.heard = True
        return self._take_records(data)

    def _take_records(self, data: PartitionData) -> Outcome:
        if data.snapshot_id.end_offset >= 0:
            self._wanted, self._slices = data.snapshot_id, bytearray()
            return Outcome()
        if data.diverging_epoch.end_offset >= 0:
            self._cut(data.diverging_epoch)
            return Outcome()
        if data.records:
            assert isinstance(data.records, bytes | bytearray | memoryview)
            self._metadata.append_fetched(data.records)
        return Outcome(high_watermark=data.high_watermark)

    def _cut(self, diverging: EpochEndOffset) -> None:
        """Cut to where both logs agree, or to where they may: the next fetch asks again."""
        metadata = self._metadata
        epoch, end = metadata.end_of(diverging.epoch)
        start = metadata.log.start  # all our records are younger than the leader's epoch, where we know none so old
        metadata.truncate(start if epoch < 0 else max(start, min(diverging.end_offset, end)))

    def _take_slice(self, message: FetchSnapshotResponse) -> Outcome:
        if message.error_code or not message.topics or not message.topics[0].partitions:
            self._wanted = None
            return Outcome(Code(message.error_code) or Code.INVALID_REQUEST)
        data = message.topics[0].partitions[0]
        if data.error_code:
            self._wanted = None
            return Outcome(Code(data.error_code), data.current_leader.leader_id, data.current_leader.leader_epoch)
        if data.snapshot_id != self._wanted or data.position != len(self._slices) or not data.unaligned_records:
            self._wanted = None
            raise CorruptBatchError(f"snapshot slice {data.snapshot_id} at {data.position} was not asked for")
        self.heard = True
        self._slices += data.unaligned_records
        if len(self._slices) < data.size:
            return Outcome()
        snapshot = Snapshot(self._wanted.end_offset, self._wanted.epoch, bytes(self._slices))
        self._wanted = None
        self._metadata.install_snapshot(snapshot)
        return Outcome(snapshot=snapshot)
