"""Just-in-time linearization (Lowe 2017), depth first, for any model.

A configuration is (event, which pending operations have taken effect, state). Going through the events in order, an
operation is made to take effect only when one returns that has not: then some sequence of pending operations, ending
with it, must be possible. Configurations are remembered, so each is explored once; their size depends on how many
operations are pending, not on the length of the history. Of identical operations that never returned only the first
unused one is tried. A read takes effect at the first moment at which its output fits: it changes nothing.

Search order is luck, so two orders race: the returning operation first, or last. Their steps are taken in turns, which
keeps the result the same everywhere. The budget is in steps, never in seconds; past it the answer is UNDECIDED.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from checkers.linear.model import IMPOSSIBLE, NEVER, Model, Operation

TURN = 4096
"""Steps that one order takes before the other goes on."""


class Answer(Enum):
    """What a search found."""

    LINEARIZABLE = "linearizable"
    NOT = "not linearizable"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer; for NOT the smallest window: the operation that can't return, and those pending with it."""

    answer: Answer
    steps: int
    stuck: Operation | None = None
    pending: tuple[Operation, ...] = ()
    states: tuple[Any, ...] = ()
    """States that were possible just before (a few of them)."""


def search(model: Model, operations: Sequence[Operation], budget: int, *, compiled: bool = False) -> Outcome:
    """Search for a linearization of the operations (of one key).

    `compiled`: by the kernel that Numba compiles, where there is one for the model; it finds the same.
    """
    return Search(model, operations, compiled=compiled).run(budget)


class Racer(Protocol):
    """One of the two orders."""

    taken: int
    """Steps of the last `run`."""
    furthest: int
    """The last event that was reached."""

    def run(self, steps: int) -> Answer:
        """Take up to so many steps."""
        ...

    def states(self, event: int) -> list[Any]:
        """Return the states in which an event was reached."""
        ...


class Search:
    """A search that can be gone on with; the two orders race in it."""

    def __init__(self, model: Model, operations: Sequence[Operation], *, compiled: bool = False) -> None:
        self._plan = _Plan(model, [op for op in operations if op.ret != NEVER or op.f not in model.reads])
        made = _compiled(self._plan) if compiled and model.is_register else None
        self._racers: Sequence[Racer] = made or [_Racer(self._plan, returning_first=first) for first in (True, False)]
        self.taken = 0

    def run(self, budget: int) -> Outcome:
        """Go on until there is an answer or `budget` steps were taken in all."""
        while self.taken < budget:
            for racer in self._racers:
                answer = racer.run(min(TURN, budget - self.taken))
                self.taken += racer.taken
                if answer is not Answer.UNDECIDED:
                    return _outcome(self._plan, racer, answer, self.taken)
        return Outcome(Answer.UNDECIDED, self.taken)


FIRST_BUDGET = 1 << 14
"""Steps that each key gets in the first round; each further round has four times as many."""


def search_keys(model: Model, by_key: Mapping[Any, Sequence[Operation]], budget: int) -> tuple[Any, Outcome]:
    """Search each key (they are independent), a little each in turn: one that can't be linearized is often found soon.

    Returns the key that decides and its outcome; `budget` is for each key.
    """
    open_keys = {key: Search(model, operations) for key, operations in by_key.items()}
    allowance, total = min(FIRST_BUDGET, budget), 0
    while open_keys:
        undecided: tuple[Any, Outcome] | None = None
        for key, one in list(open_keys.items()):
            before = one.taken
            outcome = one.run(allowance)
            total += one.taken - before
            if outcome.answer is Answer.NOT:
                return key, outcome
            if outcome.answer is Answer.LINEARIZABLE:
                del open_keys[key]
            else:
                undecided = undecided or (key, outcome)
        if undecided is not None and allowance >= budget:
            return undecided
        allowance = min(allowance * 4, budget)
    return None, Outcome(Answer.LINEARIZABLE, total)


STATES_SHOWN = 4


def _outcome(plan: _Plan, racer: Racer, answer: Answer, taken: int) -> Outcome:
    if answer is Answer.LINEARIZABLE:
        return Outcome(answer, taken)
    event = racer.furthest
    stuck = plan.operations[plan.returns[event]]
    pending = tuple(op for _, _, op in (*plan.passive[event], *plan.active[event]) if op is not stuck)
    return Outcome(answer, taken, stuck, pending, tuple(racer.states(event)[:STATES_SHOWN]))


class _Compiled:
    """A racer of `checkers.linear.compiled`."""

    def __init__(self, racer: Any) -> None:
        self._racer = racer
        self.taken = self.furthest = 0

    def run(self, steps: int) -> Answer:
        answer = _ANSWERS[self._racer.run(steps)]
        self.taken, self.furthest = self._racer.taken, self._racer.furthest
        return answer

    def states(self, event: int) -> list[Any]:
        states: list[Any] = self._racer.states(event)
        return states


_ANSWERS = (Answer.LINEARIZABLE, Answer.NOT, Answer.UNDECIDED)


def _compiled(plan: _Plan) -> list[_Compiled] | None:
    """Return compiled racers; None where Numba is missing, or too many operations are under way at one time."""
    try:
        from checkers.linear import compiled  # noqa: PLC0415  Numba is heavy, and few searches are long enough for it
    except ImportError:
        return None
    if not compiled.fits(plan):
        return None
    registers = compiled.Registers(plan, plan.model.initial)
    return [_Compiled(compiled.Racer(registers, returning_first=first)) for first in (True, False)]


class _Plan:
    """Per return event: which operation returns, and which are pending then, as bits of a mask of slots."""

    def __init__(self, model: Model, operations: list[Operation]) -> None:
        self.model = model
        self.operations = operations
        events = [(op.call, False, number) for number, op in enumerate(operations)]
        events.extend((op.ret, True, number) for number, op in enumerate(operations) if op.ret != NEVER)
        events.sort()
        self.returns: list[int] = []
        self.bits: list[int] = []
        """The bit of the operation that returns."""
        self.passive: list[list[_Entry]] = []
        """Those that change nothing: they take effect at the first moment at which they can, which never hurts."""
        self.active: list[list[_Entry]] = []
        returns, bits, reads = self.returns, self.bits, model.reads
        passive, active = dict[int, _Entry](), dict[int, _Entry]()
        still, moving = list[_Entry](), list[_Entry]()
        free: list[int] = []
        slots = 0
        bit = [0] * len(operations)
        twins: dict[Any, int] = {}
        for _, is_return, number in events:
            if is_return:
                returns.append(number)
                bits.append(bit[number])
                self.passive.append(still)
                self.active.append(moving)
                if number in passive:
                    del passive[number]
                    still = [*passive.values()]
                else:
                    del active[number]
                    moving = [*active.values()]
                free.append(bit[number])
                continue
            if free:
                mine = free.pop()
            else:
                mine = 1 << slots
                slots += 1
            bit[number] = mine
            op = operations[number]
            before = 0
            if op.ret == NEVER:
                key = (op.f, repr(op.input), 0 if model.is_ours else op.process)  # another's step may ask who it was
                before = bit[twins[key]] if key in twins else 0
                twins[key] = number
            entry = (mine, before, op)
            if op.f in reads or (op.output is False and model.changes_nothing(op)):
                passive[number] = entry
                still = [*still, entry]
            else:
                active[number] = entry
                moving = [*moving, entry]


_Entry = tuple[int, int, Operation]
"""Its bit, the bit of the identical earlier operation that never returned and has to be used first, the operation."""


class _Racer:
    """One depth-first search; `run` goes on for some steps."""

    def __init__(self, plan: _Plan, *, returning_first: bool) -> None:
        self.plan = plan
        self.returning_first = returning_first
        self.taken = 0
        self.furthest = 0
        self.seen: set[tuple[int, int, Any]] = set()
        self._stack: list[tuple[int, int, Any]] = [(0, 0, plan.model.initial)]

    def states(self, event: int) -> list[Any]:
        """Return the states in which an event was reached."""
        return sorted({state for at, _, state in self.seen if at == event}, key=repr)

    def run(self, steps: int) -> Answer:  # noqa: C901, PLR0912  the hot loop stays one
        """Take up to so many steps."""
        plan, stack, seen, step = self.plan, self._stack, self.seen, self.plan.model.step
        bits, passives, actives = plan.bits, plan.passive, plan.active
        end = len(bits)
        furthest, taken = self.furthest, 0
        while stack and taken < steps:
            event, mask, state = stack.pop()
            while True:
                while event < end and mask & bits[event]:  # it took effect before: it may return
                    mask ^= bits[event]
                    event += 1
                if event == end:
                    self.taken = taken
                    return Answer.LINEARIZABLE
                for bit, _, op in passives[event]:
                    if not mask & bit:
                        taken += 1
                        if step(state, op) == state:
                            mask |= bit
                if not mask & bits[event]:
                    break
            key = (event, mask, state)
            if key in seen:
                continue
            seen.add(key)
            if event > furthest:  # noqa: PLR1730  a call costs more than the comparison
                furthest = event
            returning = bits[event]
            last: tuple[int, int, Any] | None = None
            for bit, before, op in actives[event]:
                if mask & bit or (before and not mask & before):
                    continue
                taken += 1
                after = step(state, op)
                if after is IMPOSSIBLE:
                    continue
                following = (event, mask | bit, after)
                if bit == returning:
                    last = following
                elif following not in seen:
                    stack.append(following)
            if last is not None:
                if self.returning_first:
                    stack.append(last)
                else:
                    stack.insert(max(0, len(stack) - len(passives[event]) - len(actives[event])), last)
        self.taken, self.furthest = taken, furthest
        return Answer.UNDECIDED if stack else Answer.NOT
