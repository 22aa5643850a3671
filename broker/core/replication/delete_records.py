"""DeleteRecords: a leader raises its log start, its followers learn it with their next fetch (KIP-107).

The answer waits until all live replicas have done it, and tells the lowest start among them. Nothing at or above the
high watermark can be deleted, nothing of an internal topic, and nothing of a topic that is only compacted: what is
missing there has a newer value. Kafka: ReplicaManager.deleteRecords, DelayedDeleteRecords.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication.replica import Key, Replica
from broker.core.replication.replicas import Replicas
from broker.core.topic_names import INTERNAL
from broker.wire.messages.delete_records import (
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)

TO_HIGH_WATERMARK = -1


class _Pending(msgspec.Struct):
    """A request; `open` holds the partitions that wait, with the start that their replicas must reach."""

    request_id: object
    request: DeleteRecordsRequest
    deadline_ms: int
    open: dict[Key, int]
    results: dict[tuple[str, int], DeleteRecordsPartitionResult]


class Deleting:
    """See the module. `raised` is told of every log start that moved, so that waiting followers are answered."""

    def __init__(
        self, replicas: Replicas, image: Callable[[], Image], out: Outbox, raised: Callable[[Replica], None]
    ) -> None:
        self._replicas, self._image, self._out, self._raised = replicas, image, out, raised
        self.waiting: list[_Pending] = []
        """Empty: `tick` has nothing to do."""

    @property
    def deadline_ms(self) -> int:
        """When the next request times out."""
        if not self.waiting:
            return 1 << 62
        return min(pending.deadline_ms for pending in self.waiting)

    def handle(self, request_id: object, request: DeleteRecordsRequest, now_ms: int) -> None:
        """Raise the starts; answer when the followers have followed."""
        pending = _Pending(request_id, request, now_ms + request.timeout_ms, {}, {})
        for topic in request.topics:
            for ask in topic.partitions:
                at = (topic.name, ask.partition_index)
                try:
                    replica = self._find(*at)
                    pending.open[replica.key] = self._raise(replica, ask.offset)
                except Refused as refused:
                    pending.results[at] = _failed(ask.partition_index, refused.code)
        self.waiting.append(pending)
        self.tick(now_ms)

    def _find(self, name: str, index: int) -> Replica:
        image = self._image()
        topic_id = image.topic_ids.get(name, "")
        if image.partition(topic_id, index) is None:
            raise Refused(Code.UNKNOWN_TOPIC_OR_PARTITION)
        if name in INTERNAL:
            raise Refused(Code.INVALID_TOPIC_EXCEPTION, f"records of {name} can't be deleted")
        replica = self._replicas.get((topic_id, index))
        if replica is None or replica.leader is None:
            raise Refused(Code.NOT_LEADER_OR_FOLLOWER)
        if not replica.config.cleanup.delete:
            raise Refused(Code.POLICY_VIOLATION, f"cleanup.policy of {name} does not allow it")
        return replica

    def _raise(self, replica: Replica, offset: int) -> int:
        """Raise one log's start; return where it must be everywhere."""
        log = replica.log
        wanted = log.high_watermark if offset == TO_HIGH_WATERMARK else offset
        if not 0 <= wanted <= log.high_watermark:
            raise Refused(Code.OFFSET_OUT_OF_RANGE, f"{wanted} is beyond the high watermark {log.high_watermark}")
        if log.advance_start(wanted):
            self._raised(replica)
        return wanted

    def low_watermark(self, replica: Replica) -> int:
        """Return the lowest log start of the live replicas."""
        leader, image = replica.leader, self._image()
        assert leader is not None
        starts = [follower.start for node, follower in leader.followers.items() if image.is_active(node)]
        return min([replica.log.start, *starts])

    def tick(self, now_ms: int) -> None:
        """Answer the requests whose partitions are all decided, or whose time is up."""
        for pending in list(self.waiting):
            late = now_ms >= pending.deadline_ms
            for key, wanted in list(pending.open.items()):
                self._settle(pending, key, wanted, late=late)
            if not pending.open:
                self.waiting.remove(pending)
                self._out.replies.append(Reply(pending.request_id, _response(pending)))

    def _settle(self, pending: _Pending, key: Key, wanted: int, *, late: bool) -> None:
        topic = self._image().topics.get(key[0])
        replica = self._replicas.get(key)
        if topic is None or replica is None or replica.leader is None:
            result = _failed(key[1], Code.NOT_LEADER_OR_FOLLOWER)
        elif (low := self.low_watermark(replica)) >= wanted:
            result = DeleteRecordsPartitionResult(partition_index=key[1], low_watermark=low)
        elif late:
            result = _failed(key[1], Code.REQUEST_TIMED_OUT)
        else:
            return
        del pending.open[key]
        name = replica.name if replica is not None else "" if topic is None else topic.name
        pending.results[name, key[1]] = result


def _failed(index: int, code: Code) -> DeleteRecordsPartitionResult:
    return DeleteRecordsPartitionResult(partition_index=index, low_watermark=-1, error_code=code)


def _response(pending: _Pending) -> DeleteRecordsResponse:
    """Return the whole answer; a partition that was deleted meanwhile has no result of its own."""
    gone = Code.NOT_LEADER_OR_FOLLOWER
    return DeleteRecordsResponse(
        topics=tuple(
            DeleteRecordsTopicResult(
                name=topic.name,
                partitions=tuple(
                    pending.results.get((topic.name, ask.partition_index)) or _failed(ask.partition_index, gone)
                    for ask in topic.partitions
                ),
            )
            for topic in pending.request.topics
        )
    )
