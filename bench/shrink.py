"""How small shrinking makes failures: planted bugs that the default mix found, each within a budget of CPU seconds.

python -m bench.shrink 45 ack-before-replication lso-ignored ...
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

from harness import launch, replay
from harness.hunt import mix
from harness.report.terminal import LiveView

SEEDS = 60


def found(bug: str, results: Path) -> tuple[int, Path] | None:
    """Return the first seed of the mix that shows the bug, and its run."""
    for seed in range(1, SEEDS):
        scenario = mix.scenario(seed, bug)
        with contextlib.redirect_stdout(io.StringIO()):
            done = launch.perform(scenario, results, name=bug, view=LiveView(scenario, quiet=True))
        if done.judgement.verdict_json()["valid"] is False:
            return seed, done.folder
    return None


def main(budget_s: float, bugs: list[str]) -> None:
    """Print a block for each bug."""
    with tempfile.TemporaryDirectory() as folder:
        for bug in bugs:
            began = time.process_time()
            hit = found(bug, Path(folder))
            if hit is None:
                print(f"{bug}: not found by {SEEDS - 1} seeds", flush=True)
                continue
            out = io.StringIO()
            hunt_s = time.process_time() - began
            with contextlib.redirect_stdout(out):
                replay.shrink(hit[1], Path(folder), budget_s=budget_s, as_json=False)
            lines = [line for line in out.getvalue().splitlines() if line.startswith(("from ", "to ", "by "))]
            print(f"{bug}: seed {hit[0]}, {hunt_s:.0f} s of CPU", *lines, sep="\n  ", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
