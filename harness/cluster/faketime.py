"""Clocks that can be wrong, for nodes that ask the C library what time it is: libfaketime, preloaded.

Each node reads how far off its clock is from a file in its folder, when it asks for the time in a new second: that is
how soon a jump takes effect, and how fast a clock goes to and fro at most. Only the clock on the wall is touched. The
monotonic one, by which a JVM sleeps and waits, is not (`FAKETIME_DONT_FAKE_MONOTONIC`), and waiting has to be told so
(`FAKETIME_FORCE_MONOTONIC_FIX=0`): with the library's own choice, measured with 0.9.10 and Java 17, `Object.wait` and
`parkNanos` return at once, and a broker spins.

The library leaves two names in /dev/shm for each process that was killed; they carry its pid, and are taken away.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.cluster import pids
from harness.cluster.api import UsageError

LIBRARY: Final = "HARNESS_LIBFAKETIME"
"""Names the library, where it lies elsewhere."""
PLACES: Final = (
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)
STEP_S: Final = 1.0
"""The library looks at its file once a second."""
_FILE: Final = "clock"
_PIDS: Final = "faketime-pids"
SHARED: Final = Path("/dev/shm")  # noqa: S108 - where the library keeps what its processes share
_NAMES: Final = ("faketime_shm_{}", "sem.faketime_sem_{}")


def library() -> Path | None:
    """Return where libfaketime is on this machine."""
    if (named := os.environ.get(LIBRARY)) is not None:
        return Path(named) if Path(named).is_file() else None
    return next((found for place in PLACES for found in sorted(Path("/").glob(place[1:]))), None)


def missing() -> str | None:
    """Return what to do where it is missing; None where it is there."""
    if library() is not None:
        return None
    return (
        "clocks of jvm nodes need libfaketime: install the Debian package libfaketime, or let "
        f"{LIBRARY} name libfaketime.so.1"
    )


class FakedClocks:
    """The clocks of nodes that live in folders: `skew` and `unskew` of `Clocked`."""

    def __init__(self, folder: Path) -> None:
        """Prepare; raises UsageError where the library is missing. folder: that of the nodes' folders."""
        if (why := missing()) is not None:
            raise UsageError(why)
        self._folder = folder
        self._strobes: dict[str, threading.Event] = {}

    def environment(self, node: str) -> Mapping[str, str]:
        """Return what the node has to be started with, its clock as it was set last."""
        file = self._file(node)
        if not file.exists():
            self._write(node, 0)
        return {
            "LD_PRELOAD": ":".join(filter(None, (str(library()), os.environ.get("LD_PRELOAD")))),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "0",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def started(self, node: str, pid: int) -> None:
        """Note a process of the node; what its dead ones left is taken away."""
        _sweep(self._folder / node)
        with (self._folder / node / _PIDS).open("a") as file:
            file.write(f"{pid}\n")

    def skew(self, node: str, offset_ms: int, every_ms: int = 0) -> None:
        """Let the node's clock be off; with `every_ms` to and fro, a step a second at most."""
        self._still(node)
        self._write(node, offset_ms)
        if every_ms:
            stop = self._strobes[node] = threading.Event()
            every_s = max(every_ms / 1000, STEP_S)
            threading.Thread(target=self._strobe, args=(node, offset_ms, every_s, stop), daemon=True).start()

    def unskew(self, node: str) -> None:
        """Set it right."""
        self._still(node)
        self._write(node, 0)

    def _still(self, node: str) -> None:
        if (strobe := self._strobes.pop(node, None)) is not None:
            strobe.set()

    def _strobe(self, node: str, offset_ms: int, every_s: float, stop: threading.Event) -> None:
        is_off = True
        while not stop.wait(every_s):
            is_off = not is_off
            with contextlib.suppress(OSError):  # the cluster has gone
                self._write(node, offset_ms if is_off else 0)

    def _file(self, node: str) -> Path:
        return self._folder / node / _FILE

    def _write(self, node: str, offset_ms: int) -> None:
        """Replace the file as a whole: nodes read it at any moment."""
        file = self._file(node)
        new = file.with_suffix(".new")
        new.write_text(f"{offset_ms / 1000:+.3f}\n")
        new.replace(file)


@contextmanager
def swept(folder: Path) -> Iterator[None]:
    """Take away what the library leaves of the processes of the nodes in a folder, which end within the context."""
    dead = [pid for file in folder.glob(f"*/{_PIDS}") for pid in _noted(file)]
    yield
    _unlink(dead)


def _sweep(folder: Path) -> None:
    file = folder / _PIDS
    if file.exists():
        _unlink(_noted(file))


def _noted(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().splitlines()]


def _unlink(noted: list[int]) -> None:
    for pid in noted:
        if pids.identify(pid) is None:
            for name in _NAMES:
                (SHARED / name.format(pid)).unlink(missing_ok=True)
