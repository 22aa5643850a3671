"""The last lines that a program of the user's has printed: where it hangs, they most often say why.

They are told beside `eos-stalled`, of each instance, as far as the run's folder still has them. Nothing is judged by
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.application import FOLDER, OUTPUT
from harness.cluster.jvm_node import tail
from harness.report.judged import Judged

STALLED: Final = "eos-stalled"
INSTANCES: Final = 5
"""So many are told of."""
LINES: Final = 12
"""Of each: enough for a Java stack trace's own lines."""
CHARS: Final = 300
"""Of each line."""


def last_output(judged: Judged, folder: Path | None) -> list[tuple[str, str]]:
    """Return (instance, its last lines) where the program has stalled, else nothing."""
    if folder is None or STALLED not in judged.anomalies:
        return []
    logs = sorted((folder / FOLDER).glob(f"*/{OUTPUT}"), key=lambda log: (len(log.parent.name), log.parent.name))
    return [(log.parent.name, _lines(log)) for log in logs[:INSTANCES]]


def _lines(log: Path) -> str:
    lines = tail(log).decode(errors="replace").splitlines()[-LINES:]
    return "\n".join(line if len(line) <= CHARS else f"{line[:CHARS]}..." for line in lines) or "(nothing)"
