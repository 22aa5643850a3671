"""What an op's completion says of the failures on the way, whichever client executed it."""

from __future__ import annotations

from typing import Any

from harness.history import FAIL, INFO, OK, OpType
from harness.outcome import Course


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
