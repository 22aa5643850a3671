"""Who reads which partitions of a share group: the assignor `simple` (KIP-932). Pure, and the same for equal input.

Every partition has a member that subscribes to its topic, and every member a partition of its topics; with more members
than partitions several read the same. What members had they keep, as far as loads then differ by one at the most.
Kafka: SimpleAssignor.
"""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.group.consumer.places import Place, Places, sort

NAME = "simple"


def simple(
    wishes: Mapping[str, tuple[str, ...]], had: Mapping[str, Places], there: Mapping[str, tuple[int, ...]]
) -> dict[str, Places]:
    """Return member id -> places. `wishes`: topic ids; `there`: the partitions of each topic that may be read."""
    table = _Table(wishes, there)
    table.keep(had)
    table.fill()
    table.share()
    table.balance()
    found: dict[str, list[Place]] = {member: [] for member in table.loads}
    for place, members in table.readers.items():
        for member in members:
            found[member].append(place)
    return {member: sort(places) for member, places in found.items()}


class _Table:
    """Readers of each place, and how many places each member reads."""

    def __init__(self, wishes: Mapping[str, tuple[str, ...]], there: Mapping[str, tuple[int, ...]]) -> None:
        self.takers = {topic: [one for one in sorted(wishes) if topic in wishes[one]] for topic in sorted(there)}
        self.readers: dict[Place, list[str]] = {
            (topic, index): [] for topic, members in self.takers.items() if members for index in there[topic]
        }
        self.loads = dict.fromkeys(sorted(wishes), 0)

    def give(self, place: Place, member: str) -> None:
        self.readers[place].append(member)
        self.loads[member] += 1

    def take(self, place: Place, member: str) -> None:
        self.readers[place].remove(member)
        self.loads[member] -= 1

    def keep(self, had: Mapping[str, Places]) -> None:
        """Let members have what they had, as many as there must be for each place."""
        for member in self.loads:
            for place in had.get(member, ()):
                if place in self.readers and member in self.takers[place[0]]:
                    many = -(-len(self.takers[place[0]]) // len(self.readers))
                    if len(self.readers[place]) < max(1, many):
                        self.give(place, member)

    def fill(self) -> None:
        """Let every place have a reader: first somebody who reads nothing that others don't read, too."""
        for place, members in self.readers.items():
            if members:
                continue
            taker = min(self.takers[place[0]], key=lambda one: (self._alone(one), self.loads[one]))
            self.give(place, taker)
            shared = [other for other, these in self.readers.items() if taker in these and len(these) > 1]
            if shared:
                self.take(shared[0], taker)

    def _alone(self, member: str) -> int:
        """Return how many places only this member reads."""
        return sum(members == [member] for members in self.readers.values())

    def share(self) -> None:
        """Let every member have a place: one of somebody who has more, or one that others read, too."""
        for member in self.loads:
            mine = [place for place in self.readers if member in self.takers[place[0]]]
            if self.loads[member] or not mine:
                continue
            place = max(mine, key=lambda one: (self._most(one), -len(self.readers[one])))
            if self._most(place) > 1:
                self.take(place, max(self.readers[place], key=lambda one: self.loads[one]))
            self.give(place, member)

    def _most(self, place: Place) -> int:
        return max(self.loads[member] for member in self.readers[place])

    def balance(self) -> None:
        """Let nobody read beside others who has more than one, and nobody two more than somebody else could have.

        Every move lets the sum of squares of loads fall, so it ends.
        """
        moved = True
        while moved:
            moved = False
            for place, members in self.readers.items():
                for member in list(members):
                    if len(members) > 1 and self.loads[member] > 1:
                        self.take(place, member)
                        moved = True
                        continue
                    others = [one for one in self.takers[place[0]] if one not in members]
                    taker = min(others, key=lambda one: self.loads[one], default=None)
                    if taker is not None and self.loads[member] - self.loads[taker] > 1:
                        self.take(place, member)
                        self.give(place, taker)
                        moved = True
