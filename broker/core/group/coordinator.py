"""The coordinator of the groups whose partition of `__consumer_offsets` this node leads.

It finds the group, checks who asks, and carries answers; `Group` decides about members, `GroupShard` holds offsets.
Groups with a deadline stand in one heap, by the time at which they were due when they were last looked at; an entry
that was overtaken by an earlier one is skipped.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count
from typing import Any

from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.group import offset_commit
from broker.core.group.consumer import migration
from broker.core.group.consumer.classic_members import ClassicMembers
from broker.core.group.consumer.group import ConsumerGroup
from broker.core.group.consumer.heartbeats import Heartbeats
from broker.core.group.consumer.records import Change
from broker.core.group.consumer.records import encode_key as consumer_key
from broker.core.group.consumer.records import encode_value as consumer_value
from broker.core.group.deleted_topics import DeletedTopics
from broker.core.group.expiry import Expiry
from broker.core.group.group import Group, State
from broker.core.group.group_records import GroupKey, encode_group, encode_key
from broker.core.group.group_shard import GroupShard
from broker.core.group.members import Sender
from broker.core.group.share.group import ShareGroup
from broker.core.group.share.heartbeats import ShareHeartbeats
from broker.core.group.share.offsets import ShareOffsets
from broker.core.group.share.records import ShareChange
from broker.core.group.share.records import encode_key as share_key
from broker.core.group.share.records import encode_value as share_value
from broker.core.group.stable_offsets import StableOffsets
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Reply
from broker.core.replication.replica import Replica
from broker.core.replication.replicas import Replicas
from broker.core.share.persister import Persister
from broker.core.storage import Storage
from broker.core.transaction.transaction_hash import partition_for
from broker.wire import record
from broker.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from broker.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse
from broker.wire.messages.offset_commit import OffsetCommitRequest
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatRequest
from broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

TOPIC = "__consumer_offsets"
ID_FROM_JOIN = 4
"""From this version of JoinGroup on a new member gets its id first and joins with it (KIP-394)."""
MANY_FROM_LEAVE = 3
"""From this version of LeaveGroup on several members may leave at once."""
NO_GENERATION = -1


class GroupCoordinator:
    """See the module."""

    def __init__(
        self,
        config: BrokerConfig,
        replicas: Replicas,
        storage: Storage,
        out: Outbox,
        *,
        image: Callable[[], Image],
        rng: random.Random,
        persister: Persister,
        may_be_fenced: Callable[[int], bool],
    ) -> None:
        self.config, self._replicas, self._storage, self._out = config, replicas, storage, out
        self._may_be_fenced = may_be_fenced
        self.image, self._rng = image, rng
        self._shards: dict[int, GroupShard] = {}
        self._loading: list[GroupShard] = []
        self._due: list[tuple[int, int, GroupShard, Group | ConsumerGroup | ShareGroup]] = []
        self._order = count()
        self.heartbeats = Heartbeats(config, self)
        self.expiry = Expiry(config, self)
        self.deleted_topics = DeletedTopics(self)
        self.classic_members = ClassicMembers(self, config.consumer_max_size)
        self.share_heartbeats = ShareHeartbeats(config, self)
        self.share_offsets = ShareOffsets(self, replicas)
        self.stable_offsets = StableOffsets(self)
        self.persister = persister
        self._now_ms = 0  # of the last tick; the node ticks in every step, so it is the step's

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        if self._loading and any(shard.log.is_due for shard in self._loading):
            return 0
        due_ms = min(self.deleted_topics.deadline_ms, self.stable_offsets.deadline_ms)
        if self._due:
            due_ms = min(due_ms, self._due[0][0])
        return min(due_ms, self.expiry.deadline_ms) if self._shards else due_ms

    @property
    def now_ms(self) -> int:
        """The time of the present step."""
        return self._now_ms

    @property
    def may_be_deposed(self) -> bool:
        """Whether another node may coordinate the groups by now, without this one having heard of it."""
        return self._may_be_fenced(self._now_ms)

    def role_changed(self, replica: Replica) -> None:
        """Load a partition that this node now leads, let go of one that it does not."""
        index, shard, leader = replica.key[1], self._shards.get(replica.key[1]), replica.leader
        if shard is not None and (leader is None or leader.epoch != shard.log.epoch):
            del self._shards[index]
            self._loading = [loading for loading in self._loading if loading is not shard]
            for group in shard.groups.values():
                group.close(Code.NOT_COORDINATOR)
            self.stable_offsets.moved()
            shard = None
        if leader is not None and shard is None:
            self._shards[index] = GroupShard(replica, self._storage, self._make)
            self._loading.append(self._shards[index])

    def shards(self) -> list[GroupShard]:
        """Return all shards of this node."""
        return list(self._shards.values())

    def shard(self, name: str, *, may_be_empty: bool = False) -> GroupShard:
        """Return the shard of a group; raise Refused where another node has it, or it is being read.

        As in Kafka, a group without a name has no members, but may have offsets (`may_be_empty`).
        """
        if not name and not may_be_empty:
            raise Refused(Code.INVALID_GROUP_ID, "The group id is invalid.")
        topic = self.image().topic(TOPIC)
        shard = None if topic is None else self._shards.get(partition_for(name, len(topic.partitions)))
        if shard is None:
            raise Refused(Code.NOT_COORDINATOR, f"another node coordinates {name!r}")
        if not shard.log.is_loaded:
            raise Refused(Code.COORDINATOR_LOAD_IN_PROGRESS, "the coordinator is reading its log")
        return shard

    def _make(self, shard: GroupShard, name: str) -> Group:
        return Group(
            name,
            answer=self.answer,
            save=lambda group, then: self._save(shard, group, then),
            new_id=self.new_id,
            initial_delay_ms=self.config.group_initial_delay_ms,
        )

    def new_id(self) -> str:
        """Return an id for a member that brings none."""
        return f"{self._rng.getrandbits(128):032x}"

    def answer(self, request_id: object, message: Any) -> None:
        """Answer a request."""
        self._out.replies.append(Reply(request_id, message))

    def write(self, shard: GroupShard, records: list[tuple[bytes, bytes | None]], done: Callable[[Code], None]) -> None:
        """Write records as one batch; `done` gets what a client must hear. Raise Refused."""
        data = record.batch_of(records, timestamp_ms=self._now_ms)
        shard.log.write(data, self._now_ms, lambda code: done(_lost(code)))
        self._replicas.appended(shard.log.replica, self._now_ms)

    def change(
        self,
        shard: GroupShard,
        group: ConsumerGroup,
        changes: list[Change],
        done: Callable[[Code], None],
        *,
        replaces: bool = False,
    ) -> None:
        """Change a consumer group: at once for whoever comes next, `done` when it is replicated. Raise Refused."""
        if not changes:
            shard.log.when_replicated(lambda code: done(_lost(code)))
            return
        records: list[tuple[bytes, bytes | None]] = [(encode_key(GroupKey(group.name)), None)] if replaces else []
        records += [(consumer_key(key), None if value is None else consumer_value(value)) for key, value in changes]
        self.write(shard, records, done)
        classic = shard.groups.pop(group.name, None) if replaces else None
        if classic is not None:
            classic.close(Code.REBALANCE_IN_PROGRESS)
        shard.consumers.setdefault(group.name, group)
        for key, value in changes:
            shard.apply_consumer(key, value)

    def change_share(
        self, shard: GroupShard, group: ShareGroup, changes: list[ShareChange], done: Callable[[Code], None]
    ) -> None:
        """Change a share group: at once for whoever comes next, `done` when it is replicated. Raise Refused."""
        if not changes:
            shard.log.when_replicated(lambda code: done(_lost(code)))
            return
        self.write(
            shard, [(share_key(key), None if value is None else share_value(value)) for key, value in changes], done
        )
        shard.shares.setdefault(group.name, group)
        for key, value in changes:
            shard.apply_share(key, value)

    def is_current_share(self, shard: GroupShard, group: ShareGroup) -> bool:
        """Return whether the group is this node's still."""
        return self._is_current(shard, group)

    def downgrade(
        self, shard: GroupShard, group: ConsumerGroup, gone: list[str], done: Callable[[Code], None], now_ms: int
    ) -> None:
        """Make a classic group of the members that are left of a consumer group. Raise Refused."""
        classic = self._make(shard, group.name)
        migration.downgraded(self.image(), group, classic, gone)
        tombstones = [key for key, _ in group.tombstones()]
        records: list[tuple[bytes, bytes | None]] = [(consumer_key(key), None) for key in tombstones]
        self.write(shard, [*records, (encode_key(GroupKey(group.name)), encode_group(classic, now_ms))], done)
        for key in tombstones:
            shard.apply_consumer(key, None)
        shard.groups[group.name] = classic
        for member in classic.members.values():
            member.heard_ms = now_ms
        classic.rebalance(now_ms)
        self.watch(shard, classic)

    def _save(self, shard: GroupShard, group: Group, then: Callable[[Code], None]) -> None:
        key = encode_key(GroupKey(group.name))
        try:
            self.write(shard, [(key, encode_group(group, self._now_ms))], then)
        except Refused as refused:
            then(refused.code)

    def watch(self, shard: GroupShard, group: Group | ConsumerGroup | ShareGroup) -> None:
        """Look at the group again when it is due, but not twice in a ms: time-outs of clients may be 0."""
        deadline_ms = max(group.deadline_ms, self._now_ms + 1)
        if deadline_ms < group.due_ms:
            group.due_ms = deadline_ms
            heapq.heappush(self._due, (deadline_ms, next(self._order), shard, group))

    # Membership.

    def handle(self, request_id: object, message: Any, version: int, sender: Sender, now_ms: int) -> None:
        """Answer a member's request, now or when its generation is complete; `sender` is its client id and host."""
        self._now_ms = now_ms
        try:
            self._handle(request_id, message, version, sender)
        except Refused as refused:
            self.answer(request_id, _refusal(message, refused.code))

    def beat(self, request_id: object, message: ConsumerGroupHeartbeatRequest, sender: Sender, now_ms: int) -> None:
        """Answer a member of a consumer group."""
        self._now_ms = now_ms
        self.heartbeats.handle(request_id, message, sender, now_ms)

    def beat_share(self, request_id: object, message: ShareGroupHeartbeatRequest, sender: Sender, now_ms: int) -> None:
        """Answer a member of a share group."""
        self._now_ms = now_ms
        self.share_heartbeats.handle(request_id, message, sender, now_ms)

    def _handle(self, request_id: object, message: Any, version: int, sender: Sender) -> None:
        now_ms = self._now_ms
        shard = self.shard(message.group_id, may_be_empty=isinstance(message, OffsetCommitRequest))
        if message.group_id in shard.shares:
            joins = isinstance(message, JoinGroupRequest)
            code = Code.INCONSISTENT_GROUP_PROTOCOL if joins else Code.GROUP_ID_NOT_FOUND
            raise Refused(code, f"{message.group_id!r} is a share group")
        if self._is_for_consumers(shard, message):
            self._handle_classic(request_id, message, version, sender, shard)
            return
        match message:
            case JoinGroupRequest():
                self._check_session(message)
                if message.member_id and message.group_id not in shard.groups:
                    raise Refused(Code.UNKNOWN_MEMBER_ID, "the group is unknown")
                group = shard.group(message.group_id)
                group.join(request_id, message, sender, now_ms, needs_id=version >= ID_FROM_JOIN)
                self.watch(shard, group)
            case SyncGroupRequest():
                self._known(shard, message.group_id).sync(request_id, message, now_ms)
            case HeartbeatRequest():
                group = self._known(shard, message.group_id)
                code = group.beat(message.member_id, message.group_instance_id, message.generation_id, now_ms)
                self.answer(request_id, HeartbeatResponse(error_code=code))
            case LeaveGroupRequest():
                self._leave(request_id, message, version, shard)
            case OffsetCommitRequest():
                offset_commit.commit(self, request_id, message, shard)

    def _is_for_consumers(self, shard: GroupShard, message: Any) -> bool:
        """Return whether a consumer group is meant; an empty one becomes classic for whoever joins so."""
        group = shard.consumers.get(message.group_id)
        if group is None or isinstance(message, OffsetCommitRequest):
            return False
        if isinstance(message, JoinGroupRequest) and not group.members:
            self.change(shard, group, group.tombstones(), lambda _: None)
            return False
        return True

    def _handle_classic(
        self, request_id: object, message: Any, version: int, sender: Sender, shard: GroupShard
    ) -> None:
        """Answer a classic member of a consumer group."""
        now_ms = self._now_ms
        match message:
            case JoinGroupRequest():
                self._check_session(message)
                needs_id = version >= ID_FROM_JOIN
                self.classic_members.join(request_id, shard, message, sender, now_ms, needs_id=needs_id)
            case SyncGroupRequest():
                self.classic_members.sync(request_id, shard, message, now_ms)
            case HeartbeatRequest():
                self.classic_members.beat(request_id, shard, message, now_ms)
            case LeaveGroupRequest():
                self.classic_members.leave(request_id, shard, message, now_ms, many=version >= MANY_FROM_LEAVE)

    def _check_session(self, message: JoinGroupRequest) -> None:
        low, high = self.config.group_min_session_timeout_ms, self.config.group_max_session_timeout_ms
        if not low <= message.session_timeout_ms <= high:
            raise Refused(Code.INVALID_SESSION_TIMEOUT, f"not within [{low}, {high}] ms")

    def _known(self, shard: GroupShard, name: str) -> Group:
        group = shard.groups.get(name)
        if group is None:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"the group {name!r} is unknown")
        return group

    def _leave(self, request_id: object, message: LeaveGroupRequest, version: int, shard: GroupShard) -> None:
        group = self._known(shard, message.group_id)
        if version < MANY_FROM_LEAVE:
            group.leave(message.member_id, None, self._now_ms)
            self.answer(request_id, LeaveGroupResponse())
        else:
            results = tuple(self._leave_one(group, identity) for identity in message.members)
            self.answer(request_id, LeaveGroupResponse(members=results))
        self.watch(shard, group)

    def _leave_one(self, group: Group, who: MemberIdentity) -> MemberResponse:
        code = Code.NONE
        try:
            group.leave(who.member_id, who.group_instance_id, self._now_ms)
        except Refused as refused:
            code = refused.code
        return MemberResponse(member_id=who.member_id, group_instance_id=who.group_instance_id, error_code=code)

    # Offsets.

    def check_commit(
        self, shard: GroupShard, name: str, who: tuple[str, str | None, int], *, transactional: bool = False
    ) -> None:
        """Raise Refused unless this member of this generation may commit; anybody may while the group is empty."""
        member_id, instance_id, generation = who
        consumers = shard.consumers.get(name)
        if consumers is not None:
            consumers.check_commit(member_id, generation)
            return
        group = shard.groups.get(name)
        if group is None or group.state is State.EMPTY:
            if generation != NO_GENERATION and group is None:
                raise Refused(Code.ILLEGAL_GENERATION, "the group is unknown")
            if generation == NO_GENERATION:
                return
        assert group is not None
        group.check(member_id, instance_id, generation)
        if group.state is State.COMPLETING and not transactional:
            raise Refused(Code.REBALANCE_IN_PROGRESS)
        group.beat(member_id, instance_id, generation, self._now_ms)

    def transaction_ended(self, index: int, producer_id: int, *, commit: bool) -> None:
        """A marker is in the log of one of our partitions: the transaction's offsets count, or are gone."""
        shard = self._shards.get(index)
        if shard is not None and shard.log.is_loaded:
            shard.ended(producer_id, commit=commit)
            self.stable_offsets.ended(producer_id)

    # Time.

    def tick(self, now_ms: int) -> None:
        """Load; look at the groups that are due."""
        self._now_ms = now_ms
        if self._loading:
            self._load(now_ms)
        while self._due and self._due[0][0] <= now_ms:
            due_ms, _, shard, group = heapq.heappop(self._due)
            if self._is_current(shard, group) and due_ms == group.due_ms:
                group.due_ms = 1 << 62
                if isinstance(group, ConsumerGroup):
                    self.heartbeats.tick(shard, group, now_ms)
                elif isinstance(group, ShareGroup):
                    self.share_heartbeats.tick(shard, group, now_ms)
                else:
                    group.tick(now_ms)
                self.watch(shard, group)
        if now_ms >= self.expiry.deadline_ms:
            self.expiry.tick(now_ms)
        self.deleted_topics.tick(now_ms)
        self.stable_offsets.tick(now_ms)

    def _load(self, now_ms: int) -> None:
        for shard in list(self._loading):
            if shard.log.load_slice(shard):
                self._loading.remove(shard)
                self._loaded(shard, now_ms)

    def _loaded(self, shard: GroupShard, now_ms: int) -> None:
        """Let all sessions begin anew: they are soft state."""
        self.deleted_topics.loaded(shard)
        for classic in shard.groups.values():
            for member in classic.members.values():
                member.heard_ms = now_ms
            self.watch(shard, classic)
        for consumers in shard.consumers.values():
            self.heartbeats.began(consumers, now_ms)
            self.watch(shard, consumers)
        for shares in shard.shares.values():
            self.share_heartbeats.began(shares, now_ms)
            self.watch(shard, shares)

    def _is_current(self, shard: GroupShard, group: Group | ConsumerGroup | ShareGroup) -> bool:
        if self._shards.get(shard.log.replica.key[1]) is not shard:
            return False
        if isinstance(group, ShareGroup):
            return shard.shares.get(group.name) is group
        return shard.groups.get(group.name) is group or shard.consumers.get(group.name) is group


def _lost(code: Code) -> Code:
    """Return what a client must hear: what is written is replicated, whatever became of the ISR since, or lost."""
    return Code.NOT_COORDINATOR if code is Code.NOT_LEADER_OR_FOLLOWER else Code.NONE


def _refusal(message: Any, code: Code) -> Any:
    match message:
        case JoinGroupRequest():
            return JoinGroupResponse(error_code=code, member_id=message.member_id)
        case SyncGroupRequest():
            return SyncGroupResponse(error_code=code)
        case HeartbeatRequest():
            return HeartbeatResponse(error_code=code)
        case LeaveGroupRequest():
            return LeaveGroupResponse(error_code=code)
    assert isinstance(message, OffsetCommitRequest)
    return offset_commit.refused(message, code)
