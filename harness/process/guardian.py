"""Waits until the process that started it is gone, and lets `harness heal` take away what that one left running.

For clusters that belong to a process which may be killed at any moment (a test session that hits a time-out, a worker
that its parent ends): nothing in it can clean up after SIGKILL. A guardian is in a session of its own, so that what is
sent to the process's group does not reach it; it opens nothing and imports nothing of ours until it is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 0.25
ROOT: Final = Path(__file__).resolve().parents[2]
"""Where the packages lie: a process that is started from here finds them."""
_KEPT: Final[list[subprocess.Popen[bytes]]] = []
"""Guardians that stay until this process ends."""


@contextmanager
def guarded(log: Path, *heal: str, over: Callable[[], bool]) -> Iterator[None]:
    """Have `harness heal` run with these arguments if this process ends inside; what it says goes to the log.

    over: whether all was taken down. Where it was not (after a second Ctrl-C, for one), it is when this process ends.
    """
    guardian = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
        [sys.executable, "-m", "harness.process.guardian", str(os.getpid()), str(log), *heal],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=ROOT,
    )
    try:
        yield
    finally:
        if over():
            guardian.kill()
            guardian.wait()
        else:
            _KEPT.append(guardian)


def watch(parent: int, log: str, heal: list[str]) -> None:
    """Wait as long as `parent` is this process's parent; then become `harness heal`."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    with open(log, "ab") as out:  # noqa: PTH123 - a descriptor that outlives the exec is wanted, nothing else
        os.dup2(out.fileno(), sys.stdout.fileno())
        os.dup2(out.fileno(), sys.stderr.fileno())
    os.execv(sys.executable, [sys.executable, "-m", "harness", "heal", *heal])  # noqa: S606 - as above


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
