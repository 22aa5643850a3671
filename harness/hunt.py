"""`harness bugs`: the bugs that can be planted in our own broker, each with its source and its proof."""

from __future__ import annotations

import sys

from harness import catalog
from harness.exits import VALID


def list_all() -> int:
    """List every bug, three lines each."""
    for bug in catalog.BUGS.values():
        sys.stdout.write(f"{bug.name}\n  {bug.summary}\n  source: {bug.source}\n  proof: {', '.join(bug.proof)}\n")
    return VALID
