"""One node: `Broker.step(event, now_ms) -> Ready`. It routes; the machines that it owns decide.

A step handles one event, then whatever that makes due: requests of the node to itself (it may be its own controller)
are answered inside the step, committed metadata is applied to the partitions, parked fetches are looked at again.

Metadata act on the partitions only once this node's own registration of this life is applied: what the log says
before that is the past, and would make it lead epochs that are long over.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

import msgspec

from broker.core import routes, topic_creation
from broker.core.cleaning.cleaner import Cleaner
from broker.core.config import BrokerConfig
from broker.core.controller.controller import Controller, ControllerRequest, refusal
from broker.core.describe import cluster
from broker.core.forwarding import Forwarding
from broker.core.group import group_admin
from broker.core.group.coordinator import TOPIC as GROUP_TOPIC
from broker.core.group.coordinator import GroupCoordinator
from broker.core.group.transactional import TransactionalOffsets
from broker.core.lifecycle import Life, Lifecycle
from broker.core.metadata.image import Image, load
from broker.core.metadata.records import (
    BrokerChanged,
    BrokerForgotten,
    BrokerRegistered,
    ConfigSet,
    FeatureSet,
    PartitionState,
    TopicDeleted,
    decode,
)
from broker.core.quorum.metadata_log import Entry, Snapshot
from broker.core.quorum.quorum import Quorum
from broker.core.ready import Event, Outbox, PeerReply, Ready, Reply, Request, Tick
from broker.core.replication.delete_records import Deleting
from broker.core.replication.fetch import Fetching
from broker.core.replication.fetcher import Fetchers
from broker.core.replication.isr import IsrKeeper
from broker.core.replication.produce import Producing
from broker.core.replication.replica import Key, Replica
from broker.core.replication.replicas import Replicas
from broker.core.share.shares import Shares
from broker.core.storage import Storage
from broker.core.transaction.coordinator import TransactionCoordinator
from broker.core.transaction.markers import MarkerWriter
from broker.core.transaction.producer_ids import ProducerIds
from broker.core.transaction.verifier import Verifier
from broker.wire.message import Response
from broker.wire.messages.create_topics import CreateTopicsRequest
from broker.wire.messages.delete_groups import DeleteGroupsRequest
from broker.wire.messages.metadata import MetadataRequest, MetadataResponse

MAX_ROUNDS = 1000
"""Requests of a node to itself within one step; more means that it talks to itself for ever."""
REMEMBERED_ANSWERS, REMEMBERED_TOPICS = 100, 100
"""To questions for so many topics that are there: many clients ask the same again and again. No client fills a node."""
_STOPPED = Life.STOPPED  # asked after every event; a member of an enum is found by a search in Python 3.11


class Asker(Protocol):
    """A machine that sends requests to peers and gets each answered or failed, once."""

    def owns(self, token: int) -> bool:
        """Return whether it sent this request."""
        ...

    def answered(self, token: int, message: Any, now_ms: int) -> None:
        """The peer answered."""
        ...

    def failed(self, token: int, now_ms: int) -> None:
        """No answer will come; the request may have been executed."""
        ...


class _Own(msgspec.Struct, frozen=True):
    """The id of a request from this node to itself."""

    token: int


class _Unheard(msgspec.Struct, frozen=True):
    """The id of a request whose answer nobody wants."""


class Broker:
    """See the module."""

    def __init__(
        self, config: BrokerConfig, storage: Storage, seed: int, now_ms: int, out: Outbox | None = None
    ) -> None:
        self.config = config
        self.image = Image()
        self.controller: Controller | None = None
        self._rng = random.Random(seed)
        self._out = out = out or Outbox()
        self._active = self._recheck = self._ended = False
        self._own_open = 0  # requests of this node to itself that are not answered
        self._slow_deadline_ms = 0
        self._dirty: dict[Key, None] = {}
        self._told: dict[tuple[MetadataRequest, int, bool], MetadataResponse] = {}  # until the image changes
        self._asked_for_topics: dict[str, int] = {}
        self.replicas = Replicas(config, storage, out)
        self.lifecycle = Lifecycle(
            config,
            out,
            incarnation=self._rng.getrandbits(128).to_bytes(16, "big"),
            previous_epoch=-1 if self.replicas.lossy else self.replicas.clean_epoch,
            controller=lambda: self.quorum.leader_id,
            applied=lambda: self.quorum.metadata.applied,
        )
        self.isr = IsrKeeper(config, self.replicas, out, controller=lambda: self.quorum.leader_id, moved=self._moved)
        self.fetching = Fetching(self.replicas, lambda: self.image, out, progressed=self.isr.fetched, rng=self._rng)
        self.replicas.wake = self.fetching.wake
        self.deleting = Deleting(self.replicas, lambda: self.image, out, raised=self.fetching.wake)
        self.markers = MarkerWriter(
            self.replicas, out, image=lambda: self.image, appended=self.fetching.wake, ended=self._transaction_ended
        )
        self.ids = ProducerIds(
            config, out, controller=lambda: self.quorum.leader_id, epoch=lambda: self.lifecycle.epoch
        )
        self.transactions = TransactionCoordinator(
            config,
            self.replicas,
            storage,
            out,
            image=lambda: self.image,
            ids=self.ids,
            write_marker=self.markers.write,
            may_be_fenced=self.lifecycle.may_be_fenced,
        )
        self.verifier = Verifier(
            config, out, image=lambda: self.image, coordinator=self.transactions, now=lambda: self.replicas.now_ms
        )
        self.producing = Producing(
            self.replicas, lambda: self.image, out, appended=self.fetching.wake, verify=self.verifier
        )
        self.fetchers = Fetchers(config, self.replicas, out)
        self.cleaner = Cleaner(config, self.replicas, storage, out, now_ms)
        self._checkpoint_at_ms = now_ms + config.checkpoint_interval_ms
        self.quorum = Quorum(config.quorum, storage, out, rng=self._rng, listener=self, now_ms=now_ms)
        self.shares = Shares(config, self.replicas, storage, out, image=lambda: self.image, create=self.ask_for_topic)
        self.groups = GroupCoordinator(
            config,
            self.replicas,
            storage,
            out,
            image=lambda: self.image,
            rng=self._rng,
            persister=self.shares.persister,
            may_be_fenced=self.lifecycle.may_be_fenced,
        )
        self.offsets = TransactionalOffsets(self.groups, self.verifier, self.replicas, out, image=lambda: self.image)
        self.forwarding = Forwarding(config, out, controller=lambda: self.quorum.leader_id)
        self._askers = routes.askers(self)
        self._at_once = routes.at_once(self)
        self._later = routes.later(self)
        self.quorum.start(now_ms)

    @property
    def is_stopped(self) -> bool:
        """Whether the node has stopped in order: the driver may end."""
        return self.lifecycle.life is _STOPPED

    def step(self, event: Event, now_ms: int) -> Ready:
        """Handle one event; see `broker.core.ready` for what to do with the result, and in which order."""
        if self._ended:  # nothing may follow the mark of an orderly stop
            return self._out.take(None)
        self.replicas.now_ms = now_ms
        is_hot = routes.is_hot(self, event)
        self._handle(event, now_ms)
        for _ in range(MAX_ROUNDS):
            self._settle(now_ms)
            if not (self._own_open or self._out.requests) or not self._talk_to_self(now_ms):
                break
            is_hot = False
        else:
            raise AssertionError(f"node {self.config.node_id} talks to itself for ever")
        if not is_hot or now_ms >= self._slow_deadline_ms:
            self._slow_deadline_ms = self._rare_deadline_ms()
        return self._out.take(max(min(self._slow_deadline_ms, self._deadline_ms()), now_ms + 1))

    def stop(self, now_ms: int) -> Ready:
        """Begin an orderly stop: hand over leaderships, then sync and leave the mark; `is_stopped` says when."""
        self.lifecycle.stop()
        return self.step(Tick(), now_ms)

    # Events.

    def _handle(self, event: Event, now_ms: int) -> None:
        if isinstance(event, Request):
            self._request(event, now_ms)
        elif isinstance(event, PeerReply):
            self._answered(event.token, event.message, now_ms)
        elif isinstance(event, Tick):
            self._tick(now_ms)
        else:
            self._failed(event.token, now_ms)
            if event.gone >= 0:
                self._gone(event.gone, now_ms)

    def _request(self, request: Request, now_ms: int) -> None:
        kind = type(request.message)
        if (handle := self._later.get(kind)) is not None:
            handle(request, now_ms)
        elif (answer := self._at_once.get(kind)) is not None:
            self._out.replies.append(Reply(request.id, answer(request.message, now_ms)))
        else:
            self._to_controller(request, request.message, now_ms)

    def reply(self, request_id: object, message: Response) -> None:
        """Answer a request."""
        self._out.replies.append(Reply(request_id, message))

    def delete_groups(self, request_id: object, message: DeleteGroupsRequest) -> None:
        """Delete groups; answer when that is replicated."""
        group_admin.delete(self.groups, self._out, request_id, message)

    def _to_controller(self, request: Request, message: ControllerRequest, now_ms: int) -> None:
        """Decide here, or pass a client's request on; a node that asked the wrong node looks for itself."""
        if not request.internal:
            self.forwarding.ask(request.id, message, now_ms)
        elif self.controller is not None:
            self.controller.handle(request.id, message, now_ms)
        else:
            self._out.replies.append(Reply(request.id, refusal(message)))

    def metadata(self, request: MetadataRequest) -> MetadataResponse:
        """Return what this node knows of the cluster.

        Until it has caught up with its own registration, that is the past: partitions are not told (Kafka opens no door
        before that).
        """
        question = request, self.quorum.leader_id, self._active
        answer = self._told.get(question)
        if answer is None:
            cluster_id, leader_id = self.config.cluster_id, self.quorum.leader_id
            answer = cluster.metadata(self.image, request, cluster_id=cluster_id, leader_id=leader_id)
            if not self._active:
                answer = cluster.without_partitions(answer)
            if len(self._told) >= REMEMBERED_ANSWERS:
                self._told.clear()
            if len(request.topics or ()) <= REMEMBERED_TOPICS and not any(one.error_code for one in answer.topics):
                self._told[question] = answer
        return answer

    def create_and_tell(self, request: MetadataRequest, now_ms: int) -> MetadataResponse:
        """Ask for the topics that are not there; the client looks again until they are."""
        for name in topic_creation.missing(self.config, self.image, request):
            if self._asked_for_topics.get(name, -1) + topic_creation.PATIENCE_MS < now_ms:
                self._asked_for_topics[name] = now_ms
                self.ask_for_topic(topic_creation.request(name), now_ms)
        self._asked_for_topics = topic_creation.recent(self._asked_for_topics, now_ms)
        return self.metadata(request)

    def ask_for_topic(self, request: CreateTopicsRequest, now_ms: int) -> None:
        """Ask for an internal topic; whoever needs it asks again anyway."""
        self._own_open += 1
        self._to_controller(Request(_Unheard(), request), request, now_ms)

    def _answered(self, token: int, message: Any, now_ms: int) -> None:
        for asker in self._askers:
            if asker.owns(token):
                asker.answered(token, message, now_ms)
                return

    def _failed(self, token: int, now_ms: int) -> None:
        for asker in self._askers:
            if asker.owns(token):
                asker.failed(token, now_ms)
                return

    def _gone(self, peer: int, now_ms: int) -> None:
        """A node's process has ended: nobody needs to wait until it was silent for long enough."""
        self.quorum.gone(peer, now_ms)
        if self.controller is not None:
            self.controller.gone(peer, now_ms)

    def _tick(self, now_ms: int) -> None:
        self.quorum.tick(now_ms)
        if self.controller is not None:
            self.controller.tick(now_ms)
        self.producing.tick(now_ms)
        self.fetching.tick(now_ms)
        self.fetchers.tick(now_ms)
        if self._active:
            self.cleaner.tick(now_ms)
        if now_ms >= self._checkpoint_at_ms:
            self._checkpoint_at_ms = now_ms + self.config.checkpoint_interval_ms
            self.replicas.expire_producers(now_ms)
            self.replicas.checkpoint()

    def _settle(self, now_ms: int) -> None:
        """Do what the event has made due."""
        lifecycle = self.lifecycle
        self.replicas.broker_epoch = lifecycle.epoch
        if self._dirty or self._recheck or not self._active:
            self._apply_dirty(now_ms)
        if self._active:
            self.isr.tick(now_ms)
        if self.forwarding.waiting:
            self.forwarding.tick(now_ms)
        if self.ids.waiting:
            self.ids.tick(now_ms)
        self.transactions.tick(now_ms)
        self.groups.tick(now_ms)
        if self.shares.is_on:
            self.shares.tick(now_ms)
        if now_ms >= lifecycle.deadline_ms:
            lifecycle.tick(now_ms)
        if self.deleting.waiting:
            self.deleting.tick(now_ms)
        if lifecycle.life is _STOPPED and not self._ended:
            self._ended = True
            self.quorum.resign(now_ms)
            self.replicas.stop()
        self.fetching.flush()

    def _talk_to_self(self, now_ms: int) -> bool:
        """Carry requests and answers of this node to itself; return whether there were any."""
        me, out = self.config.node_id, self._out
        requests = [request for request in out.requests if request.peer == me]
        if not self._own_open and not requests:
            return False
        heard = [reply for reply in out.replies if not isinstance(reply.id, _Unheard)]
        replies = [reply for reply in heard if isinstance(reply.id, _Own)]
        self._own_open += len(requests) - len(replies) - (len(out.replies) - len(heard))
        out.replies = heard
        if not requests and not replies:
            return False
        out.requests = [request for request in out.requests if request.peer != me]
        out.replies = [reply for reply in heard if not isinstance(reply.id, _Own)]
        for request in requests:
            self._request(Request(_Own(request.token), request.message, internal=True), now_ms)
        for reply in replies:
            self._answered(reply.id.token, reply.message, now_ms)
        return True

    def _deadline_ms(self) -> int:
        """Return when something is due of what any event may have changed."""
        deadline_ms = min(
            self.producing.deadline_ms,
            self.fetching.deadline_ms,
            self.fetchers.deadline_ms,
            self.transactions.deadline_ms,
            self.groups.deadline_ms,
        )
        if self.ids.waiting:
            deadline_ms = min(deadline_ms, self.ids.deadline_ms)
        if self.shares.is_on:
            deadline_ms = min(deadline_ms, self.shares.deadline_ms)
        return min(deadline_ms, self.isr.deadline_ms) if self._active else deadline_ms

    def _rare_deadline_ms(self) -> int:
        """Return when something is due of what records on their way to and from a partition do not change."""
        deadlines = [
            self.quorum.deadline_ms,
            self.deleting.deadline_ms,
            self.lifecycle.deadline_ms,
            self.forwarding.deadline_ms,
            self._checkpoint_at_ms,
        ]
        if self.controller is not None:
            deadlines.append(self.controller.deadline_ms)
        if self._active:
            deadlines.append(self.cleaner.deadline_ms)
        return min(deadlines)

    # The quorum's listener.

    def committed(self, entry: Entry, now_ms: int) -> None:
        """Apply committed records to the image; `_settle` carries them to the partitions."""
        self._told.clear()
        for value in entry.values:
            record = decode(value)
            if isinstance(record, TopicDeleted) and record.topic_id in self.image.topics:
                for index in self.image.topics[record.topic_id].partitions:
                    self._dirty[record.topic_id, index] = None
                self.groups.deleted_topics.note(self.image.topics[record.topic_id].name)
            self.image.apply(record)
            if isinstance(record, PartitionState):
                self._dirty[record.topic_id, record.index] = None
            elif isinstance(record, ConfigSet):
                self.replicas.reconfigure(self.image, record.name if record.kind == "topic" else "")
            elif isinstance(record, FeatureSet):
                self.shares.switch(on=self.image.has_shares)
            elif isinstance(record, BrokerRegistered | BrokerChanged | BrokerForgotten):
                self._brokers_changed()
        if self.controller is not None:
            self.controller.committed()
        del now_ms

    def restored(self, snapshot: Snapshot, now_ms: int) -> None:
        """Replace the image by a snapshot's."""
        self._told.clear()
        del now_ms
        gone, known = [replica.key for replica in self.replicas], self.image.topic_ids
        self.image = load(snapshot.data)
        for name in [name for name, topic_id in known.items() if self.image.topic_ids.get(name) != topic_id]:
            self.groups.deleted_topics.note(name)
        self.shares.switch(on=self.image.has_shares)
        self._dirty.update(dict.fromkeys([*gone, *((p.topic_id, p.index) for p in self.image.partitions())]))
        self.replicas.reconfigure(self.image, "")
        self._brokers_changed()

    def dump(self) -> bytes:
        """Return the image as a snapshot."""
        return self.image.dump()

    def leads(self, epoch: int, now_ms: int) -> None:
        """This node is the active controller."""
        del epoch
        image = load(self.image.dump())
        for entry in self.quorum.metadata.pending:
            for value in entry.values:
                image.apply(decode(value))
        self.controller = Controller(self.config, self.quorum, image, self._out, rng=self._rng, now_ms=now_ms)
        self.lifecycle.poke()

    def follows(self, leader_id: int, epoch: int, now_ms: int) -> None:
        """Another node is the active controller, or nobody."""
        del epoch, now_ms
        if self.controller is not None:
            self.controller.close()
            self.controller = None
        if leader_id >= 0:
            self.lifecycle.poke()

    def _brokers_changed(self) -> None:
        self.replicas.eligible = {broker.id: broker.epoch for broker in self.image.brokers.values() if broker.is_active}
        self._recheck = True
        me = self.image.brokers.get(self.config.node_id)
        if me is not None and me.fenced and me.epoch == self.lifecycle.epoch:
            self.lifecycle.poke()

    # Metadata to partitions.

    def _apply_dirty(self, now_ms: int) -> None:
        me = self.image.brokers.get(self.config.node_id)
        if not self._active and (me is None or self.lifecycle.epoch < 0 or me.epoch != self.lifecycle.epoch):
            return
        if not self._active:
            self._active = True
            self._dirty = {(state.topic_id, state.index): None for state in self.image.partitions()}
            self._apply(now_ms)
            self.replicas.drop_strays()
            self.replicas.checkpoint()
        elif self._dirty:
            self._apply(now_ms)
        if self._recheck:  # who is alive decides whom the high watermark waits for
            self._recheck = False
            for replica in self.replicas:
                self._moved(replica, now_ms)

    def _apply(self, now_ms: int) -> None:
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            state = self.image.partition(*key)
            hosted = self.replicas.get(key)
            if state is None:
                replica = None
                self.replicas.remove(key)
            else:
                replica = self.replicas.apply(self.image, state, now_ms)
            if hosted is not None:
                self.fetching.wake(hosted)
            self.shares.moved(key)
            if (known := replica or hosted) is not None:  # one that is here no more is not led here, either
                routes.role_changed(self, known)
            if replica is None:
                self.fetchers.forget(key)
            else:
                self.fetchers.follow(replica, now_ms)
                self._moved(replica, now_ms)
        self.replicas.renew()

    def _transaction_ended(self, replica: Replica, producer_id: int, commit: bool) -> None:  # noqa: FBT001 - a callback
        if replica.name == GROUP_TOPIC:
            self.groups.transaction_ended(replica.key[1], producer_id, commit=commit)

    def _moved(self, replica: Replica, now_ms: int) -> None:
        """The ISR, the role, or who is alive changed: the high watermark may move."""
        if self.replicas.advance(replica, now_ms):
            self.fetching.wake(replica)
