"""The micro-ops of an op, one after another: sends that carry a stamp, polls, and what came of each.

A send to a compacted topic is `["send", key, [null, v, {"record-key": k}]]`, with `"tombstone": true` a deletion.

`Work` keeps what was seen, also when a micro-op fails and the rest is never begun: an offset that a broker has told, or
a record that it has shown, is evidence however the op ends. `times` has one pair for each micro-op that was begun.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.client import Now
from harness.clients.errors import FailedError
from harness.clients.patience import Deadline
from harness.clients.payload import HEADER, Stamp, encode
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
        begun = self._now()
        try:
            match work.value[position]:
                case ["send", str(key), int(v)]:
                    stamp = Stamp(key, self._process, self._sequence, v)
                    self._sequence += 1
                    offset = sender().send(key, encode(stamp), deadline)
                    work.value[position] = ["send", key, v if offset is None else [offset, v]]
                case ["send", str(key), [None, int(v), {"record-key": str(record_key)} as seen]]:
                    stamp = Stamp(key, self._process, self._sequence, v)
                    self._sequence += 1
                    line = encode(stamp)
                    value = None if seen.get("tombstone") else line
                    offset = sender().send(key, value, deadline, record_key.encode(), [(HEADER, line)])
                    work.value[position] = ["send", key, [offset, v, seen]]
                case ["poll"]:
                    self._poll(work, position)
                case other:
                    raise ValueError(f'a micro-op is ["send", key, value] or ["poll"], not {other!r}')
        finally:
            work.times.append([begun, self._now()])

    def _poll(self, work: Work, position: int) -> None:
        work.polls += 1
        work.isolation = self._reader.isolation
        polled = self._reader.poll()
        work.value[position] = ["poll", [[key, records] for key, records in polled.records.items()]]
        for key, records in polled.records.items():
            work.first.setdefault(key, records[0][0])
            work.next[key] = records[-1][0] + 1
        if polled.failure is not None:
            raise FailedError(polled.failure)

    def seen(self, work: Work) -> Mapping[str, Any]:
        """Return the fields of a completion that tell of its polls."""
        if not work.polls:
            return {}
        return {"isolation": work.isolation, "positions": self._reader.shown_positions()}
