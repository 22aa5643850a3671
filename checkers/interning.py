"""Interning: keys, values and names become int64 codes, and come back as what the history said.

An integer value that fits 62 bits is its own code, so that the usual history (counters as values) costs no table.
Every other JSON value (strings, floats, null, lists, big integers, booleans) gets a code above `FOREIGN`, by its kind
and content: 1, 1.0, "1" and true are four values.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

FOREIGN = 1 << 62
"""Codes from here on are positions in the table of values that are not small integers."""
NO_OFFSET = -1

_PLAIN = frozenset({int})
_encode = msgspec.json.Encoder(order="deterministic").encode


class Values:
    """Record values <-> int64 codes."""

    def __init__(self) -> None:
        self._codes: dict[Any, int] = {}
        self._values: list[Any] = []

    def code(self, value: Any) -> int:
        """Return the value's code, a new one if it was never seen."""
        if type(value) is int and -FOREIGN < value < FOREIGN:
            return value
        name = value if type(value) is str else (type(value).__name__, _encode(value))
        known = self._codes.get(name)
        if known is None:
            known = self._codes[name] = FOREIGN + len(self._values)
            self._values.append(value)
        return known

    def codes(self, values: Collection[Any]) -> NDArray[np.int64]:
        """Return the codes of many values; where all are small integers, without a loop in Python."""
        if set(map(type, values)) <= _PLAIN:
            try:
                plain = np.frombuffer(array("q", values), np.int64) if len(values) else np.empty(0, np.int64)
            except OverflowError:
                plain = np.array([FOREIGN])
            if not len(plain) or (int(plain.min()) > -FOREIGN and int(plain.max()) < FOREIGN):
                return plain
        return np.fromiter(map(self.code, values), np.int64, len(values))

    @classmethod
    def of(cls, foreign: list[Any]) -> Values:
        """Return a table whose foreign values are these, in order."""
        made = cls()
        for value in foreign:
            made.code(value)
        return made

    @property
    def foreign(self) -> list[Any]:
        """Return the values that are not their own code, in order of their codes."""
        return self._values

    def value(self, code: int) -> Any:
        """Return the value of a code."""
        code = int(code)
        return self._values[code - FOREIGN] if code >= FOREIGN else code


class Names:
    """Names (keys, operation kinds, groups, transactional ids) <-> codes 0, 1, 2, ... in order of appearance."""

    def __init__(self) -> None:
        self._codes: dict[Any, int] = {}
        self.names: list[Any] = []
        self.find = self._codes.get
        """The code of a name, None if it was never seen; hot loops call it, and `code` where it says None."""

    def code(self, name: Any) -> int:
        """Return the name's code, a new one if it was never seen; strings and integers are different names."""
        known = self._codes.get(name)
        if known is None:
            known = self._codes[name] = len(self.names)
            self.names.append(name)
        return known

    @classmethod
    def of(cls, names: list[Any]) -> Self:
        """Return a table with these names, in order."""
        made = cls()
        for name in names:
            made.code(name)
        return made

    def get(self, name: Any) -> int | None:
        """Return the name's code, None if it was never seen."""
        return self.find(name)

    def __len__(self) -> int:
        return len(self.names)


class Keys(Names):
    """Names that are strings or integers, as keys are; true and 1.0, which Python takes for equal to 1, are none."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[int, int] = {}

    def code(self, name: Any) -> int:
        """Return the key's code, a new one if it was never seen; TypeError where it is no key."""
        if type(name) is str:
            return super().code(name)
        if type(name) is not int:
            raise TypeError(f"a key is a string or an integer, not {name!r}")
        known = self._numbers.get(name)
        if known is None:
            known = self._numbers[name] = len(self.names)
            self.names.append(name)
        return known

    def get(self, name: Any) -> int | None:
        """Return the key's code, None if it was never seen or can't be one."""
        if type(name) is int:
            return self._numbers.get(name)
        return self.find(name) if type(name) is str else None
