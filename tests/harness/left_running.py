"""What still runs of a cluster, by the folder that its processes are told of."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from harness.cluster import pids, ports
from harness.cluster.distribution import cache_folder

WITHIN_S = 30.0


def processes_of(folder: Path) -> list[list[str]]:
    """The command lines that name something in the folder: nodes, links, guardians, who was told to use it."""
    return [words for _, words in pids._command_lines() if any(word.startswith(str(folder)) for word in words)]


def nothing_runs(folder: Path) -> bool:
    """Wait until there is none; return whether that came."""
    deadline, pause = time.monotonic() + WITHIN_S, threading.Event()
    while processes_of(folder) and time.monotonic() < deadline:
        pause.wait(0.1)
    return not processes_of(folder)


def ports_of(folder: Path) -> set[int]:
    """The ports that are reserved for the cluster of that folder; what is free may be another cluster's at any moment."""
    reservations = (cache_folder() / "ports").iterdir()
    return {int(file.name) for file in reservations if ports._owner(file) == str(folder.resolve())}
