"""A formatted Kafka data folder, without a JVM for each node.

What Kafka's own tool writes is two files: `meta.properties` (node, cluster and folder ids) and a checkpoint (the
feature levels of the version; nothing of the cluster), which is `bootstrap.checkpoint`, and since Kafka 4.4 the first
snapshot of the metadata log. So the tool runs once per Kafka version, what it wrote beside `meta.properties` goes
into the cache, and every node gets a copy of that and a `meta.properties` of its own: 2-3 s a node saved.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Final

from harness.cluster.api import ClusterError
from harness.cluster.distribution import cache_folder, find_java, make_once
from harness.cluster.properties import CONTROLLER_LISTENER, Listener, Member, node_properties, render

TOOL_TIMEOUT_S: Final = 120
"""The tool takes 2-3 s; this is for a machine under load."""
_SAMPLE_PORT: Final = 9093
"""The tool checks that the configuration is whole; it opens no port."""

_META: Final = "meta.properties"


def random_id() -> str:
    """Return a random id as Kafka writes them: 22 characters, never beginning with a dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def class_path(jars: Path) -> str:
    """Return the class path of a folder of jars, in a fixed order (a CDS archive fits one order only)."""
    return ":".join(str(jar) for jar in sorted(jars.glob("*.jar")))


def formatted(version: str, jars: Path) -> Path:
    """Return a folder with what that version's own tool writes, without `meta.properties`; made if not in the cache."""
    target = cache_folder() / f"kafka-{version}.formatted"
    return make_once(target, lambda workshop: _format_once(version, jars, workshop))


def preformat(folder: Path, *, node_id: int, cluster_id: str, seed: Path) -> None:
    """Make the (new) folder that of a formatted node: what is in `seed` (see `formatted`), and who it is."""
    shutil.copytree(seed, folder)
    meta = {"version": "1", "node.id": str(node_id), "cluster.id": cluster_id, "directory.id": random_id()}
    (folder / _META).write_text(render(meta))


def _format_once(version: str, jars: Path, workshop: Path) -> Path:
    logs, config = workshop / "data", workshop / "server.properties"
    address = f"127.0.0.1:{_SAMPLE_PORT - 1}"
    properties = node_properties(
        Member("n1", 1, frozenset({"broker", "controller"})),
        listeners=(
            Listener(name="CLIENT", bind=address, advertised=address),
            Listener(name=CONTROLLER_LISTENER, bind=f"127.0.0.1:{_SAMPLE_PORT}"),
        ),
        voters={1: f"127.0.0.1:{_SAMPLE_PORT}"},
        brokers=1,
        log_dir=str(logs),
        version=version,
        overrides={},
    )
    config.write_text(render(properties))
    command = [find_java(version).command, "-cp", class_path(jars), "kafka.tools.StorageTool", "format"]
    command += ["-t", random_id(), "-c", str(config)]
    try:
        answer = subprocess.run(  # noqa: S603 - the user's Java on our jars
            command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False, cwd=workshop
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"Kafka's storage tool did not end within {TOOL_TIMEOUT_S} s") from error
    if answer.returncode != 0 or not list(logs.rglob("*.checkpoint")):
        said = (answer.stderr + answer.stdout).strip().splitlines() or ["nothing"]
        raise ClusterError(f"Kafka's storage tool failed ({answer.returncode}); its last line: {said[-1]}")
    (logs / _META).unlink()
    return logs
