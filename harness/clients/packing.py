"""How a client process packs what it sends: the codec of its batches, what goes into one batch, how big values are.

    compression   none | gzip | snappy | lz4 | zstd   of all processes; `mixed`: each draws its own, by its number, so
                  that every new incarnation draws again
    value_size    "N" or "N-M", bytes. Of a range one value in SELDOM is bigger than N: its size is drawn up to M,
                  small ones as likely as large ones on a scale of factors

With a codec half of the processes send at once what stands together in an op: sent one by one, each record would be a
batch of its own, and nothing could happen to a part of one. Two by two they do and don't, since some workloads give odd
and even processes other work, and a run may have few of them. Producers that are not idempotent never do: two batches
under way could change places when the first is tried again, and lawfully.

Where values may be big, half of the processes fetch in pieces that are smaller than the biggest.

Every choice is drawn from the run's seed, by streams of its own.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from harness.cluster.api import UsageError
from harness.random import Rng
from harness.scenario import Scenario

MIXED: Final = "mixed"
CODECS: Final[Sequence[str]] = ("none", "gzip", "snappy", "lz4", "zstd")
"""By their numbers in the attributes of a batch."""
BY_DEFAULT: Final[Mapping[str, str]] = {"compression": MIXED, "value_size": "128-16384"}
"""What is sent to real clusters where nobody says: codecs, librdkafka's and the brokers', are part of what is judged.

Simulated clients draw it with the rest of their configuration (`harness.swarm`).
"""
SELDOM: Final = 16
LEAST_BYTES: Final = 64
"""From where big values are drawn, where N is less: a value's line alone has about 30 bytes."""
MOST_BYTES: Final = 900_000
"""A batch with such a value is below what librdkafka sends and brokers take by default, also where it does not pack."""
REPEATED_BYTES: Final = 32
"""Padding is hexadecimal digits, of which so many come twice in a row: to each codec about a half of it is news."""
LEAST_FETCH_BYTES: Final = 4096
"""Of half of the consumers, or a quarter of the biggest value: smaller pieces take long to read a log."""
_STREAM = "packing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What a process has drawn."""

    codec: str = CODECS[0]
    """Of its producers."""
    together: bool = False
    """Whether it sends at once the sends of an op that follow one another."""
    fetch_bytes: int | None = None
    """What its consumers fetch of a partition at a time; None: as by default."""
    seed: int = 0
    sizes: tuple[int, int] = (0, 0)
    """Bytes of values, from and to."""

    @classmethod
    def of(cls, scenario: Scenario, process: int) -> Self:
        """Draw for a process of a run. Raises UsageError for sizes that can't be."""
        seed, sizes = scenario.seed, sizes_bytes(scenario.value_size)
        codec, drawn = scenario.compression, Rng.seeded(seed, _STREAM, process)
        own, drawn = drawn.choose(CODECS)
        small, drawn = drawn.choose((True, False))
        first, _ = Rng.seeded(seed, _STREAM).below(2)
        return cls(
            codec=own if codec == MIXED else codec,
            together=codec != CODECS[0] and scenario.idempotence and (process // 2 + first) % 2 == 0,
            fetch_bytes=max(sizes[1] // 4, LEAST_FETCH_BYTES) if sizes[1] and small else None,
            seed=seed,
            sizes=sizes,
        )

    def pad(self, v: int, size: int) -> bytes:
        """Return the padding of the value `v`, of which there are `size` bytes without it."""
        return padding(self.seed, v, self.size_bytes(v) - size)

    def size_bytes(self, v: int) -> int:
        """Return how big the value `v` shall be."""
        low, high = self.sizes
        if high == low:
            return low
        number, rng = _sizes(self.seed).of(v).draw()
        if number >= 1 / SELDOM:
            return low
        floor = min(max(low, LEAST_BYTES), high)
        return int(floor * (high / floor) ** rng.draw()[0])


PLAIN: Final = Packing()
"""Nothing is packed, and nothing padded."""


@functools.cache
def _sizes(seed: int) -> Rng:
    return Rng.seeded(seed, _STREAM, "size")


@functools.cache
def sizes_bytes(value_size: str) -> tuple[int, int]:
    """Return (N, M) of `N` or `N-M`; raises UsageError."""
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", value_size)
    if match is None:
        raise UsageError(f"--value-size {value_size}: it must be bytes, N or N-M, e.g. 0-16384")
    low, high = int(match[1]), int(match[2] or match[1])
    if low > high or high > MOST_BYTES:
        raise UsageError(f"--value-size {value_size}: it must rise, to {MOST_BYTES} at most")
    return low, high


def padding(seed: int, v: int, size: int) -> bytes:
    """Return so many bytes of padding, none for less than one; the same for the same seed and value."""
    if size <= 0:
        return b""
    news = hashlib.shake_128(b"%d %d" % (seed, v)).hexdigest((size + 3) // 4 + REPEATED_BYTES).encode()
    pieces = (news[at : at + REPEATED_BYTES] * 2 for at in range(0, len(news), REPEATED_BYTES))
    return b"".join(pieces)[:size]
