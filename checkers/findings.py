"""How checkers report: findings by class, with a bounded number of examples and an exact count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from checkers.exact import plain
from checkers.verdict import Anomaly, Example

EXAMPLE_LIMIT = 16
"""Examples kept per class; the count stays exact."""
LIST_LIMIT = 32
"""Longest list of values inside an example."""


class Findings:
    """Collects anomalies; checkers add, the judgement takes them out in the order of the catalogue."""

    def __init__(self) -> None:
        self._examples: dict[str, list[Example]] = {}
        self._counts: dict[str, int] = {}
        self._permitted: dict[str, str] = {}
        self.legal: set[str] = set()
        """Classes of which everything found is what Kafka promises to whoever was told so."""
        self.reasons: list[str] = []
        """Sentences why the verdict is `unknown`."""
        self.vacuous: list[str] = []
        """Sentences why it is `vacuous`."""
        self.not_checked: list[str] = []
        """Classes for which the history holds no evidence."""
        self.notes: list[str] = []
        """Facts that are neither: a zombie leader's answers, an injection that missed."""

    def add(self, name: str, ops: Iterable[int], why: str, **details: Any) -> None:
        """Add one occurrence of class `name`; only the first `EXAMPLE_LIMIT` are kept whole."""
        self.count(name, 1)
        examples = self._examples.setdefault(name, [])
        if len(examples) < EXAMPLE_LIMIT:
            examples.append(Example(ops=list(dict.fromkeys(int(op) for op in ops)), why=why, details=plain(details)))

    def room(self, name: str) -> int:
        """Return how many more examples of a class would be kept."""
        return EXAMPLE_LIMIT - len(self._examples.get(name, ()))

    def examples(self, name: str) -> int:
        """Return how many examples of a class are kept."""
        return len(self._examples.get(name, ()))

    def count(self, name: str, number: int) -> None:
        """Count occurrences without examples (those beyond the limit)."""
        if number:
            self._counts[name] = self._counts.get(name, 0) + number

    def take(self, parts: Iterable[Findings], order: Callable[[Example], int]) -> None:
        """Add what other findings hold; of each class the examples that come first in `order` are kept."""
        for part in parts:
            for name, count in part._counts.items():
                self.count(name, count)
                both = sorted((*self._examples.get(name, ()), *part._examples.get(name, ())), key=order)
                self._examples[name] = both[:EXAMPLE_LIMIT]
            self.reasons.extend(reason for reason in part.reasons if reason not in self.reasons)
            self.vacuous.extend(part.vacuous)
            self.not_checked.extend(part.not_checked)
            self.notes.extend(part.notes)

    def permit(self, name: str, setting: str) -> None:
        """Mark a class as permitted by the configuration."""
        self._permitted[name] = setting

    def put_first(self, name: str, others: Findings, remark: str) -> None:
        """Put others' examples of a class before its own, each with a remark; they are among what is counted here."""
        first = others._examples[name]
        told = [example.ops for example in first]
        rest = [example for example in self._examples[name] if example.ops not in told]
        remarked = [msgspec.structs.replace(example, why=f"{example.why} {remark}") for example in first]
        self._examples[name] = (remarked + rest)[:EXAMPLE_LIMIT]

    def has(self, name: str) -> bool:
        """Return whether the class was found."""
        return name in self._counts

    def names(self) -> set[str]:
        """Return the classes that were found."""
        return set(self._counts)

    def anomalies(self) -> list[Anomaly]:
        """Return what was found, in order of first discovery."""
        return [
            Anomaly(name=name, count=count, examples=self._examples[name], permitted_by=self._permitted.get(name))
            for name, count in self._counts.items()
        ]


def shorten(values: list[Any]) -> list[Any]:
    """Return at most LIST_LIMIT values."""
    return values[:LIST_LIMIT]
