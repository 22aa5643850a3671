"""Shrinking: from a simulated run that failed to the least one that fails in the same way.

A `Case` is all that a simulated run depends on: scenario, operations by the book, faults by the plan. `Shrinker` tries
smaller cases, each a whole run, and keeps those that still show the anomaly:

    the book cut behind the proof -> faults -> threads -> operations -> micro-operations and flags -> partitions, nodes
    -> times; again from the faults, until nothing gets smaller or the budget is spent

Faults and operations go by delta debugging (Zeller, Hildebrandt 2002: ddmin), first in halves, at last one by one.
Every change moves the draws of the whole world, so a case may fail no more for another reason than the part that went;
coarse steps therefore get a second and a third seed. That loses nothing: whatever is kept is a run that failed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from harness.generator import SECOND_NS
from harness.scenario import Scenario
from nemesis.plan import FaultEntry
from workloads.script import ScriptedOp

T = TypeVar("T")

SEEDS: Final = 3
"""So many worlds a coarse step is tried in."""
MARGIN_S: Final = 1.0
"""The main phase goes on so long behind the last operation or fault."""
ROUNDS: Final = 4
"""Rounds of all passes; a round that changes nothing ends it sooner."""
FAULT_LENGTHS: Final = (0.25, 0.5)
"""Parts of a fault's length that are tried."""
NODE_COUNTS: Final = (1, 3)


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module. `probes`: nodes are asked all the time; `waits`: for progress after healing."""

    scenario: Scenario
    ops: tuple[ScriptedOp, ...]
    faults: tuple[FaultEntry, ...] = ()
    probes: bool = True
    waits: bool = True

    @property
    def size(self) -> tuple[int, ...]:
        """What is made small, the most important first."""
        scenario = self.scenario
        micro_ops = sum(len(op.value) if op.f in {"send", "poll", "txn"} else 1 for op in self.ops)
        cluster = (scenario.nodes, scenario.topics * scenario.partitions, scenario.concurrency)
        return len(self.faults), len(self.ops), micro_ops, *cluster, int(scenario.time_limit_s * 1000)

    def described(self) -> str:
        """Say how large it is, in one line."""
        scenario = self.scenario
        return (
            f"{_count(len(self.faults), 'fault')}, {_count(len(self.ops), 'operation')}, "
            f"{_count(scenario.concurrency, 'client')}, {_count(scenario.nodes, 'node')}, "
            f"{_count(scenario.topics * scenario.partitions, 'partition')}, {scenario.time_limit_s:g} s"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def story(case: Case) -> list[str]:
    """Return the case as lines to read aloud, in the order of time."""
    lines = [(op.at_ns / SECOND_NS, f"client {op.thread}: {_said(op)}") for op in case.ops]
    for fault in case.faults:
        what = " + ".join(fault.faults)
        lines.append((fault.at_s, f"fault: {what} of {', '.join(fault.keys)}, for {fault.length_s:g} s"))
    return [f"{at_s:7.3f} s  {text}" for at_s, text in sorted(lines, key=lambda line: line[0])]


def _said(op: ScriptedOp) -> str:
    if op.f in {"send", "poll", "txn"}:
        parts = [f"send {part[2]} to {part[1]}" if part[0] == "send" else "poll" for part in op.value]
        text = ", ".join(parts)
        if op.f != "txn":
            return text
        return f"transaction: {text}, {'abort' if op.abort else 'crash' if op.crash else 'commit'}"
    return op.f if op.value is None else f"{op.f} {', '.join(map(str, op.value))}"


Fails = Callable[[Case], bool]
"""Run a case; whether it shows the anomaly."""


class OutOfBudgetError(Exception):
    """The time is spent; what was found so far counts."""


class Shrinker:
    """See the module. `spent` says whether the budget is; `best` is the least case that failed so far."""

    def __init__(self, case: Case, fails: Fails, spent: Callable[[], bool]) -> None:
        """Begin with a case that fails."""
        self.best = case
        self.runs = 0
        self._fails, self._spent = fails, spent
        self._tried: set[bytes] = set()

    def shrink(self, proof_ns: int) -> Case:
        """Return the least case found; `proof_ns`: when the last operation of the anomaly's proof was complete."""
        try:
            self._cut(proof_ns)
            for _ in range(ROUNDS):
                before = self.best.size
                for one_pass in (self._faults, self._threads, self._ops, self._micro_ops, self._cluster, self._times):
                    one_pass()
                if self.best.size == before:
                    break
        except OutOfBudgetError:
            pass
        return self.best

    def _try(self, case: Case, *, worlds: int = 1) -> bool:
        """Run a case, in some worlds; keep it if it fails in one."""
        for world in range(worlds):
            scenario = msgspec.structs.replace(case.scenario, seed=case.scenario.seed + world)
            one = msgspec.structs.replace(case, scenario=scenario)
            key = msgspec.json.encode(one)
            if key in self._tried:
                continue
            if self._spent():
                raise OutOfBudgetError
            self._tried.add(key)
            self.runs += 1
            if self._fails(one):
                self.best = one
                return True
        return False

    def _with(self, *, worlds: int = 1, **changes: Any) -> bool:
        return self._try(msgspec.structs.replace(self.best, **changes), worlds=worlds)

    def _scenario(self, *, worlds: int = 1, **changes: Any) -> bool:
        return self._with(scenario=msgspec.structs.replace(self.best.scenario, **changes), worlds=worlds)

    # The passes.

    def _cut(self, proof_ns: int) -> None:
        """Drop what came behind the proof, and what only watches."""
        for slack_s in (0, 1, 5):
            end_ns = proof_ns + slack_s * SECOND_NS
            ops = tuple(op for op in self.best.ops if op.at_ns <= end_ns)
            faults = tuple(fault for fault in self.best.faults if fault.at_s * SECOND_NS <= end_ns)
            if self._try(_fitted(msgspec.structs.replace(self.best, ops=ops, faults=faults)), worlds=SEEDS):
                break
        self._with(probes=False, waits=False, worlds=SEEDS)

    def _faults(self) -> None:
        self._ddmin(self.best.faults, lambda faults: self._try(_fitted(self._case(faults=tuple(faults))), worlds=SEEDS))

    def _threads(self) -> None:
        threads = sorted({op.thread for op in self.best.ops})

        def keep(some: Sequence[int]) -> bool:
            ops = tuple(op for op in self.best.ops if op.thread in some)
            return self._try(_fitted(self._case(ops=ops)), worlds=SEEDS)

        self._ddmin(threads, keep)

    def _ops(self) -> None:
        coarse = len(self.best.ops) // 8

        def keep(some: Sequence[ScriptedOp]) -> bool:
            worlds = SEEDS if len(self.best.ops) - len(some) > coarse or len(some) <= 2 * SEEDS else 1
            return self._try(_fitted(self._case(ops=tuple(some))), worlds=worlds)

        self._ddmin(self.best.ops, keep)

    def _micro_ops(self) -> None:
        """Shorten each op, and take its flags away."""
        for position in range(len(self.best.ops)):
            while any(self._with(ops=ops) for ops in self._simpler(position)):
                pass

    def _simpler(self, position: int) -> Iterator[tuple[ScriptedOp, ...]]:
        ops = self.best.ops
        for simpler in _simpler(ops[position]):
            yield (*ops[:position], simpler, *ops[position + 1 :])

    def _cluster(self) -> None:
        """Fewer clients, partitions and nodes."""
        self._try(_dense_threads(self.best), worlds=SEEDS)
        self._try(_dense_keys(self.best), worlds=SEEDS)
        for nodes in NODE_COUNTS:
            if nodes < self.best.scenario.nodes:
                replication = min(self.best.scenario.replication, nodes)
                min_isr = min(self.best.scenario.min_isr, replication)
                if self._scenario(nodes=nodes, replication=replication, min_isr=min_isr, worlds=SEEDS):
                    break

    def _times(self) -> None:
        """Shorter faults, less waiting."""
        for position in range(len(self.best.faults)):
            for part in FAULT_LENGTHS:
                faults = self.best.faults
                fault = faults[position]
                shorter = msgspec.structs.replace(fault, length_s=round(fault.length_s * part, 3))
                if self._with(faults=(*faults[:position], shorter, *faults[position + 1 :])):
                    break
        self._try(_sooner(self.best), worlds=SEEDS)
        self._try(_fitted(self.best))

    def _case(self, **changes: Any) -> Case:
        return msgspec.structs.replace(self.best, **changes)

    def _ddmin(self, items: Sequence[T], keep: Callable[[Sequence[T]], bool]) -> None:
        """Find a small part of the items that is enough; `keep` tries one, and remembers it when it is."""
        if not items or keep([]):
            return
        left, parts = list(items), 2
        while len(left) > 1:
            for some in _without_each(left, parts):
                if keep(some):
                    left, parts = some, max(parts - 1, 2)
                    break
            else:
                if parts >= len(left):
                    return
                parts = min(parts * 2, len(left))


def _without_each(items: list[T], parts: int) -> Iterator[list[T]]:
    """Yield the items without their first, second ... of so many parts, the last part first: it depends on the rest."""
    edges = [round(i * len(items) / parts) for i in range(parts + 1)]
    for low, high in reversed(list(itertools.pairwise(edges))):
        yield items[:low] + items[high:]


def _fitted(case: Case) -> Case:
    """Return the case with a main phase that ends soon after its last operation and fault."""
    ends = [op.at_ns / SECOND_NS for op in case.ops] + [fault.at_s for fault in case.faults]
    limit_s = min(case.scenario.time_limit_s, round(max(ends, default=0.0) + MARGIN_S, 1))
    return msgspec.structs.replace(case, scenario=msgspec.structs.replace(case.scenario, time_limit_s=limit_s))


def _simpler(op: ScriptedOp) -> Iterator[ScriptedOp]:
    """Yield the op with less in it."""
    if op.abort or op.crash:
        yield msgspec.structs.replace(op, abort=False, crash=False)
    if isinstance(op.value, list) and len(op.value) > 1:
        for position in reversed(range(len(op.value))):
            yield msgspec.structs.replace(op, value=op.value[:position] + op.value[position + 1 :])
        yield msgspec.structs.replace(op, value=op.value[:1])


def _dense_threads(case: Case) -> Case:
    """Return the case with just as many clients as have something to do."""
    number = {thread: index for index, thread in enumerate(sorted({op.thread for op in case.ops}))}
    ops = tuple(msgspec.structs.replace(op, thread=number[op.thread]) for op in case.ops)
    scenario = msgspec.structs.replace(case.scenario, concurrency=max(len(number), 1))
    return msgspec.structs.replace(case, ops=ops, scenario=scenario)


def _keys_of(op: ScriptedOp) -> list[str]:
    match op.f:
        case "send" | "poll" | "txn":
            return [part[1] for part in op.value if part[0] == "send"]
        case "assign" | "subscribe":
            return list(op.value)
        case "commit":
            return [key for key, _ in op.value]
        case _:
            return []


def _dense_keys(case: Case) -> Case:
    """Return the case on one topic with just the partitions that are written, read or aimed at."""
    used = {key for op in case.ops for key in _keys_of(op)} | {key for fault in case.faults for key in fault.keys}
    prefix = case.scenario.prefix
    new = {key: f"{prefix}t0/{index}" for index, key in enumerate(sorted(used))}

    def renamed(op: ScriptedOp) -> ScriptedOp:
        match op.f:
            case "send" | "poll" | "txn":
                value: Any = [["send", new[p[1]], *p[2:]] if p[0] == "send" else p for p in op.value]
            case "assign" | "subscribe":
                value = [new[key] for key in op.value]
            case "commit":
                value = [[new[key], offset] for key, offset in op.value]
            case _:
                value = op.value
        return msgspec.structs.replace(op, value=value)

    faults = tuple(msgspec.structs.replace(fault, keys=tuple(new[key] for key in fault.keys)) for fault in case.faults)
    scenario = msgspec.structs.replace(case.scenario, topics=1, partitions=max(len(used), 1))
    return msgspec.structs.replace(case, ops=tuple(map(renamed, case.ops)), faults=faults, scenario=scenario)


def _sooner(case: Case) -> Case:
    """Return the case without the time in which nothing happens at its beginning, but for a moment."""
    starts = [op.at_ns / SECOND_NS for op in case.ops] + [fault.at_s for fault in case.faults]
    early_s = int(max(min(starts, default=0.0) - 0.1, 0.0) * 1000) / 1000
    ops = tuple(msgspec.structs.replace(op, at_ns=op.at_ns - int(early_s * SECOND_NS)) for op in case.ops)
    faults = tuple(msgspec.structs.replace(f, at_s=round(f.at_s - early_s, 3)) for f in case.faults)
    return _fitted(msgspec.structs.replace(case, ops=ops, faults=faults))
