"""SIGTERM and SIGHUP count as Ctrl-C: who stops a run by `kill`, `timeout` or a closed terminal leaves nothing running.

The first one ends the main phase, the second one stops at once, as `harness.run` has it for SIGINT. A forked child
inherits the handlers, and is ended by its parent with SIGTERM: it takes them back (`as_a_child`).
"""

from __future__ import annotations

import signal
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


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)
