"""Free TCP ports on loopback for the nodes of a cluster, which parallel runs do not take from one another.

They lie below 32768, where Linux takes the local ports of outgoing connections from: a port of that range that is free
now may be some client's in the moment in which a killed node wants it back. The search begins at a random place.

A bind check alone is not enough: while a node is dead its port is free, and another run could take it. So `reserve`
leaves a file in the cache folder that names the port's owner, a folder that exists as long as the cluster does; the
file outlives the process that made it, as the cluster may. A reservation whose owner is gone is stale. `choose` only
chooses: it is for providers whose engine knows the ports of its dead nodes; it respects reservations.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Collection
from pathlib import Path

from harness.cluster.api import UsageError
from harness.cluster.distribution import cache_folder, locked

LOWEST, HIGHEST = 20_000, 32_767
"""KAFKA_HARNESS_PORTS=LOW-HIGH sets others."""
LOOPBACK = "127.0.0.1"


def choose(count: int, taken: Collection[int] = ()) -> tuple[int, ...]:
    """Return that many free ports, none of them among `taken`; UsageError when there are not so many."""
    lowest, highest = bounds()
    size = highest - lowest + 1
    first = secrets.randbelow(size)
    chosen: list[int] = []
    for step in range(size):
        if len(chosen) == count:
            break
        port = lowest + (first + step) % size
        if port not in taken and free(port):
            chosen.append(port)
    if len(chosen) < count:
        raise UsageError(
            f"{count} free ports between {lowest} and {highest} are needed, {len(chosen)} are there: "
            f"stop other clusters, or set KAFKA_HARNESS_PORTS=LOW-HIGH"
        )
    return tuple(chosen)


def free(port: int) -> bool:
    """Return whether nothing is bound to that port of 127.0.0.1 now, and no living cluster has reserved it."""
    owner = _owner(_folder() / str(port))
    if owner is not None and Path(owner).exists():
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        try:
            one.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def reserve(count: int, owner: Path) -> tuple[int, ...]:
    """Return free ports that stay reserved until `release(owner)`, or until the folder `owner` (it exists) is gone."""
    with locked("ports"):
        chosen = choose(count)
        _folder().mkdir(exist_ok=True)
        for port in chosen:
            (_folder() / str(port)).write_text(str(owner.resolve()))
    return chosen


def release(owner: Path) -> None:
    """Give the owner's ports back, and forget reservations that are stale; safe to call twice."""
    mine = str(owner.resolve())
    with locked("ports"):
        for file in _folder().glob("*"):
            found = _owner(file)
            if found is not None and (found == mine or not Path(found).exists()):
                file.unlink(missing_ok=True)


def bounds() -> tuple[int, int]:
    """Return the lowest and the highest port that may be used; UsageError when KAFKA_HARNESS_PORTS makes no sense."""
    text = os.environ.get("KAFKA_HARNESS_PORTS")
    if not text:
        return LOWEST, HIGHEST
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    lowest, highest = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < lowest <= highest <= 65535:
        raise UsageError(f"KAFKA_HARNESS_PORTS must be LOW-HIGH, like {LOWEST}-{HIGHEST}, not {text!r}")
    return lowest, highest


def _owner(file: Path) -> str | None:
    try:
        return file.read_text()
    except FileNotFoundError:
        return None


def _folder() -> Path:
    return cache_folder() / "ports"
