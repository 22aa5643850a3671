"""Measure how what the checkers need grows with histories in which much goes wrong.

    python -m bench.checkers.growth [--steps 4000,16000] [--shape NAME,...]

Prints a line of JSON per shape of history (`tests/checkers/growing.py`): operations and CPU seconds of all checkers per
number of steps, loading left out, and how many times as long the longest took as the one before. Linear is the quotient
of the steps; the machine's noise and sorting come on top.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time

from checkers.findings import Findings
from checkers.queue import case_of, judge_case
from tests.checkers.growing import SHAPES, told


def measured(name: str, steps: int) -> tuple[int, float, int]:
    """Return how many events a history has, the CPU seconds of the checkers, and how many anomalies they count."""
    ops = told(name, steps).ops
    case = case_of([(ops, range(1, len(ops) + 1))], name, SHAPES[name][1])
    findings = Findings()
    gc.collect()
    gc.disable()  # as a judgement does
    begun = time.process_time()
    judge_case(case, findings)
    taken = time.process_time() - begun
    gc.enable()
    return len(ops), taken, sum(anomaly.count for anomaly in findings.anomalies())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="4000,16000", help="sizes, rising, separated by commas")
    parser.add_argument("--shape", default="", help="names, separated by commas")
    options = parser.parse_args(arguments)
    sizes = [int(size) for size in options.steps.split(",")]
    for name in filter(None, options.shape.split(",")) if options.shape else SHAPES:
        figures = [measured(name, size) for size in sizes]
        line = {
            "shape": name,
            "events": [events for events, _, _ in figures],
            "anomalies": [anomalies for _, _, anomalies in figures],
            "cpu_s": [round(taken, 3) for _, taken, _ in figures],
        }
        if len(figures) > 1:
            line["times"] = round(figures[-1][1] / figures[-2][1], 1)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
