"""The correct Kafka of `kafka_model` on topics that drop records by themselves: compacted ones, or with a retention.

Three replicas clean each by itself, at their own times, and leaders change between and within reads. Compaction takes
away what a later committed record of the same record key replaces, aborted data, and tombstones that were clean for
delete.retention.ms; a record key's last word stays. Retention takes a prefix whose youngest record is old enough; each
replica has a log start of its own. Sends carry record keys; scans read whole partitions; some reads ask for offsets
that may be gone, and are told so.
`run(seed)` returns the operations of one run and what was true in it; `world.options` are the settings of its topics.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from checkers.options import CheckOptions
from harness.history import Op
from tests.checkers.kafka_model import MILLI, RC, Client, World

REPLICAS = 3
KEEP_MS = 120
"""delete.retention.ms, or retention.ms."""
ALIVE = 5
"""Record keys that are written."""


@dataclass
class Replica:
    """What one replica of a partition still holds."""

    gone: set[int] = field(default_factory=set)
    clean_since: dict[int, int] = field(default_factory=dict)
    """Offset of a tombstone -> when nothing older of its record key was left."""
    start: int = 0


class ForgettingWorld(World):
    """One run."""

    def __init__(self, seed: int, *, compacted: bool, **character: bool) -> None:
        super().__init__(seed, **character)
        self.compacted = compacted
        keep = {"delete_retention_ms": KEEP_MS} if compacted else {"retention_ms": KEEP_MS}
        self.options = CheckOptions(compacted=compacted, **keep)
        self.replicas = {key: [Replica() for _ in range(REPLICAS)] for key in self.keys}
        self.leader = dict.fromkeys(self.keys, 0)
        self.names = [f"k{number}" for number in range(ALIVE)]
        self.born = ALIVE
        self.seen: dict[Any, dict[str, Any]] = {}
        """Value -> what its record carries beside it."""
        self.stamp: dict[Any, int] = {}
        self.acknowledged: list[tuple[str, int]] = []
        self.happened: Counter[str] = Counter()
        """How often each thing was seen that makes these topics odd."""

    # What is written

    def value(self) -> Any:
        value = super().value()
        at = self.rng.randrange(len(self.names))
        self.seen[value] = {"record-key": self.names[at]}
        if self.compacted and self.rng.random() < 0.3:
            self.seen[value]["tombstone"] = True
            if self.rng.random() < 0.7:  # the key is dead for ever
                self.names[at], self.born = f"k{self.born}", self.born + 1
        return value

    def record(self, process: Any, type_: Any, f: str, value: Any = None, **fields: Any) -> None:
        if f in {"send", "txn"}:
            value = [self._sent(micro) if micro[0] == "send" else micro for micro in value]
        super().record(process, type_, f, value, **fields)
        for micro in value if f in {"send", "txn"} else ():
            if micro[0] == "send":
                self.stamp.setdefault(micro[2][1], self.now)
                if f == "send" and type_ == "ok":
                    self.acknowledged.append((micro[1], micro[2][0]))

    def _sent(self, micro: list[Any]) -> list[Any]:
        offset, value = micro[2] if isinstance(micro[2], list) else (None, micro[2])
        return ["send", micro[1], [offset, value, self.seen[value]]]

    # Brokers

    def shown(self, key: str, offset: int, isolation: str) -> list[Any] | None:
        """Return a record as the leader shows it, None where it shows nothing."""
        record, replica = self.logs[key].records[offset], self.replicas[key][self.leader[key]]
        if record.value is None or offset in replica.gone or offset < replica.start:
            return None
        if isolation == RC and record.txn is not None and record.txn.state == "aborted":
            return None
        return [offset, record.value, self.seen[record.value]]

    def read(self, client: Client, key: str, limit: int) -> list[list[Any]]:
        log = self.logs[key]
        end = log.stable(key) if client.isolation == RC else len(log.records)
        at, found = client.position.get(key, 0), []
        while at < end and len(found) < limit:
            record = self.shown(key, at, client.isolation)
            found += [record] if record is not None else []
            at += 1
        client.position[key] = at
        return found

    def elections(self):
        for _ in range(self.rng.randrange(8)):
            yield self.pause(150)
            self.leader[self.rng.choice(self.keys)] = self.rng.randrange(REPLICAS)

    def cleaner(self, key: str, replica: Replica):
        for _ in range(self.rng.randrange(2, 8)):
            yield self.pause(120)
            (self.compact if self.compacted else self.expire)(key, replica)

    def compact(self, key: str, replica: Replica) -> None:
        records = self.logs[key].records
        end = self.rng.randrange(self.logs[key].stable(key) + 1)
        words = {o: r for o, r in enumerate(records[:end]) if o not in replica.gone and r.value is not None}
        for offset in [o for o, r in words.items() if r.txn is not None and r.txn.state == "aborted"]:
            replica.gone.add(offset)
            del words[offset]
        last = {self.seen[r.value]["record-key"]: offset for offset, r in words.items()}
        for offset, record in words.items():
            seen = self.seen[record.value]
            if last[seen["record-key"]] != offset:
                replica.gone.add(offset)
                self.happened["replaced"] += 1
            elif seen.get("tombstone"):
                since = replica.clean_since.setdefault(offset, self.now)
                if self.now - since >= KEEP_MS * MILLI:
                    replica.gone.add(offset)
                    self.happened["forgotten"] += 1

    def expire(self, key: str, replica: Replica) -> None:
        """Drop a prefix whose youngest record has been there long enough; never what is undecided."""
        end = self.rng.randrange(self.logs[key].stable(key) + 1)
        values = [r.value for r in self.logs[key].records[replica.start : end] if r.value is not None]
        if all(self.now - self.stamp[value] >= KEEP_MS * MILLI for value in values):
            self.happened["expired"] += len(values)
            replica.start = max(replica.start, end)

    # Readers

    def scanner(self):
        for _ in range(self.rng.randrange(1, 8)):
            yield self.pause(100)
            yield from self.scan(self.rng.choice(self.keys))

    def scan(self, key: str):
        process, self.next_process = self.next_process, self.next_process + 1
        self.record(process, "invoke", "scan", key)
        start, end, at, found = self.now, self.logs[key].stable(key), 0, []
        while at < end:
            until = min(end, at + self.rng.randrange(1, 12))
            found += [record for o in range(at, until) if (record := self.shown(key, o, RC)) is not None]
            at = until
            yield self.pause(8)
        value, fields = [["poll", [[key, found]] if found else []]], {"times": [[start, self.now]], "isolation": RC}
        self.record(process, "ok", "scan", value, extra={"end": end, "key": key}, **fields)

    def asker(self):
        """Read at offsets that were acknowledged some time ago."""
        for _ in range(self.rng.randrange(1, 8)):
            yield self.pause(100)
            if not self.acknowledged:
                continue
            key, offset = self.rng.choice(self.acknowledged)
            process, self.next_process = self.next_process, self.next_process + 1
            self.record(process, "invoke", "read-at", [key, offset])
            told, found = None, None
            if offset < self.replicas[key][self.leader[key]].start:
                told = "_AUTO_OFFSET_RESET"
                self.happened["told"] += 1
            else:
                places = range(offset, self.logs[key].stable(key))
                found = next((record for o in places if (record := self.shown(key, o, RC)) is not None), None)
            yield self.pause(5)
            value = [["poll", [[key, [found]]] if found else []]]
            self.record(process, "ok", "read-at", value, isolation=RC, extra={"at": offset, "told": told, "key": key})

    def play(self) -> list[Op]:
        for key in self.keys:
            for replica in self.replicas[key]:
                self.spawn(self.cleaner(key, replica), self.pause(100))
        self.spawn(self.elections())
        for _ in range(2):
            self.spawn(self.scanner(), self.pause(100))
        if not self.compacted:
            self.spawn(self.asker(), self.pause(100))
        return super().play()

    def final_reads(self) -> None:
        super().final_reads()
        for key in self.keys:
            for _ in range(2):
                self.spawn(self.scan(key), self.pause(200))
        self.run_until_idle()


def run(seed: int, *, compacted: bool | None = None) -> ForgettingWorld:
    """Play one run; its character is drawn from the seed."""
    rng = random.Random(seed * 15_485_863 + 5)
    ours = rng.random() < 0.6
    drawn = rng.random() < 0.6
    world = ForgettingWorld(
        seed,
        compacted=drawn if compacted is None else compacted,
        ours=ours,
        killed=ours and rng.random() < 0.2,
        retention=False,
        mixed=rng.random() < 0.3,
        strings=rng.random() < 0.2,
    )
    world.ops = world.play()
    return world


def compacted(seed: int) -> ForgettingWorld:
    """Play one run on compacted topics."""
    return run(seed, compacted=True)


def expiring(seed: int) -> ForgettingWorld:
    """Play one run on topics with a retention."""
    return run(seed, compacted=False)
