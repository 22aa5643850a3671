"""`make demo`: the main job on whichever Apache Kafka this machine can run.

Local processes (`jvm`) are quickest and are tried first: they need Java and the jars, which Maven fetches once. Else
Docker (`compose`). Where neither is possible, both reasons are told in one line each. The exit status is the run's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.cluster import distribution, engine
from harness.cluster.api import UsageError

VERSION = "4.1.1"


def lacks_jvm() -> str | None:
    """Return why this machine can't run Kafka as local processes; fetches the jars where that is what is missing."""
    try:
        distribution.find_java(VERSION)
        distribution.ensure(VERSION)
    except UsageError as error:
        return str(error)
    return None


def lacks_compose() -> str | None:
    """Return why this machine can't run Kafka in Docker."""
    try:
        engine.compose_command()
        engine.connect().close()
    except UsageError as error:
        return str(error)
    return None


def main() -> int:
    """Choose the cluster, run the harness, say where the report is."""
    reasons = []
    for cluster, lacks in (("jvm", lacks_jvm), ("compose", lacks_compose)):
        reason = lacks()
        if reason is None:
            break
        reasons.append(f"  {cluster}: {reason}")
    else:
        sys.stderr.write("make demo: this machine can run no Apache Kafka yet\n" + "\n".join(reasons) + "\n")
        return 254
    harness = Path(sys.executable).with_name("harness")
    command = [str(harness), "run", "--cluster", cluster, "--nemesis", "kill-leader", "--time-limit", "60"]
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command
    report = Path("results/latest/report.html").resolve()
    if report.exists():
        sys.stdout.write(f"report: {report}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
