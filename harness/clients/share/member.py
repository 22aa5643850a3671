"""One member of a share group (KIP-932): joins, fetches, acknowledges, leaves.

    not joined --heartbeat, epoch 0--> joined: partitions are assigned to it
    for each node that leads some of them a share session: opened by the first fetch (epoch 0), then 1, 2, ...

One fetch is one request, to the next of these nodes; one acknowledgement is one request, to the node that the records
came from, in the session that they came in. It may also go with a fetch, which is to that node then. A request without
an answer leaves a session that nobody knows the epoch of: what was acquired in it can't be acknowledged any more, and
comes back to the group when its locks are over.

Offsets that hold no record (transaction markers) are acquired, too. They are acknowledged as gaps: with the records
that came with them, or, if none did, with the next fetch from their node.

Heartbeats are sent when an operation begins and one is due; a member that is not asked for anything for long is out,
and joins again. Fetching goes on meanwhile, as with Kafka's own client: leaders don't know who is a member.
"""

from __future__ import annotations

import base64
import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker.wire import batch, entries, record
from broker.wire.batch import CorruptBatchError
from broker.wire.errors import error_name
from broker.wire.messages.find_coordinator import GROUP, FindCoordinatorRequest
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from broker.wire.messages.share_acknowledge import AcknowledgePartition, AcknowledgeTopic, ShareAcknowledgeRequest
from broker.wire.messages.share_fetch import (
    AcknowledgementBatch,
    FetchPartition,
    FetchTopic,
    ForgottenTopic,
    PartitionData,
    ShareFetchRequest,
    ShareFetchResponse,
)
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatRequest
from harness.clients.errors import FailedError
from harness.clients.payload import written
from harness.clients.settings import SOCKET_TIMEOUT_MS
from harness.clients.share.asking import Ask, LostError, Steps, Wait
from harness.history import INFO, OK
from harness.outcome import UNSENT, Failure, Stage, canonical, outcome

GAP: Final = 0
TYPES: Final[Mapping[str, int]] = {"accept": 1, "release": 2, "reject": 3, "renew": 4}
RENEW: Final = TYPES["renew"]
JOIN, LEAVE, OPEN, CLOSE = 0, -1, 0, -1
FETCH_WAIT_MS: Final = 300
"""How long a fetch waits at the broker, unless the operation says something else."""
ACKNOWLEDGE_MS: Final = 6000
"""A leader asks a share coordinator that moves for up to 10 s; longer than this nobody wants to wait."""
MAX_BYTES: Final = 1 << 20
PAUSE_MS: Final = 100
BEATS: Final = 3
"""Heartbeats in the time that the group's coordinator asks for one: some of them are lost."""
ELSEWHERE: Final = frozenset({"NOT_LEADER_OR_FOLLOWER", "FENCED_LEADER_EPOCH", "UNKNOWN_TOPIC_ID"})
OUT: Final = frozenset({"UNKNOWN_MEMBER_ID", "FENCED_MEMBER_EPOCH", "STALE_MEMBER_EPOCH"})

DAMAGED: Final = b"\0"
"""Stands for the value of a record whose batch can't be read: nobody sends that."""

Place = tuple[str, int]
Span = tuple[int, int]
Said = Sequence[tuple[str, Iterable[Sequence[Any]]]]
"""Of each key, [offset, kind] of records."""


@dataclass(slots=True)
class Session:
    """A share session with one node; `number`: no other of its process has it."""

    number: int
    epoch: int = OPEN
    places: dict[Place, None] = field(default_factory=dict)
    gaps: dict[Place, list[Span]] = field(default_factory=dict)
    """Acquired offsets without records, to be acknowledged with the next fetch."""


@dataclass(frozen=True, slots=True)
class Held:
    """A record that the member has: in which session it came, and the gaps that came with it."""

    session: Session
    gaps: list[Span]


def member_id_of(name: str) -> str:
    """Return the id of the member of that name: each has to be a UUID as Kafka writes them."""
    return base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_OID, name).bytes).rstrip(b"=").decode()


class ShareMember:
    """See the module."""

    def __init__(
        self,
        group: str,
        member_id: str,
        topics: Sequence[str],
        now_ms: Callable[[], float],
        numbers: Iterator[int] | None = None,
    ) -> None:
        """Prepare; nobody is asked yet. topics: their names; now_ms: a clock; numbers: for sessions."""
        self._group, self._id, self._topics, self._now_ms = group, member_id, tuple(topics), now_ms
        self._epoch, self._beat_ms = JOIN, 0.0
        self._is_heard = False
        """The coordinator has answered the last heartbeat: an assignment that was told is not lost."""
        self._coordinator: int | None = None
        self._ids: dict[str, bytes] = {}
        self._leaders: dict[Place, int] = {}
        self._is_stale = True
        self._given: tuple[tuple[bytes, int], ...] = ()
        """Topic id and index of each partition that is assigned to the member."""
        self._sessions: dict[int, Session] = {}
        self._held: dict[Place, dict[int, Held]] = {}
        self._numbers = itertools.count() if numbers is None else numbers
        self._turn = 0

    # Operations.

    def fetch(self, most: int, wait_ms: int, deadline_ms: float, said: Said = ()) -> Steps[dict[str, Any]]:
        """Fetch once; return the value of a share-fetch. Raises FailedError, and FetchLostError with what was asked.

        said: what became of records of some keys, which must have come from one node: it is asked.
        """
        yield from self._beat_if_due(deadline_ms)
        yield from self._look()
        assigned = self._assigned()
        nodes = sorted({self._leaders[place] for place in assigned if place in self._leaders})
        if said:
            node, acks = self._spoken(said)
        elif nodes:
            self._turn += 1
            node, acks = nodes[self._turn % len(nodes)], {}
        else:
            yield Wait(PAUSE_MS)
            return {"keys": [], "records": []}
        wanted = [place for place in assigned if self._leaders.get(place) == node]
        session = self._sessions.get(node) or Session(next(self._numbers))
        self._sessions[node] = session
        for place, gaps in session.gaps.items():
            acks.setdefault(place, {}).update(_each(gaps, GAP))
        asked = sorted({*wanted, *acks})
        told = {"keys": [_key(place) for place in asked], "node": str(node), "records-max": most}
        if said:
            told["acknowledge"] = said
        request = self._fetch_request(session, wanted, acks, most, wait_ms)
        try:
            answer = yield Ask(node, request, wait_ms + SOCKET_TIMEOUT_MS)
        except LostError as lost:
            self._forget(node)
            raise FetchLostError(_lost(Stage.SHARE_FETCH, lost), told) from None
        if answer.error_code:
            self._forget(node)
            raise FetchLostError(_failure(Stage.SHARE_FETCH, answer.error_code, answer.error_message), told)
        session.epoch += 1
        session.places, session.gaps = dict.fromkeys(wanted), {}
        told["session"] = session.number
        return told | self._came_of(said, answer) | self._taken(session, answer)

    def acknowledge(self, key: str, records: Iterable[Sequence[Any]]) -> Steps[dict[str, Any]]:
        """Say what became of records of one key; return node and session that took it. Raises FailedError.

        Renewed records stay the member's; where one is, all are.
        """
        node, acks = self._spoken([(key, records)])
        session = self._sessions[node]
        place, types = next(iter(acks.items()))
        part = AcknowledgePartition(partition_index=place[1], acknowledgement_batches=_batches(types))
        request = ShareAcknowledgeRequest(
            group_id=self._group,
            member_id=self._id,
            share_session_epoch=session.epoch,
            is_renew_ack=RENEW in types.values(),
            topics=(AcknowledgeTopic(topic_id=self._ids[place[0]], partitions=(part,)),),
        )
        try:
            answer = yield Ask(node, request, ACKNOWLEDGE_MS)
        except LostError as lost:
            self._forget(node)
            raise FailedError(_lost(Stage.ACKNOWLEDGE, lost)) from None
        if answer.error_code:
            self._forget(node)
            raise FailedError(_failure(Stage.ACKNOWLEDGE, answer.error_code, answer.error_message))
        session.epoch += 1
        for topic in answer.responses:
            for told in topic.partitions:
                if told.error_code:
                    self._is_stale |= error_name(told.error_code) in ELSEWHERE
                    raise FailedError(_failure(Stage.ACKNOWLEDGE, told.error_code, told.error_message))
        return {"node": str(node), "session": session.number}

    def _spoken(self, said: Said) -> tuple[int, dict[Place, dict[int, int]]]:
        """Return the node that the records came from, and the type of each offset, gaps that came with them included.

        What is not renewed the member has no more. Raises FailedError if it does not have all, or not of one session.
        """
        types = {_place(key): {int(offset): TYPES[kind] for offset, kind in records} for key, records in said}
        held = [self._held.get(place, {}).get(offset) for place, offsets in types.items() for offset in offsets]
        sessions = {id(one.session) for one in held if one is not None}
        node = next((node for node, one in self._sessions.items() if [*sessions] == [id(one)]), None)
        for place, offsets in types.items():
            for offset, kind in list(offsets.items()):
                one = None if kind == RENEW else self._held.get(place, {}).pop(offset, None)
                if one is not None and node is not None:
                    offsets.update(_each(one.gaps, GAP))
                    one.gaps.clear()
        if node is None or None in held:
            keys = ", ".join(key for key, _ in said)
            raise FailedError(
                Failure(stage=Stage.ACKNOWLEDGE, name="_STATE", message=f"{keys}: these records are not held together")
            )
        return node, types

    def leave(self) -> Steps[None]:
        """Give back what the member has, and leave the group; what is not answered is left to time."""
        for node, session in list(self._sessions.items()):
            if session.epoch != OPEN:
                closing = ShareAcknowledgeRequest(
                    group_id=self._group, member_id=self._id, share_session_epoch=CLOSE, topics=()
                )
                yield from _unless_lost(Ask(node, closing, SOCKET_TIMEOUT_MS))
        self._sessions, self._held = {}, {}
        if self._coordinator is not None and self._epoch > JOIN:
            going = ShareGroupHeartbeatRequest(group_id=self._group, member_id=self._id, member_epoch=LEAVE)
            yield from _unless_lost(Ask(self._coordinator, going, SOCKET_TIMEOUT_MS))
        self._epoch, self._given = JOIN, ()

    # Membership.

    @property
    def assigned(self) -> int:
        """How many partitions the member has."""
        return len(self._given)

    def _assigned(self) -> list[Place]:
        names = {id_: name for name, id_ in self._ids.items()}
        return sorted((names[id_], index) for id_, index in self._given if id_ in names)

    def _beat_if_due(self, deadline_ms: float) -> Steps[None]:
        """Join, or send a heartbeat if one is due; one that fails is sent again with the next operation."""
        if self._epoch > JOIN and self._now_ms() < self._beat_ms:
            return
        while True:
            why = yield from self.beat()
            if not why or self._epoch > JOIN:
                return
            yield Wait(PAUSE_MS)
            if self._now_ms() >= deadline_ms:
                raise FailedError(Failure(stage=Stage.SHARE_FETCH, name=UNSENT, message=f"not joined in time: {why}"))

    def beat(self) -> Steps[str]:
        """Send a heartbeat, the first of which joins; return "" if the coordinator took it, else why it did not.

        After one that was not answered it says all that it has to say, and so hears its assignment again, as Kafka's
        clients do: an assignment is told once, and the answer that told it may be what was lost.
        """
        was_heard, self._is_heard = self._is_heard, False
        try:
            if self._coordinator is None:
                ask = FindCoordinatorRequest(key_type=GROUP, coordinator_keys=(self._group,))
                answer = yield Ask(None, ask, SOCKET_TIMEOUT_MS)
                found = answer.coordinators[0]
                if found.error_code:
                    return error_name(found.error_code)
                self._coordinator = found.node_id
            beat = ShareGroupHeartbeatRequest(
                group_id=self._group,
                member_id=self._id,
                member_epoch=self._epoch,
                subscribed_topic_names=None if was_heard and self._epoch != JOIN else self._topics,
            )
            answer = yield Ask(self._coordinator, beat, SOCKET_TIMEOUT_MS)
        except LostError:
            self._coordinator = None
            return "_TRANSPORT"
        if answer.error_code:
            why = error_name(answer.error_code)
            if why in OUT:
                self._epoch = JOIN
            else:
                self._coordinator = None
            return why
        self._epoch, self._is_heard = answer.member_epoch, True
        self._beat_ms = self._now_ms() + answer.heartbeat_interval_ms / BEATS
        if answer.assignment is not None:
            self._given = tuple(
                (one.topic_id, index) for one in answer.assignment.topic_partitions for index in one.partitions
            )
        return ""

    def _look(self) -> Steps[None]:
        """Ask once who leads, if that is not known or not true any more; what is missing is asked for next time."""
        known = self._assigned()
        if not self._is_stale and len(known) == len(self._given) and all(place in self._leaders for place in known):
            return
        topics = tuple(MetadataRequestTopic(name=name) for name in self._topics)
        try:
            answer = yield Ask(None, MetadataRequest(topics=topics, allow_auto_topic_creation=False), SOCKET_TIMEOUT_MS)
        except LostError:
            return
        self._is_stale = False
        for topic in answer.topics:
            if not topic.error_code and topic.name:
                self._ids[topic.name] = topic.topic_id
                for part in topic.partitions:
                    self._leaders[topic.name, part.partition_index] = part.leader_id
        self._leaders = {place: node for place, node in self._leaders.items() if node >= 0}

    # Sessions.

    def _fetch_request(
        self, session: Session, wanted: list[Place], acks: Mapping[Place, Mapping[int, int]], most: int, wait_ms: int
    ) -> ShareFetchRequest:
        come = [place for place in wanted if place not in session.places] if session.epoch != OPEN else wanted
        named = sorted({*come, *acks})
        gone = [place for place in dict.fromkeys((*session.places, *acks)) if place not in wanted]
        return ShareFetchRequest(
            group_id=self._group,
            member_id=self._id,
            share_session_epoch=session.epoch,
            max_wait_ms=wait_ms,
            min_bytes=1,
            max_bytes=MAX_BYTES,
            max_records=most,
            batch_size=most,
            topics=tuple(
                FetchTopic(
                    topic_id=self._ids[topic],
                    partitions=tuple(
                        FetchPartition(
                            partition_index=index, acknowledgement_batches=_batches(acks.get((topic, index), {}))
                        )
                        for name, index in named
                        if name == topic
                    ),
                )
                for topic in dict.fromkeys(topic for topic, _ in named)
            ),
            forgotten_topics_data=tuple(
                ForgottenTopic(topic_id=self._ids[topic], partitions=tuple(i for name, i in gone if name == topic))
                for topic in dict.fromkeys(topic for topic, _ in gone)
            ),
        )

    def _came_of(self, said: Said, answer: ShareFetchResponse) -> dict[str, Any]:
        """Return what the history says of acknowledgements that went with a fetch."""
        names = {id_: name for name, id_ in self._ids.items()}
        codes = {
            _key((names[topic.topic_id], data.partition_index)): data.acknowledge_error_code
            for topic in answer.responses
            for data in topic.partitions
        }
        told: list[list[Any]] = []
        for key, _ in said:
            code = codes.get(key)
            if not code:  # an answer that does not name the key says nothing
                told.append([key, INFO if code is None else OK, None])
                continue
            failure = _failure(Stage.ACKNOWLEDGE, code, None)
            self._is_stale |= failure.name in ELSEWHERE
            told.append([key, outcome(failure, retries=False), failure.name])
        return {"acknowledged": told} if said else {}

    def _taken(self, session: Session, answer: ShareFetchResponse) -> dict[str, Any]:
        """Note what the member has now; return what the history says of it."""
        names = {id_: name for name, id_ in self._ids.items()}
        shown: list[Any] = []
        refused: list[str] = []
        for topic in answer.responses:
            for data in topic.partitions:
                place = names[topic.topic_id], data.partition_index
                if data.error_code:
                    refused.append(_key(place))
                    self._is_stale |= error_name(data.error_code) in ELSEWHERE
                elif data.acquired_records:
                    records = self._acquired(session, place, data)
                    if records:
                        shown.append([_key(place), records])
        told: dict[str, Any] = {"lock-ms": answer.acquisition_lock_timeout_ms, "records": shown}
        return told | ({"refused": refused} if refused else {})

    def _acquired(self, session: Session, place: Place, data: PartitionData) -> list[list[Any]]:
        """Note one partition's acquired records; return [offset, value, count] of each."""
        values = _values(data)
        gaps: list[Span] = []
        shown: list[list[Any]] = []
        mine = self._held.setdefault(place, {})
        for one in data.acquired_records:
            for offset in range(one.first_offset, one.last_offset + 1):
                if offset in values:
                    shown.append([*written(_key(place), offset, values[offset], None)[:2], one.delivery_count])
                    mine[offset] = Held(session, gaps)
                elif gaps and gaps[-1][1] + 1 == offset:
                    gaps[-1] = gaps[-1][0], offset
                else:
                    gaps.append((offset, offset))
        if gaps and not shown:
            session.gaps.setdefault(place, []).extend(gaps)
        return shown

    def _forget(self, node: int) -> None:
        """Nobody knows how the session stands: another one is opened, and what came in this one is out of reach."""
        session = self._sessions.pop(node, None)
        self._is_stale = True
        for mine in self._held.values():
            for offset in [offset for offset, held in mine.items() if held.session is session]:
                del mine[offset]


class FetchLostError(FailedError):
    """A fetch failed that had been asked; `told`: what for."""

    def __init__(self, failure: Failure, told: dict[str, Any]) -> None:
        super().__init__(failure)
        self.told = told


def _values(data: PartitionData) -> dict[int, bytes | None]:
    """Return the values of an answer's records, by offset: DAMAGED where a batch can't be read; markers have none."""
    content = data.records
    assert content is None or isinstance(content, bytes | bytearray | memoryview), "a region is the broker's own matter"
    values: dict[int, bytes | None] = {}
    for piece in batch.split(content or b""):
        header = batch.parse_header(piece, 0)
        if header.is_control:
            continue
        try:
            batch.check(piece, 0, header)
            values |= {one.offset: one.value for one in record.decode(*entries.unpacked(piece, header))}
        except CorruptBatchError:
            values |= dict.fromkeys(range(header.base_offset, header.next_offset), DAMAGED)
    return values


def _each(spans: Iterable[Span], kind: int) -> dict[int, int]:
    return {offset: kind for first, last in spans for offset in range(first, last + 1)}


def _batches(types: Mapping[int, int]) -> tuple[AcknowledgementBatch, ...]:
    """Return acknowledgements of offsets, one for each stretch without a hole."""
    stretches: list[list[int]] = []
    for offset in sorted(types):
        if stretches and stretches[-1][-1] + 1 == offset:
            stretches[-1].append(offset)
        else:
            stretches.append([offset])
    found = []
    for stretch in stretches:
        kinds = tuple(types[offset] for offset in stretch)
        same = kinds[:1] if len(set(kinds)) == 1 else kinds
        found.append(AcknowledgementBatch(first_offset=stretch[0], last_offset=stretch[-1], acknowledge_types=same))
    return tuple(found)


def _unless_lost(ask: Ask) -> Steps[None]:
    try:
        yield ask
    except LostError:
        return


def _lost(stage: Stage, lost: LostError) -> Failure:
    name = "_TRANSPORT" if lost.sent else UNSENT
    return Failure(stage=stage, name=name, message=str(lost), retriable=True)


def _failure(stage: Stage, code: int, message: str | None) -> Failure:
    return Failure(stage=stage, name=canonical(error_name(code)), code=code, message=message or "")


def _key(place: Place) -> str:
    return f"{place[0]}/{place[1]}"


def _place(key: str) -> Place:
    topic, _, index = key.rpartition("/")
    return topic, int(index)
