"""One classic group: members, generations, who waits for whom (Kafka: ClassicGroup; KIP-62, KIP-345, KIP-394).

    EMPTY -------- first join --------> PREPARING
    PREPARING ---- all have joined, or the rebalance time-out ----> COMPLETING   (EMPTY when nobody is left)
    COMPLETING --- the leader's assignment is replicated ---------> STABLE
    COMPLETING, STABLE --- a member joins, leaves or is silent ---> PREPARING

A generation is complete when every member has joined again; who has not within the rebalance time-out is out (static
members stay). The first generation of an empty group waits a little for others to come. A session runs out when
nothing was heard of a member that has no request waiting here. Nothing here knows the log: `save` is called with what
to write, and its answer by `saved`.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from typing import Any

from broker.core.errors import Code, Refused
from broker.core.group.members import Member, Sender
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember
from broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

MAX_GENERATION = (1 << 31) - 1


class State(enum.Enum):
    """See the module; the values are what DescribeGroups says."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


class Group:
    """See the module. `answer(request id, message)` replies; `save(group, then)` writes the group to its log."""

    def __init__(
        self,
        name: str,
        *,
        answer: Callable[[object, Any], None],
        save: Callable[[Group, Callable[[Code], None]], None],
        new_id: Callable[[], str],
        initial_delay_ms: int,
    ) -> None:
        self.name = name
        self.state = State.EMPTY
        self.generation = 0
        self.protocol_type: str | None = None
        self.protocol: str | None = None
        self.leader: str | None = None
        self.members: dict[str, Member] = {}
        self.statics: dict[str, str] = {}
        self.expected: dict[str, int] = {}
        """Ids that were handed out, until when they must be used (KIP-394)."""
        self.empty_since_ms = 0
        """Since when the group has had no members."""
        self.due_ms = 1 << 62
        """When the coordinator will look at it next."""
        self._answer, self._save, self._new_id = answer, save, new_id
        self._initial_delay_ms = initial_delay_ms
        self._prepared_at_ms = 0
        self._delay_until_ms = 0
        self._ticked_ms = 0

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        deadlines = [m.heard_ms + m.session_timeout_ms for m in self.members.values() if not m.is_waiting]
        deadlines += self.expected.values()
        if self.state in {State.PREPARING, State.COMPLETING}:
            deadlines.append(self._prepared_at_ms + self.rebalance_timeout_ms)
        if self.state is State.PREPARING and self._delay_until_ms > self._ticked_ms:
            deadlines.append(self._delay_until_ms)
        return min(deadlines, default=1 << 62)

    @property
    def is_forgettable(self) -> bool:
        """Whether nobody is, or is about to be, a member."""
        return self.state is State.EMPTY and not self.members and not self.expected

    @property
    def rebalance_timeout_ms(self) -> int:
        """The longest that any member wants."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    # Joining.

    def join(self, request_id: object, ask: JoinGroupRequest, sender: Sender, now_ms: int, *, needs_id: bool) -> None:
        """Let a member in, or into the next generation. Raise Refused. `needs_id`: a new member must come twice."""
        protocols = tuple((protocol.name, protocol.metadata) for protocol in ask.protocols)
        self._check_protocols(ask, protocols)
        if not ask.member_id:
            self._join_new(request_id, ask, sender, now_ms, needs_id=needs_id)
            return
        self._check_instance(ask.group_instance_id, ask.member_id)
        member = self.members.get(ask.member_id)
        if member is None and ask.member_id not in self.expected:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{ask.member_id!r} is no member of {self.name!r}")
        if member is None:
            self.expected.pop(ask.member_id)
            self._add(request_id, ask.member_id, ask, sender, now_ms)
            return
        changed = member.protocols != protocols
        self._refresh(member, ask, now_ms)
        if self.state is State.PREPARING:
            self._wait(member, request_id)
            self._complete_if_all_joined(now_ms)
        elif changed or (self.state is State.STABLE and member.id == self.leader):
            self._wait(member, request_id)
            self._prepare(now_ms)
        else:  # it did not get its answer: nothing has changed since
            self._answer(request_id, self._joined(member))

    def _check_protocols(self, ask: JoinGroupRequest, protocols: tuple[tuple[str, bytes], ...]) -> None:
        others = [member for member in self.members.values() if member.id != ask.member_id]
        wrong_type = others and ask.protocol_type != self.protocol_type
        common = set.intersection(*(set(member.protocol_names) for member in others)) if others else None
        if not ask.protocol_type or not protocols or wrong_type:
            raise Refused(Code.INCONSISTENT_GROUP_PROTOCOL, f"protocol type {ask.protocol_type!r}")
        if common is not None and not common & {name for name, _ in protocols}:
            raise Refused(Code.INCONSISTENT_GROUP_PROTOCOL, "no assignor in common with the group")

    def _check_instance(self, instance_id: str | None, member_id: str) -> None:
        if instance_id is None:
            return
        current = self.statics.get(instance_id)
        if current is None:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"instance {instance_id!r} is no member of {self.name!r}")
        if current != member_id:
            raise Refused(Code.FENCED_INSTANCE_ID, f"another member is instance {instance_id!r} now")

    def _join_new(
        self, request_id: object, ask: JoinGroupRequest, sender: Sender, now_ms: int, *, needs_id: bool
    ) -> None:
        instance_id = ask.group_instance_id
        member_id = f"{instance_id or sender.client_id}-{self._new_id()}"
        if instance_id is not None and instance_id in self.statics:
            self._replace(request_id, member_id, ask, now_ms)
        elif instance_id is None and needs_id:
            self.expected[member_id] = now_ms + ask.session_timeout_ms
            self._answer(request_id, JoinGroupResponse(error_code=Code.MEMBER_ID_REQUIRED, member_id=member_id))
        else:
            self._add(request_id, member_id, ask, sender, now_ms)

    def _add(self, request_id: object, member_id: str, ask: JoinGroupRequest, sender: Sender, now_ms: int) -> None:
        member = Member(
            id=member_id,
            instance_id=ask.group_instance_id,
            client_id=sender.client_id,
            host=sender.host,
            rebalance_timeout_ms=0,
            session_timeout_ms=0,
            protocols=(),
        )
        self._refresh(member, ask, now_ms)
        first = not self.members
        self.members[member_id] = member
        if member.instance_id is not None:
            self.statics[member.instance_id] = member_id
        if first:
            self.protocol_type = ask.protocol_type
        self._wait(member, request_id)
        if self.state is State.PREPARING:
            self._delay_until_ms = min(self._delay_until_ms, self._prepared_at_ms + self.rebalance_timeout_ms)
            self._complete_if_all_joined(now_ms)
        else:
            self._prepare(now_ms)

    def _replace(self, request_id: object, member_id: str, ask: JoinGroupRequest, now_ms: int) -> None:
        """A static member came back under a new id: its old self is fenced; if nothing changed, nobody else notices."""
        assert ask.group_instance_id is not None
        old = self.members.pop(self.statics[ask.group_instance_id])
        self._release(old, Code.FENCED_INSTANCE_ID)
        same = old.protocols == tuple((protocol.name, protocol.metadata) for protocol in ask.protocols)
        old_id, old.id = old.id, member_id
        self.members[member_id] = old
        self.statics[ask.group_instance_id] = member_id
        led = self.leader == old_id
        if led:
            self.leader = member_id
        self._refresh(old, ask, now_ms)
        if self.state is State.STABLE and same:

            def saved(code: Code) -> None:
                if code:
                    self._answer(request_id, JoinGroupResponse(error_code=code, member_id=member_id))
                else:
                    self._answer(request_id, self._joined(old, skip_assignment=led))

            self._save(self, saved)
            return
        self._wait(old, request_id)
        if self.state is State.PREPARING:
            self._complete_if_all_joined(now_ms)
        else:
            self._prepare(now_ms)

    def _refresh(self, member: Member, ask: JoinGroupRequest, now_ms: int) -> None:
        member.protocols = tuple((protocol.name, protocol.metadata) for protocol in ask.protocols)
        member.session_timeout_ms = ask.session_timeout_ms
        member.rebalance_timeout_ms = (
            ask.rebalance_timeout_ms if ask.rebalance_timeout_ms >= 0 else ask.session_timeout_ms
        )
        member.heard_ms = now_ms

    def _wait(self, member: Member, request_id: object) -> None:
        if member.joining is not None:  # the client has given the older request up
            self._answer(member.joining, JoinGroupResponse(error_code=Code.UNKNOWN_MEMBER_ID, member_id=member.id))
        member.joining = request_id

    def _joined(self, member: Member, *, skip_assignment: bool = False) -> JoinGroupResponse:
        members: tuple[JoinGroupResponseMember, ...] = ()
        if member.id == self.leader:
            members = tuple(
                JoinGroupResponseMember(
                    member_id=m.id, group_instance_id=m.instance_id, metadata=m.metadata_for(self.protocol or "")
                )
                for m in self.members.values()
            )
        return JoinGroupResponse(
            generation_id=self.generation,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol,
            leader=self.leader or "",
            member_id=member.id,
            skip_assignment=skip_assignment,
            members=members,
        )

    def go_on(self, protocol_type: str, generation: int) -> None:
        """Take over members that were in a generation already (of a consumer group)."""
        self.protocol_type, self.generation = protocol_type, generation
        self.statics = {m.instance_id: m.id for m in self.members.values() if m.instance_id is not None}
        self.leader, self.state = next(iter(self.members)), State.STABLE
        self.protocol = self.members[self.leader].protocol_names[0]

    # Rebalancing.

    def rebalance(self, now_ms: int) -> None:
        """Ask all members to join again."""
        self._prepare(now_ms)

    def _prepare(self, now_ms: int) -> None:
        """All members must join again."""
        delay_ms = min(self._initial_delay_ms, self.rebalance_timeout_ms) if self.state is State.EMPTY else 0
        self._delay_until_ms = now_ms + delay_ms
        for member in self.members.values():
            if member.syncing is not None:
                self._answer(member.syncing, SyncGroupResponse(error_code=Code.REBALANCE_IN_PROGRESS))
                member.syncing = None
        self.state = State.PREPARING
        self._prepared_at_ms = now_ms
        self._complete_if_all_joined(now_ms)

    def _complete_if_all_joined(self, now_ms: int) -> None:
        late = now_ms - self._prepared_at_ms >= self.rebalance_timeout_ms
        if late:
            for member in [m for m in self.members.values() if m.joining is None and m.instance_id is None]:
                self._forget(member)
        missing = [member for member in self.members.values() if member.joining is None]
        if now_ms >= self._delay_until_ms and (late or (not missing and not self.expected)):
            self._next_generation(now_ms)

    def _next_generation(self, now_ms: int) -> None:
        joined = [member for member in self.members.values() if member.joining is not None]
        if self.members and not joined:
            self._prepared_at_ms = now_ms  # only silent static members: wait on for them, in their generation
            return
        self.generation = self.generation + 1 if self.generation < MAX_GENERATION else 1
        if not joined:
            self._become_empty(now_ms)
            return
        self.protocol = self._vote()
        if self.leader not in self.members or self.members[self.leader].joining is None:
            self.leader = joined[0].id
        self.state = State.COMPLETING
        self._prepared_at_ms = now_ms
        for member in joined:
            request_id, member.joining = member.joining, None
            member.heard_ms = now_ms
            self._answer(request_id, self._joined(member))

    def _become_empty(self, now_ms: int) -> None:
        self.state, self.protocol, self.leader = State.EMPTY, None, None
        self.empty_since_ms = now_ms
        self._save(self, lambda _: None)

    def _vote(self) -> str:
        """Return the assignor that most members prefer among those that all can do."""
        common = set.intersection(*(set(member.protocol_names) for member in self.members.values()))
        votes = Counter(next(n for n in member.protocol_names if n in common) for member in self.members.values())
        best = max(votes.values())
        return next(name for name in votes if votes[name] == best)

    # Syncing, beating, leaving.

    def check(self, member_id: str, instance_id: str | None, generation: int) -> Member:
        """Return the member; raise Refused unless it is of this generation."""
        self._check_instance(instance_id, member_id)
        member = self.members.get(member_id)
        if member is None:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{member_id!r} is no member of {self.name!r}")
        if generation != self.generation:
            raise Refused(Code.ILLEGAL_GENERATION, f"generation {generation}, the group's is {self.generation}")
        return member

    def sync(self, request_id: object, ask: SyncGroupRequest, now_ms: int) -> None:
        """Take the leader's assignment; answer when it is replicated. Raise Refused."""
        member = self.check(ask.member_id, ask.group_instance_id, ask.generation_id)
        if (ask.protocol_type or self.protocol_type, ask.protocol_name or self.protocol) != (
            self.protocol_type,
            self.protocol,
        ):
            raise Refused(Code.INCONSISTENT_GROUP_PROTOCOL, f"{ask.protocol_type}/{ask.protocol_name}")
        member.heard_ms = now_ms
        if self.state is State.PREPARING:
            raise Refused(Code.REBALANCE_IN_PROGRESS)
        if self.state is State.STABLE:
            self._answer(request_id, self._synced(member))
            return
        member.syncing = request_id
        if member.id == self.leader:
            given = {item.member_id: item.assignment for item in ask.assignments}
            for other in self.members.values():
                other.assignment = given.get(other.id, b"")
            generation = self.generation
            self._save(self, lambda code: self._assigned(generation, code))

    def _assigned(self, generation: int, code: Code) -> None:
        """The assignment is replicated, or it is not known whether."""
        if generation != self.generation or self.state is not State.COMPLETING:
            return
        if not code:
            self.state = State.STABLE
        for member in self.members.values():
            if member.syncing is not None:
                request_id, member.syncing = member.syncing, None
                self._answer(request_id, SyncGroupResponse(error_code=code) if code else self._synced(member))

    def _synced(self, member: Member) -> SyncGroupResponse:
        return SyncGroupResponse(
            protocol_type=self.protocol_type, protocol_name=self.protocol, assignment=member.assignment
        )

    def beat(self, member_id: str, instance_id: str | None, generation: int, now_ms: int) -> Code:
        """Note that a member is alive; return what it must hear. Raise Refused."""
        member = self.check(member_id, instance_id, generation)
        member.heard_ms = now_ms
        return Code.REBALANCE_IN_PROGRESS if self.state is State.PREPARING else Code.NONE

    def leave(self, member_id: str, instance_id: str | None, now_ms: int) -> None:
        """Let a member go; a static one by its instance. Raise Refused."""
        if instance_id is not None:
            member_id = member_id or self.statics.get(instance_id, "")
            self._check_instance(instance_id, member_id)
        if self.expected.pop(member_id, None) is not None:
            return
        member = self.members.get(member_id)
        if member is None:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{member_id!r} is no member of {self.name!r}")
        self._remove(member, now_ms)

    def _forget(self, member: Member) -> None:
        del self.members[member.id]
        if member.instance_id is not None:
            self.statics.pop(member.instance_id, None)
        self._release(member, Code.UNKNOWN_MEMBER_ID)

    def _release(self, member: Member, code: Code) -> None:
        if member.joining is not None:
            self._answer(member.joining, JoinGroupResponse(error_code=code, member_id=member.id))
        if member.syncing is not None:
            self._answer(member.syncing, SyncGroupResponse(error_code=code))
        member.joining = member.syncing = None

    def _remove(self, member: Member, now_ms: int) -> None:
        self._forget(member)
        if self.state is State.PREPARING:
            self._complete_if_all_joined(now_ms)
        elif self.state is not State.EMPTY:
            self._prepare(now_ms)

    def tick(self, now_ms: int) -> None:
        """Let go whose session ran out; complete a generation that has waited long enough."""
        self._ticked_ms = now_ms
        for member_id in [member_id for member_id, until in self.expected.items() if until <= now_ms]:
            del self.expected[member_id]
        for member in list(self.members.values()):
            silent = not member.is_waiting and member.heard_ms + member.session_timeout_ms <= now_ms
            if silent and member.id in self.members:
                self._remove(member, now_ms)
        if self.state is State.PREPARING:
            self._complete_if_all_joined(now_ms)
        elif self.state is State.COMPLETING and now_ms - self._prepared_at_ms >= self.rebalance_timeout_ms:
            for member in [member for member in self.members.values() if member.syncing is None]:
                self._forget(member)
            self._prepare(now_ms)

    def close(self, code: Code) -> None:
        """Another node coordinates the group now: everybody who waits shall look for it."""
        for member in self.members.values():
            self._release(member, code)
