"""One share group: members, who reads what, and of which partitions it has a state at the share coordinator (KIP-932).

    group epoch    rises when members, what they subscribe to, or what may be read change
    member epoch   the epoch of the assignment that a member knows

EMPTY no members · STABLE otherwise: nobody has to give anything up before somebody else may read it

The state is what its records add up to: every change is a list of records, and `apply` takes them, when they are
written and when they are read again. Sessions are not: they begin anew under another coordinator.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.core.group.consumer.places import Place, Places, sort
from broker.core.group.consumer.records import GroupEpoch, Key
from broker.core.group.share.records import (
    CURRENT,
    GROUP,
    MEMBER,
    STATES,
    TARGET,
    TARGET_EPOCH,
    ShareChange,
    ShareCurrent,
    ShareMember,
    ShareStates,
)

EMPTY, STABLE = "Empty", "Stable"


class ShareGroup:
    """See the module."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = 0
        self.topics_hash = 0
        self.target_epoch = 0
        self.members: dict[str, ShareMember] = {}
        self.target: dict[str, Places] = {}
        self.current: dict[str, ShareCurrent] = {}
        self.states = ShareStates()
        self.changing: dict[Place, None] = {}
        """Of these a state is being made, set or forgotten: nobody else may do so meanwhile."""
        self.sessions: dict[str, int] = {}
        """Until when a member must be heard of."""
        self.due_ms = 1 << 62
        """When the coordinator will look at it next."""

    @property
    def state(self) -> str:
        """See the module."""
        return STABLE if self.members else EMPTY

    @property
    def deadline_ms(self) -> int:
        """When the next session runs out."""
        return min(self.sessions.values(), default=1 << 62)

    def member(self, member_id: str) -> ShareCurrent:
        """Return how far a member has come; a new one has not begun."""
        return self.current.get(member_id) or ShareCurrent()

    def late(self, now_ms: int) -> list[str]:
        """Return the members that were silent for too long."""
        return [member for member, until in self.sessions.items() if until <= now_ms]

    # Changes.

    def without(self, members: Iterable[str]) -> list[ShareChange]:
        """Return the records that take members out, and raise the epoch."""
        gone: list[ShareChange] = [
            (Key(kind, self.name, member), None) for member in members for kind in (CURRENT, TARGET, MEMBER)
        ]
        return [*gone, (Key(GROUP, self.name), GroupEpoch(self.epoch + 1, self.topics_hash))]

    def with_states(self, places: Iterable[Place], names: dict[str, str]) -> ShareChange:
        """Return the record of the partitions of which there is a state."""
        there = sort(places)
        known = {**self.states.names, **names}
        return Key(STATES, self.name), ShareStates(there, {topic: known.get(topic, "") for topic, _ in there})

    def tombstones(self) -> list[ShareChange]:
        """Return the records that delete the group."""
        members: list[ShareChange] = [
            (Key(kind, self.name, member), None) for member in self.members for kind in (CURRENT, TARGET, MEMBER)
        ]
        return [*members, *((Key(kind, self.name), None) for kind in (STATES, TARGET_EPOCH, GROUP))]

    def apply(self, key: Key, value: object) -> None:  # noqa: C901 - one flat case per kind of record
        """Take a record."""
        match key.kind, value:
            case 11, GroupEpoch(epoch, topics_hash):
                self.epoch, self.topics_hash = epoch, topics_hash
            case 12, int():
                self.target_epoch = value
            case 10, ShareMember():
                self.members[key.member] = value
            case 13, tuple():
                self.target[key.member] = value
            case 14, ShareCurrent():
                self.current[key.member] = value
            case 15, ShareStates():
                self.states = value
            case 15, None:
                self.states = ShareStates()
            case 10, None:
                self.members.pop(key.member, None)
                self.sessions.pop(key.member, None)
            case 13, None:
                self.target.pop(key.member, None)
            case 14, None:
                self.current.pop(key.member, None)
