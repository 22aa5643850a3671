"""Calls of librdkafka that may block longer than a run can wait: they get a thread of their own, and a bound.

Measured with librdkafka 2.16 and brokers that don't answer: a synchronous commit of offsets takes no time-out and
blocks for 45 s and more; Consumer.close() blocks for one socket time-out. Dropping the last reference to a Producer or
Consumer stops its threads, mostly within milliseconds, but nothing bounds it either.

The threads are daemons: at the end of the process nobody waits for them. A call that was given up still holds its
client object; the object dies with the call. Nobody may use or close such an object from elsewhere meanwhile (closing a
consumer during its commit was seen to block for ever).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from harness.process.mailbox import Mailbox

T = TypeVar("T")


class OutOfPatienceError(Exception):
    """The call did not return within its bound; it goes on in its thread."""


def bounded(call: Callable[[], T], timeout_s: float) -> T:
    """Return what `call` returns, or raise what it raises, or OutOfPatienceError after timeout_s."""
    box: Mailbox[tuple[T | None, BaseException | None]] = Mailbox()

    def run() -> None:
        try:
            box.put((call(), None))
        except BaseException as error:  # noqa: BLE001  a door between threads: it is raised again on the other side
            box.put((None, error))

    threading.Thread(target=run, name="bounded-call", daemon=True).start()
    try:
        result, error = box.get(timeout_s)
    except queue.Empty:
        raise OutOfPatienceError(f"no return within {timeout_s:.1f} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only where T allows it


def let_go(things: list[Any], farewell: Callable[[Any], object] | None, timeout_s: float) -> bool:
    """Drop the last references to `things` in a thread, after `farewell` of each; return whether that was done in time.

    Empties the list. The caller must hold no other reference, else nothing is destroyed.
    """
    done = threading.Event()

    def bury() -> None:
        while things:
            thing = things.pop()
            try:
                if farewell is not None:
                    farewell(thing)
            except Exception:  # noqa: BLE001, S110  a door: what is thrown away can't fail anybody any more
                pass
            del thing
        done.set()

    if not things:
        return True
    threading.Thread(target=bury, name="let-go", daemon=True).start()
    return done.wait(timeout_s)


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        """Make the deadline `seconds` from now."""
        self._at = time.monotonic() + seconds

    def left_s(self, *, at_least: float = 0.0) -> float:
        """Return the seconds until then, never less than `at_least`."""
        return max(self._at - time.monotonic(), at_least)

    def over(self) -> bool:
        """Return whether it has passed."""
        return self.left_s() <= 0

    def sooner(self, seconds: float) -> Deadline:
        """Return the deadline so much earlier, but not in the past."""
        return Deadline(max(self.left_s() - seconds, 0.0))
