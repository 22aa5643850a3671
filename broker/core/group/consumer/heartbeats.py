"""ConsumerGroupHeartbeat: members join, leave, say what they own, and hear what they shall have (KIP-848).

A heartbeat is turned into records (the member, a new epoch, a new target, the member's next step); they are written as
one batch, count at once for whoever comes next, and the answer goes out when they are replicated. One that changes
nothing is answered when all before it is replicated.

Refused: an epoch that is not the member's (FENCED_MEMBER_EPOCH; its previous one counts while it owns no more than it
has now: it did not get the answer), an instance that somebody else is (FENCED_INSTANCE_ID), or still is
(UNRELEASED_INSTANCE_ID). Who is silent for a session, or holds on to partitions for longer than its rebalance time-out,
is out. Kafka: GroupMetadataManager.consumerGroupHeartbeat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.core import group_settings
from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.group.consumer import migration
from broker.core.group.consumer.assignors import ASSIGNORS, Wish
from broker.core.group.consumer.group import LEFT_FOR_A_WHILE, ConsumerGroup, View
from broker.core.group.consumer.places import Places, by_topic, sort
from broker.core.group.consumer.reconcile import Current, Reconciler
from broker.core.group.consumer.records import CURRENT, GROUP, MEMBER, Change, GroupEpoch, Key, Subscription
from broker.core.group.consumer.subscriptions import Resolved, Subscriptions, check_pattern, topics_hash
from broker.core.group.group_shard import GroupShard
from broker.core.group.members import MayDescribe, Sender
from broker.wire.messages.consumer_group_heartbeat import (
    Assignment,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator

JOIN, LEAVE = 0, -1
RETRY_MS = 100
"""When members that are out can't be written off: the ISR is too small, or the log is being lost."""


class Heartbeats:
    """See the module."""

    def __init__(self, config: BrokerConfig, coordinator: GroupCoordinator) -> None:
        self._config, self._coordinator = config, coordinator
        self.subscriptions = Subscriptions(coordinator.image)
        self.reconciler = Reconciler()

    def handle(self, request_id: object, ask: ConsumerGroupHeartbeatRequest, sender: Sender, now_ms: int) -> None:
        """Answer a member."""
        try:
            _check(ask)
            shard = self._coordinator.shard(ask.group_id)
            if ask.member_epoch < JOIN:
                self._leave(request_id, shard, ask, now_ms)
            else:
                self._beat(request_id, shard, ask, sender, now_ms)
        except Refused as refused:
            answer = ConsumerGroupHeartbeatResponse(error_code=refused.code, error_message=refused.message)
            self._coordinator.answer(request_id, answer)

    # A member that stays.

    def _beat(
        self,
        request_id: object,
        shard: GroupShard,
        ask: ConsumerGroupHeartbeatRequest,
        sender: Sender,
        now_ms: int,
    ) -> None:
        group, changes, replaces = self._group(shard, ask)
        member_id = ask.member_id or self._coordinator.new_id()
        view, back = self._present(group, member_id, ask)
        changes += back
        old, before = view.members.get(member_id), view.current.get(member_id) or Current()
        owned = None if ask.topic_partitions is None else _owned(ask)
        if old is None:
            self._check_new(group, member_id, ask)
        else:
            _check_epoch(before, ask, owned)
        steps = self.advance(
            group, view, (member_id, _merged(old, ask, sender)), owned, may_describe=sender.may_describe
        )
        changes += steps
        after = next((v for k, v in steps if k.kind == CURRENT and isinstance(v, Current)), before)
        full = ask.member_epoch == JOIN or _is_full(ask)
        shown = after.assigned if full or after.assigned != before.assigned else None

        def done(code: Code) -> None:
            answer = ConsumerGroupHeartbeatResponse(error_code=code)
            if not code:
                answer = ConsumerGroupHeartbeatResponse(
                    member_id=member_id,
                    member_epoch=after.epoch,
                    heartbeat_interval_ms=self._setting(group, "consumer.heartbeat.interval.ms"),
                    assignment=None if shown is None else _assignment(shown),
                )
            self._coordinator.answer(request_id, answer)

        if after != before:
            group.revocations.pop(member_id, None)
        self._coordinator.change(shard, group, changes, done, replaces=replaces)
        if replaces:
            self.began(group, now_ms)
        group.heard(member_id, now_ms, self._setting(group, "consumer.session.timeout.ms"))
        self._coordinator.watch(shard, group)

    def _group(self, shard: GroupShard, ask: ConsumerGroupHeartbeatRequest) -> tuple[ConsumerGroup, list[Change], bool]:
        """Return the group, the records that make it, and whether it replaces a classic one; for who joins only."""
        group, classic = shard.consumers.get(ask.group_id), shard.groups.get(ask.group_id)
        if group is not None:
            return group, [], False
        if ask.member_epoch == JOIN and classic is not None and classic.members:
            if migration.may_upgrade(self._config, classic):
                return *migration.upgraded(self._coordinator.image(), classic), True
        elif ask.member_epoch == JOIN and ask.group_id not in shard.shares:
            return ConsumerGroup(ask.group_id), [], classic is not None
        raise Refused(Code.GROUP_ID_NOT_FOUND, f"{ask.group_id!r} is no consumer group")

    def _check_new(self, group: ConsumerGroup, member_id: str, ask: ConsumerGroupHeartbeatRequest) -> None:
        if ask.member_epoch != JOIN:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{member_id!r} is no member of {group.name!r}")
        if len(group.members) >= self._config.consumer_max_size:
            raise Refused(Code.GROUP_MAX_SIZE_REACHED, f"{group.name!r} has {len(group.members)} members")

    def _present(
        self, group: ConsumerGroup, member_id: str, ask: ConsumerGroupHeartbeatRequest
    ) -> tuple[View, list[Change]]:
        """Return the members; where a static one is back, as if it had never been away under another id."""
        present = None if ask.instance_id is None else group.statics.get(ask.instance_id)
        if present is None:
            return group.view(), []
        if ask.member_epoch == JOIN and group.member(present).epoch == LEFT_FOR_A_WHILE:
            return group.back(present, member_id)
        if present == member_id:
            return group.view(), []
        if ask.member_epoch == JOIN:
            raise Refused(Code.UNRELEASED_INSTANCE_ID, f"a member that has not left is instance {ask.instance_id!r}")
        raise Refused(Code.FENCED_INSTANCE_ID, f"another member is instance {ask.instance_id!r} now")

    def advance(
        self,
        group: ConsumerGroup,
        view: View,
        member: tuple[str, Subscription],
        owned: Places | None,
        *,
        may_describe: MayDescribe,
    ) -> list[Change]:
        """Return the records of a heartbeat: the member, the group's epoch, the target, the member's next step."""
        member_id, new = member
        old, members, changes = view.members.get(member_id), {**view.members, member_id: new}, list[Change]()
        if group.members.get(member_id) != new:
            changes.append((Key(MEMBER, group.name, member_id), new))
        self.subscriptions.resolve(group.resolved, members, may_describe)
        counts = self.subscriptions.counts(members, group.resolved)
        known, epoch = topics_hash(counts), group.epoch
        if old is None or _subscribes_otherwise(old, new) or known != group.topics_hash:
            epoch += 1
            changes.append((Key(GROUP, group.name), GroupEpoch(epoch, known)))
        target_epoch, target = group.target_epoch, view.target.get(member_id, ())
        if epoch > group.target_epoch:
            found = self._assign(members, counts, view, group.resolved)
            changes += group.retarget(epoch, found)
            target_epoch, target = epoch, found[member_id]
        before = view.current.get(member_id) or Current()
        after = self.reconciler.step(before, target, target_epoch, owned, view.held_by_others(member_id))
        if after != group.current.get(member_id):
            changes.append((Key(CURRENT, group.name, member_id), after))
        return changes

    def _assign(
        self, members: dict[str, Subscription], counts: dict[str, int], view: View, resolved: Resolved
    ) -> dict[str, Places]:
        """Compute the target assignment with the assignor that most members want."""
        votes: dict[str, int] = {}
        for member in members.values():
            if member.assignor is not None:
                votes[member.assignor] = votes.get(member.assignor, 0) + 1
        name = max(votes, key=lambda one: votes[one]) if votes else next(iter(ASSIGNORS))
        wishes = {
            member_id: Wish(
                self.subscriptions.topics(value, resolved), view.target.get(member_id, ()), value.instance_id
            )
            for member_id, value in members.items()
        }
        return ASSIGNORS[name](wishes, counts)

    def _setting(self, group: ConsumerGroup, name: str) -> int:
        return group_settings.value(self._config, self._coordinator.image(), group.name, name)

    # A member that goes.

    def _leave(self, request_id: object, shard: GroupShard, ask: ConsumerGroupHeartbeatRequest, now_ms: int) -> None:
        group = shard.consumers.get(ask.group_id)
        if group is None:
            raise Refused(Code.GROUP_ID_NOT_FOUND, f"{ask.group_id!r} is no consumer group")
        member_id = ask.member_id
        if ask.instance_id is not None:
            present = group.statics.get(ask.instance_id)
            if present is None:
                raise Refused(Code.UNKNOWN_MEMBER_ID, f"instance {ask.instance_id!r} is no member of {group.name!r}")
            if present != member_id:
                raise Refused(Code.FENCED_INSTANCE_ID, f"another member is instance {ask.instance_id!r} now")
        elif member_id not in group.members:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{member_id!r} is no member of {group.name!r}")

        def done(code: Code) -> None:
            answer = ConsumerGroupHeartbeatResponse(
                error_code=code, member_id=member_id, member_epoch=0 if code else ask.member_epoch
            )
            self._coordinator.answer(request_id, answer)

        if ask.member_epoch == LEAVE:
            self.remove(shard, group, [member_id], done, now_ms)
            return
        now = group.member(member_id)
        away = Current(LEFT_FOR_A_WHILE, now.epoch, assigned=now.assigned)
        self._coordinator.change(shard, group, [(Key(CURRENT, group.name, member_id), away)], done)
        group.revocations.pop(member_id, None)

    def remove(
        self, shard: GroupShard, group: ConsumerGroup, gone: list[str], done: Callable[[Code], None], now_ms: int
    ) -> None:
        """Take members out; the group is a classic one again if only classic members are left. Raise Refused."""
        if migration.may_downgrade(self._config, group, gone):
            self._coordinator.downgrade(shard, group, gone, done, now_ms)
        else:
            self._coordinator.change(shard, group, group.without(gone), done)
            self._coordinator.watch(shard, group)

    def began(self, group: ConsumerGroup, now_ms: int) -> None:
        """The group has been read from the log: every member has a full session from now on."""
        for member_id, member in group.members.items():
            group.heard(
                member_id,
                now_ms,
                self._setting(group, "consumer.session.timeout.ms")
                if member.classic is None
                else member.classic.session_timeout_ms,
            )

    def tick(self, shard: GroupShard, group: ConsumerGroup, now_ms: int) -> None:
        """Put out who was silent or held on for too long."""
        late = group.late(now_ms)
        if not late:
            return
        try:
            self.remove(shard, group, late, lambda _: None, now_ms)
        except Refused:
            for member_id in late:
                group.sessions[member_id] = now_ms + RETRY_MS
                group.revocations.pop(member_id, None)


def _check(ask: ConsumerGroupHeartbeatRequest) -> None:
    """Raise Refused(INVALID_REQUEST) for what no client may send."""
    joins = ask.member_epoch == JOIN
    wrong = {
        "the group id is empty": not ask.group_id.strip(),
        "a member without an id is new": not ask.member_id.strip() and not joins,
        "instance and rack may be null, but not empty": "" in {ask.instance_id, ask.rack_id},
        f"there is no epoch {ask.member_epoch}": ask.member_epoch < LEFT_FOR_A_WHILE,
        "only a static member leaves for a while": ask.member_epoch == LEFT_FOR_A_WHILE and ask.instance_id is None,
        "whoever joins says how long a rebalance may take": joins and ask.rebalance_timeout_ms < 0,
        "whoever joins owns nothing": joins and (ask.topic_partitions is None or bool(_owned(ask))),
        "whoever joins subscribes": joins and ask.subscribed_topic_names is None and ask.subscribed_topic_regex is None,
    }
    for why, is_so in wrong.items():
        if is_so:
            raise Refused(Code.INVALID_REQUEST, why)
    if ask.server_assignor is not None and ask.server_assignor not in ASSIGNORS:
        raise Refused(Code.UNSUPPORTED_ASSIGNOR, f"{ask.server_assignor!r} is none of {', '.join(ASSIGNORS)}")
    if ask.subscribed_topic_regex:
        check_pattern(ask.subscribed_topic_regex)


def _check_epoch(now: Current, ask: ConsumerGroupHeartbeatRequest, owned: Places | None) -> None:
    """Raise Refused unless the member is where it says, or a step behind without its answer."""
    if ask.member_epoch == now.epoch:
        return
    behind = ask.member_epoch == now.previous_epoch and owned is not None and set(owned) <= set(now.assigned)
    if ask.member_epoch > now.epoch or not behind:
        raise Refused(Code.FENCED_MEMBER_EPOCH, f"epoch {ask.member_epoch}, the member's is {now.epoch}")


def _owned(ask: ConsumerGroupHeartbeatRequest) -> Places:
    return sort((topic.topic_id.hex(), index) for topic in ask.topic_partitions or () for index in topic.partitions)


def _is_full(ask: ConsumerGroupHeartbeatRequest) -> bool:
    """Return whether a member says everything again, as after a time-out: it wants to hear everything."""
    subscribes = ask.subscribed_topic_names is not None or ask.subscribed_topic_regex is not None
    return ask.rebalance_timeout_ms >= 0 and subscribes and ask.topic_partitions is not None


def _merged(old: Subscription | None, ask: ConsumerGroupHeartbeatRequest, sender: Sender) -> Subscription:
    """Return the member as it is now; null means unchanged."""
    was = old or Subscription()
    names, regex = ask.subscribed_topic_names, ask.subscribed_topic_regex
    return Subscription(
        instance_id=was.instance_id if ask.instance_id is None else ask.instance_id,
        rack_id=was.rack_id if ask.rack_id is None else ask.rack_id,
        client_id=sender.client_id,
        host=sender.host,
        topics=was.topics if names is None else tuple(sorted(set(names))),
        regex=was.regex if regex is None else (regex or None),
        rebalance_timeout_ms=was.rebalance_timeout_ms if ask.rebalance_timeout_ms < 0 else ask.rebalance_timeout_ms,
        assignor=was.assignor if ask.server_assignor is None else ask.server_assignor,
    )


def _subscribes_otherwise(old: Subscription, new: Subscription) -> bool:
    return (old.topics, old.regex, old.assignor) != (new.topics, new.regex, new.assignor)


def _assignment(places: Places) -> Assignment:
    return Assignment(
        topic_partitions=tuple(
            TopicPartitions(topic_id=bytes.fromhex(topic_id), partitions=indexes)
            for topic_id, indexes in by_topic(places)
        )
    )
