"""The table of docs/outcomes.md, made from the rows. `python -m tests.harness.outcome_page` writes it anew."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from harness.outcome import ANY, ROWS, Row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outcomes.md"
BEGIN, END = "<!-- rows: made by python -m tests.harness.outcome_page -->", "<!-- end of rows -->"


def table(*, transactional: bool) -> str:
    """Return the Markdown table of the plain or the transactional rows; rows that say the same share a line."""
    last = "after an ok abort" if transactional else "never retried"
    lines = [f"| stage | error | outcome | {last} | why |", "|---|---|---|---|---|"]
    rows = [row for row in ROWS if row.transactional == transactional]

    def same(row: Row) -> tuple[str, ...]:
        return row.stage, row.outcome, row.aborted if transactional else row.without_retries, row.why

    for (stage, outcome, other, why), group in groupby(rows, same):
        names = ", ".join("any other" if row.name == ANY else f"`{row.name}`" for row in group)
        lines.append(f"| {stage} | {names} | **{outcome}** | {other} | {why} |")
    return "\n".join(lines)


def unproven() -> str:
    """Return the list of rows that no test provokes."""
    reasons: dict[str, list[str]] = {}
    for row in ROWS:
        if row.unproven:
            where = f"{'txn ' if row.transactional else ''}{row.stage} `{row.name}`"
            reasons.setdefault(row.unproven, []).append(where)
    return "\n".join(f"* {', '.join(where)}: {reason}" for reason, where in reasons.items())


def rows() -> str:
    """Return the generated part of the page."""
    return (
        f"\n## Outside transactions\n{table(transactional=False)}\n"
        f"\n## In a transaction\n{table(transactional=True)}\n"
        f"\n## Rows that no test provokes\n{unproven()}\n"
    )


def main() -> None:
    """Put the rows into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{rows()}\n{END}{after}")


if __name__ == "__main__":
    main()
