"""Leader epochs of one log: which epoch started at which offset (Kafka: LeaderEpochFileCache; KIP-101, KIP-279).

Entries rise in epoch and in start offset. An epoch's end is the start of the next one, or the log's end. The text form
is that of Kafka's leader-epoch-checkpoint: version 0, count, then "epoch offset" lines.
"""

from __future__ import annotations

from bisect import bisect_right

_VERSION = "0"


class Epochs:
    """The cache; `assign` and the truncations say whether something changed, so that the owner saves it."""

    __slots__ = ("_epochs", "_starts", "latest")

    def __init__(self) -> None:
        self._epochs: list[int] = []
        self._starts: list[int] = []
        self.latest = -1
        """The newest epoch, -1 when there is none."""

    def entries(self) -> list[tuple[int, int]]:
        """Return (epoch, start offset) pairs."""
        return list(zip(self._epochs, self._starts, strict=True))

    def assign(self, epoch: int, offset: int) -> bool:
        """Note that `epoch` starts at `offset`; entries that this contradicts go."""
        if self._epochs and epoch <= self.latest:
            assert epoch == self.latest, f"epoch falls from {self.latest} to {epoch} at offset {offset}"
            return False
        while self._starts and self._starts[-1] >= offset:
            self._starts.pop()
            self._epochs.pop()
        self._epochs.append(epoch)
        self._starts.append(offset)
        self.latest = epoch
        return True

    def end_of(self, epoch: int, log_end: int) -> tuple[int, int]:
        """Return (the largest epoch up to `epoch`, its end offset); (-1, -1) when the log knows none so old."""
        index = bisect_right(self._epochs, epoch) - 1
        if index < 0:
            return -1, -1
        end = self._starts[index + 1] if index + 1 < len(self._starts) else log_end
        return self._epochs[index], end

    def epoch_at(self, offset: int) -> int:
        """Return the epoch of the record at `offset`, -1 when it is older than the first entry."""
        if self._starts and offset >= self._starts[-1]:  # nearly always
            return self._epochs[-1]
        index = bisect_right(self._starts, offset) - 1
        return self._epochs[index] if index >= 0 else -1

    def start_of(self, epoch: int) -> int | None:
        """Return the start offset of exactly this epoch."""
        index = bisect_right(self._epochs, epoch) - 1
        return self._starts[index] if index >= 0 and self._epochs[index] == epoch else None

    def truncate_end(self, offset: int) -> bool:
        """Drop epochs that start at or after `offset`."""
        before = len(self._starts)
        while self._starts and self._starts[-1] >= offset:
            self._starts.pop()
            self._epochs.pop()
        self.latest = self._epochs[-1] if self._epochs else -1
        return len(self._starts) != before

    def truncate_start(self, offset: int) -> bool:
        """Drop epochs that end at or before `offset`; the one that holds it then starts there."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0 or (index == 0 and self._starts[0] == offset):
            return False
        del self._starts[:index], self._epochs[:index]
        self._starts[0] = offset
        return True

    def dump(self) -> bytes:
        """Return the checkpoint file."""
        lines = [_VERSION, str(len(self._epochs)), *(f"{epoch} {start}" for epoch, start in self.entries())]
        return ("\n".join(lines) + "\n").encode()

    @classmethod
    def load(cls, data: bytes | None) -> Epochs:
        """Return the cache from a checkpoint; empty where it is missing or damaged (recovery fills it from batches)."""
        epochs = cls()
        try:
            lines = (data or b"").decode().split("\n")
            pairs = [tuple(map(int, line.split())) for line in lines[2:] if line]
        except ValueError:
            return epochs
        for pair in pairs:
            if len(pair) != 2 or (epochs._epochs and (pair[0] <= epochs._epochs[-1] or pair[1] < epochs._starts[-1])):
                return cls()
            epochs._epochs.append(pair[0])
            epochs._starts.append(pair[1])
            epochs.latest = pair[0]
        return epochs
