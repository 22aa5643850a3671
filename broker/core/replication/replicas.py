"""All partitions that this node hosts: made and dropped as the metadata says, recovered at the start, checkpointed.

The folder of a partition is "topic-index", as Kafka's; `partition.metadata` in it tells the topic id, so that a folder
of a deleted topic's namesake is not taken for ours. The checkpoint holds log start, recovery point and high watermark
of every log; it is saved now and then, never newer than the logs; a start that moved has a file of its own by then.
What it says of a log that was dropped, cut below it or begun anew would be taken for true of the next records in that
place, so it is saved at once then, and a point counts for its own topic only. Kafka: LogManager.
`clean-shutdown` holds the broker epoch after an orderly stop, in which everything was synced, and -1 otherwise; it is
overwritten, synced, before anything else is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from broker.core import dynamic_settings
from broker.core.config import BrokerConfig, TopicConfig, topic_config
from broker.core.dynamic_settings import CLEANER_BACKOFF, FOLLOWER_RATE, LEADER_RATE, PRODUCER_EXPIRATION
from broker.core.log.partition_log import PartitionLog, saved_start
from broker.core.log.recovery import Checkpoint, recover
from broker.core.metadata.image import Image
from broker.core.metadata.records import PartitionState
from broker.core.quorum.metadata_log import LOG as METADATA_LOG
from broker.core.ready import DropLog, Outbox, Save, SyncAll
from broker.core.replication.leader import Leader
from broker.core.replication.replica import Key, Replica
from broker.core.replication.throttle import Bucket
from broker.core.storage import Storage

CHECKPOINT_FILE = "checkpoint"
CLEAN_FILE = "clean-shutdown"


class Point(msgspec.Struct, frozen=True, array_like=True):
    """What the checkpoint says of one log."""

    start: int
    recovery_point: int
    high_watermark: int
    topic_id: str = ""


_NOTHING = Point(0, 0, 0)


class Replicas:
    """See the module."""

    def __init__(self, config: BrokerConfig, storage: Storage, out: Outbox) -> None:
        self.config = config
        self.broker_epoch = -1
        self.eligible: dict[int, int] = {}
        """Live nodes and the epochs of their registrations."""
        self.wake: Callable[[Replica], None] = lambda _: None
        """Told of what coordinators append, so that waiting fetches are answered."""
        self.watch: Callable[[Replica], None] | None = None
        """Told of partitions in which there may be more to read, where share groups are on."""
        self.now_ms = 0
        """The time of the present step."""
        self.skew_ms = 0
        """How far the clock on this node's wall is ahead of it: see `broker.core.wall`."""
        self.sent, self.fetched = Bucket(LEADER_RATE), Bucket(FOLLOWER_RATE)
        self.cleaner_backoff_ms = config.cleaner_backoff_ms
        self.producer_expiration_ms = config.producer_id_expiration_ms
        self._storage, self._out = storage, out
        self._replicas: dict[Key, Replica] = {}
        self._saved: dict[str, Point] = {}  # the checkpoint as it was saved last
        self._is_stale = False
        self.get: Callable[[Key], Replica | None] = self._replicas.get
        """Returns a hosted partition."""
        self._found: dict[str, tuple[str, PartitionLog]] = {}  # folder -> (topic id, log), not yet claimed
        self.clean_epoch, self.lossy = self._recover_all()

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._replicas.values())

    def _recover_all(self) -> tuple[int, bool]:
        """Recover all logs; return (broker epoch of the last orderly stop or -1, whether anything may be lost)."""
        clean = self._storage.load(CLEAN_FILE)
        clean_epoch = int(clean) if clean else -1
        self._out.writes.append(Save(CLEAN_FILE, b"-1", sync=True))
        points = msgspec.json.decode(self._storage.load(CHECKPOINT_FILE) or b"{}", type=dict[str, Point])
        self._saved = points
        lossy = False
        for folder in self._storage.logs():
            if folder == METADATA_LOG:
                continue
            topic_id = self._storage.load(f"{folder}/partition.metadata")
            if topic_id is None:
                self._out.writes.append(DropLog(folder))
                continue
            point = points.get(folder, _NOTHING)
            if point.topic_id not in {"", topic_id.decode()}:
                point = _NOTHING
            checkpoint = Checkpoint(
                start=max(point.start, saved_start(self._storage, folder)),
                recovery_point=point.recovery_point,
                high_watermark=point.high_watermark,
                clean=clean_epoch >= 0,
            )
            log, report = recover(folder, TopicConfig().log, self._storage, self._out, checkpoint)
            if log.end < checkpoint.start:  # what is missing was deleted: the log goes on where the rest began
                log.restart_at(checkpoint.start)
            if report.reason:
                what = "acknowledged records may be lost" if report.lossy else "a torn tail, as a crash leaves it"
                self._out.warnings.append(f"{folder}: cut {report.removed_bytes} bytes ({report.reason}): {what}")
            lossy = lossy or report.lossy
            self._found[folder] = (topic_id.decode(), log)
        for folder, point in points.items() if clean_epoch >= 0 else ():
            if folder in self._found or point.recovery_point == point.start:
                continue
            self._out.warnings.append(f"{folder}: its folder is gone: acknowledged records may be lost")
            lossy = True
        return clean_epoch, lossy

    # The metadata's orders.

    def apply(self, image: Image, state: PartitionState, now_ms: int) -> Replica | None:
        """Take the role that the partition's new state gives this node; return the replica if it hosts it."""
        key = (state.topic_id, state.index)
        if self.config.node_id not in state.replicas:
            self.remove(key)
            return None
        name = image.topics[state.topic_id].name
        replica = self._replicas.get(key)
        if replica is None:
            settings = topic_config(self.config, image, name)
            replica = self._replicas[key] = Replica(key, name, self._claim(key, name, settings), settings)
        replica.become(self.config.node_id, state, now_ms)
        return replica

    def _claim(self, key: Key, name: str, settings: TopicConfig) -> PartitionLog:
        folder = f"{name}-{key[1]}"
        topic_id, log = self._found.pop(folder, ("", None))
        if log is not None and topic_id == key[0]:
            log.config = settings.log
            return log
        if log is not None:
            self._drop(folder)
        self._out.writes.append(Save(f"{folder}/partition.metadata", key[0].encode()))
        return PartitionLog(folder, settings.log, self._storage, self._out)

    def remove(self, key: Key) -> None:
        """Drop a partition that is deleted or lies elsewhere now."""
        replica = self._replicas.pop(key, None)
        if replica is not None:
            replica.retire()
            self._drop(replica.log.name)

    def _drop(self, folder: str) -> None:
        self._out.writes.append(DropLog(folder))
        self._is_stale = self._is_stale or folder in self._saved

    def drop_strays(self) -> None:
        """Drop the folders that nobody claimed, once all of the metadata has been applied."""
        for folder in self._found:
            self._out.writes.append(DropLog(folder))
        self._found.clear()

    def reconfigure(self, image: Image, topic: str) -> None:
        """Take over changed settings of a topic ("" for all)."""
        if not topic:
            self.sent.configure(image, self.config.node_id)
            self.fetched.configure(image, self.config.node_id)
            self.cleaner_backoff_ms = self._told(image, CLEANER_BACKOFF, self.config.cleaner_backoff_ms)
            self.producer_expiration_ms = self._told(image, PRODUCER_EXPIRATION, self.config.producer_id_expiration_ms)
        for replica in self:
            if topic in {"", replica.name}:
                replica.config = topic_config(self.config, image, replica.name)
                replica.log.config = replica.config.log

    def _told(self, image: Image, name: str, otherwise: int) -> int:
        return dynamic_settings.number(image, self.config.node_id, name, otherwise)

    # The high watermark.

    def advance(self, replica: Replica, now_ms: int) -> bool:
        """Move a led partition's high watermark as far as its replicas allow; return whether it moved."""
        leader, log = replica.leader, replica.log
        if leader is None or log.high_watermark >= log.end:
            return False
        if not log.advance_high_watermark(self.high_watermark(replica, leader, now_ms)):
            return False
        replica.release()
        return True

    def appended(self, replica: Replica, now_ms: int) -> None:
        """A coordinator has appended: followers that wait get it now, and a partition without followers is done."""
        self.advance(replica, now_ms)
        self.wake(replica)

    def high_watermark(self, replica: Replica, leader: Leader, now_ms: int) -> int:
        """Return how far the high watermark may go."""
        return leader.high_watermark(replica.config.min_isr, self.eligible, self.config.replica_lag_ms, now_ms)

    def wall_ms(self, now_ms: int) -> int:
        """Return what the clock on this node's wall shows."""
        return now_ms + self.skew_ms

    def expire_producers(self, now_ms: int) -> None:
        """Forget the producers that were silent for too long."""
        for replica in self:
            replica.log.producers.expire(self.wall_ms(now_ms), self.producer_expiration_ms)

    # Checkpoints.

    def checkpoint(self, *, sync: bool = False) -> None:
        """Save what recovery wants to know."""
        points = {replica.log.name: _point(replica.log, replica.key[0]) for replica in self}
        points.update((folder, _point(log, topic_id)) for folder, (topic_id, log) in self._found.items())
        self._saved, self._is_stale = points, False
        self._out.writes.append(Save(CHECKPOINT_FILE, msgspec.json.encode(points), sync=sync))

    def fell(self, log: PartitionLog) -> None:
        """The log was cut or began anew: see whether the checkpoint speaks of what is no more."""
        point = self._saved.get(log.name, _NOTHING)
        if max(point.recovery_point, point.high_watermark) > log.end or point.start > log.start:
            self._is_stale = True

    def renew(self) -> None:
        """Save the checkpoint where it speaks of what is no more."""
        if self._is_stale:
            self.checkpoint(sync=True)

    def stop(self) -> None:
        """Sync everything, then leave the mark of an orderly stop. Nothing may be appended after it."""
        for replica in self:
            replica.log.stop()
        self.checkpoint(sync=True)
        self._out.writes.append(SyncAll())
        self._out.writes.append(Save(CLEAN_FILE, str(self.broker_epoch).encode(), sync=True))


def _point(log: PartitionLog, topic_id: str) -> Point:
    return Point(log.start, log.recovery_point, log.high_watermark, topic_id)
