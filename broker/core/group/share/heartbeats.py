"""ShareGroupHeartbeat: members join, leave, are alive, and hear what they read (KIP-932).

A heartbeat is turned into records (the member, a new epoch, a new target, what the member knows of it); they are
written as one batch, count at once for whoever comes next, and the answer goes out when they are replicated.

Nobody reads a partition before the share coordinator has a state of it: the first heartbeat that subscribes to a
partition has one made, and when that is noted in the group's log the partition is given out. A coordinator that goes
before has made a state that nobody has used: the next one makes it anew. Kafka: GroupMetadataManager.
shareGroupHeartbeat, initializeShareGroupState.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from broker.core import group_settings
from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.group.consumer.places import Place, Places, by_topic
from broker.core.group.consumer.records import GroupEpoch, Key
from broker.core.group.consumer.subscriptions import topics_hash
from broker.core.group.group_shard import GroupShard
from broker.core.group.members import Sender
from broker.core.group.share.assignor import simple
from broker.core.group.share.group import ShareGroup
from broker.core.group.share.records import CURRENT, GROUP, MEMBER, TARGET, TARGET_EPOCH, ShareChange, ShareMember
from broker.core.group.share.records import ShareCurrent as Current
from broker.core.share.state import UNKNOWN_START, ShareKey
from broker.wire.messages.share_group_heartbeat import (
    Assignment,
    ShareGroupHeartbeatRequest,
    ShareGroupHeartbeatResponse,
    TopicPartitions,
)

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator

JOIN, LEAVE = 0, -1
RETRY_MS = 100
"""When members that are out can't be written off: the ISR is too small, or the log is being lost."""


class ShareHeartbeats:
    """See the module."""

    def __init__(self, config: BrokerConfig, coordinator: GroupCoordinator) -> None:
        self._config, self._coordinator = config, coordinator

    def handle(self, request_id: object, ask: ShareGroupHeartbeatRequest, sender: Sender, now_ms: int) -> None:
        """Answer a member."""
        try:
            _check(ask)
            shard = self._coordinator.shard(ask.group_id)
            if ask.member_epoch == LEAVE:
                self._leave(request_id, shard, ask)
            else:
                self._beat(request_id, shard, ask, sender, now_ms)
        except Refused as refused:
            answer = ShareGroupHeartbeatResponse(error_code=refused.code, error_message=refused.message)
            self._coordinator.answer(request_id, answer)

    def _beat(
        self,
        request_id: object,
        shard: GroupShard,
        ask: ShareGroupHeartbeatRequest,
        sender: Sender,
        now_ms: int,
    ) -> None:
        group, member_id = self.group(shard, ask.group_id, makes=ask.member_epoch == JOIN), ask.member_id
        old, before = group.members.get(member_id), group.member(member_id)
        self._check_member(group, old, before, ask)
        changes = self._advance(group, member_id, _merged(old, ask, sender))
        after = next((v for k, v in changes if k.kind == CURRENT and isinstance(v, Current)), before)
        full = ask.member_epoch == JOIN or ask.subscribed_topic_names is not None
        shown = after.assigned if full or after.assigned != before.assigned else None

        def done(code: Code) -> None:
            answer = ShareGroupHeartbeatResponse(error_code=code)
            if not code:
                answer = ShareGroupHeartbeatResponse(
                    member_id=member_id,
                    member_epoch=after.epoch,
                    heartbeat_interval_ms=self._setting(group, "share.heartbeat.interval.ms"),
                    assignment=None if shown is None else _assignment(shown),
                )
            self._coordinator.answer(request_id, answer)

        self._coordinator.change_share(shard, group, changes, done)
        group.sessions[member_id] = now_ms + self._setting(group, "share.session.timeout.ms")
        self._coordinator.watch(shard, group)
        self._make_states(shard, group)

    def group(self, shard: GroupShard, name: str, *, makes: bool) -> ShareGroup:
        """Return the group, a new one if it may be made. Raise Refused."""
        group = shard.shares.get(name)
        if group is not None:
            return group
        classic = shard.groups.get(name)
        if classic is not None and classic.is_forgettable and not any(key.group == name for key in shard.offsets):
            del shard.groups[name]
        if shard.has_group(name):
            raise Refused(Code.GROUP_ID_NOT_FOUND, f"Group {name} is not a share group.")
        if not makes:
            raise Refused(Code.GROUP_ID_NOT_FOUND, f"Group {name} not found.")
        return ShareGroup(name)

    def _check_member(
        self, group: ShareGroup, old: ShareMember | None, now: Current, ask: ShareGroupHeartbeatRequest
    ) -> None:
        if old is None and ask.member_epoch != JOIN:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{ask.member_id!r} is no member of {group.name!r}")
        if old is None and len(group.members) >= self._config.share_max_size:
            raise Refused(Code.GROUP_MAX_SIZE_REACHED, f"{group.name!r} has {len(group.members)} members")
        if old is not None and ask.member_epoch not in {JOIN, now.epoch, now.previous_epoch}:
            raise Refused(Code.FENCED_MEMBER_EPOCH, f"epoch {ask.member_epoch}, the member's is {now.epoch}")

    def _advance(self, group: ShareGroup, member_id: str, new: ShareMember) -> list[ShareChange]:
        """Return the records of a heartbeat: the member, the group's epoch, the target, what the member reads."""
        old, members, changes = group.members.get(member_id), {**group.members, member_id: new}, list[ShareChange]()
        if old != new:
            changes.append((Key(MEMBER, group.name, member_id), new))
        there = self._there(group, members)
        known, epoch = topics_hash({topic: len(indexes) for topic, indexes in there.items()}), group.epoch
        if old is None or old.topics != new.topics or known != group.topics_hash:
            epoch += 1
            changes.append((Key(GROUP, group.name), GroupEpoch(epoch, known)))
        target_epoch, target = group.target_epoch, group.target.get(member_id, ())
        if epoch > group.target_epoch:
            wishes = {one: self._topics(member) for one, member in members.items()}
            found = simple(wishes, group.target, there)
            changes += [
                (Key(TARGET, group.name, one), places)
                for one, places in found.items()
                if group.target.get(one) != places
            ]
            changes.append((Key(TARGET_EPOCH, group.name), epoch))
            target_epoch, target = epoch, found[member_id]
        before = group.member(member_id)
        previous = before.epoch if before.epoch != target_epoch else before.previous_epoch
        after = Current(target_epoch, previous, target)
        if after != group.current.get(member_id):
            changes.append((Key(CURRENT, group.name, member_id), after))
        return changes

    def _topics(self, member: ShareMember) -> tuple[str, ...]:
        """Return the ids of the topics that a member subscribes to and that there are."""
        ids = self._coordinator.image().topic_ids
        return tuple(ids[name] for name in member.topics if name in ids)

    def _there(self, group: ShareGroup, members: Mapping[str, ShareMember]) -> dict[str, tuple[int, ...]]:
        """Return what may be read: partitions of subscribed topics that have a state."""
        image = self._coordinator.image()
        wanted = {topic for member in members.values() for topic in self._topics(member)}
        places = tuple(place for place in group.states.places if place[0] in wanted and image.partition(*place))
        return dict(by_topic(places))

    def _setting(self, group: ShareGroup, name: str) -> int:
        return group_settings.value(self._config, self._coordinator.image(), group.name, name)

    # States at the share coordinator.

    def _make_states(self, shard: GroupShard, group: ShareGroup) -> None:
        """Have a state made of each partition that somebody subscribes to, when the group's epoch is replicated.

        In an epoch that nobody else knows of, a coordinator that was deposed would begin anew what its successor's
        members use.
        """
        if not self._without_state(group):
            return
        epoch = group.epoch

        def replicated(code: Code) -> None:
            if code is not Code.NOT_LEADER_OR_FOLLOWER and self._coordinator.is_current_share(shard, group):
                for place in self._without_state(group):
                    self._make_state(shard, group, place, epoch)

        shard.log.when_replicated(replicated)

    def _without_state(self, group: ShareGroup) -> list[Place]:
        image, known = self._coordinator.image(), {*group.states.places, *group.changing}
        topics = dict.fromkeys(topic for member in group.members.values() for topic in self._topics(member))
        places = [(topic, index) for topic in topics for index in image.topics[topic].partitions]
        return [place for place in places if place not in known]

    def _make_state(self, shard: GroupShard, group: ShareGroup, place: Place, epoch: int) -> None:
        def done(result: Any) -> None:
            self._made(shard, group, place, result)

        group.changing[place] = None
        key = ShareKey(group.name, *place)
        self._coordinator.persister.initialize(key, epoch, UNKNOWN_START, done, self._coordinator.now_ms)

    def _made(self, shard: GroupShard, group: ShareGroup, place: Place, result: Any) -> None:
        """A state is made, or not: the next heartbeat tries again. Note all that are made at once."""
        group.changing.pop(place, None)
        if result.error_code or not self._coordinator.is_current_share(shard, group):
            return
        image = self._coordinator.image()
        topic = image.topics.get(place[0])
        if topic is None:
            return
        there = [one for one in group.states.places if one[0] in image.topics]
        change = group.with_states([*there, place], {place[0]: topic.name})
        try:
            self._coordinator.change_share(shard, group, [change], lambda _: None)
        except Refused:
            return

    # A member that goes.

    def _leave(self, request_id: object, shard: GroupShard, ask: ShareGroupHeartbeatRequest) -> None:
        group, member_id = self.group(shard, ask.group_id, makes=False), ask.member_id
        if member_id not in group.members:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{member_id!r} is no member of {group.name!r}")

        def done(code: Code) -> None:
            answer = ShareGroupHeartbeatResponse(error_code=code, member_id=member_id, member_epoch=LEAVE)
            self._coordinator.answer(request_id, answer)

        self._coordinator.change_share(shard, group, group.without([member_id]), done)

    def began(self, group: ShareGroup, now_ms: int) -> None:
        """The group has been read from the log: every member has a full session from now on."""
        timeout_ms = self._setting(group, "share.session.timeout.ms")
        group.sessions = dict.fromkeys(group.members, now_ms + timeout_ms)

    def tick(self, shard: GroupShard, group: ShareGroup, now_ms: int) -> None:
        """Put out who was silent."""
        late = group.late(now_ms)
        if not late:
            return
        try:
            self._coordinator.change_share(shard, group, group.without(late), lambda _: None)
        except Refused:
            for member_id in late:
                group.sessions[member_id] = now_ms + RETRY_MS


def _check(ask: ShareGroupHeartbeatRequest) -> None:
    """Raise Refused(INVALID_REQUEST) for what no client may send."""
    wrong = {
        "the group id is empty": not ask.group_id.strip(),
        "the member id is empty": not ask.member_id.strip(),
        "the rack may be null, but not empty": ask.rack_id == "",
        f"there is no epoch {ask.member_epoch}": ask.member_epoch < LEAVE,
        "whoever joins subscribes": ask.member_epoch == JOIN and not ask.subscribed_topic_names,
    }
    for why, is_so in wrong.items():
        if is_so:
            raise Refused(Code.INVALID_REQUEST, why)


def _merged(old: ShareMember | None, ask: ShareGroupHeartbeatRequest, sender: Sender) -> ShareMember:
    """Return the member as it is now; null means unchanged."""
    was = old or ShareMember()
    names = ask.subscribed_topic_names
    return ShareMember(
        rack_id=was.rack_id if ask.rack_id is None else ask.rack_id,
        client_id=sender.client_id,
        host=sender.host,
        topics=was.topics if names is None else tuple(sorted(set(names))),
    )


def _assignment(places: Places) -> Assignment:
    return Assignment(
        topic_partitions=tuple(
            TopicPartitions(topic_id=bytes.fromhex(topic_id), partitions=indexes)
            for topic_id, indexes in by_topic(places)
        )
    )
