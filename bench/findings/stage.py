"""Where a finding is shown: a cluster of its own, from the command line."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import catalog
from harness.cluster.api import ClusterSpec


def stage(name: str, told: str | None, clusters: str, show: Callable[[Any], dict[str, object]]) -> None:
    """Show a finding on a cluster of three of the kind that `--cluster` says; print what it returns as a JSON line."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", default="embedded", help=clusters)
    parser.add_argument("--kafka-version", default="4.1.1", help="of Apache Kafka (jvm, compose)")
    chosen = parser.parse_args()
    kind, version = chosen.cluster, chosen.kafka_version
    with tempfile.TemporaryDirectory() as folder:
        spec = ClusterSpec(name=name, folder=Path(folder) / "cluster", version=version)
        cluster: Any = catalog.provider(kind).create(spec)
        try:
            cluster.up()
            ran = {"cluster": kind} if kind == "embedded" else {"cluster": kind, "kafka": version}
            print(json.dumps({**ran, **show(cluster)}))
        finally:
            cluster.down()
