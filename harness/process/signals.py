"""SIGTERM and SIGHUP count as Ctrl-C: who stops a run by `kill`, `timeout` or a closed terminal leaves nothing running.

The first one ends the main phase, the second one stops at once, as `harness.run` has it for SIGINT. A forked child
inherits the handlers, and is ended by its parent with SIGTERM: it takes them back (`as_a_child`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOPS: Final = (signal.SIGTERM, signal.SIGHUP)


def count_as_interrupts() -> None:
    """Turn each stop into a SIGINT; one that is ignored (nohup) stays so."""
    for number in STOPS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _interrupt)


def as_a_child() -> None:
    """End at once when the parent says so."""
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt in here, and do afterwards what it did before; where it is ignored, it is."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def bearing_one_interrupt() -> Iterator[Callable[[], bool]]:
    """Go on after one Ctrl-C: what is under way ends as it is. Gives what says whether it came; a second one stops.

    Only the main thread hears of it: another one is not interrupted anyway.
    """
    pressed = 0

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed > 0
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Interrupt. What a shell script starts in the background ignores SIGINT, but not what stops it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)
