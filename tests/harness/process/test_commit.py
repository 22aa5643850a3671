"""A simulated run that is not valid names the commit that repeats it."""

from __future__ import annotations

import io
import re

from rich.console import Console

from harness.process.commit import commit
from harness.report.terminal import verdict_table
from harness.scenario import Scenario

INVALID = {
    "valid": False,
    "anomalies": {"lost-write": {"count": 1, "examples": [{"ops": [1], "why": "x"}]}},
    "allowed": {},
    "not-checked": [],
    "models": {"not": [], "also-not": []},
    "ops": 3,
    "seconds": 0.1,
}


def printed(verdict, cluster):
    console = Console(file=io.StringIO(), width=80)
    verdict_table(verdict, scenario=Scenario(cluster=cluster, seed=7), console=console)
    return console.file.getvalue()


def test_the_commit_is_that_of_the_tree_or_none():
    found = commit()
    assert found is None or re.fullmatch(r"[0-9a-f]{12}\+?", found)


def test_a_failed_simulated_run_names_the_commit_and_other_runs_do_not(monkeypatch):
    monkeypatch.setattr("harness.report.terminal.commit", lambda: "0123456789ab")
    assert "commit       0123456789ab" in printed(INVALID, "simulated")
    assert "0123456789ab" not in printed(INVALID | {"valid": True, "anomalies": {}}, "simulated")
    assert "0123456789ab" not in printed(INVALID, "embedded")
