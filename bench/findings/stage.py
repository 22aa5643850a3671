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
    kind = parser.parse_args().cluster
    with tempfile.TemporaryDirectory() as folder:
        cluster: Any = catalog.provider(kind).create(ClusterSpec(name=name, folder=Path(folder) / "cluster"))
        try:
            cluster.up()
            print(json.dumps({"cluster": kind, **show(cluster)}))
        finally:
            cluster.down()
