"""Lawful histories of programs between topics, in all their legal oddity; knows nothing of the checker.

A program has several instances, which share the input partitions out by a group. They are killed, missed, paused and
go on as zombies; they take over, are started again, and begin where the group has committed. One that promises exactly
once writes and commits in transactions, some of which are aborted or left open until somebody is fenced; one that
promises at least once writes, commits now and then, sometimes an older place, and dies when one of its writes fails, in
the midst of those that succeed. What they write goes to any partition by a rule of theirs, with or without keys, other
headers, and other text around it.

Inputs are acknowledged, refused, aborted, left open and aborted later, or nobody knows what became of them; then they
may come at any time, also when all is over. Readers look all the time, read_committed and read_uncommitted.

`run(seed)` plays one; what is written and read goes through `harness.clients.payload`, as bytes.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from harness.clients.payload import Stamp, encode, written
from harness.history import HARNESS, Op
from tests.checkers.story import Story, poll, send

RC, RU = "read_committed", "read_uncommitted"
MOST_STEPS = 10_000


@dataclass
class Txn:
    state: str = "open"


@dataclass
class Record:
    value: bytes | None
    """None: a marker."""
    txn: Txn | None = None
    record_key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def is_open(self) -> bool:
        return self.txn is not None and self.txn.state == "open"

    @property
    def is_seen(self) -> bool:
        return self.value is not None and (self.txn is None or self.txn.state == "committed")


@dataclass
class Log:
    records: list[Record] = field(default_factory=list)

    def stable(self) -> int:
        return next((at for at, one in enumerate(self.records) if one.is_open), len(self.records))

    def end(self, txn: Txn, state: str) -> None:
        if txn.state == "open":
            txn.state = state
        self.records.append(Record(None))


@dataclass
class Instance:
    name: int
    generation: int = -1
    position: dict[str, int] = field(default_factory=dict)
    """Of the inputs that it believes to be its own, where it reads next."""
    txn: Txn | None = None
    unsent: list[tuple[str, Record]] = field(default_factory=list)
    """What it has still to write: a producer's buffer."""
    behind: dict[str, int] = field(default_factory=dict)
    """What it may commit once that is written."""
    is_paused: bool = False
    is_alive: bool = True


class World(Story):
    """One run."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = rng = random.Random(seed)
        self.exact = rng.random() < 0.5
        self.mixed = self.retention = self.killed = False
        topics = rng.randint(2, 4)
        partitions = rng.randint(1, 3)
        inputs = max(1, topics // 2)
        self.inputs = [f"t{topic}/{number}" for topic in range(inputs) for number in range(partitions)]
        self.outputs = [f"t{topic}/{number}" for topic in range(inputs, topics) for number in range(partitions)]
        self.logs = {key: Log() for key in (*self.inputs, *self.outputs)}
        self.instances = [Instance(number) for number in range(rng.randint(1, 3))]
        self.committed = dict.fromkeys(self.inputs, 0)
        self.generation = 0
        self.wraps = rng.choice(("plain", "json", "text", "padded"))
        self.routes = rng.choice(("same", "one", "any", "by-value"))
        self.next_process = self.next_value = 0
        self.late: list[tuple[str, Record]] = []
        """Inputs whose answers were lost, and that are still under way."""
        self.open: list[tuple[str, Txn]] = []
        """Transactions of dead feeders."""
        self.readers: dict[int, dict[str, int]] = {}
        self.quality = (rng.uniform(0.0, 0.3), rng.uniform(0.0, 0.4))
        """How often instances are hurt, and how often feeders come to grief."""

    def process(self) -> int:
        self.next_process += 1
        return self.next_process

    # Feeders

    def feed(self) -> None:
        rng, key = self.rng, self.rng.choice(self.inputs)
        self.next_value += 1
        value, process = self.next_value, self.process()
        record = Record(encode(Stamp(key, process, 0, value)))
        log = self.logs[key]
        offset = len(log.records)
        if rng.random() >= self.quality[1]:
            if rng.random() < 0.5:
                log.records.append(record)
                self.ok(process, "send", [send(key, value, offset)])
            else:
                record.txn = Txn()
                log.records.append(record)
                log.end(record.txn, "committed")
                self.ok(process, "txn", [send(key, value, offset)], commit_time=self.now)
            return
        match rng.randrange(5):
            case 0:  # aborted
                record.txn = Txn()
                log.records.append(record)
                log.end(record.txn, "aborted")
                self.fail(process, "txn", [send(key, value)])
            case 1:  # refused
                self.fail(process, "send", [send(key, value)])
            case 2:  # dies before it has decided
                record.txn = Txn()
                log.records.append(record)
                self.open.append((key, record.txn))
                self.info(process, "txn", [send(key, value)], commit_time=None)
            case 3:  # nobody knows what became of its commit
                record.txn = Txn()
                log.records.append(record)
                log.end(record.txn, rng.choice(("committed", "aborted")))
                self.info(process, "txn", [send(key, value)], commit_time=self.now)
            case 4:  # it comes at any time, or never
                self.info(process, "send", [send(key, value)])
                if rng.random() < 0.7:
                    self.late.append((key, record))

    def arrive(self) -> None:
        """Let something happen that clients have begun and do not know of."""
        if self.late and self.rng.random() < 0.3:
            key, record = self.late.pop(self.rng.randrange(len(self.late)))
            self.logs[key].records.append(record)
        if self.open and self.rng.random() < 0.3:
            key, txn = self.open.pop()
            self.logs[key].end(txn, "aborted")

    # Instances

    def rebalance(self) -> None:
        """Share the inputs out among those that the group does not miss; the others do not hear of it."""
        self.generation += 1
        there = [one for one in self.instances if one.is_alive and not one.is_paused]
        for one in there:
            self.give_up(one)
            one.generation, one.position = self.generation, {}
        for key in self.inputs if there else ():
            one = self.rng.choice(there)
            one.position[key] = self.committed[key]

    def give_up(self, one: Instance) -> None:
        """An instance loses what it holds: its transaction is aborted, what it had still to write is dropped."""
        if one.txn is not None:
            self.end(one.txn, "aborted")
        one.txn, one.unsent, one.behind = None, [], {}

    def end(self, txn: Txn, state: str) -> None:
        if txn.state != "open":
            return
        keys = [key for key in self.outputs if any(record.txn is txn for record in self.logs[key].records)]
        txn.state = state
        for key in keys:
            self.logs[key].records.append(Record(None))

    def hurt(self) -> None:
        one = self.rng.choice(self.instances)
        match self.rng.randrange(4):
            case 0:  # killed; what it holds in its buffer is gone, its transaction stays until somebody takes over
                one.is_alive = False
                one.unsent, one.behind, one.position = [], {}, {}
            case 1:
                one.is_paused = True
            case 2:
                self.rebalance()
            case 3:
                self.heal(one)

    def heal(self, one: Instance) -> None:
        if not one.is_alive:
            one.is_alive = True
            self.give_up(one)  # init_transactions fences what it was before
            self.event(HARNESS, "info", "exited", {"instance": f"app-{one.name + 1}", "status": 1})
            self.rebalance()
        elif one.is_paused:
            one.is_paused = False  # it goes on as if nothing had been

    def step(self, one: Instance) -> None:
        if not one.is_alive or one.is_paused:
            return
        if one.unsent:
            self.write(one)
        elif one.behind:
            self.commit(one)
        else:
            self.read(one)

    def read(self, one: Instance) -> None:
        for key in self.rng.sample(sorted(one.position), len(one.position)):
            if self.rng.random() < 0.7:
                log, begin = self.logs[key], one.position[key]
                stop = min(log.stable(), begin + self.rng.randint(1, 5))
                for record in log.records[begin:stop]:
                    if record.is_seen:
                        one.unsent.append(self.copied(key, record))
                if stop > begin:
                    one.position[key] = one.behind[key] = stop
        if self.exact and one.behind:
            one.txn = Txn()

    def copied(self, key: str, record: Record) -> tuple[str, Record]:
        assert record.value is not None
        rng, value = self.rng, record.value
        match self.wraps:
            case "json":
                value = json.dumps({"at": rng.randrange(100), "was": value.decode(), "by": "h1 us"}).encode()
            case "text":
                value = b"<" + value + b"> " + rng.choice((b"", b"\xff\x00 9", b"h1 t0/0 1 1 1 00000000", value))
            case "padded":
                value = b" " + value + b"\n" * rng.randrange(3)
        to = {
            "same": self.outputs[self.inputs.index(key) % len(self.outputs)],
            "one": self.outputs[0],
            "any": rng.choice(self.outputs),
            "by-value": self.outputs[number_of(record.value) % len(self.outputs)],
        }[self.routes]
        headers: Any = rng.choice(((), (("source", b"t0/0 3"),), (("source", None), ("h1", b"x"), ("trace", b"1"))))
        return to, Record(value, record_key=rng.choice((None, b"k1", b"\xff")), headers=headers)

    def write(self, one: Instance) -> None:
        """Write some of the buffer; of one that promises at least once a write may fail, and it dies of that."""
        count = self.rng.randint(1, len(one.unsent))
        fails = self.rng.random() < self.quality[0] / 2
        now, one.unsent = one.unsent[:count], one.unsent[count:]
        if one.txn is not None and one.txn.state != "open":
            self.give_up(one)  # fenced
            self.start_again(one)
            return
        for key, record in now:
            if not fails or self.rng.random() < 0.6:
                record.txn = one.txn
                self.logs[key].records.append(record)
        if fails:
            self.start_again(one)

    def start_again(self, one: Instance) -> None:
        self.give_up(one)
        one.position = {}
        one.is_alive = False

    def commit(self, one: Instance) -> None:
        behind, one.behind = one.behind, {}
        is_current = one.generation == self.generation
        if self.exact:
            txn, one.txn = one.txn, None
            assert txn is not None
            if is_current and txn.state == "open" and self.rng.random() < 0.9:
                self.end(txn, "committed")
                self.committed.update(behind)
                return
            self.end(txn, "aborted")
            if is_current and self.rng.random() < 0.5:
                one.position = {key: self.committed[key] for key in one.position}  # reads it again
            else:
                self.start_again(one)
        elif not is_current:
            self.start_again(one)
        elif self.rng.random() < 0.4:
            self.committed.update(behind)
            if self.rng.random() < 0.1:  # an older place, by hand
                key = self.rng.choice(sorted(behind))
                self.committed[key] = self.rng.randint(0, behind[key])

    # Readers

    def entries(self, key: str, begin: int, stop: int, isolation: str) -> list[list[Any]]:
        origins = frozenset(self.inputs)
        found = []
        for offset, one in enumerate(self.logs[key].records[begin:stop], start=begin):
            if one.value is not None and (isolation == RU or one.is_seen):
                found.append(written(key, offset, one.value, 0, one.record_key, one.headers, origins))
        return found

    def look(self) -> None:
        if not self.readers or self.rng.random() < 0.1:
            process = self.process()
            self.ok(process, "assign", list(self.outputs), isolation=RC)
            self.readers[process] = {}
        process = self.rng.choice(sorted(self.readers))
        held, parts = self.readers[process], []
        for key in self.outputs:
            begin, stop = held.get(key, 0), self.logs[key].stable()
            if stop > begin:
                parts.append((key, self.entries(key, begin, stop, RC)))
            held[key] = max(begin, stop)
        self.ok(process, "poll", [poll(*[part for part in parts if part[1]])], isolation=RC)

    def final(self, isolation: str, order: list[str]) -> None:
        for key in order:
            process, stop = self.process(), len(self.logs[key].records)
            self.ok(process, "assign", [key], isolation=isolation, seek_to_beginning=True)
            found = self.entries(key, 0, stop, isolation)
            middle = self.rng.randint(0, len(found))
            for part in (found[:middle], found[middle:]):
                self.ok(process, "poll", [poll((key, part))] if part else [poll()], isolation=isolation)
            if isolation == RC:
                self.drain(key, stop)

    # The run

    def play(self) -> World:
        rng = self.rng
        self.phase("main")
        promise = "exactly-once" if self.exact else "at-least-once"
        value = {"inputs": self.inputs, "outputs": self.outputs, "guarantee": promise}
        self.event(HARNESS, "info", "application", value)
        self.rebalance()
        for _ in range(rng.randint(10, 80)):
            if rng.random() < 0.5:
                self.feed()
            self.arrive()
            if rng.random() < self.quality[0]:
                self.hurt()
            self.step(rng.choice(self.instances))
            if rng.random() < 0.2:
                self.look()
        self.phase("heal")
        self.phase("catch-up")
        self.catch_up()
        while self.late and rng.random() < 0.5:  # after everything else
            self.logs[self.late[0][0]].records.append(self.late.pop(0)[1])
            if rng.random() < 0.5:
                self.step(rng.choice(self.instances))
        self.phase("drain")
        for one in self.instances:  # what is under way by then is waited for
            if one.txn is not None:
                self.end(one.txn, "aborted")
        for isolation in (RC, RU):
            self.final(isolation, rng.sample([*self.inputs, *self.outputs], len(self.logs)))
        return self

    def catch_up(self) -> None:
        while self.open:
            key, txn = self.open.pop()
            self.logs[key].end(txn, "aborted")
        process, sends = self.process(), []
        for key in self.inputs:
            self.next_value += 1
            sends.append(send(key, self.next_value, len(self.logs[key].records)))
            self.logs[key].records.append(Record(encode(Stamp(key, process, 0, self.next_value))))
        self.ok(process, "send", sends)
        self.quality = (0.0, 0.0)
        for _ in range(MOST_STEPS):
            for one in self.instances:
                self.heal(one)
                self.step(one)
            if any(one.generation < self.generation for one in self.instances) and self.rng.random() < 0.1:
                self.rebalance()
            if self.is_done():
                return
            if self.rng.random() < 0.05:
                self.look()
        raise AssertionError("the program of the model never ends")

    def is_done(self) -> bool:
        if any(one.unsent or one.behind or one.generation < self.generation for one in self.instances):
            return False
        held = {key: one.position[key] for one in self.instances for key in one.position}
        return all(held.get(key, 0) >= len(self.logs[key].records) for key in self.inputs)


def number_of(value: bytes) -> int:
    """Return a number of a value that is the same in every process."""
    return sum(value)


def run(seed: int) -> World:
    """Play one run; `ops` is its history."""
    return World(seed).play()


def promised(ops: list[Op]) -> str:
    """Return what the program of a history promises."""
    return next(op.value["guarantee"] for op in ops if op.f == "application")
