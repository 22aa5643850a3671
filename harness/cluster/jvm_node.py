"""One Apache Kafka node as a local JVM: its files, its command line, its start.

A node lives in one folder: `server.properties`, `data/` (formatted beforehand), `server.log` (rolled by the node at
32 MB, one older file), `console.log` (what the JVM itself says), `tmp/`. It has a session of its own, so that Ctrl-C
in the terminal stops the harness and not the nodes, and carries a mark in its command line (see `pids`).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.cluster.distribution import log_config, major
from harness.cluster.properties import render
from harness.cluster.storage import class_path, preformat

HEAP: Final = "384m"
FAST_START: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Two thirds of the CPU time of a start go away; the throughput lost does not matter to a harness. KAFKA.md."""
TAIL_BYTES: Final = 8 * 1024 * 1024
"""What is kept of a log: the newest 8 MB."""
_THROWN: Final = re.compile(r"(Caused by: )?([\w$]+\.)+[\w$]*(Exception|Error)\b")
"""The first line of a Java exception."""
LOGS: Final = ("server.log", "console.log")
PROPERTIES: Final = "server.properties"
_RECOVERY_POINTS: Final = "recovery-point-offset-checkpoint"
_VERSION: Final = re.compile(rb"Kafka version: (\S+)")


@dataclass(frozen=True, slots=True)
class Launch:
    """What every node of a cluster is started with. archive: an AppCDS archive, or None."""

    java: str
    jars: Path
    version: str
    archive: Path | None = None


def mark(cluster_id: str, name: str) -> str:
    """Return the word that only this node's command line holds."""
    return f"-Dharness.node={cluster_id}/{name}"


def prepare(folder: Path, properties: Mapping[str, str], *, cluster_id: str, seed: Path) -> None:
    """Write the files of a new node; `properties` name its data folder, `seed` is `storage.formatted`."""
    (folder / "tmp").mkdir(parents=True)
    (folder / PROPERTIES).write_text(render(properties))
    preformat(data_folder(folder), node_id=int(properties["node.id"]), cluster_id=cluster_id, seed=seed)


def data_folder(folder: Path) -> Path:
    """Return where the node in that folder keeps its logs."""
    return folder / "data"


def start(
    launch: Launch, folder: Path, *, marked: str, options: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start the node in that folder; it goes on when we end. env: beside our own."""
    if launch.archive is not None:
        options = [*options, "-Xshare:auto", f"-XX:SharedArchiveFile={launch.archive}"]
    with (folder / "console.log").open("ab") as console:
        return subprocess.Popen(  # noqa: S603 - the user's Java on our jars
            [
                launch.java,
                f"-Xmx{HEAP}",
                f"-Xms{HEAP}",
                *FAST_START,
                *options,
                # A node is killed: what it would leave in shared folders (perf data, native libraries) is kept here.
                "-XX:-UsePerfData",
                f"-Djava.io.tmpdir={folder / 'tmp'}",
                f"-XX:ErrorFile={folder / 'hs_err.log'}",
                "-XX:+ExitOnOutOfMemoryError",
                "-Djava.net.preferIPv4Stack=true",
                "-Djava.awt.headless=true",
                *_log_options(launch.version, folder),
                marked,
                "-cp",
                class_path(launch.jars),
                "kafka.Kafka",
                str(folder / PROPERTIES),
            ],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, **(env or {})},
        )


def last_words(folder: Path) -> str:
    """Return the line of the node's log that most likely says why it ended, and where the log is."""
    for name in LOGS:
        lines = [line for line in tail(folder / name).decode(errors="replace").splitlines() if line.strip()]
        if lines:
            thrown = [line for line in lines if _THROWN.match(line)]
            loud = [line for line in lines if " ERROR " in line or " FATAL " in line]
            return f"{(thrown or loud or lines)[-1].strip()[:300]} ({folder / name})"
    return f"it said nothing ({folder / LOGS[0]})"


def said_version(folder: Path) -> str | None:
    """Return the version that the node's log names last: each start begins with it. None: it says nothing of it."""
    found = _VERSION.findall(tail(folder / LOGS[0]))
    return found[-1].decode() if found else None


def recovery_points(data: Path) -> dict[str, int]:
    """Return up to where the node had synced its logs when it wrote that down last, by the names of their folders."""
    try:
        lines = (data / _RECOVERY_POINTS).read_text().splitlines()
    except FileNotFoundError:
        return {}
    entries = [line.split() for line in lines[2:]]  # behind the format's version and the number of entries
    return {f"{topic}-{partition}": int(offset) for topic, partition, offset in entries}


def tail(file: Path) -> bytes:
    """Return the newest bytes of a log, from a line's beginning; empty when there is none."""
    try:
        with file.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - TAIL_BYTES))
            text = log.read(TAIL_BYTES)
    except FileNotFoundError:
        return b""
    return text if size <= TAIL_BYTES else text.partition(b"\n")[2]


def _log_options(version: str, folder: Path) -> list[str]:
    config = log_config(version).as_uri()
    name = "log4j2.configurationFile" if major(version) >= 4 else "log4j.configuration"
    return [f"-D{name}={config}", "-Dharness.log=file", f"-Dharness.log.path={folder / 'server.log'}"]
