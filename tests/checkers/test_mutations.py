"""Every kind of mutation is found, in every history that has a place for it."""

from __future__ import annotations

import pytest

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

TRIED = 120
ENOUGH = 8


def test_there_are_more_than_sixty_kinds():
    assert len(MUTATIONS) >= 60


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_found(name):
    _, expected = MUTATIONS[name]
    planted = 0
    for seed in range(TRIED):
        ops = mutated(name, seed)
        if ops is None:
            continue
        planted += 1
        found = outcome(name, ops)
        assert found & expected, f"seed {seed}: {found}"
        if planted >= ENOUGH:
            break
    assert planted >= ENOUGH // 3
