"""One consumer group: its members, the target assignment, and how far each member has come (KIP-848).

    group epoch    rises when members or the topics that they subscribe to change
    target epoch   the group epoch that the target assignment was computed for
    member epoch   the target epoch that a member has reached; what a member with an older one does is refused

    EMPTY no members · ASSIGNING the target is older than the group · RECONCILING a member is older than the target
    STABLE otherwise

The state is what its records add up to: every change is a list of records, and `apply` takes them, when they are
written and when they are read again. Sessions are not: they begin anew under another coordinator.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from broker.core.errors import Code, Refused
from broker.core.group.consumer.places import Place, Places
from broker.core.group.consumer.reconcile import Current, MemberState
from broker.core.group.consumer.records import (
    CURRENT,
    GROUP,
    MEMBER,
    TARGET,
    TARGET_EPOCH,
    Change,
    GroupEpoch,
    Key,
    Subscription,
)
from broker.core.group.consumer.subscriptions import Resolved

LEFT_FOR_A_WHILE = -2
"""The epoch of a static member that is away and will be back."""


class GroupState(enum.Enum):
    """See the module; the values are what ConsumerGroupDescribe says."""

    EMPTY = "Empty"
    ASSIGNING = "Assigning"
    RECONCILING = "Reconciling"
    STABLE = "Stable"


class View(msgspec.Struct, frozen=True):
    """Members, targets and current assignments, as a heartbeat finds them."""

    members: Mapping[str, Subscription]
    target: Mapping[str, Places]
    current: Mapping[str, Current]

    def held_by_others(self, member_id: str) -> set[Place]:
        """Return what other members hold."""
        return {place for other, now in self.current.items() if other != member_id for place in now.held}


class ConsumerGroup:
    """See the module."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = 0
        self.topics_hash = 0
        self.target_epoch = 0
        self.members: dict[str, Subscription] = {}
        self.target: dict[str, Places] = {}
        self.current: dict[str, Current] = {}
        self.statics: dict[str, str] = {}
        self.sessions: dict[str, int] = {}
        """Until when a member must be heard of."""
        self.revocations: dict[str, int] = {}
        """Until when a member must have given up what it has to."""
        self.due_ms = 1 << 62
        self.resolved = Resolved()
        """What the members' patterns mean; another coordinator finds it anew."""

    @property
    def state(self) -> GroupState:
        """See the module."""
        if not self.members:
            return GroupState.EMPTY
        if self.epoch > self.target_epoch:
            return GroupState.ASSIGNING
        for member in self.members:
            now = self.member(member)
            if now.epoch != self.target_epoch or now.state is not MemberState.STABLE:
                return GroupState.RECONCILING
        return GroupState.STABLE

    def member(self, member_id: str) -> Current:
        """Return how far a member has come; a new one has not begun."""
        return self.current.get(member_id) or Current()

    def check_commit(self, member_id: str, epoch: int) -> None:
        """Raise Refused unless this member of this epoch may commit; anybody may while the group is empty."""
        if epoch < 0 and not self.members:
            return
        if member_id not in self.members:
            raise Refused(Code.UNKNOWN_MEMBER_ID, f"{member_id!r} is no member of {self.name!r}")
        if epoch != self.member(member_id).epoch:
            classic = self.members[member_id].classic is not None
            code = Code.ILLEGAL_GENERATION if classic else Code.STALE_MEMBER_EPOCH
            raise Refused(code, f"epoch {epoch}, the member's is {self.member(member_id).epoch}")

    @property
    def deadline_ms(self) -> int:
        """When the next session or revocation runs out."""
        return min([*self.sessions.values(), *self.revocations.values()], default=1 << 62)

    def late(self, now_ms: int) -> list[str]:
        """Return the members that were silent, or did not let go, for too long."""
        silent = [member for member, until in self.sessions.items() if until <= now_ms]
        stubborn = [member for member, until in self.revocations.items() if until <= now_ms]
        return list(dict.fromkeys([*silent, *stubborn]))

    def heard(self, member_id: str, now_ms: int, session_timeout_ms: int) -> None:
        """A member was heard of: its session begins anew; whoever must give something up gets its own time for it."""
        self.sessions[member_id] = now_ms + session_timeout_ms
        if self.member(member_id).state is not MemberState.UNREVOKED:
            self.revocations.pop(member_id, None)
        elif member_id not in self.revocations:
            timeout_ms = self.members[member_id].rebalance_timeout_ms
            self.revocations[member_id] = now_ms + (timeout_ms if timeout_ms >= 0 else session_timeout_ms)

    # Changes.

    def view(self) -> View:
        """Return the members as they are."""
        return View(self.members, self.target, self.current)

    def back(self, old_id: str, new_id: str) -> tuple[View, list[Change]]:
        """Return the members as if an instance that is back had its new id already, and the records for that.

        It begins anew, from what its old self had.
        """
        assigned, target = self.member(old_id).assigned, self.target.get(old_id, ())

        def renamed(values: Mapping[str, Any], value: Any) -> dict[str, Any]:
            return {**{one: other for one, other in values.items() if one != old_id}, new_id: value}

        view = View(
            renamed(self.members, self.members[old_id]),
            renamed(self.target, target),
            renamed(self.current, Current(assigned=assigned)),
        )
        if old_id == new_id:
            return view, []
        gone: list[Change] = [(Key(kind, self.name, old_id), None) for kind in (CURRENT, TARGET, MEMBER)]
        return view, [*gone, (Key(TARGET, self.name, new_id), target)]

    def without(self, members: Iterable[str]) -> list[Change]:
        """Return the records that take members out, and raise the epoch."""
        gone = [(Key(kind, self.name, member), None) for member in members for kind in (CURRENT, TARGET, MEMBER)]
        return [*gone, (Key(GROUP, self.name), GroupEpoch(self.epoch + 1, self.topics_hash))]

    def tombstones(self) -> list[Change]:
        """Return the records that delete the group."""
        members = [
            (Key(kind, self.name, member), None) for member in self.members for kind in (CURRENT, TARGET, MEMBER)
        ]
        return [*members, (Key(TARGET_EPOCH, self.name), None), (Key(GROUP, self.name), None)]

    def retarget(self, epoch: int, target: Mapping[str, Places]) -> list[Change]:
        """Return the records of a new target assignment."""
        changes: list[Change] = [
            (Key(TARGET, self.name, member), places)
            for member, places in target.items()
            if self.target.get(member) != places
        ]
        return [*changes, (Key(TARGET_EPOCH, self.name), epoch)]

    def apply(self, key: Key, value: object) -> None:
        """Take a record."""
        match key.kind, value:
            case 3, GroupEpoch(epoch, topics_hash):
                self.epoch, self.topics_hash = epoch, topics_hash
            case 6, int():
                self.target_epoch = value
            case 5, Subscription():
                self._join(key.member, value)
            case 5, None:
                self._leave(key.member)
            case 7, tuple():
                self.target[key.member] = value
            case 8, Current():
                self.current[key.member] = value
            case 7, None:
                self.target.pop(key.member, None)
            case 8, None:
                self.current.pop(key.member, None)

    def _join(self, member_id: str, value: Subscription) -> None:
        self.members[member_id] = value
        if value.instance_id is not None:
            self.statics[value.instance_id] = member_id

    def _leave(self, member_id: str) -> None:
        old = self.members.pop(member_id, None)
        if old is not None and old.instance_id is not None and self.statics.get(old.instance_id) == member_id:
            del self.statics[old.instance_id]
        self.sessions.pop(member_id, None)
        self.revocations.pop(member_id, None)
