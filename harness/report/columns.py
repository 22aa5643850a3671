"""A history as the report needs it: client calls in columns, and the few other events as values.

One streaming pass over `history.jsonl`: each client invocation is joined with its completion and becomes one row of
typed columns (start, duration, process, kind, outcome, error, keys); record values are not kept. Events of other
sources (nemesis, harness, probes) are handed to a callback in history order, so that the whole history is never in
memory at once. A completion without an invocation (foreign histories) becomes a row of no duration. Rows are sorted
by start.

Processes are packed into *rows* for drawing: after `info` a process number is never used again and its worker goes on
under a new one, so a row is a worker, and its height on the screen does not grow with the length of the run.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.history import FAIL, INFO, INVOKE, OK, Op

OUTCOMES = (OK, FAIL, INFO, "pending")
"""What became of a call; "pending": no completion was recorded (the run ended first)."""

NO_COMPLETION = -1
MAX_ERROR_NAMES = 250
"""Distinct error names kept in the page (one byte each there); the rest are counted as "other"."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Calls:
    """Client calls sorted by start; all arrays but the key columns have one entry a call. Times in ns."""

    start: Ints
    end: Ints
    """The completion's time; the start where there is none."""
    process: Ints
    """Position in `processes`."""
    kind: Ints
    """Position in `kinds`."""
    outcome: Ints
    """Position in OUTCOMES."""
    error: Ints
    """0: none; else 1 + the position in `errors`."""
    invocation: Ints
    """Index of the invocation in the history (of the completion where there is none)."""
    completion: Ints
    """Index of the completion; NO_COMPLETION where there is none."""
    key_count: Ints
    key: Ints
    """Positions in `keys`, `key_count[i]` of them for call i, one after the other."""
    processes: Sequence[int]
    rows: Sequence[int]
    """The drawing row of each process."""
    kinds: Sequence[str]
    errors: Sequence[str]
    keys: Sequence[str]

    def __len__(self) -> int:
        return len(self.start)

    def select(self, chosen: npt.NDArray[np.bool_]) -> Calls:
        """Return only the chosen calls; the name tables stay."""
        owners = np.repeat(np.arange(len(self)), self.key_count)
        return Calls(
            start=self.start[chosen],
            end=self.end[chosen],
            process=self.process[chosen],
            kind=self.kind[chosen],
            outcome=self.outcome[chosen],
            error=self.error[chosen],
            invocation=self.invocation[chosen],
            completion=self.completion[chosen],
            key_count=self.key_count[chosen],
            key=self.key[chosen[owners]],
            processes=self.processes,
            rows=self.rows,
            kinds=self.kinds,
            errors=self.errors,
            keys=self.keys,
        )


def micro_ops(op: Op) -> Iterator[Sequence[Any]]:
    """Yield the op's micro-ops, leaving out anything that doesn't have a micro-op's shape (values are foreign)."""
    if isinstance(op.value, list):
        for micro in op.value:
            if isinstance(micro, list) and micro and isinstance(micro[0], str):
                yield micro


def keys_of(op: Op) -> Iterator[str]:
    """Yield the keys that an op names, with repetitions, whatever its kind."""
    value = op.value if isinstance(op.value, list) else ()
    if op.f in ("assign", "subscribe"):
        yield from (str(key) for key in value if isinstance(key, str | int))
        return
    if op.f == "commit":
        yield from (str(pair[0]) for pair in value if isinstance(pair, list) and pair)
        return
    for micro in micro_ops(op):
        if micro[0] == "poll":
            polled = micro[1] if len(micro) > 1 and isinstance(micro[1], list) else ()
            yield from (str(pair[0]) for pair in polled if isinstance(pair, list) and pair)
        elif len(micro) > 1:
            yield str(micro[1])


@dataclass(slots=True)
class _Names:
    """Numbers given to names in order of appearance."""

    limit: int
    table: dict[Any, int] = field(default_factory=dict)

    def number(self, name: Any) -> int:
        found = self.table.get(name)
        if found is None:
            if len(self.table) >= self.limit - 1:
                return self.table.setdefault("other", len(self.table))
            found = self.table[name] = len(self.table)
        return found


class _Builder:
    """Collects rows; the order of `array`s is the order of invocations."""

    def __init__(self) -> None:
        self.columns = {name: array("q") for name in ("start", "end", "process", "kind", "outcome", "error")}
        self.invocation, self.completion = array("q"), array("q")
        self.keys: list[tuple[int, ...]] = []
        self.processes, self.kinds = _Names(2**31), _Names(255)
        self.errors, self.key_names = _Names(MAX_ERROR_NAMES), _Names(2**16)
        self.open: dict[int, int] = {}

    def add(self, op: Op) -> None:
        process = op.process
        assert isinstance(process, int)
        if op.type == INVOKE:
            self.open[process] = self._row(op)
            return
        row = self.open.pop(process, None)
        if row is None:
            row = self._row(op)
        self.columns["end"][row] = max(op.time, self.columns["start"][row])
        self.columns["outcome"][row] = OUTCOMES.index(op.type)
        if op.error:
            self.columns["error"][row] = 1 + self.errors.number(error_name(op.error))
        self.completion[row] = op.index
        self._add_keys(row, op)

    def _row(self, op: Op) -> int:
        row = len(self.invocation)
        columns = self.columns
        columns["start"].append(op.time)
        columns["end"].append(op.time)
        columns["process"].append(self.processes.number(op.process))
        columns["kind"].append(self.kinds.number(op.f))
        columns["outcome"].append(OUTCOMES.index("pending"))
        columns["error"].append(0)
        self.invocation.append(op.index)
        self.completion.append(NO_COMPLETION)
        self.keys.append(())
        self._add_keys(row, op)
        return row

    def _add_keys(self, row: int, op: Op) -> None:
        named = {self.key_names.number(key) for key in keys_of(op)}
        if named:
            self.keys[row] = tuple(sorted(named.union(self.keys[row])))

    def calls(self) -> Calls:
        start = np.array(self.columns["start"], dtype=np.int64)
        order = np.argsort(start, kind="stable")
        columns = {name: np.array(column, dtype=np.int64)[order] for name, column in self.columns.items()}
        keys = [self.keys[i] for i in order]
        return Calls(
            **columns,
            invocation=np.array(self.invocation, dtype=np.int64)[order],
            completion=np.array(self.completion, dtype=np.int64)[order],
            key_count=np.fromiter((len(named) for named in keys), dtype=np.int64, count=len(keys)),
            key=np.array([key for named in keys for key in named], dtype=np.int64),
            processes=list(self.processes.table),
            rows=pack(columns["process"], columns["start"], columns["end"], len(self.processes.table)),
            kinds=list(self.kinds.table),
            errors=[str(name) for name in self.errors.table],
            keys=list(self.key_names.table),
        )


def error_name(error: Any) -> str:
    """Return an error's name: its `name`, else its `code`, else the whole of it (foreign histories), shortened."""
    if isinstance(error, dict):
        return str(error.get("name") or error.get("code") or error.get("message") or "error")[:80]
    return str(error)[:80]


def pack(process: Ints, start: Ints, end: Ints, count: int) -> list[int]:
    """Return a row for each process such that processes of one row never overlap in time; as few rows as possible."""
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, -1, dtype=np.int64)
    np.minimum.at(first, process, start)
    np.maximum.at(last, process, end)
    rows, free, busy = [0] * count, list[int](), list[tuple[int, int]]()
    for number in np.argsort(first, kind="stable"):
        while busy and busy[0][0] <= first[number]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        row = heapq.heappop(free) if free else len(busy)
        rows[number] = row
        heapq.heappush(busy, (int(last[number]), row))
    return rows


def read_calls(ops: Iterable[Op], event: Callable[[Op], None]) -> Calls:
    """Return the client calls of a history; every op of another source is given to `event`, in order."""
    builder = _Builder()
    for op in ops:
        if isinstance(op.process, int):
            builder.add(op)
        else:
            event(op)
    return builder.calls()
