"""A queue whose reader waits for a bounded time; signal handlers may put into it.

`queue.SimpleQueue` is what a signal handler may put into, but its `get(timeout=…)` may wait for ever (CPython 3.11 at
least): where the time-out is over before the first look at the lock is, or a signal interrupts the last wait, what is
left is below zero, and a wait of less than zero has no end. So items go through one, and the waiting is done on a bare
lock, whose time-outs end.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Any number of writers, one reader."""

    def __init__(self) -> None:
        """Begin empty."""
        self._items: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._bell = threading.Lock()
        """Open since something was put; the reader closes it before it looks."""
        self._bell.acquire()

    def put(self, item: T) -> None:
        """Add an item, from any thread or signal handler."""
        self._items.put(item)
        with contextlib.suppress(RuntimeError):  # it is open already
            self._bell.release()

    def get(self, timeout_s: float | None = None) -> T:
        """Return the next item; raise queue.Empty when none comes within the time (None: wait)."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(queue.Empty):
                return self._items.get_nowait()
            left_s = -1.0 if deadline is None else min(max(deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX)
            if not self._bell.acquire(timeout=left_s):
                return self._items.get_nowait()

    def empty(self) -> bool:
        """Return whether nothing is there now."""
        return self._items.empty()
