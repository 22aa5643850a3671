"""What linearizability is judged against: a model is a name, an initial state and one pure step function.

`step(state, op)` returns the state after the operation, or IMPOSSIBLE where the operation can't happen in that state
with the output that was seen. States are hashable values. A new model takes ten lines:

    def step(state, op):
        if op.f == "add":
            return state + op.input
        return state if op.output in (UNKNOWN, state) else IMPOSSIBLE

    COUNTER = Model("counter", 0, step, reads=frozenset({"read"}))

`harness check HISTORY --model FILE.py:COUNTER` judges by a model of one's own. Without `kinds` it is asked about every
kind.

An operation that never returned has `output` UNKNOWN and may take effect at any time after its call, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

NEVER: Final = 1 << 62
"""The return of an operation that never returned."""


class Sentinel(Enum):
    """Values that no history holds."""

    UNKNOWN = "unknown"
    IMPOSSIBLE = "impossible"


UNKNOWN: Final = Sentinel.UNKNOWN
IMPOSSIBLE: Final = Sentinel.IMPOSSIBLE


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: call < ret are positions of its events in the history."""

    f: str
    input: Any
    output: Any
    call: int
    ret: int
    index: int
    """What stands for it in the history (its completion, else its invocation)."""
    process: int = 0


Step = Callable[[Any, Operation], Any]


@dataclass(frozen=True, slots=True)
class Model:
    """A sequential specification."""

    name: str
    initial: Hashable
    step: Step
    reads: frozenset[str] = frozenset()
    """Kinds that change nothing: dropped where they never returned."""
    kinds: frozenset[str] = frozenset()
    """All kinds of operations that it knows."""
    exact: bool = False
    """Values are compared and never calculated with: 1, 1.0 and true are given to `step` as different ones."""

    @property
    def is_register(self) -> bool:
        """Whether its state is one value that is written, read and swapped."""
        return self.step is _register

    @property
    def is_ours(self) -> bool:
        """Whether it is one of those below: none of them looks at an operation's process."""
        known = MODELS.get(self.name)
        return known is not None and known.step is self.step

    def changes_nothing(self, op: Operation) -> bool:
        """Return whether the state after an operation is the one before it, whatever the state."""
        return op.f in self.reads or (self.is_register and op.f == "cas" and op.output is False)


def _register(state: Any, op: Operation) -> Any:
    if op.f == "write":
        return op.input
    if op.f == "read":
        return state if op.output is UNKNOWN or op.output == state else IMPOSSIBLE
    old, new = op.input
    if op.output is False:  # a compare-and-set that was seen to fail
        return IMPOSSIBLE if state == old else state
    return new if state == old else IMPOSSIBLE


def _multi_register(state: Any, op: Operation) -> Any:
    registers = dict(state)
    for number, (f, key, value) in enumerate(op.input):
        if f == "write":
            registers[key] = value
        elif op.output is not UNKNOWN:
            seen = op.output[number][2]
            if seen is not None and registers.get(key) != seen:
                return IMPOSSIBLE
    return tuple(sorted(registers.items()))


def _kv_append(state: str, op: Operation) -> Any:
    if op.f == "append":
        return state + op.input
    if op.f == "put":
        return op.input
    return state if op.output is UNKNOWN or (op.output or "") == state else IMPOSSIBLE


def _mutex(state: bool, op: Operation) -> Any:  # noqa: FBT001  the state of a mutex is a boolean
    wanted = op.f == "acquire"
    return IMPOSSIBLE if state == wanted else wanted


def _log(state: tuple[tuple[int | None, Any], ...], op: Operation) -> Any:
    """Its state: what was appended, each with the offset that was told. Offsets rise; Kafka leaves gaps."""
    if op.f == "append":
        told = op.output if isinstance(op.output, int) else None
        last = max((offset for offset, _ in state if offset is not None), default=-1)
        return IMPOSSIBLE if told is not None and told <= last else (*state, (told, op.input))
    return state if op.output is UNKNOWN or list(op.output or ()) == [value for _, value in state] else IMPOSSIBLE


def _queue(state: tuple[Any, ...], op: Operation) -> Any:
    if op.f == "enqueue":
        return (*state, op.input)
    if op.output is UNKNOWN:
        return state[1:]
    if op.output is None:
        return IMPOSSIBLE if state else state
    return state[1:] if state and state[0] == op.output else IMPOSSIBLE


def _set(state: frozenset[Any], op: Operation) -> Any:
    if op.f == "add":
        return state | {op.input}
    if op.f == "remove":
        return state - {op.input}
    return state if op.output is UNKNOWN or frozenset(op.output or ()) == state else IMPOSSIBLE


def _counter(state: int, op: Operation) -> Any:
    if op.f == "add":
        return state + op.input
    return state if op.output is UNKNOWN or (op.output or 0) == state else IMPOSSIBLE


def _stack(state: tuple[Any, ...], op: Operation) -> Any:
    if op.f == "push":
        return (*state, op.input)
    if op.output is UNKNOWN:
        return state[:-1]
    if op.output is None:
        return IMPOSSIBLE if state else state
    return state[:-1] if state and state[-1] == op.output else IMPOSSIBLE


def _priority_queue(state: tuple[Any, ...], op: Operation) -> Any:
    if op.f == "insert":
        return tuple(sorted((*state, op.input)))
    if op.output is UNKNOWN:
        return state[1:]
    if op.output is None:
        return IMPOSSIBLE if state else state
    return state[1:] if state and state[0] == op.output else IMPOSSIBLE


_READ = frozenset({"read"})
MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("register", None, _register, _READ, frozenset({"read", "write"}), exact=True),
        Model("cas-register", None, _register, _READ, frozenset({"read", "write", "cas"}), exact=True),
        Model("multi-register", (), _multi_register, frozenset(), frozenset({"txn"}), exact=True),
        Model("kv-append", "", _kv_append, frozenset({"get"}), frozenset({"get", "put", "append"})),
        Model("mutex", False, _mutex, frozenset(), frozenset({"acquire", "release"})),  # noqa: FBT003  its state
        Model("log", (), _log, _READ, frozenset({"append", "read"}), exact=True),
        Model("queue", (), _queue, frozenset(), frozenset({"enqueue", "dequeue"}), exact=True),
        Model("set", frozenset(), _set, _READ, frozenset({"add", "remove", "read"}), exact=True),
        Model("counter", 0, _counter, _READ, frozenset({"add", "read"})),
        Model("stack", (), _stack, frozenset(), frozenset({"push", "pop"}), exact=True),
        Model("priority-queue", (), _priority_queue, frozenset(), frozenset({"insert", "delete-min"})),
    )
}
