"""One lane of the day: runs of one workload after the other against a cluster that somebody else breaks.

    python -m bench.day.lane --workload txn --bootstrap HOST:PORT --seconds 600 --run-s 45 --seed 1 --results FOLDER

Each run makes topics of its own, works, drains, is judged, and its topics go; the folder of a valid run goes too. One
JSON line a run. A set-up that a fault prevents counts as `refused`, and the lane tries again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from harness import catalog, launch
from harness.cluster.api import ClusterError, UsageError
from harness.history import Op
from harness.options import BY_CLUSTER
from harness.scenario import Scenario, topic_names

PAUSE_S = 1.0
"""After a set-up that failed: whatever holds now is healed within a few."""


class Silent:
    """Watches a run and says nothing."""

    def phase(self, name: str) -> None:
        """Ignore a phase."""

    def event(self, op: Op) -> None:
        """Ignore an op."""


def scenario(workload: str, bootstrap: str, seed: int, seconds: float, rate: float) -> Scenario:
    """Return a run of the workload on a cluster that is there; its nodes were configured when they started."""
    known = catalog.workload(workload)
    fields: dict[str, Any] = {
        "workload": workload,
        "cluster": "existing",
        "bootstrap": bootstrap,
        "seed": seed,
        "time_limit_s": seconds,
        "concurrency": 5,
        "rate": rate,
        "topic_config": dict(known.topic_config),
        **BY_CLUSTER["kafka"],
    }
    return Scenario(**(fields | dict(known.shape)))


def one(made: Scenario, results: Path) -> dict[str, Any]:
    """Do one run; return its line."""
    began = time.monotonic()
    line: dict[str, Any] = {"workload": made.workload, "seed": made.seed}
    try:
        run = launch.perform(made, results, name=made.workload, view=Silent())
    except (ClusterError, UsageError) as error:
        return line | {"valid": "refused", "why": str(error)[:300]}
    verdict = run.judgement.verdict_json()
    line |= {"valid": verdict["valid"], "s": round(time.monotonic() - began, 1)}
    admin = AdminClient({"bootstrap.servers": str(made.bootstrap), "log_level": 0})
    for future in admin.delete_topics(list(topic_names(run.scenario))).values():
        with contextlib.suppress(KafkaException):  # a fault may hold: then the topic stays, and the disk shows it
            future.result(30)
    if verdict["valid"] is True:
        shutil.rmtree(run.folder)
        return line
    return line | {
        "anomalies": list(verdict["anomalies"]),
        "reasons": verdict["reasons"][:3],
        "folder": str(run.folder),
    }


def main() -> None:
    """Run until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--run-s", type=float, default=45.0)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, required=True)
    options = parser.parse_args()
    ends, seed = time.monotonic() + options.seconds, options.seed
    while time.monotonic() < ends:
        line = one(scenario(options.workload, options.bootstrap, seed, options.run_s, options.rate), options.results)
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        if line["valid"] == "refused":
            time.sleep(PAUSE_S)
        seed += 1


if __name__ == "__main__":
    main()
