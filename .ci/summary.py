"""Print what soaks found as Markdown: `python .ci/summary.py RESULTS`, for a job's summary page.

Reads every RESULTS/soak/*/soak.jsonl. One line of counts per soak, then a row for each run that was not valid, so that
a night is judged at a glance; the folders named are in the uploaded artifact. Says so when there is no soak at all.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

MOST_ROWS = 200
"""A summary page is refused past 1 MiB."""
NAMES = {True: "valid", False: "INVALID", None: "broken"}


def name(valid: bool | str | None) -> str:  # noqa: FBT001 - the field as it stands in the file
    """Return a run's verdict as one word; None: the harness broke."""
    return NAMES[valid] if valid is None or isinstance(valid, bool) else valid


def cell(value: object) -> str:
    """Return a table cell: one line, no bars, bounded."""
    return " ".join(str(value).replace("|", "\\|").split())[:300]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return a soak's rows; a last line that was cut off, by who killed it, is none."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def section(soak: str, rows: list[dict[str, Any]]) -> list[str]:
    """Return one soak's lines."""
    counts = Counter(name(row["valid"]) for row in rows)
    hours = sum(row["seconds"] for row in rows) / 3600
    told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "no run"
    lines = [f"### {soak}: {told} in {hours:.1f} h", ""]
    odd = [row for row in rows if row["valid"] is not True]
    if odd:
        fields = ("cluster", "version", "workload", "nemesis", "seed", "why", "advice", "folder")
        lines += [f"| verdict | {' | '.join(fields)} |", f"|---|{'---|' * len(fields)}"]
        lines += [
            f"| {name(row['valid'])} | " + " | ".join(cell(row.get(field) or "") for field in fields) + " |"
            for row in odd[:MOST_ROWS]
        ]
    if len(odd) > MOST_ROWS:
        lines.append(f"\n{len(odd) - MOST_ROWS} more: see soak.jsonl.")
    return lines


def main(results: Path) -> str:
    """Return the summary of every soak under a results folder."""
    files = sorted(path for path in results.glob("soak/*/soak.jsonl") if not path.parent.is_symlink())
    lines = [line for path in files for line in section(path.parent.name, rows_of(path))]
    return "\n".join(lines or [f"No soak under {results.name}/: it ended before its first run."]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1])))
