"""How far limits are used, and how long whoever is beyond theirs has to wait.

A bucket for each who shares a limit: what they send or are sent fills it, and it runs out at the limit's rate. It holds
`BURST_S` seconds' worth; what is beyond that has to be waited for, `MAX_DELAY_MS` at most in one go, as in Kafka where
the window of measurement bounds it. So the rate over a longer time is the limit's, and short bursts cost nothing.
"""

from __future__ import annotations

from broker.core.quota.limits import Limit

BURST_S = 1.0
MAX_DELAY_MS = 10_000
"""Kafka's window: eleven samples of a second, of which ten count."""
MAX_BUCKETS = 10_000
"""Beyond that the empty ones are forgotten."""


class Usage:
    """See the module. Not more than one per node: limits hold for each node by itself, as in Kafka."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str, str], tuple[float, int]] = {}

    def used(self, limit: Limit, size: int, now_ms: int) -> int:
        """Note so many bytes; return how many ms whoever used them has to wait."""
        level = self._level(limit, now_ms) + size
        room = limit.bytes_per_s * BURST_S
        wait_ms = min(MAX_DELAY_MS, int(max(0.0, level - room) * 1000 / limit.bytes_per_s))
        # What could never be waited for is not owed: one huge request does not shut a client out for long.
        level = min(level, room + limit.bytes_per_s * MAX_DELAY_MS / 1000)
        self._buckets[limit.shared_by] = (level, now_ms)
        if len(self._buckets) > MAX_BUCKETS:
            self._forget(now_ms)
        return wait_ms

    def _level(self, limit: Limit, now_ms: int) -> float:
        level, at_ms = self._buckets.get(limit.shared_by, (0.0, now_ms))
        return max(0.0, level - (now_ms - at_ms) * limit.bytes_per_s / 1000)

    def _forget(self, now_ms: int) -> None:
        horizon_ms = now_ms - int(BURST_S * 1000) - MAX_DELAY_MS
        self._buckets = {key: one for key, one in self._buckets.items() if one[1] > horizon_ms}
