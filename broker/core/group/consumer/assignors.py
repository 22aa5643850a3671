"""Who shall have which partitions: the assignors `uniform` and `range` (KIP-848). Pure, and the same for equal input.

`uniform` keeps what members had as far as it is fair, and gives the rest to whoever has least; it ends when no
partition can move to a member that has at least two less. `range` gives each topic's partitions in runs, members in
order; every topic is divided alike, so that equal partitions of equally large topics meet (co-partitioning). Members
are ordered by instance, then by id. Kafka: UniformAssignor, RangeAssignor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from broker.core.group.consumer.places import Place, Places, sort


class Wish(msgspec.Struct, frozen=True):
    """A member: the ids of the topics that it subscribes to, and what it had."""

    topics: tuple[str, ...]
    had: Places
    instance_id: str | None = None


Assignor = Callable[[Mapping[str, Wish], Mapping[str, int]], dict[str, Places]]
"""(member id -> wish, topic id -> partition count) -> member id -> places."""


def _in_order(wishes: Mapping[str, Wish]) -> list[str]:
    """Return member ids: static members first, by instance."""
    return sorted(wishes, key=lambda one: (wishes[one].instance_id is None, wishes[one].instance_id or "", one))


def range_(wishes: Mapping[str, Wish], counts: Mapping[str, int]) -> dict[str, Places]:
    """Assign runs of partitions, topic by topic."""
    found: dict[str, list[Place]] = {member: [] for member in wishes}
    for topic in sorted(counts):
        members = [member for member in _in_order(wishes) if topic in wishes[member].topics]
        if not members:
            continue
        each, more = divmod(counts[topic], len(members))
        first = 0
        for position, member in enumerate(members):
            size = each + (position < more)
            found[member] += [(topic, index) for index in range(first, first + size)]
            first += size
    return {member: sort(places) for member, places in found.items()}


def uniform(wishes: Mapping[str, Wish], counts: Mapping[str, int]) -> dict[str, Places]:
    """Assign as evenly as subscriptions allow, and move as little as that takes."""
    order = _in_order(wishes)
    wanted = {member: {topic for topic in wishes[member].topics if topic in counts} for member in order}
    owner: dict[Place, str] = {}
    for member in order:
        for topic, index in wishes[member].had:
            if topic in wanted[member] and index < counts[topic]:
                owner.setdefault((topic, index), member)
    loads = dict.fromkeys(order, 0)
    for member in owner.values():
        loads[member] += 1
    takers = {topic: [member for member in order if topic in wanted[member]] for topic in sorted(counts)}
    loose = [(t, index) for t in takers for index in range(counts[t]) if takers[t] and (t, index) not in owner]
    for place in sorted(loose, key=lambda one: (len(takers[one[0]]), one)):
        member = min(takers[place[0]], key=lambda one: loads[one])
        owner[place] = member
        loads[member] += 1
    _balance(owner, loads, takers)
    found: dict[str, list[Place]] = {member: [] for member in order}
    for place, member in owner.items():
        found[member].append(place)
    return {member: sort(places) for member, places in found.items()}


def _balance(owner: dict[Place, str], loads: dict[str, int], takers: Mapping[str, list[str]]) -> None:
    """Move partitions down to members that have at least two less; the sum of squares falls, so it ends."""
    places = sorted(owner)
    moved = True
    while moved:
        moved = False
        for place in places:
            member = min(takers[place[0]], key=lambda one: loads[one])
            if loads[owner[place]] - loads[member] > 1:
                loads[owner[place]] -= 1
                loads[member] += 1
                owner[place] = member
                moved = True


ASSIGNORS: dict[str, Assignor] = {"uniform": uniform, "range": range_}
"""By name; the first is the default, as in Kafka."""
