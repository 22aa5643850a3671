"""The verdict: `valid` < `vacuous` < `unknown` < `invalid`; the worst wins.

Printed as HISTORY.md says: "valid" is true, "vacuous", "unknown" or false.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec


class Validity(IntEnum):
    """The four answers, in rising order of badness."""

    VALID = 0
    VACUOUS = 1
    UNKNOWN = 2
    INVALID = 3

    @property
    def wire(self) -> bool | str:
        """Return the value of "valid" in verdict.json."""
        return {Validity.VALID: True, Validity.INVALID: False}.get(self, self.name.lower())


class Example(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One occurrence of an anomaly: the least set of operations that proves it, and the proof in words."""

    ops: list[int]
    """Indexes in the history of the operations (completions; the invocation where there is none)."""
    why: str
    """One or two sentences that a reader can verify by eye."""
    details: dict[str, Any] = {}
    """Class-specific fields (key, value, offset, ...); flattened into the example's JSON object."""


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """All occurrences of one class (name: ANOMALIES.md). `count` is exact; `examples` is bounded."""

    name: str
    count: int
    examples: list[Example]
    permitted_by: str | None = None
    """The setting that makes this legal for Kafka (`acks=1`, `unclean election`, ...); it stays invalid."""
