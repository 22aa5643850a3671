"""Which isolation level each call reads with: its consumer's, told with some calls, holds for the others too."""

from __future__ import annotations

import numpy as np

from checkers.columns import Ints


def isolations(process: Ints, told: Ints, default: int) -> Ints:
    """Return per call (in order) its own level, else what its process told last before, else what it told first after.

    told: -1 where a call says nothing; default: of processes that never do.
    """
    said = told >= 0
    if not said.any():
        return np.full(len(told), default, np.int64)
    processes, rank = np.unique(process, return_inverse=True)
    of_process = np.full(len(processes), default, np.int64)
    of_process[rank[said]] = told[said]
    levels = of_process[rank]
    if (levels[said] == told[said]).all():
        return levels
    order = np.argsort(rank, kind="stable")  # some process changed it: each one's calls together
    place, mine, known = np.arange(len(told)), rank[order], said[order]
    before = np.maximum.accumulate(np.where(known, place, 0))
    after = np.minimum.accumulate(np.where(known, place, len(told) - 1)[::-1])[::-1]
    source = np.where(known[before] & (mine[before] == mine), before, after)
    known = known[source] & (mine[source] == mine)
    levels[order[known]] = told[order[source[known]]]
    return levels
