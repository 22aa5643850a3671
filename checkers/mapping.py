"""How independent parts of a judgement are done: in turn here, or by what the caller brings (processes, a cluster).

A part is made by a function of no arguments, so that only as many exist at a time as are worked on. Results come in the
order of the parts, whoever did them: where the work is done can't change a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class Mapper(Protocol):
    """Does the same work on many parts."""

    @property
    def width(self) -> int:
        """Return how many parts are worked on at one time."""
        ...

    def map(self, work: Callable[[Part], Result], makes: Sequence[Callable[[], Part]]) -> list[Result]:
        """Return work(make()) for each make; `work` and what it returns can be pickled."""
        ...


class InTurn:
    """One part after another, in this thread."""

    width = 1

    def map(self, work: Callable[[Part], Result], makes: Sequence[Callable[[], Part]]) -> list[Result]:
        """Return work(make()) for each make."""
        return [work(make()) for make in makes]


IN_TURN: Mapper = InTurn()
