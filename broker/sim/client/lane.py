"""A producer's way to one partition: records that wait, batches under way, batches to be tried again.

A batch gets its sequence when it is made and keeps it for every attempt, so that a leader knows a repetition. With
idempotence a batch that failed is tried again only when nothing else of the lane is under way, the lowest sequence
first: no leader ever sees a gap that we made. Without, it may overtake and be overtaken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from broker.sim.client.metadata import Partition
from broker.sim.loop import Future, Timer
from broker.wire.record import Headers

SEQUENCES = 1 << 31


@dataclass(slots=True, eq=False)
class Message:
    """A record, and who waits for its report (an offset, None where the broker tells none)."""

    value: bytes | None
    record_key: bytes | None
    deadline_ms: float
    report: Future[int | None]
    headers: Headers = ()
    timer: Timer | None = None

    def settle(self, offset: int | None) -> None:
        """Report success."""
        self._stop()
        self.report.set(offset)

    def fail(self, error: Exception) -> None:
        """Report failure."""
        self._stop()
        self.report.fail(error)

    def _stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


@dataclass(slots=True, eq=False)
class Batch:
    """Records that go together. `doubtful`: an attempt was sent whose end nobody knows, so it may be in the log."""

    messages: list[Message]
    sequence: int
    attempts: int = 0
    doubtful: bool = False
    last: str = "it was never sent"
    """What came of the last attempt, for people."""

    @property
    def deadline_ms(self) -> float:
        """The deadline of the first record."""
        return self.messages[0].deadline_ms


@dataclass(slots=True, eq=False)
class Lane:
    """See the module."""

    key: Partition
    waiting: deque[Message] = field(default_factory=deque)
    flying: list[Batch] = field(default_factory=list)
    again: list[Batch] = field(default_factory=list)
    sequence: int = 0
    """The next."""
    not_before_ns: int = 0
    pumping: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, flies or is to be tried again."""
        return not (self.waiting or self.flying or self.again)

    def take(self, limit: int, now_ns: int, *, most: int, ordered: bool) -> Batch | None:
        """Return what to send next, if anything may be sent now."""
        if self.again and now_ns < self.not_before_ns:
            return None
        if self.again:
            if self.flying and ordered:
                return None
            self.again.sort(key=lambda batch: batch.sequence)
            batch = self.again.pop(0)
        elif self.waiting and len(self.flying) < most:
            count = min(limit, len(self.waiting))
            batch = Batch([self.waiting.popleft() for _ in range(count)], self.sequence)
            self.sequence = (self.sequence + count) % SEQUENCES
        else:
            return None
        self.flying.append(batch)
        return batch

    def is_first(self, batch: Batch) -> bool:
        """Return whether the lane has no unacknowledged batch before this one."""
        return all(other.sequence >= batch.sequence for other in (*self.flying, *self.again))

    def drop(self, batches: Iterable[Batch]) -> None:
        """Forget batches that were to be tried again."""
        gone = list(batches)
        self.again = [batch for batch in self.again if batch not in gone]

    def begin_anew(self) -> None:
        """Number from 0 under a new identity; nothing flies."""
        assert not self.flying, f"{self.key}: batches are under way"
        self.sequence = 0
        for batch in self.again:
            batch.sequence, self.sequence = self.sequence, self.sequence + len(batch.messages)
