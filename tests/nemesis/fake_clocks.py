"""The clocks of a cluster in memory: wrong by what a fault asks for, to and fro by the cluster's time."""

from __future__ import annotations

from abc import abstractmethod

from harness.cluster.questions import ClockWithin


class FakeClocks:
    """Clocked, as far as faults know it."""

    time_s: float
    mute = False
    """Nobody can say who leads, or what time it is."""

    def __init__(self) -> None:
        self.skews: dict[str, tuple[int, int]] = {}
        self.drawn_ms = 0
        """How far off every clock is anyway."""

    @abstractmethod
    def _does(self, what: str, *nodes: str) -> bool: ...

    def skew(self, node: str, offset_ms: int, every_ms: int = 0) -> None:
        if self._does("skew", node):
            self.skews[node] = offset_ms, every_ms

    def unskew(self, node: str) -> None:
        if self._does("unskew", node):
            self.skews.pop(node, None)

    def clock_off_ms(self, node: str) -> int | None:
        offset_ms, every_ms = self.skews.get(node, (0, 0))
        is_off = not every_ms or round(self.time_s * 1000) // every_ms % 2 == 0
        return None if self.mute else self.drawn_ms + is_off * offset_ms

    def is_within(self, condition: ClockWithin) -> bool:
        """Whether a node's clock shows what is asked for."""
        off_ms = self.clock_off_ms(condition.node)
        return off_ms is not None and condition.least_ms <= off_ms <= condition.most_ms
