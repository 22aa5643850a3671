"""The operations of a model's workload as columns, split by key: what monitors and the search take.

`fail` never happened: dropped. `info`, and what never completed, may take effect at any time after its call: its `ret`
is NEVER and its output unknown. Without invocations there is no real time, and nothing to judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from checkers.columns import Ints, Rows
from checkers.exact import exact as as_json_has_it
from checkers.interning import FOREIGN, Names, Values
from checkers.linear.model import NEVER, UNKNOWN, Model, Operation
from checkers.linear.shape import misshapen
from checkers.pairing import Line, Paired, Pairing
from checkers.source import Lines
from harness.history import FAIL, OK, HistoryError

WIDTH = 8
CALCULATING = frozenset({"counter", "priority-queue"})
"""Models whose values are numbers, whatever JSON calls them."""
_MALFORMED = (TypeError, ValueError)
NO_OUTPUT = -(1 << 61)
"""Output code of an operation whose output nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns over operations, in order of completion. `f` and `key` are codes of `kinds` and `keys`."""

    f: Ints
    key: Ints
    input: Ints
    output: Ints
    call: Ints
    ret: Ints
    index: Ints
    process: Ints
    kinds: Names
    keys: Names
    values: Values
    rows: int
    has_invocations: bool
    backwards: str | None
    unknown: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Kinds that the model doesn't know: how many, and the line of the first."""
    stats: dict[str, dict[str, int]] = field(default_factory=dict)

    def only(self, rows: Ints) -> Table:
        """Return some rows."""
        return Table(
            f=self.f[rows],
            key=self.key[rows],
            input=self.input[rows],
            output=self.output[rows],
            call=self.call[rows],
            ret=self.ret[rows],
            index=self.index[rows],
            process=self.process[rows],
            kinds=self.kinds,
            keys=self.keys,
            values=self.values,
            rows=self.rows,
            has_invocations=self.has_invocations,
            backwards=self.backwards,
        )

    def of(self, kind: str) -> Ints:
        """Return the rows of one kind."""
        code = self.kinds.get(kind)
        return np.flatnonzero(self.f == (-1 if code is None else code))

    def by_key(self) -> dict[Any, Table]:
        """Return each key's rows."""
        if len(self.keys) <= 1:
            return {self.keys.names[0]: self} if len(self.keys) else {}
        order = np.argsort(self.key, kind="stable")
        edges = np.flatnonzero(np.diff(self.key[order])) + 1
        return {self.keys.names[int(self.key[part[0]])]: self.only(part) for part in np.split(order, edges)}

    def operations(self, *, exact: bool) -> list[Operation]:
        """Return the rows as operations; `exact` as in Model."""
        known: dict[int, Any] = {NO_OUTPUT: UNKNOWN}

        def value(code: int) -> Any:
            if code not in known:
                known[code] = _frozen(self.values.value(code), exact=exact)
            return known[code]

        return [
            Operation(
                self.kinds.names[f],
                value(given),
                value(out),
                call,
                ret,
                index,
                process,
            )
            for f, given, out, call, ret, index, process in zip(
                self.f.tolist(),
                self.input.tolist(),
                self.output.tolist(),
                self.call.tolist(),
                self.ret.tolist(),
                self.index.tolist(),
                self.process.tolist(),
                strict=True,
            )
        ]


def build_table(blocks: Iterable[Lines], name: str, model: Model) -> Table:
    """Return the operations of a history, those of the kinds that the model knows (all, if it names none)."""
    pairing, rows, values = Pairing(name), Rows(WIDTH), Values()
    names, keys = Names(), Names()
    unknown: dict[str, tuple[int, int]] = {}
    stats: dict[str, dict[str, int]] = {}

    def take(calls: list[Paired]) -> None:
        batch = []
        for call in calls:
            done = call.completion
            line = done or call.invocation
            if line.f is None:
                raise HistoryError(f"{name}:{call.number}: an operation without its kind (`f`)")
            outcome = "info" if done is None else done.type
            counts = stats.setdefault(line.f, {"count": 0, "ok": 0, "fail": 0, "info": 0})
            counts["count"] += 1
            counts[outcome] += 1
            if model.kinds and line.f not in model.kinds:
                count, first = unknown.get(line.f, (0, call.number))
                unknown[line.f] = (count + 1, first)
                continue
            if outcome == FAIL:
                continue
            try:
                batch.append(_row(call, outcome == OK, model.name, names, keys, values))
            except _MALFORMED as error:
                raise HistoryError(f"{name}:{call.number}: {line.f!r} of the model {model.name} {error}") from error
        rows.add(batch)

    for lines, numbers in blocks:
        take(pairing.feed(lines, numbers))
    take(pairing.dangling())
    index, _ = pairing.columns()
    f, key, given, out, call, ret, row, process = rows.take()
    return Table(
        f=f,
        key=key,
        input=given,
        output=out,
        call=call,
        ret=ret,
        index=index[row] if len(row) else row,
        process=process,
        kinds=names,
        keys=keys,
        values=values,
        rows=pairing.rows,
        has_invocations=pairing.has_invocations,
        backwards=pairing.backwards,
        unknown=unknown,
        stats=stats,
    )


def _row(call: Paired, ok: bool, model: str, names: Names, keys: Names, values: Values) -> tuple[int, ...]:  # noqa: FBT001, PLR0917
    begun, done = call.invocation, call.completion
    given = (begun or done).value
    told = done.value if ok else None
    if ok and done.f == "append" and model == "log":
        told, given = _appended(given if begun else None, done.value)
    wrong = misshapen(model, (done or begun).f, given, told, ok=ok)
    if wrong:
        raise ValueError(wrong)
    out = values.code(True if done.f == "cas" and model == "cas-register" else told) if ok else NO_OUTPUT
    row = call.done_row if call.done_row >= 0 else call.invoke_row
    ret = call.done_row if ok else NEVER
    if model in CALCULATING:
        given, out = _number(given), out if out == NO_OUTPUT else values.code(_number(told))
    line = done or begun
    key = line.key if isinstance(line, Line) else (line.extra or {}).get("key")
    if key is not None and type(key) not in {int, str}:
        raise TypeError(f"has a string or an integer as its key, not {key!r}")
    return (names.code(line.f), keys.code(key), values.code(given), out, call.invoke_row, ret, row, line.process)


def _appended(given: Any, done: Any) -> tuple[int | None, Any]:
    """Return (offset, value) of an append that completed as [offset, value], or with the value alone."""
    if not isinstance(done, list) or done == given:
        return None, done
    if len(done) != 2 or not (done[0] is None or (type(done[0]) is int and 0 <= done[0] < FOREIGN)):
        raise ValueError(f"completes as [offset, value], not {done!r}")
    return done[0], done[1]


def _frozen(value: Any, *, exact: bool) -> Any:
    """Return a value that can be part of a state: lists as tuples, objects as tuples of pairs."""
    if isinstance(value, list):
        return tuple(_frozen(part, exact=exact) for part in value)
    if isinstance(value, dict):
        return tuple((name, _frozen(part, exact=exact)) for name, part in sorted(value.items()))
    return as_json_has_it(value) if exact else value


def _number(value: Any) -> Any:
    """Return a number without a fraction as an integer: what calculates takes 1.0 for 1."""
    return int(value) if type(value) is float and value.is_integer() else value
