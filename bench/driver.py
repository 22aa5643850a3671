"""How many operations a second the interpreter and the history sustain with a client that does nothing.

    python -m bench.driver [--ops 200000] [--processes 10]

Prints one JSON line: operations a second (each is an invocation and a completion, both written to disk), and the
resident memory at a tenth of the way and at the end: flat means that a run's length costs no memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from harness.client import Client, Now
from harness.generator import Context, Repeat, clients, invoke
from harness.history import OK, HistoryWriter, Op, Process
from harness.interpreter import Interpreter
from harness.random import Rng

PAGE_BYTES = resource.getpagesize()


class Idle:
    """A client for which everything succeeds at once."""

    def invoke(self, op: Op) -> Op:
        """Complete it."""
        return op.completed(OK)

    def close(self) -> None:
        """Nothing is open."""


class IdleClients:
    """Opens idle clients."""

    def open(self, process: Process, now: Now) -> Client:  # noqa: ARG002
        """Return one."""
        return Idle()


def _rss_mb() -> float:
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * PAGE_BYTES / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ops", type=int, default=200_000)
    parser.add_argument("--processes", type=int, default=10)
    arguments = parser.parse_args()

    def make(count: int, rng: Rng, ctx: Context) -> tuple[Op, Rng]:
        return invoke(ctx, "send", [["send", f"t0/{count % 6}", count]]), rng

    marks: list[float] = []
    seen = 0
    with tempfile.TemporaryDirectory() as folder, HistoryWriter(Path(folder) / "history.jsonl") as writer:

        def record(op: Op) -> None:
            nonlocal seen
            writer.append(op)
            seen += 1
            if seen == arguments.ops // 5:  # two records an op: a tenth of the way
                marks.append(_rss_mb())

        generator = clients(Repeat(make, Rng(1), limit=arguments.ops))
        interpreter = Interpreter(generator, arguments.processes, IdleClients(), {}, record)
        began = time.monotonic()
        interpreter.run()
        seconds = time.monotonic() - began
    figures = {
        "bench": "driver",
        "client": "idle",
        "ops": arguments.ops,
        "processes": arguments.processes,
        "ops_per_s": round(arguments.ops / seconds),
        "rss_mb_at_a_tenth": round(marks[0], 1),
        "rss_mb_at_the_end": round(_rss_mb(), 1),
        "cores": os.cpu_count(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
