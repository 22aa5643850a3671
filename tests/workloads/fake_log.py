"""A correct Kafka of a few lines for tests of generators: logs in memory, transactions that commit or abort at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.history import FAIL, INFO, NEMESIS, OK, Op
from harness.random import Rng
from harness.simulate import simulate

MS = 1_000_000
POLL_MAX = 100


@dataclass
class FakeLog:
    """Logs per key; `unstable`: keys whose transactions never end; `seed` draws latencies and client crashes."""

    keys: tuple[str, ...]
    unstable: frozenset[str] = frozenset()
    info_share: float = 0.0
    rng: Rng = field(default_factory=lambda: Rng(1))

    def __post_init__(self) -> None:
        self.logs: dict[str, list[Any]] = {key: [] for key in self.keys}
        self.positions: dict[Any, dict[str, int]] = {}
        self.ops: list[Op] = []

    def run(self, generator, concurrency: int, nodes: tuple[str, ...] = ()) -> list[Op]:
        others = (NEMESIS, *(f"probe/{n}" for n in nodes))
        simulate(generator, concurrency, self.perform, self.ops.append, others)
        return self.ops

    def perform(self, op: Op, now: int) -> tuple[Op, int]:
        number, self.rng = self.rng.draw()
        at = now + int(20 * MS * number)
        if op.process == NEMESIS:
            return self._nemesis(op), at
        if isinstance(op.process, str):
            return op.completed(OK, value=op.value), at
        number, self.rng = self.rng.draw()
        if op.f == "crash" or op.crash:
            return op.completed(INFO), at
        if op.f in {"send", "txn"} and number < self.info_share:
            return op.completed(INFO), at + 500 * MS
        return self._client(op), at

    def _nemesis(self, op: Op) -> Op:
        if op.f == "await-stable":
            ends = {k: [0 if k in self.unstable else len(self.logs[k]), len(self.logs[k])] for k in op.value["keys"]}
            return op.completed(INFO, value={"ends": ends, "full-isr": True, "stable": not self.unstable})
        return op.completed(INFO, value={"bit": True})

    def _client(self, op: Op) -> Op:
        held = self.positions.setdefault(op.process, {})
        if op.f in {"assign", "subscribe"}:
            kept = {} if op.seek_to_beginning else held
            self.positions[op.process] = {key: kept.get(key, 0) for key in op.value}
            return op.completed(OK)
        if op.f == "committed":
            return op.completed(OK, value=[])
        if op.abort:
            return op.completed(FAIL, error={"name": "DELIBERATE_ABORT"})
        before = {key: len(log) for key, log in self.logs.items()}  # nobody reads what is not committed
        value = [self._micro_op(micro_op, held, before) for micro_op in op.value]
        positions = [[key, at] for key, at in held.items()] if op.f == "poll" else None
        return op.completed(OK, value=value, positions=positions)

    def _micro_op(self, micro_op: list[Any], held: dict[str, int], before: dict[str, int]) -> list[Any]:
        if micro_op[0] == "send":
            log = self.logs[micro_op[1]]
            log.append(micro_op[2])
            return ["send", micro_op[1], [len(log) - 1, micro_op[2]]]
        polled = []
        for key, at in held.items():
            records = list(enumerate(self.logs[key][at : min(at + POLL_MAX, before[key])], at))
            held[key] = at + len(records)
            if records:
                polled.append([key, [list(record) for record in records]])
        return ["poll", polled]
