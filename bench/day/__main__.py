"""A day in an hour: one cluster of our broker, all workloads at once, a fault every ten seconds; all must stay flat.

    python -m bench.day [--minutes 60] [--every 10] [--controllers 0] [--seed 1]

Four lanes (`bench.day.lane`) run transactions, a group, a compacted topic and one whose records expire, against one
cluster that lives all the time, each judged run by run. Meanwhile a node is killed, stopped in order and started again,
paused, or cut off from the others, drawn from the seed; the next fault comes when every partition has its full ISR
again, within a bound. Memory of the nodes and their data folders are looked at every five seconds: at the end the last
third is compared with the middle one. What would take a week grows and shrinks within minutes here: segments of 1 MB,
offsets kept for two minutes, producers and transactional ids for two, a metadata snapshot every 256 KB.

JSON lines: runs, faults, samples, and the sum. The exit status is 1 where a run was invalid, a fault was not got over,
or memory or disk have grown by more than a quarter and by more than the slack.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.broker.targets import PAGE_BYTES
from bench.day.faults import Faults
from harness.catalog import WORKLOADS
from harness.cluster.api import ClusterSpec
from harness.cluster.processes import EmbeddedCluster

LANES = ("txn", "groups", "compaction", "retention")
NODE_CONFIG = {
    "log.segment.bytes": str(1 << 20),
    "log.cleaner.backoff.ms": "1000",
    "log.retention.check.interval.ms": "300",
    "metadata.log.max.record.bytes.between.snapshots": str(256 << 10),
    "offsets.retention.minutes": "2",
    "offsets.retention.check.interval.ms": "10000",
    "producer.id.expiration.ms": "120000",
    "transactional.id.expiration.ms": "120000",
}
SAMPLE_S = 5.0
LOAD_ENDS_S = 240.0
"""For the last runs to drain and be judged."""
GROWTH = 1.25
SLACK_MB = {"memory": 10.0, "disk": 40.0}
"""What two moments of a cluster that always does the same may differ by: garbage, and topics that come and go."""


def tell(**line: Any) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Samples:
    """Memory and disk of the nodes, over time."""

    def __init__(self, cluster: EmbeddedCluster, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        self.taken: list[dict[str, float]] = []

    def take(self, at_s: float) -> None:
        """Look once; a node that is down now makes the look worthless."""
        pages = []
        for node in self._cluster.nodes():
            pid = self._cluster.pid(node.name)
            try:
                pages.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]))
            except OSError:
                return
        disk = 0
        for place, _, names in os.walk(self._folder):  # what is deleted meanwhile counts for nothing
            for file in names:
                with contextlib.suppress(FileNotFoundError):
                    disk += Path(place, file).stat().st_size
        sample = {"memory": round(sum(pages) * PAGE_BYTES / 1e6, 1), "disk": round(disk / 1e6, 1)}
        self.taken.append(sample)
        tell(at_s=round(at_s), **sample)

    def growth(self) -> dict[str, dict[str, Any]]:
        """Return the medians of the middle third and the last, and whether that is flat."""
        third = len(self.taken) // 3
        if not third:
            return {}
        found = {}
        for what, slack_mb in SLACK_MB.items():
            middle = statistics.median(one[what] for one in self.taken[third : 2 * third])
            last = statistics.median(one[what] for one in self.taken[2 * third :])
            flat = last <= middle * GROWTH or last - middle <= slack_mb
            found[what] = {"middle_mb": middle, "last_mb": last, "flat": flat}
        return found


def lane(workload: str, bootstrap: str, options: argparse.Namespace) -> subprocess.Popen[str]:
    """Start a lane."""
    seconds = options.minutes * 60
    command = [sys.executable, "-m", "bench.day.lane", "--workload", workload, "--bootstrap", bootstrap]
    command += ["--seconds", str(seconds), "--run-s", str(options.run_s), "--rate", str(options.rate)]
    command += ["--seed", str(options.seed), "--results", str(options.results)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def live(cluster: EmbeddedCluster, samples: Samples, faults: Faults, options: argparse.Namespace) -> None:
    """Break and look, as long as the day lasts."""
    began = time.monotonic()
    ends, fault_at, sample_at = began + options.minutes * 60, began + options.every, began
    while (now := time.monotonic()) < ends:
        if now >= sample_at:
            samples.take(now - began)
            sample_at = now + SAMPLE_S
        if now >= fault_at:
            fault_at = now + options.every
            faults.one()
            if dead := [node.name for node in cluster.nodes() if cluster.pid(node.name) is None]:
                raise SystemExit(f"bench.day: {', '.join(dead)} ended by itself: see its server.log")
        time.sleep(max(0.0, min(fault_at, sample_at, ends) - time.monotonic()))


def day(options: argparse.Namespace, folder: Path) -> int:
    """Run the day; return the exit status."""
    rows: list[dict[str, Any]] = []

    def read(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for text in process.stdout:
            rows.append(json.loads(text))
            tell(run=rows[-1])

    config = {key: value for one in LANES for key, value in WORKLOADS[one].broker_config.items()} | NODE_CONFIG
    spec = ClusterSpec(name="day", folder=folder, controllers=options.controllers, broker_config=config)
    cluster = EmbeddedCluster(spec)
    lanes: list[subprocess.Popen[str]] = []
    status = 1
    try:
        cluster.up()
        lanes += [lane(one, cluster.bootstrap(), options) for one in LANES]
        readers = [threading.Thread(target=read, args=(one,), daemon=True) for one in lanes]
        for reader in readers:
            reader.start()
        faults, samples = Faults(cluster, random.Random(options.seed), tell), Samples(cluster, folder)
        live(cluster, samples, faults, options)
        for one in lanes:
            one.wait(LOAD_ENDS_S)
        for reader in readers:
            reader.join(LOAD_ENDS_S)
        status = summed_up(rows, faults, samples, crashed=sum(bool(one.returncode) for one in lanes))
    finally:
        for one in lanes:
            if one.poll() is None:
                one.kill()
        if status:
            shutil.copytree(folder, options.results / "cluster", dirs_exist_ok=True)
            tell(kept=str(options.results / "cluster"))
        cluster.down()
    return status


def summed_up(rows: list[dict[str, Any]], faults: Faults, samples: Samples, *, crashed: int) -> int:
    """Print the sum; return the exit status."""
    verdicts = Counter(str(row["valid"]).lower() for row in rows)
    growth = samples.growth()
    tell(
        runs=dict(verdicts),
        valid=dict(Counter(row["workload"] for row in rows if row["valid"] is True)),
        faults=dict(faults.done),
        not_got_over=faults.not_got_over,
        longest_whole_s=round(faults.longest_s, 1),
        lanes_crashed=crashed,
        **growth,
    )
    is_flat = bool(growth) and all(one["flat"] for one in growth.values())
    is_lost = verdicts["false"] or faults.not_got_over or crashed
    all_worked = {row["workload"] for row in rows if row["valid"] is True} == set(LANES)
    return 0 if is_flat and not is_lost and all_worked else 1


def main() -> int:
    """Read the options, run the day."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds from fault to fault")
    parser.add_argument("--run-s", type=float, default=45.0, help="main phase of each run")
    parser.add_argument("--rate", type=float, default=30.0, help="operations a second of each lane")
    parser.add_argument("--controllers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("results/day"))
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench.day: ended from outside"))  # what it started goes with it
    with tempfile.TemporaryDirectory(prefix="bench-day-") as name:
        return day(options, Path(name) / "cluster")


if __name__ == "__main__":
    sys.exit(main())
