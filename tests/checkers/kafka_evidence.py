"""The correct Kafka of `kafka_model` with more to show: groups, exactly-once copies, sessions, epochs and probes.

Members of one group copy from `in/*` to `out/*`, each input by one transaction that carries the group's offset; they
are paused past their session, lose their keys and hear of it late, are fenced, crash, and are replaced by processes
that take over their transactional.id. Offsets are told only when no transaction holds them (require_stable). Leaders
change: records name their epoch, deposed leaders go on answering probes and polls with what they had. Readers of both
isolations read whole partitions from the beginning, in between and at the end.
`run(seed)` returns the operations of one run and what was true in it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from harness.history import Op
from tests.checkers.kafka_model import MILLI, RC, RU, Client, Txn, World

GROUP = "g"


@dataclass
class Member(Client):
    """A process of the group; `slot` is what its transactional.id is named after."""

    slot: int = 0
    generation: int = -1
    init: int = -1


@dataclass
class Session:
    """The newest session of a transactional.id."""

    process: int = -1
    txn: Txn | None = None


@dataclass
class Coordinator:
    """The group's: who owns what, what is committed, and which transactions hold an offset."""

    generation: int = 0
    members: list[int] = field(default_factory=list)
    committed: dict[str, int] = field(default_factory=dict)
    pending: dict[str, list[Txn]] = field(default_factory=dict)

    def owner(self, place: int) -> int:
        return self.members[place % len(self.members)]


class EvidenceWorld(World):
    """One run."""

    def __init__(self, seed: int, **character: bool) -> None:
        super().__init__(seed, **character)
        self.inputs = [f"in/{n}" for n in range(self.rng.choice((1, 2, 3)))]
        self.outputs = [f"out/{n}" for n in range(self.rng.choice((1, 2)))]
        for key in (*self.inputs, *self.outputs):
            self.logs[key] = type(self.logs[self.keys[0]])()
        self.group = Coordinator()
        self.sessions: dict[int, Session] = {}
        self.epochs: dict[str, list[tuple[int, int]]] = {key: [(0, 0)] for key in self.logs}
        """Per key (epoch, its start offset)."""
        self.sources: dict[Any, tuple[str, int]] = {}
        self.known: dict[tuple[str, str], int] = {}
        """The epoch that a node's metadata name; it never falls."""
        self.working = 0

    # Brokers

    def epoch_of(self, key: str, offset: int) -> int:
        return max(epoch for epoch, start in self.epochs[key] if start <= offset)

    def extra(self, key: str, offset: int, value: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {"epoch": self.epoch_of(key, offset), "ts": offset * 10 + offset % 3}
        if value in self.sources:
            seen["source"] = list(self.sources[value])
        return seen

    def read(self, client: Client, key: str, limit: int) -> list[list[Any]]:
        """Read from the leader, or from one that was deposed: it has all up to its epoch's end, and no more."""
        log = self.logs[key]
        if limit < 10**6 and len(self.epochs[key]) > 1 and self.rng.random() < 0.2:
            whole, log.records = log.records, log.records[: max(self.epochs[key][-1][1], client.position.get(key, 0))]
            found = super().read(client, key, limit)
            log.records = whole
        else:
            found = super().read(client, key, limit)
        return [[offset, value, self.extra(key, offset, value)] for offset, value in found]

    def elections(self):
        for _ in range(self.rng.randrange(4)):
            yield self.pause(150)
            key = self.rng.choice(list(self.logs))
            old = (self.epochs[key][-1][0], len(self.logs[key].records), self.logs[key].stable(key))
            self.epochs[key].append((old[0] + 1, len(self.logs[key].records)))
            self.spawn(self.zombie(key, *old), self.pause(80))
            self.spawn(self.probes(key), self.pause(80))

    def probe(self, node: str, answer: dict[str, Any], key: str, **asked: Any) -> None:
        value = {"key": key, **asked}
        self.record(f"probe/{node}", "invoke", "probe", value)
        self.record(f"probe/{node}", "ok", "probe", value | answer)

    def zombie(self, key: str, epoch: int, end: int, stable: int):
        """A deposed leader answers what it had; its metadata are old."""
        node = f"n{epoch % 3}"
        answer = {"hw": end, "lso": stable, "log-start": self.logs[key].start, "epoch": epoch}
        if self.known.get((node, key), epoch) <= epoch:  # unless it leads again
            self.probe(node, answer, key, api="ListOffsets")
        yield self.pause(5)
        if self.known.setdefault((other := f"n{(epoch + 2) % 3}", key), epoch) <= epoch:
            isr = {"leader": node, "epoch": epoch, "isr": [node], "partition-epoch": epoch}
            self.probe(other, isr, key, api="Metadata")

    def probes(self, key: str):
        epoch, start = self.epochs[key][-1]
        node, log = f"n{epoch % 3}", self.logs[key]
        answer = {"hw": len(log.records), "lso": log.stable(key), "log-start": log.start, "epoch": epoch}
        self.probe(node, answer, key, api="ListOffsets")
        self.probe(node, {"end": start, "epoch": epoch}, key, api="OffsetForLeaderEpoch", asked=epoch - 1)
        isr = {"leader": node, "epoch": epoch, "isr": ["n0", "n1", "n2"], "partition-epoch": epoch}
        self.probe(node, isr, key, api="Metadata")
        self.known[node, key] = epoch
        stamp = self.rng.randrange(200)
        fits = [offset for offset in range(log.start, len(log.records)) if offset * 10 + offset % 3 >= stamp]
        found = {"offset": fits[0] if fits else None, "epoch": epoch}
        self.probe(node, found, key, api="ListOffsets", timestamp=stamp)
        self.probe("n0", {"leader": "n1", "epoch": 7}, "__cluster_metadata", api="DescribeQuorum")
        yield from ()

    # The group

    def rebalanced(self) -> None:
        self.group.generation += 1

    def tell(self, member: Member, kind: str, keys: list[str]) -> None:
        value = {"process": member.process, "group": GROUP, "member": f"m{member.process}"}
        value |= {"generation": member.generation, "assigned": [], "revoked": [], "lost": []} | {kind: keys}
        self.record("group", "info", "rebalance", value)

    def take_part(self, member: Member):
        """Hear of what happened to the group since; get new keys and where to go on."""
        if member.process in self.group.members and member.generation == self.group.generation:
            return
        expelled = member.process not in self.group.members
        if member.held:
            self.tell(member, "lost" if expelled else "revoked", member.held)
        member.held, member.position = [], {}
        if expelled:
            self.group.members.append(member.process)
            self.rebalanced()
        yield self.pause(5)
        member.generation = self.group.generation
        members = self.group.members
        member.held = [key for n, key in enumerate(self.inputs) if self.group.owner(n) == member.process]
        assert member.process in members
        self.tell(member, "assigned", member.held)
        for key in member.held:
            for _ in range(1000):
                if not any(txn.state == "open" or key_open(txn) for txn in self.group.pending.get(key, ())):
                    break
                yield self.pause(30)
                if member.generation != self.group.generation:
                    return
            member.position[key] = self.group.committed.get(key, 0)

    def member(self, slot: int, count: int):
        yield self.pause()
        self.working += 1
        one = self.joined(slot)
        for _ in range(count):
            yield from self.take_part(one)
            if one.generation != self.group.generation:
                continue
            if self.rng.random() < 0.1:  # longer than its session: the others go on without it
                if one.process in self.group.members and len(self.group.members) > 1:
                    self.group.members.remove(one.process)
                    self.rebalanced()
                yield self.pause(60)
                continue
            yield from self.copy(one)
            if not one.alive:
                if one.process in self.group.members:
                    self.group.members.remove(one.process)
                    self.rebalanced()
                one = self.joined(slot)
            yield self.pause()
        if one.process in self.group.members:
            self.group.members.remove(one.process)
            self.rebalanced()
        self.working -= 1

    def joined(self, slot: int) -> Member:
        self.next_process += 1
        return Member(self.next_process - 1, RC, slot=slot)

    def begin(self, member: Member) -> Txn:
        session = self.sessions.setdefault(member.slot, Session())
        if session.process != member.process:  # init_transactions fences the session before and ends what it left
            if session.txn is not None:
                self.finish(session.txn, "aborted", None)
            session.process, member.init = member.process, self.now
        session.txn = Txn()
        return session.txn

    def finish(self, txn: Txn, state: str, offset: tuple[str, int] | None) -> None:
        if txn.state != "open":
            return
        self.end(txn, state)
        if state == "committed" and offset is not None:
            self.group.committed[offset[0]] = offset[1]

    def abandoned(self, txn: Txn):
        yield self.pause(300)
        self.finish(txn, "aborted", None)

    def copy(self, member: Member):
        asked: list[list[Any]] = [["poll"], ["send", self.rng.choice(self.outputs), self.value()]]
        self.record(member.process, "invoke", "txn", asked, group=GROUP)
        before = dict(member.position)
        yield self.pause(5)
        start = self.now
        found: list[list[Any]] = []
        held = [key for key in member.held if key in member.position]
        for key in self.rng.sample(held, len(held)):
            found = self.read(member, key, 1)
            if found:
                break
        times = [[start, self.now]]
        value: list[Any] = [["poll", [[key, found]] if found else []]]
        fields: dict[str, Any] = {"group": GROUP, "isolation": RC, "txn_id": f"copy-{member.slot}"}
        if not found:
            self.record(member.process, "ok", "txn", value, times=times, **fields)
            return
        txn = self.begin(member)
        fields["extra"] = {"init-time": member.init, "end-attempts": self.rng.choice((1, 1, 2))}
        source, out, v = (key, found[0][0]), asked[1][1], asked[1][2]
        self.sources[v] = source
        start = self.now
        place = self.append(out, v, txn)
        value.append(["send", out, [place, v, {"epoch": self.epoch_of(out, place)}]])
        times.append([start, self.now])
        yield self.pause(5)
        fenced = member.generation != self.group.generation or self.sessions[member.slot].txn is not txn
        fenced = fenced or txn.state != "open"
        offset = (key, source[1] + 1)
        luck = self.rng.random()
        if not fenced:
            self.group.pending.setdefault(key, []).append(txn)
        yield self.pause(5)
        fields["offsets"] = [list(offset)]
        if fenced or luck < 0.15:
            outcome, fields["commit_time"] = "fail", None
            self.finish(txn, "aborted", None)
        elif luck < 0.22:
            outcome, fields["commit_time"] = "info", None
            self.spawn(self.abandoned(txn), self.pause(50))
        else:
            fields["commit_time"] = self.now
            yield self.pause(5)
            mine = self.sessions[member.slot].txn is txn and txn.state == "open"
            if mine and luck < 0.93:
                self.finish(txn, "committed", offset)
                outcome = "ok" if luck < 0.85 else "info"
            else:
                outcome = "info"
                self.spawn(self.abandoned(txn), self.pause(50))
        yield self.pause(5)
        if outcome == "fail":
            self.failed_values.add(v)
            if member.generation == self.group.generation:
                member.position = before
        member.alive = outcome != "info"
        self.record(member.process, outcome, "txn", value, times=times, **fields)

    def ask(self):
        """Somebody reads the group's offsets, now and then; the answer waits for open transactions."""
        while self.working or self.rng.random() < 0.7:
            yield self.pause(100)
            yield from self.committed_read()

    def committed_read(self):
        process, self.next_process = self.next_process, self.next_process + 1
        self.record(process, "invoke", "committed", {"group": GROUP})
        while any(key_open(txn) for txns in self.group.pending.values() for txn in txns):
            yield self.pause(20)
        answer = [[key, self.group.committed.get(key)] for key in self.inputs]
        self.record(process, "ok", "committed", answer, group=GROUP)

    def scanner(self):
        """Somebody reads a partition from its beginning."""
        yield self.pause(300)
        isolation, keys = self.rng.choice((RC, RU)), self.rng.sample(list(self.logs), 1)
        self.next_process += 1
        client = Client(self.next_process - 1, isolation, keys)
        self.record(client.process, "invoke", "assign", keys, seek_to_beginning=True)
        yield self.pause(5)
        self.record(client.process, "ok", "assign", keys, isolation=isolation, seek_to_beginning=True)
        for _ in range(self.rng.randrange(1, 6)):
            self.record(client.process, "invoke", "poll", [["poll"]])
            yield self.pause(5)
            value = [self.poll(client)]
            self.record(client.process, "ok", "poll", value, isolation=isolation)

    def feed(self):
        """Somebody writes the inputs, in transactions that may abort."""
        self.working += 1
        client = self.client()
        client.isolation = RC
        for _ in range(self.rng.randrange(4, 12)):
            yield self.pause(30)
            keys, self.keys = self.keys, self.inputs
            work = self.sending(client) if self.rng.random() < 0.5 else self.transaction(client)
            for delay in work:
                self.keys = keys
                yield delay
                keys, self.keys = self.keys, self.inputs
            self.keys = keys
            if not client.alive:
                client = Client(self.next_process, RC)
                self.next_process += 1
        self.working -= 1

    def play(self) -> list[Op]:
        self.spawn(self.feed())
        for slot in range(self.rng.randrange(1, 4)):
            self.spawn(self.member(slot, self.rng.randrange(4, 14)), self.pause(100))
        self.spawn(self.elections())
        self.spawn(self.ask(), 50 * MILLI)
        for _ in range(self.rng.randrange(4)):
            self.spawn(self.scanner())
        return super().play()

    def final_reads(self) -> None:
        keys, self.keys = self.keys, [*self.keys, *self.inputs, *self.outputs]
        if self.rng.random() < 0.5:
            for key in self.keys:
                client = Client(self.next_process, RU, [key])
                self.next_process += 1
                self.record(client.process, "invoke", "assign", [key], seek_to_beginning=True)
                self.record(client.process, "ok", "assign", [key], isolation=RU, seek_to_beginning=True)
                self.record(client.process, "invoke", "poll", [["poll"]])
                self.record(client.process, "ok", "poll", [self.poll(client, everything=True)], isolation=RU)
        super().final_reads()
        for key in self.keys if self.ours else ():
            self.spawn(self.probes(key))
        self.run_until_idle()
        self.keys = keys
        for _ in self.committed_read():
            raise AssertionError("every transaction has ended")


def key_open(txn: Txn) -> bool:
    """Whether a transaction still holds offsets: it is open, or its markers are not all written."""
    return txn.state == "open" or {key for key, _ in txn.members} != txn.marked


def run(seed: int) -> EvidenceWorld:
    """Play one run; its character is drawn from the seed."""
    rng = random.Random(seed * 104_729 + 3)
    ours = rng.random() < 0.6
    world = EvidenceWorld(
        seed,
        ours=ours,
        killed=ours and rng.random() < 0.2,
        retention=rng.random() < 0.2,
        mixed=rng.random() < 0.3,
        strings=rng.random() < 0.2,
    )
    world.ops = world.play()
    return world
