"""The leader's half of metadata replication: who has what, what is committed, which fetches wait.

A fetch whose last epoch does not fit is answered with where to cut; one from before the log start with a snapshot id;
one at the log's end waits until there are records, or a high watermark that this replica has not been told.
"""

from __future__ import annotations

from broker.core.errors import Code
from broker.core.quorum.follower import METADATA_TOPIC_ID
from broker.core.quorum.metadata_log import MetadataLog
from broker.core.quorum.state import Parked, Progress, QuorumConfig
from broker.core.ready import Outbox, Reply
from broker.wire.messages.fetch import (
    EpochEndOffset,
    FetchableTopicResponse,
    FetchPartition,
    FetchResponse,
    LeaderIdAndEpoch,
    PartitionData,
    SnapshotId,
)
from broker.wire.messages.fetch_snapshot import (
    FetchSnapshotRequest,
    FetchSnapshotResponse,
    PartitionSnapshotData,
    TopicSnapshotData,
)
from broker.wire.messages.quorum import METADATA_TOPIC

_RESIGN_FACTOR = 1.5
"""As in Kafka: a leader without a majority outlives its followers' patience, so that they elect first."""


def refusal(code: Code, leader_id: int, epoch: int) -> FetchResponse:
    """Return the answer to a fetch that this node can't serve."""
    return _answer(
        PartitionData(error_code=code, current_leader=LeaderIdAndEpoch(leader_id=leader_id, leader_epoch=epoch))
    )


def snapshot_refusal(code: Code, leader_id: int, epoch: int) -> FetchSnapshotResponse:
    """Return the answer to a snapshot fetch that this node can't serve."""
    leader = LeaderIdAndEpoch(leader_id=leader_id, leader_epoch=epoch)
    data = PartitionSnapshotData(error_code=code, current_leader=leader)
    return FetchSnapshotResponse(topics=(TopicSnapshotData(partitions=(data,)),))


def _answer(data: PartitionData) -> FetchResponse:
    topic = FetchableTopicResponse(topic=METADATA_TOPIC, topic_id=METADATA_TOPIC_ID, partitions=(data,))
    return FetchResponse(responses=(topic,))


class Leadership:
    """Lives while this node leads one epoch."""

    def __init__(self, config: QuorumConfig, epoch: int, metadata: MetadataLog, now_ms: int) -> None:
        self.epoch = epoch
        self.epoch_start = metadata.end
        self._config, self._metadata = config, metadata
        self._progress = {voter: Progress(fetched_ms=now_ms) for voter in config.voters if voter != config.node_id}
        self._observers: dict[int, Progress] = {}
        self._parked: list[Parked] = []
        self._check_at_ms = now_ms + config.fetch_timeout_ms // 2

    @property
    def deadline_ms(self) -> int:
        """When `release`, `silent` and `has_majority` want to be asked."""
        deadline_ms = self._check_at_ms
        for parked in self._parked:
            deadline_ms = min(deadline_ms, parked.deadline_ms)
        return deadline_ms

    def progress(self) -> list[tuple[int, Progress, bool]]:
        """Return (replica, progress, is voter) for DescribeQuorum."""
        voters = [(replica, progress, True) for replica, progress in self._progress.items()]
        return [*voters, *((replica, progress, False) for replica, progress in self._observers.items())]

    def by_progress(self) -> list[int]:
        """Return the other voters, the best informed first."""
        return sorted(self._progress, key=lambda voter: (-self._progress[voter].end, voter))

    def committed_offset(self) -> int:
        """Return what a majority has, -1 before the first record of this epoch is among it (Raft, 5.4.2)."""
        ends = sorted([self._metadata.end, *(progress.end for progress in self._progress.values())], reverse=True)
        offset = ends[self._config.majority - 1]
        return offset if offset > self.epoch_start else -1

    def has_majority(self, now_ms: int, factor: float = _RESIGN_FACTOR) -> bool:
        """Return whether a majority (with us) fetched lately; with a factor of 1 nobody had a reason to elect."""
        oldest = now_ms - int(self._config.fetch_timeout_ms * factor)
        alive = sum(progress.fetched_ms >= oldest for progress in self._progress.values())
        return alive + 1 >= self._config.majority

    def silent(self, now_ms: int) -> list[int]:
        """Return the voters that do not fetch, at most every half fetch time-out: they need a BeginQuorumEpoch."""
        if now_ms < self._check_at_ms:
            return []
        half = self._config.fetch_timeout_ms // 2
        self._check_at_ms = now_ms + half
        return [voter for voter, progress in self._progress.items() if progress.fetched_ms <= now_ms - half]

    def fetch(
        self, request_id: object, replica_id: int, partition: FetchPartition, max_wait_ms: int, now_ms: int
    ) -> None:
        """Note where the replica is and park its request; `release` answers it, at once if there is news."""
        voter = self._progress.get(replica_id)
        progress = self._observers.setdefault(replica_id, Progress()) if voter is None else voter
        progress.fetched_ms = now_ms
        offset = partition.fetch_offset
        if self._misfit(partition) is None:
            progress.end = offset
            if offset >= self._metadata.end:
                progress.caught_up_ms = now_ms
            wait_ms = min(max_wait_ms, self._config.wait_ms)
        else:
            wait_ms = -1
        progress.told_high_watermark = partition.high_watermark
        self._parked = [parked for parked in self._parked if parked.replica_id != replica_id]
        self._parked.append(Parked(request_id, replica_id, partition, now_ms + wait_ms))

    def _misfit(self, partition: FetchPartition) -> PartitionData | None:
        """Return the answer that sends the follower elsewhere, None when its log is a prefix of ours."""
        log, offset = self._metadata.log, partition.fetch_offset
        snapshot = self._metadata.snapshot
        if offset == 0 and log.start == 0:
            return None
        epoch, end = self._metadata.end_of(partition.last_fetched_epoch)
        if offset < log.start or (epoch < 0 and snapshot is not None):
            assert snapshot is not None
            return PartitionData(snapshot_id=SnapshotId(end_offset=snapshot.end_offset, epoch=snapshot.epoch))
        if epoch != partition.last_fetched_epoch or end < offset:
            return PartitionData(diverging_epoch=EpochEndOffset(epoch=max(epoch, 0), end_offset=max(end, log.start)))
        return None

    def release(self, now_ms: int, out: Outbox) -> None:
        """Answer the parked fetches that have news or have waited long enough."""
        log, waiting = self._metadata.log, []
        for parked in self._parked:
            partition = parked.partition
            replica = self._progress.get(parked.replica_id) or self._observers[parked.replica_id]
            news = partition.fetch_offset < log.end or replica.told_high_watermark < log.high_watermark
            if not news and now_ms < parked.deadline_ms:
                waiting.append(parked)
                continue
            replica.told_high_watermark = log.high_watermark
            out.replies.append(Reply(parked.request_id, _answer(self._read(partition))))
        self._parked = waiting

    def _read(self, partition: FetchPartition) -> PartitionData:
        data = self._misfit(partition)
        if data is not None:
            return data
        log = self._metadata.log
        return PartitionData(
            high_watermark=log.high_watermark,
            log_start_offset=log.start,
            records=log.read(partition.fetch_offset, log.end, self._config.fetch_max_bytes),
        )

    def release_all(self, out: Outbox, code: Code, leader_id: int, epoch: int) -> None:
        """Refuse what is parked: this node leads no more."""
        out.replies.extend(Reply(parked.request_id, refusal(code, leader_id, epoch)) for parked in self._parked)
        self._parked = []

    def fetch_snapshot(self, request: FetchSnapshotRequest, now_ms: int) -> FetchSnapshotResponse:
        """Return a slice of the newest snapshot."""
        ask = request.topics[0].partitions[0] if request.topics and request.topics[0].partitions else None
        progress = self._progress.get(request.replica_id)
        if progress is not None:
            progress.fetched_ms = now_ms
        snapshot = self._metadata.snapshot
        if ask is None or (0 <= ask.current_leader_epoch != self.epoch):
            return snapshot_refusal(Code.FENCED_LEADER_EPOCH, self._config.node_id, self.epoch)
        if snapshot is None or (ask.snapshot_id.end_offset, ask.snapshot_id.epoch) != (
            snapshot.end_offset,
            snapshot.epoch,
        ):
            return snapshot_refusal(Code.SNAPSHOT_NOT_FOUND, self._config.node_id, self.epoch)
        if not 0 <= ask.position < len(snapshot.data):
            return snapshot_refusal(Code.POSITION_OUT_OF_RANGE, self._config.node_id, self.epoch)
        size = min(request.max_bytes, self._config.fetch_max_bytes)
        data = PartitionSnapshotData(
            snapshot_id=ask.snapshot_id,
            size=len(snapshot.data),
            position=ask.position,
            unaligned_records=snapshot.data[ask.position : ask.position + size],
        )
        return FetchSnapshotResponse(topics=(TopicSnapshotData(partitions=(data,)),))
