"""Makes a run's folder as a real run leaves it, from a small model of a cluster: nothing is started.

The model keeps a log per partition; workers run transactions and polls on it, leaders are killed and elected, probes
ask every node. The result follows HISTORY.md, so the real readers and checkers can take it. Anomalies are planted:
the model forgets acknowledged records, serves one twice, shows an aborted one.
"""

from __future__ import annotations

import heapq
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness import history
from harness.history import Op
from harness.scenario import Scenario

MS = 1_000_000
S = 1_000_000_000
NODES = ("n1", "n2", "n3")
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">&\u2028'"


@dataclass
class Record:
    value: Any
    visible_from: int | None
    """When its transaction ended; None: aborted, never visible."""


@dataclass
class Plan:
    """What to plant."""

    ops: int = 3_000
    seed: int = 1
    lost: int = 0
    duplicates: int = 0
    aborted_reads: int = 0
    hostile: bool = False
    faults: int = 4
    fault_name: str = "kill-leader"
    missed: int = 0
    workers: int = 10
    partitions: int = 3
    rate: float = 60.0
    """Operations a second of all workers."""


@dataclass
class Planted:
    name: str
    key: str
    offset: int
    value: Any
    ops: list[Op] = field(default_factory=list)


class Model:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.keys = [f"t{topic}/{part}" for topic in range(2) for part in range(plan.partitions)]
        if plan.hostile:
            self.keys[0] = 't"<b>&/0'
        self.log: dict[str, list[Record]] = {key: [] for key in self.keys}
        self.leader = {key: NODES[i % 3] for i, key in enumerate(self.keys)}
        self.epoch = dict.fromkeys(self.keys, 1)
        self.isr = {key: list(NODES) for key in self.keys}
        self.changes: dict[str, list[tuple[int, str | None, int, list[str]]]] = {
            key: [(0, self.leader[key], 1, list(NODES))] for key in self.keys
        }
        self.events: list[tuple[int, int, Op]] = []
        self.sequence = 0
        self.value = 0
        self.position: dict[int, dict[str, int]] = {}
        self.planted: list[Planted] = []
        self.duration = int(plan.ops / plan.rate * S)
        self.windows: list[tuple[int, int, str]] = []

    def emit(self, time: int, op: Op) -> None:
        self.sequence += 1
        self.events.append((time, self.sequence, op))

    # faults

    def make_faults(self) -> None:
        count = self.plan.faults
        for number in range(count):
            begin = int(self.duration * (0.12 + 0.8 * number / max(1, count)))
            length = min(10 * S, int(self.duration * 0.45 / max(1, count)))
            key = self.random.choice(self.keys)
            victim = self.state(key, begin)[0] or "n1"
            bit = number >= self.plan.missed
            self.emit(begin, Op(process="nemesis", type="invoke", f=self.plan.fault_name, value={"keys": [key]}))
            election = int(self.random.uniform(0.4, 2.2) * S)
            evidence = {"pid-gone": bit, "new-leader": None, "after_ms": None}
            if bit:
                self.windows.append((begin, begin + length, victim))
                evidence = self.fail_over(victim, begin, begin + election, begin + length) | {"pid-gone": True}
            value = {
                "fault-id": number + 1,
                "nodes": [victim],
                "keys": [key],
                "evidence": evidence | {"after_ms": election // MS},
                "bit": bit,
                "expects": "progress",
            }
            self.emit(begin + 80 * MS, Op(process="nemesis", type="info", f=self.plan.fault_name, value=value))
            self.emit(begin + length, Op(process="nemesis", type="invoke", f="heal", value={"fault-id": number + 1}))
            healed = {"fault-id": number + 1, "evidence": {"pid": 4000 + number, "isr": 3}}
            self.emit(begin + length + 900 * MS, Op(process="nemesis", type="info", f="heal", value=healed))

    def fail_over(self, victim: str, begin: int, elected: int, heal: int) -> dict[str, Any]:
        new = ""
        for key in self.keys:
            leader, epoch, isr = self.state(key, begin)
            rest = [node for node in isr if node != victim]
            if leader == victim:
                new = rest[self.random.randrange(len(rest))]
                self.change(key, begin + 60 * MS, None, epoch + 1, rest)
                self.change(key, elected, new, epoch + 2, rest)
            else:
                self.change(key, begin + 900 * MS, leader, epoch, rest)
            last = self.changes[key][-1]
            self.change(key, heal + 2 * S, last[1], last[2], list(NODES))
        return {"new-leader": new}

    def change(self, key: str, time: int, leader: str | None, epoch: int, isr: list[str]) -> None:
        self.changes[key].append((time, leader, epoch, isr))

    def state(self, key: str, time: int) -> tuple[str | None, int, list[str]]:
        last = self.changes[key][0]
        for change in self.changes[key]:
            if change[0] > time:
                break
            last = change
        return last[1], last[2], last[3]

    def probes(self) -> None:
        step = max(S // 2, self.duration // 400)
        for time in range(S // 4, self.duration + 4 * S, step):
            down = {victim for begin, end, victim in self.windows if begin <= time < end}
            for node in NODES:
                if node in down:
                    continue
                for key in self.keys:
                    leader, epoch, isr = self.state(key, time)
                    ask = {"api": "Metadata", "key": key}
                    answer = ask | {"leader": leader, "epoch": epoch, "isr": isr}
                    who = f"probe/{node}"
                    self.emit(time, Op(process=who, type="invoke", f="probe", value=ask))
                    self.emit(time + 2 * MS, Op(process=who, type="ok", f="probe", value=answer))

    # clients

    def blocked(self, keys: list[str], time: int) -> int | None:
        """Return when every key has a leader again, None if now."""
        until = None
        for begin, _, victim in self.windows:
            if begin <= time < begin + 3 * S:
                for key in keys:
                    if self.state(key, begin - 1)[0] != victim:
                        continue
                    elected = [at for at, leader, _, _ in self.changes[key] if begin < at and leader is not None]
                    if elected and time < elected[0]:
                        until = max(until or 0, elected[0])
        return until

    def worker_op(self, process: int, time: int) -> tuple[int, bool]:
        """Run one operation; return (when it ended, whether the process may go on)."""
        if process not in self.position:
            self.position[process] = {}
            assigned = sorted(self.random.sample(self.keys, min(len(self.keys), 4)))
            self.emit(time, Op(process=process, type="invoke", f="assign", value=assigned))
            self.emit(time + 2 * MS, Op(process=process, type="ok", f="assign", value=assigned))
            for key in assigned:
                self.position[process][key] = max(0, len(self.log[key]) - 20)
            return time + 2 * MS, True
        sends = self.random.randint(0, 3)
        chosen = [self.random.choice(self.keys) for _ in range(sends)]
        polls = self.random.random() < 0.7 or not chosen
        f = "txn" if chosen and (polls or sends > 1) else "send" if chosen else "poll"
        micro: list[Any] = []
        for key in chosen:
            self.value += 1
            value = HOSTILE + str(self.value) if self.plan.hostile and self.value % 2 == 0 else self.value
            micro.append(["send", key, value])
        if polls:
            micro.append(["poll"])
        self.emit(time, Op(process=process, type="invoke", f=f, value=micro))
        latency = int(self.random.lognormvariate(2.6, 0.7) * MS) + 1 * MS
        waits = self.blocked(chosen, time)
        roll = self.random.random()
        outcome, error = "ok", None
        end = time + latency
        if waits is not None:
            end = waits + latency
            if roll < 0.55:
                outcome = "info"
                error = {"code": -185, "name": "_TIMED_OUT", "message": "commit_transaction", "retriable": True}
                end = time + 2 * S + latency
        elif chosen and roll < 0.05:
            outcome, error = (
                "fail",
                {"code": -1, "name": "ABORTED", "message": "aborted on purpose", "retriable": False},
            )
        committed = outcome == "ok" or (outcome == "info" and self.random.random() < 0.5)
        done = self.perform(process, micro, time, end, outcome, committed)
        fields: dict[str, Any] = {"txn_id": f"h-{process}"} if f == "txn" else {}
        op = Op(process=process, type=outcome, f=f, value=done, error=error, isolation="read_committed", **fields)
        self.emit(end, op)
        return end, outcome != "info"

    def perform(self, process: int, micro: list[Any], time: int, end: int, outcome: str, committed: bool) -> list[Any]:
        done: list[Any] = []
        for one in micro:
            if one[0] == "send":
                _, key, value = one
                self.log[key].append(Record(value, end if committed else None))
                known = outcome != "info"
                done.append(["send", key, [len(self.log[key]) - 1, value]] if known else ["send", key, value])
            else:
                done.append(["poll", self.poll(process, time, outcome == "ok")])
        return done

    def poll(self, process: int, time: int, advance: bool) -> list[Any]:
        polled: list[Any] = []
        for key, position in self.position[process].items():
            records: list[Any] = []
            place = position
            while place < len(self.log[key]) and len(records) < 4:
                record = self.log[key][place]
                if record.visible_from is not None and record.visible_from > time:
                    break
                if record.visible_from is not None:
                    records.append([place, record.value])
                place += 1
            if records:
                polled.append([key, records])
            if advance:
                self.position[process][key] = place
        return polled

    def run(self) -> list[Op]:
        self.emit(0, Op(process="harness", type="info", f="phase", value="setup"))
        self.emit(2 * MS, Op(process="harness", type="info", f="phase", value="main"))
        self.make_faults()
        self.probes()
        queue = [(3 * MS + i * MS, i) for i in range(self.plan.workers)]
        mean = max(1 * MS, self.plan.workers / self.plan.rate * S - 30 * MS)
        next_process = self.plan.workers
        while queue:
            time, process = heapq.heappop(queue)
            if time > self.duration:
                continue
            end, alive = self.worker_op(process, time)
            if not alive:
                process = process % self.plan.workers + (next_process // self.plan.workers) * self.plan.workers
                next_process += 1
                while process in self.position:
                    process += self.plan.workers
            heapq.heappush(queue, (end + int(self.random.expovariate(1 / mean)), process))
        self.emit(self.duration + S, Op(process="harness", type="info", f="phase", value="heal"))
        self.emit(self.duration + 2 * S, Op(process="harness", type="info", f="phase", value="drain"))
        self.plant()
        self.drain(max(self.position) + 1)
        ordered = sorted(self.events, key=lambda event: event[:2])
        return [op.at(index, time) for index, (time, _, op) in enumerate(ordered)]

    def drain(self, process: int) -> None:
        for number, key in enumerate(self.keys):
            start = self.duration + 2 * S + number * 50 * MS
            who = process + number
            self.emit(start, Op(process=who, type="invoke", f="assign", value=[key], seek_to_beginning=True))
            self.emit(start + MS, Op(process=who, type="ok", f="assign", value=[key], seek_to_beginning=True))
            records = [[i, r.value] for i, r in enumerate(self.log[key]) if r.visible_from is not None]
            for place in range(0, len(records), 500):
                at = start + (2 + place // 100) * MS
                self.emit(at, Op(process=who, type="invoke", f="poll", value=[["poll"]]))
                some = [["poll", [[key, records[place : place + 500]]]]]
                self.emit(at + MS, Op(process=who, type="ok", f="poll", value=some))
            end = len(self.log[key])
            value = {"key": key, "end": end, "lso": end, "read-to": end, "complete": True}
            self.emit(start + 2 * S, Op(process="harness", type="info", f="drain", value=value))

    # anomalies

    def plant(self) -> None:
        """Take acknowledged records out of every read, as if a new leader did not have them."""
        sends = [
            (index, time, op, micro)
            for index, (time, _, op) in enumerate(self.events)
            if isinstance(op.process, int) and op.type == "ok" and op.f in ("send", "txn")
            for micro in op.value
            if micro[0] == "send" and isinstance(micro[2], list)
        ]
        middle = [s for s in sends if 0.3 * self.duration < s[1] < 0.8 * self.duration]
        taken = self.random.sample(middle, min(len(middle), self.plan.lost)) if self.plan.lost else []
        for _, _, op, micro in taken:
            offset, value = micro[2]
            self.log[micro[1]][offset].visible_from = None
            self.forget(micro[1], offset)
            self.planted.append(Planted("lost-write", micro[1], offset, value, [op]))
        for _, _, op, micro in middle[: self.plan.duplicates]:
            offset, value = micro[2]
            self.log[micro[1]].append(Record(value, 0))
            self.planted.append(Planted("duplicate", micro[1], offset, value, [op]))
        aborted = [
            (op, micro)
            for _, _, op in self.events
            if isinstance(op.process, int) and op.type == "fail"
            for micro in op.value
            if micro[0] == "send" and isinstance(micro[2], list)
        ]
        for op, micro in aborted[3 : 3 + self.plan.aborted_reads]:
            offset, value = micro[2]
            self.log[micro[1]][offset].visible_from = 0
            self.planted.append(Planted("G1a", micro[1], offset, value, [op]))

    def forget(self, key: str, offset: int) -> None:
        for number, (time, sequence, op) in enumerate(self.events):
            if isinstance(op.process, int) and op.type != "invoke" and op.f in ("poll", "txn"):
                value = [
                    ["poll", [[k, [r for r in rs if not (k == key and r[0] == offset)]] for k, rs in micro[1]]]
                    if micro[0] == "poll"
                    else micro
                    for micro in op.value
                ]
                if value != op.value:
                    self.events[number] = (time, sequence, msgspec.structs.replace(op, value=value))


def readers(ops: list[Op], key: str, offset: int) -> list[Op]:
    """Return the ok completions that polled this place."""
    return [
        op
        for op in ops
        if isinstance(op.process, int) and op.type == "ok" and op.f in ("poll", "txn")
        for micro in op.value
        if micro[0] == "poll"
        for polled_key, records in micro[1]
        if polled_key == key and any(record[0] == offset for record in records)
    ]


def anomalies_of(model: Model, ops: list[Op], permitted: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    by_send = {
        (micro[1], json.dumps(micro[2])): op
        for op in ops
        if isinstance(op.process, int) and op.type in ("ok", "fail") and op.f in ("send", "txn")
        for micro in op.value
        if micro[0] == "send"
    }
    for plant in model.planted:
        writer = by_send[plant.key, json.dumps([plant.offset, plant.value])]
        other = readers(ops, plant.key, plant.offset) or readers(ops, plant.key, plant.offset + 1)
        reader = other[0] if other else writer
        why = {
            "lost-write": f"Process {writer.process} got an ok for {plant.value!r} at {plant.key}@{plant.offset}; "
            f"process {reader.process} read on past that place and did not see it, and nobody ever did.",
            "duplicate": f"{plant.value!r} was sent once and is at {plant.key}@{plant.offset} and again at the end.",
            "G1a": f"Process {writer.process} aborted {plant.value!r}, and process {reader.process} read it.",
        }[plant.name]
        entry = found.setdefault(plant.name, {"count": 0, "examples": []})
        entry["count"] += 1
        if permitted:
            entry["permitted-by"] = permitted
        example = {"key": plant.key, "offset": plant.offset, "value": plant.value, "why": why}
        entry["examples"].append(example | {"ops": sorted({writer.index, reader.index})})
    return found


def make_run(folder: Path, plan: Plan, *, permitted: str | None = None, valid: Any = None) -> list[Op]:
    """Write scenario.json, cluster.json, history.jsonl, verdict.json and a node's log; return the ops."""
    folder.mkdir(parents=True, exist_ok=True)
    model = Model(plan)
    ops = model.run()
    history.write(folder / "history.jsonl", ops)
    found = anomalies_of(model, ops, permitted)
    nemesis = plan.fault_name if plan.faults else "none"
    scenario = Scenario(cluster="jvm", nemesis=nemesis, seed=plan.seed, time_limit_s=60.0)
    (folder / "scenario.json").write_bytes(msgspec.json.encode(scenario))
    nodes = {name: {"id": i + 1, "roles": ["broker", "controller"]} for i, name in enumerate(NODES)}
    cluster = {"provider": "jvm", "version": "4.1.1", "cluster-id": "MkU3OEVBNTcwNTJENDM2Qk", "nodes": nodes}
    (folder / "cluster.json").write_bytes(msgspec.json.encode(cluster))
    verdict = {
        "valid": valid if valid is not None else not found,
        "anomalies": found,
        "allowed": {"int-send-skip": {"count": 12, "examples": []}},
        "not-checked": ["stale-poll: only with --fresh", "torn-transaction: no complete drain of t1/2"],
        "models": {"not": [], "also-not": []},
        "ops": sum(1 for op in ops if isinstance(op.process, int)),
        "seconds": 0.42,
    }
    (folder / "verdict.json").write_bytes(msgspec.json.encode(verdict))
    log = folder / "nodes" / "n1" / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("[2026-11-03 10:00:00,000] INFO started (kafka.server.KafkaRaftServer)\n")
    return ops


def make_long_run(folder: Path, calls: int, seed: int = 5) -> None:
    """Write a run of many calls quickly: random but of the shape of a real one; its verdict names two of its ops."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)
    keys = [f"t{topic}/{part}" for topic in range(2) for part in range(6)]
    busy: list[tuple[int, int, Op | None]] = [(worker * MS, worker, None) for worker in range(20)]
    ends = dict.fromkeys(keys, 0)
    lines: list[Op] = []

    def add(time: int, op: Op) -> None:
        lines.append(op.at(len(lines), time))

    add(0, Op(process="harness", type="info", f="phase", value="main"))
    started, next_process = 0, 20
    while busy:
        time, process, invocation = heapq.heappop(busy)
        if invocation is None:
            if started == calls:
                continue
            started += 1
            key = dice.choice(keys)
            value = [["send", key, started], ["poll"]] if dice.random() < 0.6 else [["poll"]]
            op = Op(process=process, type="invoke", f="txn" if len(value) == 2 else "poll", value=value)
            add(time, op)
            heapq.heappush(busy, (time + int(dice.lognormvariate(2.6, 0.8) * MS) + 100_000, process, op))
            continue
        roll = dice.random()
        outcome = "ok" if roll > 0.03 else "info" if roll > 0.02 else "fail"
        done: list[Any] = []
        for micro in invocation.value:
            key = dice.choice(keys)
            if micro[0] == "send":
                ends[micro[1]] += 1
                done.append(["send", micro[1], [ends[micro[1]], micro[2]]])
            else:
                done.append(["poll", [[key, [[place, place] for place in range(ends[key], ends[key] + 2)]]]])
        error = {"name": "_TIMED_OUT", "message": "commit_transaction"} if outcome == "info" else None
        add(time, invocation.completed(outcome, value=done, error=error))
        if outcome == "info":
            process, next_process = next_process, next_process + 1
        heapq.heappush(busy, (time + int(dice.expovariate(1 / (20 * MS))), process, None))
    history.write(folder / "history.jsonl", lines)
    (folder / "scenario.json").write_bytes(msgspec.json.encode(Scenario(seed=seed, concurrency=20)))
    sent = [op for op in lines[len(lines) // 2 :] if op.type == "ok" and op.f == "txn"][:2]
    micro = sent[0].value[0]
    example = {"key": micro[1], "value": micro[2][1], "ops": [op.index for op in sent], "why": "Made up for the test."}
    found = {"lost-write": {"count": 1, "examples": [example]}}
    verdict = {"valid": False, "anomalies": found, "allowed": {}, "not-checked": [], "models": {}, "ops": len(lines)}
    (folder / "verdict.json").write_bytes(msgspec.json.encode(verdict | {"seconds": 1.0, "reasons": []}))
