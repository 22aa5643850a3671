"""The micro-ops of an op, one after another: sends that carry a stamp, polls, and what came of each.

`harness.clients.payload` has the kinds of sends. The sends of copies (`"copy": true`) are as many as the op's poll may
return records: each is sent for one of them, in their order, and those that are left over are not begun.

`Work` keeps what was seen, also when a micro-op fails and the rest is never begun: an offset that a broker has told, or
a record that it has shown, is evidence however the op ends. `times` has one pair for each micro-op that was begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.client import Now
from harness.clients import settings
from harness.clients.errors import FailedError
from harness.clients.patience import Deadline
from harness.clients.payload import is_copy, outgoing
from harness.clients.reader import Reader
from harness.clients.sender import Sender
from harness.scenario import Isolation


@dataclass(slots=True)
class Work:
    """The micro-ops of one op while they are being done."""

    value: list[Any]
    times: list[list[int]] = field(default_factory=list)
    first: dict[str, int] = field(default_factory=dict)
    """Per key the first offset polled."""
    next: dict[str, int] = field(default_factory=dict)
    """Per key the offset after the last one polled."""
    polls: int = 0
    isolation: Isolation | None = None
    """Of the polls."""
    uncopied: deque[list[Any]] = field(default_factory=deque)
    """[key, offset] of the records polled that no send has copied yet."""

    @property
    def limit(self) -> int:
        """How many records a poll may return: no more than can be copied, where the op copies."""
        return sum(map(is_copy, self.value)) or settings.MAX_POLL_RECORDS

    def saw(self, position: int, records: Mapping[str, list[list[Any]]]) -> None:
        """Note what the poll at that position returned, by key."""
        self.value[position] = ["poll", [[key, found] for key, found in records.items()]]
        for key, found in records.items():
            self.first.setdefault(key, found[0][0])
            self.next[key] = found[-1][0] + 1
            self.uncopied.extend([key, record[0]] for record in found)

    def is_left_over(self, position: int) -> bool:
        """Return whether the micro-op copies, and nothing is left to copy."""
        return not self.uncopied and is_copy(self.value[position])

    def done(self) -> list[Any]:
        """Return the micro-ops without the copies that are left over: they were not needed."""
        return [each for at, each in enumerate(self.value) if not self.is_left_over(at)]


class MicroOps:
    """Does the micro-ops of one process."""

    def __init__(self, process: int, reader: Reader, now: Now) -> None:
        """Prepare; the process's records are numbered from 0."""
        self._process = process
        self._reader = reader
        self._now = now
        self._sequence = 0

    def do(self, work: Work, position: int, sender: Callable[[], Sender], deadline: Deadline) -> None:
        """Do one micro-op and note in `work` what came of it, also when it raises FailedError."""
        if work.is_left_over(position):
            return
        begun, micro_op = self._now(), work.value[position]
        try:
            if micro_op == ["poll"]:
                self._poll(work, position)
            else:
                source = work.uncopied.popleft() if is_copy(micro_op) else None
                record = outgoing(micro_op, self._process, self._sequence, source)
                self._sequence += 1
                work.value[position] = record.sent(None)
                offset = sender().send(record.key, record.value, deadline, record.record_key, [*record.headers])
                work.value[position] = record.sent(offset)
        finally:
            work.times.append([begun, self._now()])

    def _poll(self, work: Work, position: int) -> None:
        work.polls += 1
        work.isolation = self._reader.isolation
        polled = self._reader.poll(work.limit)
        work.saw(position, polled.records)
        if polled.failure is not None:
            raise FailedError(polled.failure)

    def seen(self, work: Work) -> Mapping[str, Any]:
        """Return the fields of a completion that tell of its polls."""
        if not work.polls:
            return {}
        return {"isolation": work.isolation, "positions": self._reader.shown_positions()}
