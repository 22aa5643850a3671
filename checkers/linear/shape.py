"""What the values of each model's operations look like, so that another shape is named by its line before it is judged.

Only what the step functions rely on is asked for: a register may hold anything. A model that is not named here (a
user's own) takes what it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Shape = tuple[str, Callable[[Any], bool]]
"""In words, and as a test."""


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_micro_ops(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(micro, list)
        and len(micro) == 3
        and micro[0] in ("read", "write")
        and isinstance(micro[1], str | int)
        for micro in value
    )


PAIR: Shape = ("[old, new]", _is_pair)
NUMBER: Shape = ("a number", _is_number)
SOMETHING: Shape = ("a value, and null stands for none", lambda value: value is not None)
TEXT: Shape = ("a string", lambda value: isinstance(value, str))
SEEN: Shape = ("a list, or null for the empty one", lambda value: value is None or isinstance(value, list))
TOTAL: Shape = ("a number, or null for none", lambda value: value is None or _is_number(value))
LEAST: Shape = ("a number, or null for nothing", lambda value: value is None or _is_number(value))
FOUND: Shape = ("a string, or null for none", lambda value: value is None or isinstance(value, str))
NO_TUPLE: Shape = (
    "nothing (its key stands in `key`, and not in the value as jepsen.independent has it)",
    lambda value: not (_is_pair(value) and value[1] is None),
)
"""The tuples [key, value] of jepsen.independent would pass for values of one register, and accuse it."""
MICRO_OPS: Shape = ('a list of ["read", key, value] and ["write", key, value]', _is_micro_ops)

INPUTS: Mapping[str, Mapping[str, Shape]] = {
    "register": {"read": NO_TUPLE},
    "cas-register": {"read": NO_TUPLE, "cas": PAIR},
    "multi-register": {"txn": MICRO_OPS},
    "kv-append": {"put": TEXT, "append": TEXT},
    "counter": {"add": NUMBER, "read": NO_TUPLE},
    "set": {"read": NO_TUPLE},
    "log": {"read": NO_TUPLE},
    "queue": {"enqueue": SOMETHING},
    "stack": {"push": SOMETHING},
    "priority-queue": {"insert": NUMBER},
}
OUTPUTS: Mapping[str, Mapping[str, Shape]] = {
    "multi-register": {"txn": MICRO_OPS},
    "kv-append": {"get": FOUND},
    "counter": {"read": TOTAL},
    "priority-queue": {"delete-min": LEAST},
    "log": {"read": SEEN},
    "set": {"read": SEEN},
}


def misshapen(model: str, f: str, given: Any, output: Any, *, ok: bool) -> str:
    """Return what the value of an operation should have been, "" if it is; `output` counts only if it is ok."""
    wanted = INPUTS.get(model, {}).get(f)
    if wanted is not None and not wanted[1](given):
        return f"is given {wanted[0]}, not {given!r}"
    wanted = OUTPUTS.get(model, {}).get(f)
    if ok and wanted is not None and not wanted[1](output):
        return f"returns {wanted[0]}, not {output!r}"
    if ok and f == "cas" and output is False:
        return "is `fail` where it was refused, not an ok false"
    if ok and model == "multi-register" and len(output) != len(given):
        return f"returns as many micro-ops as it was given ({len(given)}), not {len(output)}"
    return ""
