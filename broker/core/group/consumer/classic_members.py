"""Members of a consumer group that speak the classic protocol: the way in and out of KIP-848 without a stop.

Their generation is their member epoch. JoinGroup is a heartbeat that says everything, answered with what SyncGroup will
then tell; Heartbeat says REBALANCE_IN_PROGRESS when the member should join again: the group has moved on, it must give
something up, or what it waits for is free. Who is told to join, or has joined, has its rebalance time-out for the next
step. None of them leads: the coordinator assigns. Kafka: GroupMetadataManager.classicGroupJoinToConsumerGroup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import Code, Refused
from broker.core.group.consumer.group import ConsumerGroup, View
from broker.core.group.consumer.migration import CONSUMERS, subscription, to_assignment, to_places
from broker.core.group.consumer.reconcile import Current, MemberState
from broker.core.group.consumer.records import CURRENT, Change
from broker.core.group.consumer_protocol import read_subscription
from broker.core.group.group_shard import GroupShard
from broker.core.group.members import Member, Sender
from broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from broker.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse
from broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator


class ClassicMembers:
    """See the module."""

    def __init__(self, coordinator: GroupCoordinator, max_size: int) -> None:
        self._coordinator, self._max_size = coordinator, max_size

    def join(
        self,
        request_id: object,
        shard: GroupShard,
        ask: JoinGroupRequest,
        sender: Sender,
        now_ms: int,
        *,
        needs_id: bool,
    ) -> None:
        """Let a member in, or a step further. Raise Refused."""
        group = shard.consumers[ask.group_id]
        if ask.protocol_type != CONSUMERS or not ask.protocols:
            raise Refused(Code.INCONSISTENT_GROUP_PROTOCOL, f"{group.name!r} is a group of consumers")
        member_id = ask.member_id or f"{ask.group_instance_id or sender.client_id}-{self._coordinator.new_id()}"
        if not ask.member_id and ask.group_instance_id is None and needs_id:
            answer = JoinGroupResponse(error_code=Code.MEMBER_ID_REQUIRED, member_id=member_id)
            self._coordinator.answer(request_id, answer)
            return
        view, changes = self._present(group, member_id, ask)
        if member_id not in view.members and len(group.members) >= self._max_size:
            raise Refused(Code.GROUP_MAX_SIZE_REACHED, f"{group.name!r} is full")
        member = _member(ask, member_id, sender)
        told = read_subscription(member.protocols[0][1])
        owned = to_places(self._coordinator.image(), told.owned)
        before = view.current.get(member_id) or Current()
        changes += self._coordinator.heartbeats.advance(
            group, view, (member_id, subscription(member)), owned, may_describe=sender.may_describe
        )
        after = next((v for k, v in changes if k.kind == CURRENT and isinstance(v, Current)), before)

        def done(code: Code) -> None:
            answer = JoinGroupResponse(error_code=code, member_id=member_id)
            if not code:
                answer = JoinGroupResponse(
                    generation_id=after.epoch,
                    protocol_type=CONSUMERS,
                    protocol_name=ask.protocols[0].name,
                    member_id=member_id,
                )
            self._coordinator.answer(request_id, answer)

        self._coordinator.change(shard, group, changes, done)
        self._expect(group, member_id, now_ms)
        group.revocations[member_id] = now_ms + group.members[member_id].rebalance_timeout_ms  # until it syncs
        self._coordinator.watch(shard, group)

    def _present(self, group: ConsumerGroup, member_id: str, ask: JoinGroupRequest) -> tuple[View, list[Change]]:
        """Return the members; a static one is there under its new id already."""
        present = None if ask.group_instance_id is None else group.statics.get(ask.group_instance_id)
        if present is not None and present != member_id:
            if ask.member_id:
                raise Refused(Code.FENCED_INSTANCE_ID, f"another member is instance {ask.group_instance_id!r} now")
            return group.back(present, member_id)
        known = group.members.get(member_id)
        if known is not None and known.classic is None:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{member_id!r} does not speak the classic protocol")
        return group.view(), []

    def sync(self, request_id: object, shard: GroupShard, ask: SyncGroupRequest, now_ms: int) -> None:
        """Tell a member what it has now. Raise Refused."""
        group = shard.consumers[ask.group_id]
        now = self._check(group, ask.member_id, ask.group_instance_id, ask.generation_id)
        if ask.protocol_type not in {None, CONSUMERS}:
            raise Refused(Code.INCONSISTENT_GROUP_PROTOCOL, f"protocol type {ask.protocol_type!r}")
        if now.epoch < group.epoch and now.state is not MemberState.UNREVOKED:
            raise Refused(Code.REBALANCE_IN_PROGRESS, f"the group is at {group.epoch}, the member at {now.epoch}")
        member = group.members[ask.member_id]
        assert member.classic is not None
        answer = SyncGroupResponse(
            protocol_type=CONSUMERS,
            protocol_name=member.classic.protocols[0][0],
            assignment=to_assignment(self._coordinator.image(), now.assigned),
        )

        def done(code: Code) -> None:
            self._coordinator.answer(request_id, SyncGroupResponse(error_code=code) if code else answer)

        shard.log.when_replicated(done)
        group.revocations.pop(ask.member_id, None)
        self._expect(group, ask.member_id, now_ms)
        self._coordinator.watch(shard, group)

    def beat(self, request_id: object, shard: GroupShard, ask: HeartbeatRequest, now_ms: int) -> None:
        """Note that a member is alive; tell it whether it must join again. Raise Refused."""
        group = shard.consumers[ask.group_id]
        now = self._check(group, ask.member_id, ask.group_instance_id, ask.generation_id)
        self._expect(group, ask.member_id, now_ms)
        code = Code.NONE
        if self.must_join(group, ask.member_id, now):
            code = Code.REBALANCE_IN_PROGRESS
            group.revocations.setdefault(ask.member_id, now_ms + group.members[ask.member_id].rebalance_timeout_ms)
        self._coordinator.watch(shard, group)
        self._coordinator.answer(request_id, HeartbeatResponse(error_code=code))

    def leave(self, request_id: object, shard: GroupShard, ask: LeaveGroupRequest, now_ms: int, *, many: bool) -> None:
        """Let members go, whatever protocol they speak. `many`: by the request's list. Raise Refused."""
        group, gone, results = shard.consumers[ask.group_id], list[str](), list[MemberResponse]()
        for who in ask.members if many else (MemberIdentity(member_id=ask.member_id),):
            found, code = who.member_id, Code.NONE
            if who.group_instance_id is not None:
                found = group.statics.get(who.group_instance_id, "")
                code = Code.FENCED_INSTANCE_ID if who.member_id not in {"", found} else code
            if found not in group.members:
                code = Code.UNKNOWN_MEMBER_ID
            gone += [] if code else [found]
            results.append(
                MemberResponse(member_id=who.member_id, group_instance_id=who.group_instance_id, error_code=code)
            )

        def done(code: Code) -> None:
            own = code or (Code.NONE if many else Code(results[0].error_code))
            self._coordinator.answer(
                request_id, LeaveGroupResponse(error_code=own, members=tuple(results) if many else ())
            )

        if gone:
            self._coordinator.heartbeats.remove(shard, group, list(dict.fromkeys(gone)), done, now_ms)
        else:
            done(Code.NONE)

    def must_join(self, group: ConsumerGroup, member_id: str, now: Current) -> bool:
        """Return whether there is a step to take for the member."""
        if now.epoch < group.epoch or now.state is MemberState.UNREVOKED:
            return True
        if now.state is not MemberState.UNRELEASED:
            return False
        taken = group.view().held_by_others(member_id)
        return any(place not in taken and place not in now.assigned for place in group.target.get(member_id, ()))

    def _check(self, group: ConsumerGroup, member_id: str, instance_id: str | None, generation: int) -> Current:
        """Return how far the member has come; raise Refused unless it is there, and of this generation."""
        if instance_id is not None and group.statics.get(instance_id, member_id) != member_id:
            raise Refused(Code.FENCED_INSTANCE_ID, f"another member is instance {instance_id!r} now")
        member = group.members.get(member_id)
        if member is None or member.classic is None:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{member_id!r} is no classic member of {group.name!r}")
        now = group.member(member_id)
        if generation != now.epoch:
            raise Refused(Code.ILLEGAL_GENERATION, f"generation {generation}, the member's is {now.epoch}")
        return now

    def _expect(self, group: ConsumerGroup, member_id: str, now_ms: int) -> None:
        member = group.members[member_id]
        assert member.classic is not None
        group.sessions[member_id] = now_ms + member.classic.session_timeout_ms


def _member(ask: JoinGroupRequest, member_id: str, sender: Sender) -> Member:
    timeout_ms = ask.rebalance_timeout_ms if ask.rebalance_timeout_ms >= 0 else ask.session_timeout_ms
    return Member(
        id=member_id,
        instance_id=ask.group_instance_id,
        client_id=sender.client_id,
        host=sender.host,
        rebalance_timeout_ms=timeout_ms,
        session_timeout_ms=ask.session_timeout_ms,
        protocols=tuple((protocol.name, protocol.metadata) for protocol in ask.protocols),
    )
