"""Our broker and Apache Kafka side by side, loaded by Apache Kafka's own performance tools: its Java clients.

    python -m bench.broker.kafka_tools [--nodes 1,3] [--targets embedded,jvm] [--rounds 3] [--records N] [--sync N]

`ProducerPerformance` with the Java producer's defaults (idempotent, acks=all, batches of 16 KB, five requests under
way, linger.ms=5): records a second over the whole run, the client's own start included. `EndToEndLatency`: one record
at a time, acks=all, from the send to its being consumed. Rounds take turns; each is a new JVM. Prints a JSON line for
every row and target, then a table. The tools come through Maven, once, into the user's cache; without Maven or Java it
says so.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.broker import loads
from bench.broker.memory import warm
from bench.broker.targets import EMBEDDED, JVM, Target, running
from harness.cluster import distribution
from harness.cluster.api import UsageError

VERSION = "4.1.1"
TIMEOUT_S = 300
POM = Path(__file__).with_name("kafka-tools.xml")
HEAP = "-Xmx512m"
PRODUCED = re.compile(r"([\d.]+) records/sec .*?([\d.]+) ms avg latency.* (\d+) ms 99th")
SYNCED = re.compile(r"Percentiles: 50th = (\d+), 99th = (\d+)")
AVERAGE = re.compile(r"Avg latency: ([\d.]+) ms")
Figures = dict[str, float]
Measure = Callable[[Target], Figures]


@dataclass(frozen=True, slots=True)
class Tools:
    """Where they are, and how they are called."""

    java: str
    jars: Path

    def run(self, name: str, *arguments: str) -> str:
        """Return what the tool prints; raises `loads.FailedError` with its last words."""
        command = [self.java, HEAP, "-cp", f"{self.jars}/*", f"org.apache.kafka.tools.{name}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        if done.returncode:
            raise loads.FailedError(f"{name}: {(done.stderr or done.stdout)[-500:]}")
        return done.stdout

    def produce(self, target: Target, topic: str, size: int, records: int) -> Figures:
        """Write as fast as it goes."""
        said = self.run(
            *("ProducerPerformance", "--topic", topic, "--num-records", str(records), "--record-size", str(size)),
            *("--throughput", "-1", "--producer-props", f"bootstrap.servers={target.bootstrap}"),
        )
        found = PRODUCED.search((said.strip() or "nothing").splitlines()[-1])
        if found is None:
            raise loads.FailedError(f"ProducerPerformance said {said[-200:]!r}")
        return {"rec_s": float(found[1]), "mean_ms": float(found[2]), "p99_ms": float(found[3])}

    def sync(self, target: Target, topic: str, records: int) -> Figures:
        """Write and consume one record after the other."""
        said = self.run("EndToEndLatency", target.bootstrap, topic, str(records), "all", "100")
        mean, found = AVERAGE.search(said), SYNCED.search(said)
        if mean is None or found is None:
            raise loads.FailedError(f"EndToEndLatency said {said[-200:]!r}")
        return {"mean_ms": float(mean[1]), "p50_ms": float(found[1]), "p99_ms": float(found[2])}


def tools() -> Tools:
    """Fetch them, once. Raises UsageError."""
    java = distribution.find_java(VERSION).command
    libs = distribution.unpacked(VERSION)
    return Tools(java, libs or distribution.make_once(distribution.cache_folder() / f"kafka-tools-{VERSION}", _fetch))


def _fetch(workshop: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        raise UsageError("Apache Kafka's tools: install Maven (mvn), or unpack its tarball and set KAFKA_HOME")
    shutil.copy(POM, workshop / "pom.xml")
    jars = workshop / "jars"
    command = [maven, "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]
    command += [f"-Dkafka.version={VERSION}", f"-DoutputDirectory={jars}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=workshop, timeout=TIMEOUT_S)
    if done.returncode:
        raise UsageError(f"Maven did not fetch Apache Kafka's tools: {(done.stdout + done.stderr)[-300:]}")
    return jars


def rows(tool: Tools, nodes: int, records: int, sync: int) -> Iterator[tuple[str, str, Measure]]:
    """Each row: its name, the figure that counts, and what measures it."""

    def produced(size: int, partitions: int) -> Measure:
        def measure(target: Target) -> Figures:
            topic = loads.create(target.bootstrap, partitions, nodes)
            cpu_s = target.cpu_s()
            figures = tool.produce(target, topic, size, records if size > 100 else records * 4)
            spent = target.cpu_s() - cpu_s
            loads.delete(target.bootstrap, topic)
            return figures | {"cpu_s": spent}

        return measure

    def synced(target: Target) -> Figures:
        topic = loads.create(target.bootstrap, 1, nodes)
        figures = tool.sync(target, topic, sync)
        loads.delete(target.bootstrap, topic)
        return figures

    for size in (100, 1024):
        for partitions in (1, 6):
            yield f"produce {size} B, {partitions} p, rec/s", "rec_s", produced(size, partitions)
    yield "send and consume one record, mean ms", "mean_ms", synced


def compare(nodes: int, names: list[str], given: argparse.Namespace) -> None:
    """One number of nodes."""
    tool = tools()
    title = f"{nodes} {'node' if nodes == 1 else 'nodes, RF 3'}"
    table = [f"| {title} | {' | '.join(names)} | ratio |", "|---|" + "---|" * len(names) + "---|"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-broker-")))
        targets = [stack.enter_context(running(name, nodes, folder, kfake=None, links=False)) for name in names]
        for target in targets:
            target.starting.join()
        for row, figure, look in rows(tool, nodes, given.records, given.sync):
            rounds: dict[str, list[Figures]] = {target.name: [] for target in targets}
            for _ in range(given.rounds):
                for target in targets:
                    warm()
                    rounds[target.name].append(look(target))
            for name, found in rounds.items():
                medians = {key: round(statistics.median(one[key] for one in found), 3) for key in found[0]}
                line = {"bench": "kafka_tools", "nodes": nodes, "row": row, "target": name, **medians}
                print(json.dumps(line | {"rounds": [one[figure] for one in found]}), flush=True)
            counts = [statistics.median(one[figure] for one in rounds[name]) for name in names]
            shown = " | ".join(f"{count:,.0f}" if count > 100 else f"{count:.3g}" for count in counts)
            table.append(f"| {row} | {shown} | {counts[0] / counts[-1]:.2f} |")
        print("\n".join(table), flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1,3")
    parser.add_argument("--targets", default=f"{EMBEDDED},{JVM}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=600_000)
    parser.add_argument("--sync", type=int, default=5000)
    given = parser.parse_args()
    try:
        for nodes in given.nodes.split(","):
            compare(int(nodes), given.targets.split(","), given)
    except (UsageError, loads.FailedError) as error:
        sys.exit(f"bench.broker.kafka_tools: {error}")


if __name__ == "__main__":
    main()
