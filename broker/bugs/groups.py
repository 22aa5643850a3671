"""Bugs of consumer groups: who owns what, whose commits count, what a failover keeps."""

from __future__ import annotations

from collections.abc import Collection

from broker.bugs.planting import Replacement
from broker.core.errors import Code
from broker.core.group.consumer.group import ConsumerGroup
from broker.core.group.consumer.places import Place
from broker.core.group.consumer.reconcile import Reconciler
from broker.core.group.coordinator import GroupCoordinator
from broker.core.group.group import Group, State
from broker.core.group.group_records import OffsetKey
from broker.core.group.group_shard import GroupShard
from broker.wire.batch import BatchHeader
from broker.wire.messages.sync_group import SyncGroupResponse


def two_members_own_one_partition() -> tuple[Replacement, ...]:
    """Members that wait for the leader's assignment are all given that of the first one (a closure over a loop)."""

    def assigned(self: Group, generation: int, code: Code) -> None:
        if generation != self.generation or self.state is not State.COMPLETING:
            return
        if not code:
            self.state = State.STABLE
        waiting = [member for member in self.members.values() if member.syncing is not None]
        for member in waiting:
            request_id, member.syncing = member.syncing, None
            answer = SyncGroupResponse(error_code=code) if code else self._synced(waiting[0])
            self._answer(request_id, answer)

    return (Replacement(Group, "_assigned", assigned),)


def former_members_commit() -> tuple[Replacement, ...]:
    """Whoever knows the group's name may commit for it."""

    def check_commit(
        _self: GroupCoordinator,
        _shard: GroupShard,
        _name: str,
        _who: tuple[str, str | None, int],
        *,
        transactional: bool = False,  # noqa: ARG001
    ) -> None:
        return

    return (Replacement(GroupCoordinator, "check_commit", check_commit),)


def partition_given_before_revoked() -> tuple[Replacement, ...]:
    """A partition goes to its next owner while the last one still has it (KIP-848)."""

    def is_free(_self: Reconciler, _place: Place, _taken: Collection[Place]) -> bool:
        return True

    return (Replacement(Reconciler, "is_free", is_free),)


def stale_member_epoch_accepted() -> tuple[Replacement, ...]:
    """Whoever says that it is, or was, a member commits, whatever its epoch (KIP-848)."""

    def check_commit(_self: ConsumerGroup, _member_id: str, _epoch: int) -> None:
        return

    return (Replacement(ConsumerGroup, "check_commit", check_commit),)


def committed_offset_goes_back_on_failover() -> tuple[Replacement, ...]:
    """A new coordinator that reads its log keeps the first offset of each partition instead of the last."""
    apply = GroupShard._apply_offset

    def keep_first(self: GroupShard, header: BatchHeader, key: OffsetKey, data: bytes | None) -> None:
        if data is None or key not in self.offsets:
            apply(self, header, key, data)

    return (Replacement(GroupShard, "_apply_offset", keep_first),)
