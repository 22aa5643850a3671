"""Porcupine beside our own checkers: the same histories, in the same run, on the same machine.

Its driver (`porcupine/main.go`) is built once into the user's cache, the module comes from the Go module proxy. Where
Go or the module is missing the bench says so and goes on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.cluster.distribution import cache_folder

SOURCE = Path(__file__).parent / "porcupine"
LIMIT_S = 30
"""Past it (wall clock) Porcupine answers that it does not know; the published figures are of 8 s on an idle machine."""
BUILD_S = 120


class MissingError(Exception):
    """Porcupine can't run here; the text says why."""


def judged(files: Sequence[Path]) -> dict[str, object]:
    """Return what Porcupine says of files in the published form, and the CPU seconds of its checks alone.

    Raises MissingError with the reason.
    """
    command = [str(built()), str(LIMIT_S), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"the driver failed: {done.stderr[-300:]}")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    used = [float(answer["cpu_s"]) for answer in told]
    return {
        "answers": dict(Counter(answer["answer"] for answer in told)),
        "cpu_s": round(sum(used), 3),
        "worst_cpu_s": round(max(used), 3),
    }


def built() -> Path:
    """Return the driver, built if need be. Raises MissingError."""
    go = shutil.which("go")
    if go is None:
        raise MissingError("there is no Go compiler here")
    target = cache_folder() / "porcupine"
    command = [go, "build", "-o", str(target), "."]
    try:
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"go build took more than {BUILD_S} s: is the module proxy reachable?") from error
    if done.returncode:
        raise MissingError(f"go build failed: {done.stderr[-300:]}")
    return target
