"""Randomness as a value: a splittable generator that never changes, so that generators stay pure.

SplitMix64 (Steele, Lea, Flood 2014): a 64-bit counter with an output mix. `draw` returns the number *and* the
successor; asking the same value twice gives the same number, so the scheduler may ask a generator again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Rng(msgspec.Struct, frozen=True, gc=False):
    """A position in a stream of random numbers."""

    state: int

    @classmethod
    def seeded(cls, seed: int, *path: str | int) -> Rng:
        """Return the stream for a seed and a path of names: ("nemesis",), ("client", 3) ... each its own."""
        return cls(_mix((seed + _GAMMA) & _MASK)).of(*path)

    def of(self, *path: str | int) -> Rng:
        """Return the stream for names below this one: `seeded(s, "a", 3)` is `seeded(s, "a").of(3)`."""
        state = self.state
        for name in path:
            for byte in str(name).encode() + b"/":
                state = _mix((state + _GAMMA + byte) & _MASK)
        return Rng(state)

    def draw(self) -> tuple[float, Rng]:
        """Return a number in [0, 1) and the successor."""
        state = (self.state + _GAMMA) & _MASK
        return (_mix(state) >> 11) / (1 << 53), Rng(state)

    def below(self, bound: int) -> tuple[int, Rng]:
        """Return an integer in [0, bound) and the successor."""
        number, successor = self.draw()
        return int(number * bound), successor

    def choose(self, items: Sequence[T]) -> tuple[T, Rng]:
        """Return one of the items, each as likely, and the successor."""
        index, successor = self.below(len(items))
        return items[index], successor

    def exponential(self, mean: float) -> tuple[float, Rng]:
        """Return an exponentially distributed number and the successor."""
        number, successor = self.draw()
        return -mean * math.log1p(-number), successor
