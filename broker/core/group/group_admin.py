"""What administrators ask of groups: describe, list, delete.

Describing an unknown group says Dead and GROUP_ID_NOT_FOUND (KIP-1043; clients of older versions hear no error). Only
an empty group can be deleted; tombstones for it and all of its offsets are one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from broker.core.errors import Code, Refused
from broker.core.group.consumer.describe import GROUP_OPERATIONS
from broker.core.group.consumer.places import Place
from broker.core.group.consumer.records import encode_key as consumer_key
from broker.core.group.coordinator import GroupCoordinator
from broker.core.group.group import Group, State
from broker.core.group.group_records import GroupKey, OffsetKey, encode_key
from broker.core.group.group_shard import GroupShard
from broker.core.group.share.group import ShareGroup
from broker.core.ready import Outbox, Reply
from broker.wire.messages.delete_groups import DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse
from broker.wire.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from broker.wire.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse
from broker.wire.messages.metadata import NOT_ASKED

DEAD = "Dead"


def _state(group: Group | None) -> str:
    return DEAD if group is None else group.state.value


def describe(coordinator: GroupCoordinator, request: DescribeGroupsRequest) -> DescribeGroupsResponse:
    """Return state and members of groups."""
    allowed = GROUP_OPERATIONS if request.include_authorized_operations else NOT_ASKED
    return DescribeGroupsResponse(
        groups=tuple(
            one
            if one.error_code not in {Code.NONE, Code.GROUP_ID_NOT_FOUND}
            else msgspec.structs.replace(one, authorized_operations=allowed)
            for one in (_describe_one(coordinator, name) for name in request.groups)
        )
    )


def _describe_one(coordinator: GroupCoordinator, name: str) -> DescribedGroup:
    try:
        shard = coordinator.shard(name, may_be_empty=True)
    except Refused as refused:
        return DescribedGroup(group_id=name, error_code=refused.code)
    if name in shard.consumers or name in shard.shares:
        return DescribedGroup(
            group_id=name,
            group_state=DEAD,
            error_code=Code.GROUP_ID_NOT_FOUND,
            error_message=f"Group {name} is not a classic group.",
        )
    group = shard.groups.get(name)
    if group is None:
        known = any(key.group == name for key in shard.offsets)
        if known:
            return DescribedGroup(group_id=name, group_state=State.EMPTY.value)
        return DescribedGroup(
            group_id=name,
            group_state=DEAD,
            error_code=Code.GROUP_ID_NOT_FOUND,
            error_message=f"Group {name} not found.",
        )
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
    states = {text.lower() for text in request.states_filter}
    types = {text.lower() for text in request.types_filter}
    return ListGroupsResponse(
        groups=tuple(
            one
            for shard in shards
            for one in _listed(shard)
            if (not states or one.group_state.lower() in states) and (not types or one.group_type in types)
        )
    )


def _listed(shard: GroupShard) -> Iterator[ListedGroup]:
    names = [*(key.group for key in shard.offsets), *shard.groups, *shard.consumers, *shard.shares]
    for name in dict.fromkeys(names):
        group, consumers = shard.groups.get(name), shard.consumers.get(name)
        if consumers is not None:
            state, kind, of = consumers.state.value, "consumer", "consumer"
        elif name in shard.shares:
            state, kind, of = shard.shares[name].state, "share", "share"
        else:
            state = State.EMPTY.value if group is None else group.state.value
            kind, of = "" if group is None else group.protocol_type or "", "classic"
        yield ListedGroup(group_id=name, protocol_type=kind, group_state=state, group_type=of)


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
            _delete_one(coordinator, coordinator.shard(name, may_be_empty=True), name, settle)
        except Refused as refused:
            settle(refused.code)


def _delete_one(coordinator: GroupCoordinator, shard: GroupShard, name: str, settle: Callable[[Code], None]) -> None:
    if name in shard.shares:
        _delete_share(coordinator, shard, shard.shares[name], settle)
        return
    group, consumers = shard.groups.get(name), shard.consumers.get(name)
    offsets = [key for key in shard.offsets if key.group == name]
    if group is None and consumers is None and not offsets:
        raise Refused(Code.GROUP_ID_NOT_FOUND, f"no group {name!r}")
    if (group is not None and group.state is not State.EMPTY) or (consumers is not None and consumers.members):
        raise Refused(Code.NON_EMPTY_GROUP, f"the group {name!r} has members")
    if any(shard.holders(key) for key in offsets):
        raise Refused(Code.NON_EMPTY_GROUP, f"a transaction over offsets of {name!r} is open")
    keys: list[OffsetKey | GroupKey] = [*offsets, GroupKey(name)]
    records: list[tuple[bytes, bytes | None]] = [(encode_key(key), None) for key in keys]
    gone = [] if consumers is None else consumers.tombstones()

    def done(code: Code) -> None:
        for key in offsets if not code else ():
            shard.forget(key)
        settle(code)

    coordinator.write(shard, [*records, *((consumer_key(key), None) for key, _ in gone)], done)
    shard.groups.pop(name, None)  # at once: who joins from now on begins another group of this name
    for key, _ in gone:
        shard.apply_consumer(key, None)


def _delete_share(
    coordinator: GroupCoordinator, shard: GroupShard, group: ShareGroup, settle: Callable[[Code], None]
) -> None:
    """Delete a share group, when the share coordinators have forgotten all of it."""
    if group.members:
        raise Refused(Code.NON_EMPTY_GROUP, f"the group {group.name!r} has members")

    def forgotten(code: Code, results: dict[Place, Any]) -> None:
        code = code or next((Code(one.error_code) for one in results.values() if one.error_code), Code.NONE)
        if code or group.members or not coordinator.is_current_share(shard, group):
            settle(code or Code.NON_EMPTY_GROUP)
            return
        try:
            coordinator.change_share(shard, group, group.tombstones(), settle)
        except Refused as refused:
            settle(refused.code)

    coordinator.share_offsets.forget(shard, group, group.states.places, forgotten, coordinator.now_ms)
