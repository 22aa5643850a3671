"""What an op's completion says of the failures on the way, whichever client executed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from harness.clients.errors import FailedError, UnreadableError
from harness.history import FAIL, INFO, OK, Op, OpType
from harness.outcome import Course

LOW: Final = "low-watermark"
"""Of a deletion that was acknowledged: the lowest log start among the live replicas."""


def of_many(failed: list[OpType], count: int) -> OpType:
    """Return what several micro-ops outside a transaction came to: a part that happened can't be `fail`."""
    if not failed:
        return OK
    return FAIL if len(failed) == count and set(failed) == {FAIL} else INFO


def error_of(course: Course) -> dict[str, Any] | None:
    """Return the completion's error: what stopped the transaction, and how its abort failed."""
    failure = course.deciding()
    if failure is None:
        return None
    return failure.to_history() | ({"abort": course.abort.to_history()} if course.abort is not None else {})


@dataclass(frozen=True, slots=True)
class Scan:
    """What a full read found, below `end`, and [start, end] of the reading in ns."""

    records: list[list[Any]]
    end: int
    times: list[int]


def of_scan(op: Op, found: Scan, isolation: str) -> Op:
    """Return the completion of a scan."""
    value = [["poll", [[op.value, found.records]]]]
    return op.completed(
        OK, value=value, times=[found.times], isolation=isolation, extra={"end": found.end, "key": op.value}
    )


def of_failed_read(op: Op, failed: FailedError, key: str, isolation: str) -> Op:
    """Return the completion of a scan or a read that failed; it changed nothing, and names a batch that it met."""
    met = {"value": [["poll", [[key, [failed.entry]]]]]} if isinstance(failed, UnreadableError) else {}
    return op.completed(FAIL, error=failed.failure.to_history(), isolation=isolation, **met)


def of_read_at(op: Op, record: list[Any] | None, told: str | None, isolation: str) -> Op:
    """Return the completion of a read at an offset: the first record from there on, and what the consumer was told."""
    key, offset = op.value
    value = [["poll", [] if record is None else [[key, [record]]]]]
    return op.completed(OK, value=value, isolation=isolation, extra={"at": offset, "told": told, "key": key})
