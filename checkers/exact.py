"""Values as JSON has them: 1, 1.0 and true are three values, though Python takes them for equal.

Columns tell them apart by their codes (`checkers.interning`). Where values are compared as they are, booleans and
floats that an integer could equal stand in an `Exact`; every other value stands for itself, so that the usual history
costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_CERTAIN = frozenset({int, str, type(None)})
"""Types whose values equal only values of their own type."""


class Exact:
    """A boolean, or a float without a fraction; equal only to the same value of the same type."""

    __slots__ = ("_name", "value")

    def __init__(self, value: float) -> None:
        self.value = value
        self._name = (type(value).__name__, repr(value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exact) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return repr(self.value)


def comparable(values: Iterable[Any]) -> bool:
    """Return whether Python tells these values from those of other types as JSON does."""
    return _CERTAIN.issuperset(map(type, values))


def exact(value: Any) -> Any:
    """Return the value itself, or as an Exact; what it holds is left alone."""
    doubtful = type(value) is bool or (type(value) is float and value.is_integer())
    return Exact(value) if doubtful else value


def plain(value: Any) -> Any:
    """Return the value as the history has it: without Exact, whatever it lies in."""
    match value:
        case Exact():
            return value.value
        case list():
            return [plain(part) for part in value]
        case tuple():
            return tuple(plain(part) for part in value)
        case dict():
            return {name: plain(part) for name, part in value.items()}
        case _:
            return value
