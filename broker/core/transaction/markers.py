"""Markers: the coordinator's half (what must still be written, and where) and the partition leader's half (writing it).

The coordinator sends each other node one request at a time with all markers that it leads, and has those of its own
node written at once; what is refused is sent again, perhaps to another leader; a deleted partition needs none. A leader
that knows a newer producer epoch or coordinator refuses for good: somebody else completes that transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication.replica import Awaiting, Replica
from broker.core.replication.replicas import Replicas
from broker.core.transaction.shard import Entry, Shard
from broker.core.transaction.state import Place, State
from broker.wire import batch, record
from broker.wire.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopic,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

CHANNEL = 5
"""Markers wait for replication: nothing else should wait behind them."""
_FINAL = {Code.INVALID_PRODUCER_EPOCH, Code.TRANSACTION_COORDINATOR_FENCED}


class Write(Protocol):
    """Writes a marker into a partition that this node leads (`MarkerWriter.write`)."""

    def __call__(self, marker: WritableTxnMarker, place: Place, now_ms: int, done: Callable[[Code], None]) -> None:
        """Append; `done` is told once, when it is replicated or refused."""
        ...


class _Job:
    """An entry whose markers are being written; `here`: those that this node is replicating."""

    __slots__ = ("entry", "here", "shard")

    def __init__(self, shard: Shard, entry: Entry) -> None:
        self.shard, self.entry = shard, entry
        self.here: dict[Place, None] = {}


class MarkerSender:
    """The coordinator's half. `completed` is told when an entry's last marker is written; `write` does so here."""

    def __init__(
        self,
        config: BrokerConfig,
        out: Outbox,
        *,
        image: Callable[[], Image],
        write: Write,
        completed: Callable[[Shard, Entry, int], None],
    ) -> None:
        self._config, self._out, self._image, self._write, self._completed = config, out, image, write, completed
        self.jobs: dict[int, _Job] = {}
        """By producer id; empty: nothing is to be sent."""
        self._flights: dict[int, tuple[int, dict[int, _Job]]] = {}  # token -> node, jobs by producer id
        self._retry_at_ms = 0

    @property
    def deadline_ms(self) -> int:
        """When to try again, while there are jobs."""
        return self._retry_at_ms if not self._flights else 1 << 62

    def start(self, shard: Shard, entry: Entry) -> None:
        """Write the markers of a decided transaction."""
        assert entry.value is not None
        entry.unmarked = dict.fromkeys(entry.value.partitions)
        self.jobs[entry.value.producer_id] = _Job(shard, entry)
        self._retry_at_ms = 0

    def are_here(self, entry: Entry) -> bool:
        """Return whether this node alone has the partitions: then their markers are written within this step."""
        image, alone = self._image(), (self._config.node_id,)
        for name, index in entry.unmarked:
            topic = image.topic(name)
            state = None if topic is None else topic.partitions.get(index)
            if state is not None and state.replicas != alone:
                return False
        return True

    def drop(self, shard: Shard) -> None:
        """The shard is led elsewhere: its new leader goes on."""
        self.jobs = {pid: job for pid, job in self.jobs.items() if job.shard is not shard}

    def send(self, now_ms: int) -> None:
        """Send what can be sent, complete what is done."""
        if not self.jobs or now_ms < self._retry_at_ms:
            return
        self._retry_at_ms = now_ms + self._config.retry_backoff_ms  # unless something moves meanwhile
        markers: dict[int, list[WritableTxnMarker]] = {}
        jobs: dict[int, dict[int, _Job]] = {}
        for producer_id, job in list(self.jobs.items()):
            places = self._by_node(job.entry)
            here = places.pop(self._config.node_id, None)
            if here is not None:
                self._write_here(producer_id, job, here, now_ms)
            if not job.entry.unmarked:
                del self.jobs[producer_id]
                self._completed(job.shard, job.entry, now_ms)
            for node, topics in places.items():
                markers.setdefault(node, []).append(self._marker(job, topics))
                jobs.setdefault(node, {})[producer_id] = job
        for node, batch_ in markers.items():
            if node >= 0 and not any(busy == node for busy, _ in self._flights.values()):
                request = WriteTxnMarkersRequest(markers=tuple(batch_))
                token = self._out.request(node, CHANNEL, request, self._config.request_timeout_ms)
                self._flights[token] = node, jobs[node]

    def _write_here(self, producer_id: int, job: _Job, topics: dict[str, list[int]], now_ms: int) -> None:
        """Have the markers written that belong to partitions of this node, unless they are on their way."""
        marker = self._marker(job, {})
        for name, indexes in topics.items():
            for index in indexes:
                place = (name, index)
                if place not in job.here:
                    job.here[place] = None
                    self._write(marker, place, now_ms, self._noter(producer_id, job, place))

    def _noter(self, producer_id: int, job: _Job, place: Place) -> Callable[[Code], None]:
        def done(code: Code) -> None:
            del job.here[place]
            if self.jobs.get(producer_id) is job:
                self._note(producer_id, job, place, code)

        return done

    def _note(self, producer_id: int, job: _Job, place: Place, code: int) -> None:
        """Note what became of a marker."""
        if code == Code.NONE:
            job.entry.unmarked.pop(place, None)
            self._retry_at_ms = 0
        elif code in _FINAL:
            self.jobs.pop(producer_id, None)

    def _by_node(self, entry: Entry) -> dict[int, dict[str, list[int]]]:
        """Return node -> topic -> partitions that still want a marker; forget deleted partitions."""
        image, found = self._image(), dict[int, dict[str, list[int]]]()
        for place in list(entry.unmarked):
            topic = image.topic(place[0])
            state = None if topic is None else topic.partitions.get(place[1])
            if state is None:
                del entry.unmarked[place]
            else:
                found.setdefault(state.leader, {}).setdefault(place[0], []).append(place[1])
        return found

    def _marker(self, job: _Job, topics: dict[str, list[int]]) -> WritableTxnMarker:
        value = job.entry.value
        assert value is not None
        return WritableTxnMarker(
            producer_id=value.producer_id,
            producer_epoch=value.epoch,
            transaction_result=value.state is State.PREPARE_COMMIT,
            coordinator_epoch=job.shard.epoch,
            transaction_version=value.version,
            topics=tuple(WritableTxnMarkerTopic(name=name, partition_indexes=tuple(p)) for name, p in topics.items()),
        )

    def owns(self, token: int) -> bool:
        """Return whether the request is ours."""
        return token in self._flights

    def answered(self, token: int, response: WriteTxnMarkersResponse, now_ms: int) -> None:
        """Note what is written; go on. What was asked for by a job that was dropped says nothing of the next one's."""
        _, jobs = self._flights.pop(token)
        for result in response.markers:
            job = self.jobs.get(result.producer_id)
            if job is None or jobs.get(result.producer_id) is not job:
                continue
            for topic in result.topics:
                for partition in topic.partitions:
                    place = (topic.name, partition.partition_index)
                    self._note(result.producer_id, job, place, partition.error_code)
        self.send(now_ms)

    def failed(self, token: int, now_ms: int) -> None:
        """No answer: the markers may have been written, or may come late: partitions know them then."""
        del self._flights[token]
        self._retry_at_ms = now_ms + self._config.retry_backoff_ms


class _Answer:
    """A WriteTxnMarkers request whose markers are being replicated."""

    def __init__(self, request: WriteTxnMarkersRequest) -> None:
        self.request = request
        self.codes: dict[tuple[int, Place], Code] = {}
        self.open = sum(len(topic.partition_indexes) for marker in request.markers for topic in marker.topics)

    def response(self) -> WriteTxnMarkersResponse:
        """Return the whole answer."""
        results = []
        for index, marker in enumerate(self.request.markers):
            topics = tuple(
                WritableTxnMarkerTopicResult(
                    name=topic.name,
                    partitions=tuple(
                        WritableTxnMarkerPartitionResult(
                            partition_index=partition, error_code=self.codes[index, (topic.name, partition)]
                        )
                        for partition in topic.partition_indexes
                    ),
                )
                for topic in marker.topics
            )
            results.append(WritableTxnMarkerResult(producer_id=marker.producer_id, topics=topics))
        return WriteTxnMarkersResponse(markers=tuple(results))


class MarkerWriter:
    """The partition leader's half.

    `appended` is told of every marker, so that waiting fetches are answered; `ended` of every replicated one (producer
    id, whether it commits), so that offsets of the transaction count.
    """

    def __init__(
        self,
        replicas: Replicas,
        out: Outbox,
        *,
        image: Callable[[], Image],
        appended: Callable[[Replica], None],
        ended: Callable[[Replica, int, bool], None],
    ) -> None:
        self._replicas, self._out, self._image = replicas, out, image
        self._appended, self._ended = appended, ended

    def handle(self, request_id: object, request: WriteTxnMarkersRequest, now_ms: int) -> None:
        """Append the markers; answer when all are replicated or refused."""
        answer = _Answer(request)
        if not answer.open:
            self._out.replies.append(Reply(request_id, answer.response()))
        for index, marker in enumerate(request.markers):
            for topic in marker.topics:
                for partition in topic.partition_indexes:
                    place = (topic.name, partition)
                    self.write(marker, place, now_ms, self._settler(request_id, answer, (index, place)))

    def _settler(self, request_id: object, answer: _Answer, at: tuple[int, Place]) -> Callable[[Code], None]:
        def settle(code: Code) -> None:
            answer.codes[at] = code
            answer.open -= 1
            if not answer.open:
                self._out.replies.append(Reply(request_id, answer.response()))

        return settle

    def write(self, marker: WritableTxnMarker, place: Place, now_ms: int, done: Callable[[Code], None]) -> None:
        """Append a marker to a partition, whatever its topics; `done` when it is replicated."""
        replica = self._replicas.get((self._image().topic_ids.get(place[0], ""), place[1]))
        leader = None if replica is None else replica.leader
        if replica is None or leader is None:
            done(Code.NOT_LEADER_OR_FOLLOWER)
            return
        if not leader.has_min_isr(replica.config.min_isr):
            done(Code.NOT_ENOUGH_REPLICAS)
            return
        data = record.marker(
            producer_id=marker.producer_id,
            producer_epoch=marker.producer_epoch,
            commit=marker.transaction_result,
            coordinator_epoch=marker.coordinator_epoch,
            timestamp_ms=self._replicas.wall_ms(now_ms),
        )
        header = batch.parse_header(data, 0)
        try:
            replica.log.producers.check_marker(header, marker.coordinator_epoch, marker.transaction_version)
        except Refused as refused:
            done(refused.code)
            return
        replica.log.append(data, [header], leader.epoch, now_ms)

        def replicated(code: Code) -> None:
            if code is not Code.NOT_LEADER_OR_FOLLOWER:
                self._ended(replica, marker.producer_id, marker.transaction_result)
            done(code)

        replica.awaiting.append(Awaiting(replica.log.end, replicated))
        self._replicas.advance(replica, now_ms)
        self._appended(replica)
