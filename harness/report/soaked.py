"""A soak on the terminal: how many runs of each kind had which verdict, then why those had it that were not valid.

Rows are those of soak.jsonl. Runs with one reason are told together, worst first, with what to do about it where that
is known: a soak of a night may have hundreds of vacuous runs, and two reasons.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.summary import WORST_FIRST
from harness.report.terminal import MARKS, STYLES, WIDEST, Patient, plain
from harness.report.words import VerdictWord, counted, verdict_word

MOST_REASONS = 12
MOST_SEEDS = 6
Told = Mapping[str, Any]


def soak_table(rows: Sequence[Told], *, console: Console | None = None) -> None:
    """Print the runs of a soak. Works in 80 columns."""
    out = console or Patient(highlight=False)
    width = min(out.width, WIDEST)
    counts = Counter(_word(row) for row in rows)
    title = Text(f"{counted(len(rows), 'run', 'runs')}: ", style="bold")
    for word in WORST_FIRST:
        if counts[word]:
            title.append(f"{MARKS[word]} {counts[word]:,} {word}  ", style=STYLES[word])
    out.print()
    out.print(title, width=width)
    out.print()
    out.print(_by_kind(rows, [word for word in WORST_FIRST if counts[word]]), width=width)
    _reasons(out, width, rows)


def _word(row: Told) -> VerdictWord:
    return verdict_word(row["valid"])


def _by_kind(rows: Sequence[Told], words: Sequence[VerdictWord]) -> Table:
    kinds: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        cluster = f"{row['cluster']} {row.get('version', '')}".strip()
        kinds[cluster, row["workload"], row["nemesis"]][_word(row)] += 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("cluster", "workload", "nemesis"):
        table.add_column(name, overflow="fold")
    for word in words:
        table.add_column(word, justify="right", no_wrap=True)
    for kind, found in kinds.items():
        table.add_row(*map(plain, kind), *(f"{found[word]:,}" if found[word] else "-" for word in words))
    return table


def _reasons(out: Console, width: int, rows: Sequence[Told]) -> None:
    alike: dict[tuple[VerdictWord, str], list[Told]] = defaultdict(list)
    for row in rows:
        if row["valid"] is not True:
            alike[_word(row), str(row["why"])].append(row)
    ordered = sorted(alike.items(), key=lambda one: (WORST_FIRST.index(one[0][0]), -len(one[1])))
    for (word, why), found in ordered[:MOST_REASONS]:
        seeds = ", ".join(str(row["seed"]) for row in found[:MOST_SEEDS])
        more = f" and {len(found) - MOST_SEEDS} more" if len(found) > MOST_SEEDS else ""
        out.print()
        text = Text(f"{MARKS[word]} {len(found):,} {word}  ", style=STYLES[word])
        text.append(plain(why), style="default")
        if permits := found[0].get("permitted_by"):
            text.append(f"\n  permitted by {plain(permits)}", style="yellow")
        text.append(f"\n  seed{'s' if len(found) > 1 else ''} {seeds}{more}", style="bright_black")
        if advice := found[0].get("advice"):
            text.append(f"\n  what to do: {plain(advice)}", style="default")
        out.print(text, width=width)
    if (left := len(ordered) - MOST_REASONS) > 0:
        out.print(f"\n{counted(left, 'other reason', 'other reasons')}: see the index", width=width)
