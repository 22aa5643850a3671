"""The micro-ops of an op, one after another: sends that carry a stamp, polls, and what came of each.

`harness.clients.payload` has the kinds of sends. The sends of copies (`"copy": true`) are as many as the op's poll may
return records: each is sent for one of them, in their order, and those that are left over are not begun.

A process that sends together (`clients.packing`) hands over at once all sends that follow one another, and then awaits
their reports in order; else each is awaited before the next begins.

`Work` keeps what was seen, also when a micro-op fails and the rest is never begun: an offset that a broker has told, or
a record that it has shown, is evidence however the op ends. `times` has one pair for each micro-op that was begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from harness.client import Now
from harness.clients import settings
from harness.clients.errors import FailedError
from harness.clients.packing import PLAIN, Packing
from harness.clients.patience import Deadline
from harness.clients.payload import Outgoing, is_copy, outgoing
from harness.clients.reader import Reader
from harness.clients.sender import Sender
from harness.scenario import Isolation


@dataclass(slots=True)
class Begun:
    """A send whose report is still to come: its record, and its pair of times, the second of which is not over yet."""

    record: Outgoing
    times: list[int]
    report: Any = None
    """What awaits it: each kind of client has its own."""


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
    begun: dict[int, Begun] = field(default_factory=dict)
    """The sends on their way, by position."""

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

    def begin(self, position: int, process: int, sequence: int, packing: Packing, now: int) -> Begun:
        """Note that a send begins, and return it with the record that is to be sent."""
        micro_op = self.value[position]
        source = self.uncopied.popleft() if is_copy(micro_op) else None
        one = Begun(outgoing(micro_op, process, sequence, source, packing.pad), [now, now])
        self.value[position] = one.record.sent(None)
        self.times.append(one.times)
        self.begun[position] = one
        return one

    def following(self, position: int, packing: Packing) -> range:
        """Return the positions of the sends that begin with the one at that position."""
        end = position + 1
        while packing.together and end < len(self.value) and self.value[end][0] == "send":
            end += 1
        return range(position, end)

    def waited(self, now: int) -> None:
        """Note that the sends on their way were not over before."""
        for one in self.begun.values():
            one.times[1] = now

    def is_left_over(self, position: int) -> bool:
        """Return whether the micro-op copies, and nothing is left to copy."""
        return not self.uncopied and is_copy(self.value[position])

    def done(self) -> list[Any]:
        """Return the micro-ops without the copies that are left over: they were not needed."""
        return [each for at, each in enumerate(self.value) if not self.is_left_over(at)]


class MicroOps:
    """Does the micro-ops of one process."""

    def __init__(self, process: int, reader: Reader, now: Now, packing: Packing = PLAIN) -> None:
        """Prepare; the process's records are numbered from 0."""
        self._process = process
        self._reader = reader
        self._now = now
        self._packing = packing
        self._sequence = 0

    def do(self, work: Work, position: int, sender: Callable[[], Sender], deadline: Deadline) -> None:
        """Do one micro-op and note in `work` what came of it, also when it raises FailedError."""
        if work.is_left_over(position):
            return
        if work.value[position] == ["poll"]:
            begun = self._now()
            try:
                self._poll(work, position)
            finally:
                work.times.append([begun, self._now()])
            return
        try:
            if position not in work.begun:
                self._begin(work, position, sender)
            one = work.begun[position]
            work.value[position] = one.record.sent(one.report(deadline))
        finally:
            work.waited(self._now())
            work.begun.pop(position, None)

    def _begin(self, work: Work, position: int, sender: Callable[[], Sender]) -> None:
        """Hand over the send at that position, and those that go with it. Raises FailedError for the first one."""
        for at in work.following(position, self._packing):
            if work.is_left_over(at):
                return
            one = work.begin(at, self._process, self._sequence, self._packing, self._now())
            self._sequence += 1
            try:
                through, record = sender(), one.record
                reports = through.queue(record.key, record.value, record.record_key, [*record.headers])
            except FailedError as failed:
                one.report = partial(_refused, failed)
                return
            one.report = partial(through.report, reports)

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


def _refused(failed: FailedError, _: Deadline) -> NoReturn:
    raise failed
