"""What is measured: our broker, Apache Kafka (jvm), kfake, each as processes of this machine on loopback.

A target has an address, the pids of its brokers, and a way to stop. `embedded` and `jvm` come from the harness's own
providers, without links unless asked for. `kfake` is built once into the user's cache, from a folder that holds its
main.go and go.mod; without Go or that folder it is skipped, and the reason is told.

Files of a deleted topic go at once, Apache Kafka's too (by default it keeps them for a minute): they would fill the
page cache, be written to the disk while somebody else is measured, and make everybody take memory that is new, which
costs a virtual machine up to 8 CPU seconds a GB.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cluster import ports
from harness.cluster.api import ClusterSpec, UsageError
from harness.cluster.jvm import JvmCluster
from harness.cluster.processes import EmbeddedCluster

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kafka-harness"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
END_TIMEOUT_S = 20.0
EMBEDDED, JVM, KFAKE = "embedded", "jvm", "kfake"
NAMES = (EMBEDDED, JVM, KFAKE)


@dataclass(frozen=True, slots=True)
class Target:
    """Brokers that run. `starting` is joined before anything but the first contact is measured."""

    name: str
    bootstrap: str
    pids: list[int]
    starting: threading.Thread
    cluster: EmbeddedCluster | JvmCluster | None = None

    def cpu_s(self) -> float:
        """Return the CPU seconds that the brokers have used so far."""
        return sum(_cpu_ticks(pid) for pid in self.pids) / TICKS_PER_S

    def rss_mb(self) -> float:
        """Return the resident memory of all brokers."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids) * PAGE_BYTES / 1e6


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def running(name: str, nodes: int, folder: Path, *, kfake: Path | None, links: bool) -> Iterator[Target]:
    """Begin to start a target; it is there when it answers. Raises UsageError where it can't run.

    Who is terminated (by `timeout`, say) stops it as well.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if name == KFAKE:
        with _kfake(nodes, folder / name, kfake) as target:
            yield target
        return
    config = {"log.segment.delete.delay.ms": "0"} if name == JVM else {}
    spec = ClusterSpec(name=f"bench-{name}", folder=folder / name, nodes=nodes, links=links, broker_config=config)
    cluster = EmbeddedCluster(spec) if name == EMBEDDED else JvmCluster(spec)
    failed: list[BaseException] = []

    def up() -> None:
        try:
            cluster.up()
        except BaseException as error:  # noqa: BLE001 - a thread's door: told to whoever waits
            failed.append(error)
            return
        target.pids.extend(pid for node in cluster.nodes() if (pid := cluster.pid(node.name)) is not None)

    target = Target(name, cluster.bootstrap(), [], threading.Thread(target=up), cluster)
    target.starting.start()
    try:
        yield target
    finally:
        target.starting.join()
        cluster.down()
    if failed:
        raise failed[0]


@contextmanager
def _kfake(nodes: int, folder: Path, source: Path | None) -> Iterator[Target]:
    binary = _built(source)
    folder.mkdir(parents=True)
    reserved = ports.reserve(nodes, folder)
    command = [str(binary), *map(str, reserved)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    nothing = threading.Thread(target=lambda: None)
    nothing.start()
    try:
        addresses = ",".join(f"{ports.LOOPBACK}:{port}" for port in reserved)
        yield Target(KFAKE, addresses, [process.pid], nothing)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(END_TIMEOUT_S)
        ports.release(folder)


def _built(source: Path | None) -> Path:
    """Return kfake's program, built if need be; raises UsageError saying what is missing."""
    target = CACHE / "kfake" / "kfake"
    if target.exists():
        return target
    if source is None or not (source / "go.mod").exists():
        raise UsageError(f"kfake: no source in {source} (--kfake FOLDER with its main.go and go.mod)")
    go = shutil.which("go")
    if go is None:
        raise UsageError("kfake: there is no Go compiler here")
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.suffix in {".go", ".mod", ".sum"}:
            (target.parent / file.name).write_bytes(file.read_bytes())
    built: Any = subprocess.run([go, "build", "-o", "kfake", "."], cwd=target.parent, check=False, capture_output=True)
    if built.returncode:
        raise UsageError(f"kfake: go build failed: {built.stderr.decode()[-500:]}")
    return target
