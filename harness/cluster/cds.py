"""An AppCDS archive of Apache Kafka's classes: loaded by mapping, not by parsing; a node starts in half the time.

An archive fits one build of Java and one class path, so its name carries a digest of both. It is made once, by a node
that is exercised (topics, a transaction, a group) so that it loads the classes that a run needs, and then stopped: Java
writes the archive at its exit. JVMs map the same file, so three nodes also share its memory. Without an archive (Java
older than 13) nodes start slower, nothing else.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

from harness.cluster import exercise, jvm_node, ports
from harness.cluster.api import ClusterError, Node
from harness.cluster.distribution import Java, cache_folder, make_once
from harness.cluster.properties import CONTROLLER_LISTENER, Listener, node_properties, plan
from harness.cluster.ready import READY_TIMEOUT_S, await_ready
from harness.cluster.storage import formatted, random_id
from harness.cluster.wiring import ROOT

FIRST_JAVA: Final = 13
"""JEP 350: archives written at exit."""
WRITE_TIMEOUT_S: Final = 120.0
"""Java writes 60 MB at its exit: 5 s on a quiet machine."""
EXERCISE_TIMEOUT_S: Final = 150.0
"""Its four steps have 30 s each; 5 s are usual."""


def archive(java: Java, jars: Path, version: str, *, owner_id: str) -> Path | None:
    """Return the archive for that Java and these jars, made when the cache lacks it; None where Java can't.

    owner_id: the id of the cluster that wants it; the node carries it, so that who takes that cluster away after a
    crash finds this node too.
    """
    if java.major < FIRST_JAVA:
        return None
    identity = f"{java.command}\n{java.build}\n{jars.resolve()}\n{jars.stat().st_mtime_ns}\n{jvm_node.FAST_START}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    launch = jvm_node.Launch(java.command, jars, version)
    marked = jvm_node.mark(owner_id, "archive")
    return make_once(cache_folder() / f"kafka-{version}-{digest}.jsa", lambda shop: _make(launch, marked, shop))


def _make(launch: jvm_node.Launch, marked: str, workshop: Path) -> Path:
    folder, written = workshop / "n1", workshop / "archive"
    node, cluster_id = _prepare(launch, folder, workshop)
    process = jvm_node.start(
        launch, folder, marked=marked, options=["-Xshare:auto", f"-XX:ArchiveClassesAtExit={written}"]
    )
    try:
        await_ready([node], cluster_id, check_alive=lambda: _check(process, folder), timeout_s=READY_TIMEOUT_S)
        _exercise(node.address)
        process.terminate()
        process.wait(WRITE_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"Java wrote no CDS archive within {WRITE_TIMEOUT_S:g} s") from error
    finally:
        process.kill()
        process.wait()
        ports.release(workshop)
    if not written.exists():
        raise ClusterError(f"Java wrote no CDS archive: {jvm_node.last_words(folder)}")
    return written


def _prepare(launch: jvm_node.Launch, folder: Path, owner: Path) -> tuple[Node, str]:
    client, controller = (f"127.0.0.1:{port}" for port in ports.reserve(2, owner))
    (member,) = plan(1, 0)
    cluster_id = random_id()
    properties = node_properties(
        member,
        listeners=(
            Listener(name="CLIENT", bind=client, advertised=client),
            Listener(name=CONTROLLER_LISTENER, bind=controller),
        ),
        voters={member.id: controller},
        brokers=1,
        log_dir=str(jvm_node.data_folder(folder)),
        version=launch.version,
        overrides={},
    )
    jvm_node.prepare(folder, properties, cluster_id=cluster_id, seed=formatted(launch.version, launch.jars))
    return Node(member.name, member.id, client, member.roles), cluster_id


def _check(process: subprocess.Popen[bytes], folder: Path) -> None:
    if process.poll() is not None:
        raise ClusterError(f"the node for the CDS archive ended: {jvm_node.last_words(folder)}")


def _exercise(address: str) -> None:
    """Do once what runs do; ClusterError when the node can't: an archive without these classes would stay for ever."""
    command = [sys.executable, "-m", exercise.__name__, address]
    try:
        answer = subprocess.run(  # noqa: S603 - our own interpreter on our own module
            command, capture_output=True, timeout=EXERCISE_TIMEOUT_S, check=False, cwd=ROOT
        )
        said, error = answer.stdout, answer.stderr.decode(errors="replace").strip()
    except subprocess.TimeoutExpired as overdue:
        said, error = overdue.stdout or b"", f"no end within {EXERCISE_TIMEOUT_S:g} s"
    if exercise.READ not in said.decode().split():
        reason = (error.splitlines() or ["it said nothing"])[-1]
        raise ClusterError(f"the node for the CDS archive did not serve a transaction and a group: {reason}")
