"""Runs made once per session: a small one with anomalies, a long one, a harmless one."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkers.judge import judge
from harness.report.html import write_report
from tests.harness.report.synthetic import Plan, make_long_run, make_run

LONG_CALLS = 100_000


@pytest.fixture(scope="session")
def bad_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two lost writes, one aborted read, overlapping processes, and its report."""
    folder = tmp_path_factory.mktemp("runs") / "txn-kill-leader-jvm" / "20261103T101502.123"
    make_run(folder, Plan(ops=1_500, lost=2, aborted_reads=1, faults=3, missed=1))
    write_report(folder, judge(folder / "history.jsonl"))
    return folder


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose keys and values are markup, and its report."""
    folder = tmp_path_factory.mktemp("runs") / "hostile"
    make_run(folder, Plan(ops=1_500, lost=2, aborted_reads=1, faults=1, hostile=True))
    write_report(folder)
    return folder


@pytest.fixture(scope="session")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 100,000 operations, and its report."""
    folder = tmp_path_factory.mktemp("runs") / "long"
    make_long_run(folder, LONG_CALLS)
    write_report(folder)
    return folder
