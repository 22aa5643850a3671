"""The search of `checkers.linear.search` for registers, compiled by Numba: the same steps in the same order, faster.

Importing this module imports Numba, and its first use compiles for some seconds (once for each installation: the code
is cached). So only a search that the pure one could not finish soon comes here. States and values are small integers,
a configuration is three of them, and what is remembered is an open hash table. Answer, steps and window are those of
the pure search, which stays the oracle of the tests and does what is not done here: other models, and more than
`SLOTS` operations under way at one time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers.columns import Ints
from checkers.linear.model import UNKNOWN, Operation

SLOTS = 62
"""Bits of a mask."""
WRITE, READ, SWAP, REFUSED, LOOK = 0, 1, 2, 3, 4
"""What an operation does: reads with a known output, compare-and-sets that happened or were refused, reads without."""
IMPOSSIBLE, FREE = -1, -1
FOUND, NOTHING, GOES_ON = 0, 1, 2
"""Answers of `run`."""
STACK_LEAST, TABLE_LEAST = 1 << 8, 1 << 12
FULL = 0.5
"""A table that is fuller grows."""

Table = NDArray[np.int64]
Entries = Sequence[Sequence[tuple[int, int, Operation]]]


class Plan(Protocol):
    """What a search follows (`search._Plan`)."""

    bits: list[int]
    passive: list[list[tuple[int, int, Operation]]]
    active: list[list[tuple[int, int, Operation]]]
    operations: list[Operation]


def _step(kind: int, one: int, other: int, state: int) -> int:
    if kind == WRITE:
        return one
    if kind == READ:
        return state if one == state else IMPOSSIBLE
    if kind == SWAP:
        return other if one == state else IMPOSSIBLE
    if kind == REFUSED:
        return IMPOSSIBLE if one == state else state
    return state


step: Any = njit(cache=True)(_step)


def _place(table: Table, event: int, mask: int, state: int) -> int:
    """Return the row of a configuration, or the free one where it belongs."""
    last = len(table) - 1
    code = (event * 1_000_003 ^ mask) * 1_000_003 ^ state
    code ^= code >> 29
    code *= 0x9E3779B97F4A7C1
    at = (code ^ (code >> 32)) & last
    while table[at, 0] != FREE and (table[at, 0] != event or table[at, 1] != mask or table[at, 2] != state):
        at = (at + 1) & last
    return at


place: Any = njit(cache=True)(_place)


def _grown(table: Table) -> Table:
    larger = np.full((2 * len(table), 3), FREE, np.int64)
    for row in range(len(table)):
        if table[row, 0] != FREE:
            larger[place(larger, table[row, 0], table[row, 1], table[row, 2])] = table[row]
    return larger


grown: Any = njit(cache=True)(_grown)


def _run(  # noqa: C901, PLR0912, PLR0917  the hot loop stays one, as in the pure search
    bits: Ints,
    passive_from: Ints,
    passives: Table,
    active_from: Ints,
    actives: Table,
    ops: Table,
    stack: Table,
    height: int,
    table: Table,
    held: int,
    furthest: int,
    steps: int,
    returning_first: bool,  # noqa: FBT001
) -> tuple[int, int, int, Table, int, Table, int]:
    """Return (answer, steps taken, furthest event, stack, its height, table, rows held) after some steps."""
    end, taken = len(bits), 0
    while height and taken < steps:
        height -= 1
        event, mask, state = stack[height, 0], stack[height, 1], stack[height, 2]
        while True:
            while event < end and mask & bits[event]:
                mask ^= bits[event]
                event += 1
            if event == end:
                return FOUND, taken, furthest, stack, height, table, held
            for row in range(passive_from[event], passive_from[event + 1]):
                bit, op = passives[row, 0], passives[row, 2]
                if not mask & bit:
                    taken += 1
                    if step(ops[op, 0], ops[op, 1], ops[op, 2], state) == state:
                        mask |= bit
            if not mask & bits[event]:
                break
        at = place(table, event, mask, state)
        if table[at, 0] != FREE:
            continue
        table[at, 0], table[at, 1], table[at, 2] = event, mask, state
        held += 1
        if held > FULL * len(table):
            table = grown(table)
        furthest = max(furthest, event)
        first, last = active_from[event], active_from[event + 1]
        if height + last - first + 1 > len(stack):
            larger = np.empty((2 * len(stack) + last - first + 1, 3), np.int64)
            larger[:height] = stack[:height]
            stack = larger
        final = IMPOSSIBLE
        for row in range(first, last):
            bit, before, op = actives[row, 0], actives[row, 1], actives[row, 2]
            if mask & bit or (before and not mask & before):
                continue
            taken += 1
            after = step(ops[op, 0], ops[op, 1], ops[op, 2], state)
            if after == IMPOSSIBLE:
                continue
            if bit == bits[event]:
                final = after
            elif table[place(table, event, mask | bit, after), 0] == FREE:
                stack[height, 0], stack[height, 1], stack[height, 2] = event, mask | bit, after
                height += 1
        if final != IMPOSSIBLE:
            at = height
            if not returning_first:
                at = max(0, height - (passive_from[event + 1] - passive_from[event]) - (last - first))
                for row in range(height, at, -1):
                    stack[row, 0], stack[row, 1], stack[row, 2] = (
                        stack[row - 1, 0],
                        stack[row - 1, 1],
                        stack[row - 1, 2],
                    )
            stack[at, 0], stack[at, 1], stack[at, 2] = event, mask | bits[event], final
            height += 1
    return (GOES_ON if height else NOTHING), taken, furthest, stack, height, table, held


run: Any = njit(cache=True)(_run)


class Registers:
    """The plan of a search over one register, as columns; both orders share it."""

    def __init__(self, plan: Plan, initial: Any) -> None:
        codes: dict[Any, int] = {}
        self.initial = codes.setdefault(initial, 0)
        numbers = {id(op): number for number, op in enumerate(plan.operations)}
        self.ops = np.array([_coded(op, codes) for op in plan.operations], np.int64).reshape(-1, 3)
        self.values = list(codes)
        self.bits = np.array(plan.bits, np.int64)
        self.passive_from, self.passives = _flat(plan.passive, numbers)
        self.active_from, self.actives = _flat(plan.active, numbers)


def fits(plan: Plan) -> bool:
    """Return whether a mask has a bit for each operation that is under way."""
    pending = [bit for entries in (*plan.passive, *plan.active) for bit, _, _ in entries]
    return max((*plan.bits, *pending), default=0) < 1 << SLOTS


class Racer:
    """One order of a search, as `search._Racer`."""

    def __init__(self, registers: Registers, *, returning_first: bool) -> None:
        self._registers, self._returning_first = registers, returning_first
        self.taken = self.furthest = 0
        self._stack = np.zeros((STACK_LEAST, 3), np.int64)
        self._stack[0, 2] = registers.initial
        self._height, self._held = 1, 0
        self._table = np.full((TABLE_LEAST, 3), FREE, np.int64)

    def run(self, steps: int) -> int:
        """Take up to so many steps."""
        plan = self._registers
        answer, self.taken, self.furthest, self._stack, self._height, self._table, self._held = run(
            plan.bits,
            plan.passive_from,
            plan.passives,
            plan.active_from,
            plan.actives,
            plan.ops,
            self._stack,
            self._height,
            self._table,
            self._held,
            self.furthest,
            steps,
            self._returning_first,
        )
        return int(answer)

    def states(self, event: int) -> list[Any]:
        """Return the states in which an event was reached."""
        found = np.unique(self._table[self._table[:, 0] == event, 2])
        return sorted((self._registers.values[code] for code in found.tolist()), key=repr)


def _coded(op: Operation, codes: dict[Any, int]) -> tuple[int, int, int]:
    def code(value: Any) -> int:
        return codes.setdefault(value, len(codes))

    if op.f == "write":
        return WRITE, code(op.input), 0
    if op.f == "read":
        return (LOOK, 0, 0) if op.output is UNKNOWN else (READ, code(op.output), 0)
    old, new = op.input
    return (REFUSED if op.output is False else SWAP), code(old), code(new)


def _flat(entries: Entries, numbers: dict[int, int]) -> tuple[Ints, Table]:
    """Return where each event's entries begin, and all of them: bit, bit that goes before, operation."""
    sizes = [len(each) for each in entries]
    rows = [(bit, before, numbers[id(op)]) for each in entries for bit, before, op in each]
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.array(sizes, np.int64))))
    return starts, np.array(rows, np.int64).reshape(-1, 3)
