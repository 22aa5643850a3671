"""A small correct Kafka on a virtual clock, with all the legal oddity that a history may show.

Transactions are atomic; read_committed stops at the last stable offset; EndTxn is answered before the markers are
written; answers get lost (`info`), sends land late or never; producers die with their transaction open and the
coordinator aborts it later; aborted values and markers leave gaps; followers lag (short or empty polls); consumers are
reassigned, rewound after a failed transaction, and crash; log starts move; isolation is mixed; runs are killed.
`run(seed)` returns the operations of one run and what was true in it.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import Any

from harness.history import HARNESS, NEMESIS, Op

RC, RU = "read_committed", "read_uncommitted"
MILLI = 1_000_000


@dataclass
class Record:
    value: Any
    """None: a control record."""
    txn: Txn | None = None


@dataclass
class Txn:
    """A transaction as the brokers see it."""

    state: str = "open"
    members: list[tuple[str, int]] = field(default_factory=list)
    marked: set[str] = field(default_factory=set)
    """Keys that have its marker already."""


@dataclass
class Log:
    records: list[Record] = field(default_factory=list)
    start: int = 0

    def stable(self, key: str) -> int:
        for offset, record in enumerate(self.records):
            if record.txn is not None and key not in record.txn.marked:
                return offset
        return len(self.records)


@dataclass
class Client:
    process: int
    isolation: str
    held: list[str] = field(default_factory=list)
    position: dict[str, int] = field(default_factory=dict)
    alive: bool = True


class World:
    """One run."""

    def __init__(self, seed: int, *, ours: bool, killed: bool, retention: bool, mixed: bool, strings: bool) -> None:
        self.rng = random.Random(seed)
        self.ours, self.killed, self.retention, self.mixed, self.strings = ours, killed, retention, mixed, strings
        self.keys = [f"t{number // 2}/{number % 2}" for number in range(self.rng.choice((1, 2, 3, 4)))]
        self.logs = {key: Log() for key in self.keys}
        self.ops: list[Op] = []
        self.now = 0
        self.queue: list[tuple[int, int, Any]] = []
        self.ticket = 0
        self.next_process = 0
        self.next_value = 0
        self.failed_values: set[Any] = set()

    def spawn(self, steps: Any, after: int = 0) -> None:
        self.ticket += 1
        heapq.heappush(self.queue, (self.now + after, self.ticket, steps))

    def run_until_idle(self) -> None:
        while self.queue:
            time, _, steps = heapq.heappop(self.queue)
            self.now = max(self.now + 1, time)
            delay = next(steps, None)
            if delay is not None:
                self.spawn(steps, delay)

    def pause(self, most: int = 20) -> int:
        return self.rng.randrange(1, most * MILLI)

    def record(self, process: Any, type_: Any, f: str, value: Any = None, **fields: Any) -> None:
        self.now += 1
        self.ops.append(Op(process=process, type=type_, f=f, value=value, index=len(self.ops), time=self.now, **fields))

    def client(self) -> Client:
        process = self.next_process
        self.next_process += 1
        return Client(process, RU if self.mixed and self.rng.random() < 0.3 else RC)

    def value(self) -> Any:
        self.next_value += 1
        return f"v{self.next_value}" if self.strings else self.next_value

    # Brokers

    def append(self, key: str, value: Any, txn: Txn | None = None) -> int:
        log = self.logs[key]
        log.records.append(Record(value, txn))
        offset = len(log.records) - 1
        if txn is not None:
            txn.members.append((key, offset))
        return offset

    def end(self, txn: Txn, state: str) -> None:
        """Decide; the markers come later, key by key."""
        if txn.state != "open":
            return
        txn.state = state
        for key in dict.fromkeys(key for key, _ in txn.members):
            self.spawn(self.mark(txn, key), self.pause(30))

    def mark(self, txn: Txn, key: str):
        self.logs[key].records.append(Record(None))
        txn.marked.add(key)
        yield from ()

    def timeout(self, txn: Txn):
        yield self.pause(500)
        self.end(txn, "aborted")

    def late(self, key: str, value: Any):
        yield self.pause(200)
        self.append(key, value)

    def read(self, client: Client, key: str, limit: int) -> list[list[Any]]:
        log = self.logs[key]
        end = len(log.records) if client.isolation == RU else log.stable(key)
        at = max(client.position.get(key, 0), log.start)
        out: list[list[Any]] = []
        while at < end and len(out) < limit:
            record = log.records[at]
            aborted = record.txn is not None and record.txn.state == "aborted"
            if record.value is not None and not (aborted and client.isolation == RC):
                out.append([at, record.value])
            at += 1
        client.position[key] = at
        return out

    # Clients

    def poll(self, client: Client, *, everything: bool = False) -> list[Any]:
        answer = []
        if everything or self.rng.random() > 0.2:
            for key in client.held:
                if not everything and self.rng.random() < 0.3:
                    continue
                records = self.read(client, key, 10**6 if everything else self.rng.randrange(1, 6))
                if records:
                    answer.append([key, records])
        return ["poll", answer]

    def worker(self, client: Client, count: int):
        yield self.pause()
        for _ in range(count):
            choice = self.rng.random()
            if not client.held or choice < 0.08:
                yield from self.assign(client)
            elif choice < 0.12:
                yield from self.crash(client)
            elif client.isolation == RU or choice < 0.45:
                yield from self.polling(client)
            elif choice < 0.6:
                yield from self.sending(client)
            else:
                yield from self.transaction(client)
            if not client.alive:
                fresh = self.client()
                client.process, client.isolation = fresh.process, fresh.isolation
                client.held, client.position, client.alive = [], {}, True
            yield self.pause()

    def assign(self, client: Client):
        keys = sorted(self.rng.sample(self.keys, self.rng.randrange(1, len(self.keys) + 1)))
        self.record(client.process, "invoke", "assign", keys)
        yield self.pause(5)
        client.position = {key: at for key, at in client.position.items() if key in client.held and key in keys}
        client.held = keys
        self.record(client.process, "ok", "assign", keys, isolation=client.isolation)

    def crash(self, client: Client):
        self.record(client.process, "invoke", "crash")
        yield self.pause(5)
        client.alive = False
        self.record(client.process, "info", "crash")

    def polling(self, client: Client):
        before = dict(client.position)
        self.record(client.process, "invoke", "poll", [["poll"]])
        yield self.pause(5)
        start = self.now
        value = [self.poll(client)]
        end = self.now
        yield self.pause(5)
        outcome = self.rng.choice(("ok", "ok", "ok", "ok", "fail", "info"))
        if outcome == "fail":
            client.position = before
        client.alive = outcome != "info"
        self.record(client.process, outcome, "poll", value, isolation=client.isolation, times=[[start, end]])

    def sending(self, client: Client):
        asked = [["send", self.rng.choice(self.keys), self.value()] for _ in range(self.rng.choice((1, 1, 2)))]
        self.record(client.process, "invoke", "send", asked)
        yield self.pause(10)
        value, outcome = [], "ok"
        for _, key, v in asked:
            luck = self.rng.random()
            if outcome == "ok" and luck < 0.85:
                value.append(["send", key, [self.append(key, v), v]])
                continue
            value.append(["send", key, v])
            if outcome == "info":
                continue  # an idempotent producer sends nothing behind a send that it gave up
            outcome = "info"
            if luck < 0.93:
                self.append(key, v)  # the answer got lost
            elif luck < 0.96:
                self.spawn(self.late(key, v))
        yield self.pause(10)
        client.alive = outcome == "ok"
        self.record(client.process, outcome, "send", value)

    def transaction(self, client: Client):
        asked: list[list[Any]] = [
            ["poll"] if self.rng.random() < 0.4 else ["send", self.rng.choice(self.keys), self.value()]
            for _ in range(self.rng.randrange(1, 5))
        ]
        txn, before = Txn(), dict(client.position)
        self.record(client.process, "invoke", "txn", asked)
        self.spawn(self.timeout(txn), 400 * MILLI)
        value, times = [], []
        for micro in asked:
            yield self.pause(5)
            start = self.now
            if micro[0] == "poll":
                value.append(self.poll(client))
            elif self.rng.random() < 0.95:
                value.append(["send", micro[1], [self.append(micro[1], micro[2], txn), micro[2]]])
            else:
                self.append(micro[1], micro[2], txn)
                value.append(micro)  # the acknowledgement held no offset
            times.append([start, self.now])
        yield self.pause(5)
        luck = self.rng.random()
        fields: dict[str, Any] = {"times": times, "txn_id": f"h-{client.process}", "isolation": client.isolation}
        if luck < 0.12:
            outcome, fields["commit_time"] = "fail", None
            self.end(txn, "aborted")
        elif luck < 0.18:
            outcome, fields["commit_time"] = "info", None  # the client died with its transaction open
        else:
            fields["commit_time"] = self.now
            yield self.pause(5)
            if txn.state == "open" and luck < 0.9:
                self.end(txn, "committed")
                outcome = "ok" if luck < 0.85 else "info"
            else:
                outcome = "info"
                if luck < 0.95:
                    self.end(txn, "aborted")
        yield self.pause(5)
        if outcome == "fail":
            client.position = before
            self.failed_values |= {micro[2] for micro in asked if micro[0] == "send"}
        client.alive = outcome != "info"
        self.record(client.process, outcome, "txn", value, **fields)

    def retain(self):
        """Log starts move; probes see them."""
        for _ in range(3):
            yield self.pause(200)
            key = self.rng.choice(self.keys)
            log = self.logs[key]
            log.start = self.rng.randrange(log.start, log.stable(key) + 1)
            self.record("probe/n1", "invoke", "probe", {"api": "ListOffsets", "key": key})
            self.record("probe/n1", "ok", "probe", {"api": "ListOffsets", "key": key, "log-start": log.start})

    # The run

    def play(self) -> list[Op]:
        if self.ours:
            self.record(HARNESS, "info", "phase", "main")
        for _ in range(self.rng.randrange(2, 6)):
            self.spawn(self.worker(self.client(), self.rng.randrange(3, 14)))
        if self.retention:
            self.spawn(self.retain())
        if self.ours and self.rng.random() < 0.5:
            self.spawn(self.break_something())
        self.run_until_idle()
        if self.killed:
            return self.ops[: self.rng.randrange(1, len(self.ops) + 1)]
        if self.ours:
            self.record(HARNESS, "info", "phase", "heal")
            self.record(HARNESS, "info", "phase", "drain")
        self.final_reads()
        return self.ops

    def break_something(self):
        yield self.pause(50)
        value = {"fault-id": 1, "nodes": ["n1"], "keys": self.keys[:1], "evidence": {}, "bit": True, "expects": "stall"}
        self.record(NEMESIS, "invoke", "pause-followers", {"keys": self.keys[:1]})
        self.record(NEMESIS, "info", "pause-followers", value)
        yield self.pause(100)
        self.record(NEMESIS, "invoke", "heal", {"fault-id": 1})
        self.record(NEMESIS, "info", "heal", {"fault-id": 1})

    def final_reads(self) -> None:
        for key in self.keys:
            client = Client(self.next_process, RC, [key])
            self.next_process += 1
            self.record(client.process, "invoke", "assign", [key], seek_to_beginning=True)
            self.record(client.process, "ok", "assign", [key], isolation=RC, seek_to_beginning=True)
            self.record(client.process, "invoke", "poll", [["poll"]])
            self.record(client.process, "ok", "poll", [self.poll(client, everything=True)], isolation=RC)
        for key in self.keys if self.ours else ():
            end = len(self.logs[key].records)
            value = {"key": key, "end": end, "lso": end, "read-to": end, "complete": True}
            self.record(HARNESS, "info", "drain", value)


def run(seed: int) -> World:
    """Play one run; its character is drawn from the seed."""
    rng = random.Random(seed * 7919 + 1)
    ours = rng.random() < 0.6
    world = World(
        seed,
        ours=ours,
        killed=ours and rng.random() < 0.25,
        retention=rng.random() < 0.25,
        mixed=rng.random() < 0.3,
        strings=rng.random() < 0.3,
    )
    world.ops = world.play()
    return world
