"""Our broker, Apache Kafka and kfake side by side, by the same client in the same run.

    python -m bench.broker [--nodes 1,3] [--targets embedded,jvm,kfake] [--rows REGEX] [--seconds 3] [--rounds 3]
                           [--kfake FOLDER] [--links] [--heap]

All targets run at the same time, but only one of them is loaded at any moment, in turn, row by row; each row counts the
median of its rounds, after one round that warms up; free memory is touched before each measurement (`memory`). With
three nodes the replication factor is 3. Prints a JSON line for every row and target, then the table of
docs/performance.md. A target that can't run is skipped with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.broker import loads
from bench.broker.memory import warm
from bench.broker.targets import JVM, NAMES, Target, running
from harness.cluster.api import UsageError

IDLE_S = 3.0
"""How long a target rests before its memory is called idle."""
CONSUMED_MB = {100: 150, 1024: 300}
"""What a consumer reads: two seconds or so."""
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: its name, which figure counts, and how it is measured."""

    name: str
    figure: str
    measure: Callable[[Target], Figures]


class Bench:
    """One number of nodes: targets that run, and what was measured."""

    def __init__(self, nodes: int, seconds: float, rounds: int, wanted: re.Pattern[str]) -> None:
        self.nodes, self.seconds, self.rounds, self.wanted = nodes, seconds, rounds, wanted
        self.targets: list[Target] = []
        self.results: dict[str, dict[str, float]] = {}
        self._topics: dict[tuple[str, int, int], str] = {}

    def start(self, stack: ExitStack, names: list[str], kfake: Path | None, *, links: bool) -> None:
        """Start each target, one after the other, and note how long it took and what it weighs."""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-broker-")))
        for name in names:
            try:
                began = time.monotonic()
                target = stack.enter_context(running(name, self.nodes, folder, kfake=kfake, links=links))
            except UsageError as error:
                sys.stderr.write(f"{name} is skipped: {error}\n")
                continue
            self.note("start to first ack, s", name, "s", [loads.first_ack(target.bootstrap, self.nodes, began)])
            target.starting.join()
            time.sleep(IDLE_S)
            self.note("memory idle, MB", name, "rss_mb", [{"rss_mb": target.rss_mb()}])
            self.targets.append(target)

    def note(self, row: str, target: str, figure: str, rounds: list[Figures]) -> None:
        """Print a line, and keep the median."""
        names = rounds[0].keys()
        medians = {name: statistics.median(one[name] for one in rounds) for name in names}
        spread = [round(one[figure], 3) for one in rounds]
        shown = {name: round(value, 3) for name, value in medians.items()}
        line = {"bench": "broker", "nodes": self.nodes, "row": row, "target": target, **shown, "rounds": spread}
        print(json.dumps(line), flush=True)
        self.results.setdefault(row, {})[target] = medians[figure]

    def rows(self) -> list[Row]:
        """Return what is measured under load."""
        rows = []
        for size, partitions in ((100, 1), (100, 6), (1024, 1), (1024, 6)):
            label = f"{_size(size)}, {partitions} p"
            rows.append(Row(f"produce {label}, rec/s", "records_per_s", self._produce(size, partitions)))
        for partitions in (1, 6):
            label = f"idempotent 1 KiB, {partitions} p"
            rows.append(
                Row(f"produce {label}, rec/s", "records_per_s", self._produce(1024, partitions, idempotent=True))
            )
        for size, partitions in ((100, 1), (100, 6), (1024, 1), (1024, 6)):
            label = f"{_size(size)}, {partitions} p"
            rows.append(Row(f"consume {label}, rec/s", "records_per_s", self._consume(size, partitions)))
        rows.append(Row("sync produce p50, ms", "p50_ms", self._sync))
        rows.append(Row("transactions of 10 records, /s", "per_s", self._transactions))
        return rows

    def _produce(self, size: int, partitions: int, *, idempotent: bool = False) -> Callable[[Target], Figures]:
        def measure(target: Target) -> Figures:
            topic = loads.create(target.bootstrap, partitions, self.nodes)
            cpu_s = target.cpu_s()
            figures = loads.produce(
                target.bootstrap,
                topic,
                size=size,
                partitions=partitions,
                seconds=self.seconds,
                **({"enable.idempotence": True} if idempotent else {}),
            )
            figures["cpu_s_per_gb"] = (target.cpu_s() - cpu_s) / figures.pop("bytes") * 1e9
            loads.delete(target.bootstrap, topic)
            return figures

        return measure

    def _consume(self, size: int, partitions: int) -> Callable[[Target], Figures]:
        def measure(target: Target) -> Figures:
            key = (target.name, size, partitions)
            if key not in self._topics:
                topic = self._topics[key] = loads.create(target.bootstrap, partitions, self.nodes)
                records = CONSUMED_MB[size] * 1_000_000 // size
                loads.produce(
                    target.bootstrap, topic, size=size, partitions=partitions, seconds=loads.TIMEOUT_S, records=records
                )
            cpu_s = target.cpu_s()
            figures = loads.consume(target.bootstrap, self._topics[key], size=size, partitions=partitions)
            return figures | {"cpu_s_per_gb": (target.cpu_s() - cpu_s) / CONSUMED_MB[size] * 1000}

        return measure

    def _sync(self, target: Target) -> Figures:
        topic = loads.create(target.bootstrap, 1, self.nodes)
        return loads.sync_produce(target.bootstrap, topic, seconds=self.seconds)

    def _transactions(self, target: Target) -> Figures:
        topic = loads.create(target.bootstrap, 1, self.nodes)
        return loads.transactions(target.bootstrap, topic, seconds=self.seconds)

    def run(self) -> None:
        """Measure every row on every target, in turn."""
        for row in self.rows():
            if not self.wanted.search(row.name):
                continue
            rounds: dict[str, list[Figures]] = {target.name: [] for target in self.targets}
            for number in range(self.rounds + 1):
                for target in self.targets:
                    figures = _measured(row, target)
                    if number and figures is not None:
                        rounds[target.name].append(figures)
            for name, taken in rounds.items():
                if taken:
                    self.note(row.name, name, row.figure, taken)
                    self._note_more(row, name, taken)
        for target in self.targets:
            self.note("memory after, MB", target.name, "rss_mb", [{"rss_mb": target.rss_mb()}])

    def _note_more(self, row: Row, target: str, taken: list[Figures]) -> None:
        """Keep what else a row has measured for the table."""
        base = row.name.rpartition(",")[0].removesuffix(" p50")
        for figure, label in (("p99_ms", " p99, ms"), ("cpu_s_per_gb", ", broker CPU s per GB")):
            if figure in taken[0] and figure != row.figure:
                median = statistics.median(one[figure] for one in taken)
                self.results.setdefault(base + label, {})[target] = median

    def table(self) -> str:
        """Return the table in Markdown: our figure, and every other target's, with our ratio to Kafka's."""
        names = [target.name for target in self.targets]
        head = f"| {self.nodes} node{'s' if self.nodes > 1 else ''} | {' | '.join(names)} | embedded ÷ jvm |"
        lines = [head, "|" + "---|" * (len(names) + 2)]
        for row, found in self.results.items():
            ours, theirs = found.get("embedded"), found.get(JVM)
            ratio = f"{ours / theirs:.2f}" if ours and theirs else ""
            shown = [_shown(found[name]) if name in found else "-" for name in names]
            lines.append(f"| {row} | {' | '.join(shown)} | {ratio} |")
        return "\n".join(lines)


def _measured(row: Row, target: Target) -> Figures | None:
    warm()
    try:
        return row.measure(target)
    except (loads.FailedError, loads.KafkaException) as error:
        sys.stderr.write(f"{target.name}: {row.name}: {error}\n")
        return None


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _size(size: int) -> str:
    return "1 KiB" if size == 1024 else f"{size} B"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1,3")
    parser.add_argument("--targets", default=",".join(NAMES))
    parser.add_argument("--rows", default="", help="a regular expression that names of rows must match")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kfake", type=Path, help="the folder with kfake's main.go and go.mod, to be built once")
    parser.add_argument("--links", action="store_true", help="our nodes' connections run through the harness's links")
    options = parser.parse_args()
    names = options.targets.split(",")
    if unknown := set(names) - set(NAMES):
        parser.error(f"unknown targets: {', '.join(sorted(unknown))}")
    tables = []
    for nodes in map(int, options.nodes.split(",")):
        bench = Bench(nodes, options.seconds, options.rounds, re.compile(options.rows))
        with ExitStack() as stack:
            bench.start(stack, names, options.kfake, links=options.links)
            bench.run()
        tables.append(bench.table())
    print(f"\n{os.cpu_count()} cores, {'with' if options.links else 'without'} links\n\n" + "\n\n".join(tables))


if __name__ == "__main__":
    main()
