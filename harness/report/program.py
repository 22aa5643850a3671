"""The last lines that a program of the user's has printed: where it hangs, they most often say why.

They are told beside `eos-stalled`, of each instance, as far as the run's folder still has them. Nothing is judged by
them. A program may go on talking after what went wrong: a third of the lines are the newest errors before the others.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from harness.application import FOLDER, OUTPUT
from harness.cluster.jvm_node import tail
from harness.report.judged import Judged

STALLED: Final = "eos-stalled"
INSTANCES: Final = 5
"""So many are told of."""
LINES: Final = 12
"""Of each."""
CHARS: Final = 300
"""Of each line."""
_ERROR: Final = re.compile(r"\b(ERROR|FATAL|CRITICAL|SEVERE|Traceback|panic)\b")


def last_output(judged: Judged, folder: Path | None, lines: int = LINES) -> list[tuple[str, list[str]]]:
    """Return (instance, that many of its last lines) where the program has stalled, else nothing."""
    if folder is None or STALLED not in judged.anomalies:
        return []
    logs = sorted((folder / FOLDER).glob(f"*/{OUTPUT}"), key=lambda log: (len(log.parent.name), log.parent.name))
    return [(log.parent.name, _last(log, lines)) for log in logs[:INSTANCES]]


def _last(log: Path, lines: int) -> list[str]:
    printed = [line for line in tail(log).decode(errors="replace").splitlines() if line.strip()]
    before, last = printed[:-lines], printed[-lines:]
    if errors := [line for line in before if _ERROR.search(line)][-(lines // 3) :]:
        last = [*errors, *last[len(errors) :]]
    return [line if len(line) <= CHARS else f"{line[:CHARS]}..." for line in last] or ["(nothing)"]
