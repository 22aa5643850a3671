"""Which leader of a partition was the last, and which had a successor when it answered: who may have been deposed.

A leader that was deposed may answer what it knew, and a record that it lacks may be committed after it: its successor
may be a replica that was not in sync with it, but was with all that had been committed (eligible leader replicas,
KIP-966), and that keeps what it has of earlier epochs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from checkers.case import Case
from checkers.probes import LATEST
from checkers.samples import Sample

METADATA_LAG_ROWS = 200
"""Who is asked so many rows later may be the first to tell of a leader that was there before."""


def last_epochs(case: Case) -> dict[Any, int]:
    """Return the last leader epoch of each key of which it is certain which one that was.

    It is certain in a run of ours if its leader answers in the final reads, when all nodes are in sync.
    """
    row = case.phases.row("drain")
    if row is None:
        return {}
    last: dict[Any, int] = {}
    led: dict[Any, int] = {}
    for sample in case.samples:
        key, epoch = sample.value.get("key"), sample.value.get("epoch")
        if not isinstance(epoch, int) or "timestamp" in sample.value:
            continue
        last[key] = max(epoch, last.get(key, epoch))
        if sample.value.get("api") == LATEST and sample.begun > row:
            led[key] = max(epoch, led.get(key, epoch))
    drains = case.phases.drains
    return {key: epoch for key, epoch in led.items() if epoch == last[key] and key in drains and drains[key].complete}


class Successors:
    """The leader epochs that were told of keys, in order of the answers."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        """Take the answers in their order."""
        by_key: dict[Any, list[tuple[int, int]]] = {}
        for sample in samples:
            if isinstance(sample.value.get("epoch"), int) and "timestamp" not in sample.value:
                by_key.setdefault(sample.value.get("key"), []).append((sample.ended, sample.value["epoch"]))
        self._ended = {key: [row for row, _ in told] for key, told in by_key.items()}
        self._highest = {key: list(accumulate((epoch for _, epoch in told), max)) for key, told in by_key.items()}

    def known(self, sample: Sample) -> bool:
        """Return whether a later leader than the one of an answer is told of by then, or shortly after."""
        key = sample.value.get("key")
        at = bisect_left(self._ended.get(key, []), sample.ended + METADATA_LAG_ROWS)
        return at > 0 and self._highest[key][at - 1] > sample.value["epoch"]
