"""The command `harness` (or `python -m harness`): what Ctrl-C does before the command has begun, and after it is over.

Python's own answer there is a traceback out of whatever was being imported. So this is what is imported first, it needs
next to nothing itself, and from then on an interrupt ends the process at once and without a word. `harness.cli` hears
interrupts itself while a command is under way, and gives them back when it knows the exit status. The interpreter's own
start, some 20 ms, is out of reach from here.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

STOPPED = 130
"""As in `harness.process.exits`, which would be one more thing to import."""


def main() -> None:
    """Run the command line; see `harness.cli` for the exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # one that is ignored (nohup, &) stays so
        signal.signal(signal.SIGINT, _leave)
    from harness import cli  # noqa: PLC0415  most of the time until a command begins is spent here

    cli.main()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    os._exit(STOPPED)


if __name__ == "__main__":
    main()
