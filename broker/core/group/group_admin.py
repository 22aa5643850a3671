"""What administrators ask of groups: describe, list, delete.

Describing an unknown group says Dead, without an error, as Kafka does for classic groups. Only an empty group can be
deleted; tombstones for it and all of its offsets are one batch.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.errors import Code, Refused
from broker.core.group.coordinator import GroupCoordinator
from broker.core.group.group import Group, State
from broker.core.group.group_records import GroupKey, OffsetKey, encode_key
from broker.core.group.group_shard import GroupShard
from broker.core.ready import Outbox, Reply
from broker.wire.messages.delete_groups import DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse
from broker.wire.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from broker.wire.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse

DEAD = "Dead"


def _state(group: Group | None) -> str:
    return DEAD if group is None else group.state.value


def describe(coordinator: GroupCoordinator, request: DescribeGroupsRequest) -> DescribeGroupsResponse:
    """Return state and members of groups."""
    return DescribeGroupsResponse(groups=tuple(_describe_one(coordinator, name) for name in request.groups))


def _describe_one(coordinator: GroupCoordinator, name: str) -> DescribedGroup:
    try:
        shard = coordinator.shard(name)
    except Refused as refused:
        return DescribedGroup(group_id=name, error_code=refused.code)
    group = shard.groups.get(name)
    if group is None:
        known = any(key.group == name for key in shard.offsets)
        return DescribedGroup(group_id=name, group_state=State.EMPTY.value if known else DEAD)
    stable = group.state is State.STABLE
    members = tuple(
        DescribedGroupMember(
            member_id=member.id,
            group_instance_id=member.instance_id,
            client_id=member.client_id,
            client_host=member.host,
            member_metadata=member.metadata_for(group.protocol or "") if stable else b"",
            member_assignment=member.assignment if stable else b"",
        )
        for member in group.members.values()
    )
    return DescribedGroup(
        group_id=name,
        group_state=_state(group),
        protocol_type=group.protocol_type or "",
        protocol_data=(group.protocol or "") if stable else "",
        members=members,
    )


def list_all(coordinator: GroupCoordinator, request: ListGroupsRequest) -> ListGroupsResponse:
    """Return the groups of this node: those with members or a past, and those that only have offsets."""
    shards = coordinator.shards()
    if any(not shard.log.is_loaded for shard in shards):
        return ListGroupsResponse(error_code=Code.COORDINATOR_LOAD_IN_PROGRESS)
    found: dict[str, Group | None] = {}
    for shard in shards:
        found.update(dict.fromkeys(key.group for key in shard.offsets))
        found.update(shard.groups)
    listed = []
    for name, group in found.items():
        state = State.EMPTY.value if group is None else group.state.value
        wanted = {text.lower() for text in request.states_filter}
        types = {text.lower() for text in request.types_filter}
        if (not wanted or state.lower() in wanted) and (not types or "classic" in types):
            kind = "" if group is None else group.protocol_type or ""
            listed.append(ListedGroup(group_id=name, protocol_type=kind, group_state=state, group_type="classic"))
    return ListGroupsResponse(groups=tuple(listed))


def delete(coordinator: GroupCoordinator, out: Outbox, request_id: object, request: DeleteGroupsRequest) -> None:
    """Delete groups; answer when all tombstones are replicated, or refused."""
    names = list(dict.fromkeys(request.groups_names))
    codes: dict[str, Code] = {}

    def settler(name: str) -> Callable[[Code], None]:
        def settle(code: Code) -> None:
            codes[name] = code
            if len(codes) == len(names):
                results = tuple(DeletableGroupResult(group_id=each, error_code=codes[each]) for each in names)
                out.replies.append(Reply(request_id, DeleteGroupsResponse(results=results)))

        return settle

    if not names:
        out.replies.append(Reply(request_id, DeleteGroupsResponse()))
    for name in names:
        settle = settler(name)
        try:
            _delete_one(coordinator, coordinator.shard(name), name, settle)
        except Refused as refused:
            settle(refused.code)


def _delete_one(coordinator: GroupCoordinator, shard: GroupShard, name: str, settle: Callable[[Code], None]) -> None:
    group = shard.groups.get(name)
    offsets = [key for key in shard.offsets if key.group == name]
    if group is None and not offsets:
        raise Refused(Code.GROUP_ID_NOT_FOUND, f"no group {name!r}")
    if group is not None and group.state is not State.EMPTY:
        raise Refused(Code.NON_EMPTY_GROUP, f"the group {name!r} has members")
    if any(shard.is_unstable(key) for key in offsets):
        raise Refused(Code.NON_EMPTY_GROUP, f"a transaction over offsets of {name!r} is open")
    keys: list[OffsetKey | GroupKey] = [*offsets, GroupKey(name)]

    def done(code: Code) -> None:
        if not code and (group is None or group.state is State.EMPTY):
            shard.groups.pop(name, None)
            for key in offsets:
                shard.offsets.pop(key, None)
        settle(code)

    coordinator.write(shard, [(encode_key(key), None) for key in keys], done)
