"""The correct Kafka of `kafka_model` with a group whose members poll and commit, under each of three protocols.

Eager members give everything up before they join again; cooperative ones keep what they have, and what moves is dealt in
a later generation; with KIP-848 each member is reconciled by itself, and gets what nobody holds any more. Members stall
past their session and speak too late (their commits are refused), crash, are replaced, hear of a rebalance in the midst
of a poll, and lose the answers of commits. Polls that fail are rewound. Somebody asks what the group has committed, and
deletes records of which log starts tell.
`run(seed)` returns the operations of one run and what was true in it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from checkers.options import CheckOptions
from harness.history import Op
from tests.checkers.kafka_model import RC, Client, World

GROUP = "g"
EAGER, COOPERATIVE, CONSUMER = "eager", "cooperative", "consumer"
OPTIONS = CheckOptions(sub_via=("assign", "subscribe"))
Steps = Iterator[int]


@dataclass
class Member(Client):
    """A process of the group; its positions are those of the keys that it holds."""

    name: str = ""
    generation: int = -1
    polled: dict[str, int] = field(default_factory=dict)
    """What its last poll has committed."""


@dataclass
class Group:
    """The coordinator's: who is to have what, and what is still somebody's."""

    protocol: str
    keys: list[str]
    generation: int = 0
    members: list[str] = field(default_factory=list)
    joined: set[str] | None = None
    """While a classic group rebalances: who has joined again."""
    goal: dict[str, set[str]] = field(default_factory=dict)
    owned: dict[str, set[str]] = field(default_factory=dict)
    """What a member has not given up, as far as the coordinator knows."""
    committed: dict[str, int] = field(default_factory=dict)
    again: bool = False
    """A cooperative member has to give something up: it will join once more."""

    def rebalance(self) -> None:
        if self.protocol == CONSUMER:
            self.generation += 1
            self._deal()
        elif self.joined is None:
            self.joined = set()
        self.settle()

    def settle(self) -> None:
        """A classic group goes on when all its members have joined."""
        if self.joined is None or not set(self.members) <= self.joined:
            return
        self.generation, self.joined = self.generation + 1, None
        self._deal()
        if self.protocol == COOPERATIVE:
            self.again = any(self.owned[name] - self.goal[name] for name in self.members)
            for name in self.members:
                self.goal[name] -= self.others(name)

    def _deal(self) -> None:
        names = sorted(self.members)
        self.goal = {name: set() for name in names}
        for number, key in enumerate(self.keys if names else ()):
            self.goal[names[(number + self.generation) % len(names)]].add(key)

    def others(self, name: str) -> set[str]:
        return {key for other in self.members if other != name for key in self.owned[other]}

    def leave(self, name: str) -> None:
        if name in self.members:
            self.members.remove(name)
            del self.owned[name]
            self.rebalance()

    def commit(self, member: Member, offsets: dict[str, int]) -> bool:
        """Store offsets, unless the member is out, or speaks for another generation."""
        stale = member.generation != self.generation and self.protocol != CONSUMER
        if member.name not in self.members or stale or not offsets.keys() <= self.owned[member.name]:
            return False
        self.committed |= offsets
        return True


class MembersWorld(World):
    """One run."""

    def __init__(self, seed: int, **character: bool) -> None:
        super().__init__(seed, **character)
        self.group = Group(self.rng.choice((EAGER, COOPERATIVE, CONSUMER)), self.keys)
        self.names = 0
        self.working = 0

    # What members hear

    def tell(self, member: Member, kind: str, keys: set[str], log: list[Any]) -> None:
        generation = None if kind == "lost" else member.generation
        value = {"process": member.process, "group": GROUP, "member": member.name, "generation": generation}
        value |= {"assigned": [], "revoked": [], "lost": []} | {kind: sorted(keys)}
        value["protocol"] = CONSUMER if self.group.protocol == CONSUMER else "classic"
        self.record("group", "info", "rebalance", value)
        log.append({"keys": sorted(keys)})

    def give_up(self, member: Member, keys: set[str], log: list[Any], kind: str = "revoked") -> None:
        if keys:
            self.tell(member, kind, keys, log)
        for key in keys:
            del member.position[key]
        if member.name in self.group.members:
            self.group.owned[member.name] -= keys

    def callbacks(self, member: Member, log: list[Any]) -> Steps:
        """Do what the group asks of a member that polls."""
        group = self.group
        if member.name not in group.members:
            self.give_up(member, set(member.position), log, "lost")
            self.names += 1
            member.name, member.generation = f"m{self.names}", -1
            group.members.append(member.name)
            group.owned[member.name] = set()
            group.rebalance()
        if group.joined is not None and member.name not in group.joined:
            if group.protocol == EAGER:
                self.give_up(member, set(member.position), log)
            group.joined.add(member.name)
            group.settle()
            yield self.pause(5)
        if member.generation == group.generation or group.joined is not None or member.name not in group.members:
            return
        before, generation, again = member.generation, group.generation, group.again
        member.generation = generation if group.protocol == COOPERATIVE else before
        gone = set(member.position) - group.goal[member.name]
        self.give_up(member, gone, log)
        member.generation = generation
        fresh = group.goal[member.name] - set(member.position) - group.others(member.name)
        group.owned[member.name] |= fresh
        late = group.goal[member.name] & group.others(member.name)
        yield self.pause(5)
        if member.name not in group.members:
            return
        if fresh or group.protocol == EAGER:
            self.tell(member, "assigned", fresh, log)
        member.position |= {key: group.committed.get(key, 0) for key in fresh}
        if group.protocol == CONSUMER and (late or group.generation != generation):
            member.generation = before  # it is told of the rest when others have given it up
        if group.protocol == COOPERATIVE and again and gone:
            group.rebalance()

    # What members do

    def joined(self) -> Member:
        member = Member(self.next_process, RC)
        self.next_process += 1
        self.record(member.process, "invoke", "subscribe", self.keys, group=GROUP)
        self.record(member.process, "ok", "subscribe", self.keys, isolation=RC, group=GROUP)
        return member

    def expelled(self, name: str) -> Steps:
        self.group.leave(name)
        yield from ()

    def member(self, count: int) -> Steps:
        yield self.pause(80)
        self.working += 1
        one = self.joined()
        for _ in range(count):
            if self.rng.random() < 0.15:
                yield from self.stall(one)
            else:
                yield from self.group_poll(one)
            if one.alive and self.rng.random() < 0.06:
                yield from self.crash(one)
            if not one.alive:
                self.spawn(self.expelled(one.name), self.pause(60))
                one = self.joined()
            yield self.pause()
        self.group.leave(one.name)
        self.working -= 1

    def stall(self, member: Member) -> Steps:
        """Say nothing for so long that the others may go on without the member; then commit what it polled."""
        if self.rng.random() < 0.6:
            self.group.leave(member.name)
        yield self.pause(80)
        if not member.polled:
            return
        offsets = [[key, offset] for key, offset in member.polled.items()]
        self.record(member.process, "invoke", "commit", offsets, group=GROUP)
        yield self.pause(5)
        done, lost = self.group.commit(member, member.polled), self.rng.random() < 0.2
        member.alive = not lost
        self.record(member.process, "info" if lost else "ok" if done else "fail", "commit", offsets, group=GROUP)

    def group_poll(self, member: Member) -> Steps:
        """Poll, and commit what was read; the answer of the commit may be lost."""
        log: list[Any] = []
        self.record(member.process, "invoke", "poll", [["poll"]])
        yield self.pause(5)
        start = self.now
        yield from self.callbacks(member, log)
        before = dict(member.position)
        member.held = sorted(member.position)
        value = self.poll(member)
        yield self.pause(5)
        read = {key: member.position[key] for key, _ in value[1]}
        outcome = self.rng.choice(("ok",) * 10 + ("fail", "info"))
        fields: dict[str, Any] = {"times": [[start, self.now]], "isolation": RC, "rebalance_log": log or None}
        if outcome == "ok" and read:
            offsets, fields["group"] = [[key, offset] for key, offset in read.items()], GROUP
            if (self.rng.random() < 0.95 and self.group.commit(member, read)) and self.rng.random() < 0.95:
                fields["offsets"], member.polled = offsets, read
            else:
                fields["extra"] = {"commit-error": {"name": "_TIMED_OUT"}, "uncertain-offsets": offsets}
        elif outcome == "fail":
            member.position = before
        member.alive = outcome != "info"
        self.record(member.process, outcome, "poll", [value], **fields)

    def ask(self) -> Steps:
        while self.working:
            yield self.pause(100)
            self.committed_read()

    def committed_read(self) -> None:
        process, self.next_process = self.next_process, self.next_process + 1
        self.record(process, "invoke", "committed", {"group": GROUP})
        self.record(process, "ok", "committed", [[k, self.group.committed.get(k)] for k in self.keys], group=GROUP)

    def delete(self) -> Steps:
        """Somebody deletes records that are decided; nobody may know whether it was done."""
        for _ in range(self.rng.randrange(3)):
            yield self.pause(200)
            key, process = self.rng.choice(self.keys), self.next_process
            self.next_process += 1
            log = self.logs[key]
            below = self.rng.randrange(log.start, log.stable(key) + 1)
            self.record(process, "invoke", "delete-records", [key, below])
            yield self.pause(5)
            answered = self.rng.random() < 0.8
            if answered or self.rng.random() < 0.5:
                log.start = max(log.start, below)
            self.record(process, "ok" if answered else "info", "delete-records", [key, below])

    def play(self) -> list[Op]:
        for _ in range(self.rng.randrange(1, 4)):
            self.spawn(self.member(self.rng.randrange(6, 16)))
        self.spawn(self.ask(), self.pause(100))
        if self.retention:
            self.spawn(self.delete(), self.pause(100))
        return super().play()

    def retain(self) -> Steps:
        """Log starts move only where somebody deletes."""
        yield from ()

    def final_reads(self) -> None:
        super().final_reads()
        self.committed_read()


def run(seed: int) -> MembersWorld:
    """Play one run; its character is drawn from the seed."""
    rng = random.Random(seed * 86_028_121 + 7)
    ours = rng.random() < 0.6
    world = MembersWorld(
        seed,
        ours=ours,
        killed=ours and rng.random() < 0.15,
        retention=rng.random() < 0.25,
        mixed=rng.random() < 0.3,
        strings=rng.random() < 0.2,
    )
    world.ops = world.play()
    return world
