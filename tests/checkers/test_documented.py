"""docs/anomalies.md names every class that a checker can report, and the whole matrix of mutations."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkers.append.consistency import VIOLATES
from checkers.catalog import ORDER
from checkers.queue import NEVER_CHECKED
from tests.checkers import mutations, mutations_of_order
from tests.checkers.mutating import MUTATIONS

assert mutations  # importing them fills the table
assert mutations_of_order

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "anomalies.md").read_text()


@pytest.mark.parametrize("name", [name for name in ORDER if name not in NEVER_CHECKED])
def test_queue_class_is_explained(name):
    assert f"`{name}`" in TEXT or f"### {name}" in TEXT


@pytest.mark.parametrize("name", [name for name in VIOLATES if not name.endswith(("-process", "-realtime"))])
def test_list_append_class_is_named(name):
    assert name in TEXT


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_in_the_matrix(name):
    _, expected = MUTATIONS[name]
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| {name.replace('_', ' ')} |")]
    assert all(word in row or word == "refused" for word in expected)
