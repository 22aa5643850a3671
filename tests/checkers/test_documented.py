"""docs/anomalies.md names every class that a checker can report, docs/mutations.md every kind of mutation."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkers.append.consistency import VIOLATES
from checkers.catalog import ORDER
from checkers.queue import NEVER_CHECKED
from tests.checkers import mutations, mutations_of_evidence, mutations_of_order
from tests.checkers.matrix import VERDICTS
from tests.checkers.mutating import MUTATIONS

assert mutations  # importing them fills the table
assert mutations_of_evidence
assert mutations_of_order

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "anomalies.md").read_text()
MATRIX = (DOCS / "mutations.md").read_text()


@pytest.mark.parametrize("name", [name for name in ORDER if name not in NEVER_CHECKED])
def test_queue_class_is_explained(name):
    assert f"`{name}`" in TEXT or f"### {name}" in TEXT


@pytest.mark.parametrize("name", [name for name in VIOLATES if not name.endswith(("-process", "-realtime"))])
def test_list_append_class_is_named(name):
    assert name in TEXT


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_in_the_matrix(name):
    _, expected = MUTATIONS[name]
    (row,) = [line for line in MATRIX.splitlines() if line.startswith(f"| {name.replace('_', ' ')} |")]
    assert any(f"**`{word}`**" in row or f"**{VERDICTS.get(word)}**" in row for word in expected)
