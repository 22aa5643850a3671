"""The mutation matrix: which classes are found for each kind of mutation, over many runs of a correct Kafka.

    python -m tests.checkers.matrix > docs/mutations.md

Every run of the models in which a mutation has a place (no mixed isolation, no log starts that move, not killed) is
broken once by it and judged. A kind that is ever not found ends the command with status 1.
"""

from __future__ import annotations

import sys
from collections import Counter

from tests.checkers import (
    mutations,
    mutations_of_evidence,
    mutations_of_forgetting,
    mutations_of_members,
    mutations_of_order,
    mutations_of_programs,
    mutations_of_watermarks,
)
from tests.checkers.mutating import MUTATIONS, mutated, outcome

assert mutations  # importing them fills the table
assert mutations_of_evidence
assert mutations_of_forgetting
assert mutations_of_members
assert mutations_of_order
assert mutations_of_programs
assert mutations_of_watermarks

SEEDS = 200
ENOUGH = 40
VERDICTS = {"vacuous": "vacuous", "unknown": "unknown", "refused": "exit 254", "True": "valid"}
HEAD = """# The mutation matrix

Runs of a small correct Kafka (`kafka_model.py`, `kafka_evidence.py`, `kafka_forgets.py` and `kafka_members.py` in
`tests/checkers`) are valid, as are runs of programs between topics (`program_model.py`).
Each kind of mutation below breaks one guarantee in such a run; the classes in bold are those of which one has to be
found, the others follow from it. Numbers say in how many of the broken runs a class was found. The page is written by
`.venv/bin/python -m tests.checkers.matrix > docs/mutations.md`.

| mutation | runs | found as |
|---|---|---|
"""


def row(name: str) -> tuple[str, bool]:
    """Return a line of the table, and whether every broken run was found."""
    _, expected = MUTATIONS[name]
    counted: Counter[str] = Counter()
    runs = found = 0
    for seed in range(SEEDS):
        ops = mutated(name, seed)
        if ops is None:
            continue
        runs += 1
        seen = outcome(name, ops)
        found += bool(seen & expected)
        counted.update(seen)
        if runs == ENOUGH:
            break
    told = sorted(counted, key=lambda one: (one not in expected, -counted[one], one))
    cells = ", ".join(_cell(one, counted[one], expected) for one in told)
    return f"| {name.replace('_', ' ')} | {runs} | {cells} |", runs > 0 and found == runs


def _cell(name: str, times: int, expected: frozenset[str]) -> str:
    shown = VERDICTS.get(name, f"`{name}`")
    return f"**{shown}** {times}" if name in expected else f"{shown} {times}"


def main() -> int:
    """Print the page."""
    rows = {name: row(name) for name in MUTATIONS}
    sys.stdout.write(HEAD + "\n".join(line for line, _ in rows.values()) + "\n")
    missed = [name for name, (_, found) in rows.items() if not found]
    for name in missed:
        sys.stderr.write(f"not always found: {name}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
