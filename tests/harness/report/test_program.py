"""What a stalled program printed last: told in the report and on the terminal, bounded, and only where it has stalled."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from checkers.judge import judge
from harness.report.html import write_report
from harness.report.judged import Judged
from harness.report.program import CHARS, INSTANCES, LINES, last_output
from harness.report.terminal import verdict_table
from tests.harness.report.synthetic import Plan, make_run

WHY = {"ops": [1], "why": "The program made nothing of t0/1 by the end of the run."}
STALLED = {"valid": False, "anomalies": {"eos-stalled": {"count": 1, "examples": [WHY]}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_run(tmp_path, Plan(ops=200, lost=1))
    printed(tmp_path, "app-1", *(f"step {number}" for number in range(LINES)), "<waits> for \x1b[31mthe coordinator")
    printed(tmp_path, "app-2")
    return tmp_path


def printed(folder: Path, instance: str, *lines: str) -> None:
    at = folder / "application" / instance
    at.mkdir(parents=True)
    (at / "output.log").write_text("".join(f"{line}\n" for line in lines))


def on_terminal(verdict: object, folder: Path) -> str:
    text = io.StringIO()
    assert isinstance(verdict, dict)
    verdict_table(verdict, folder=folder, console=Console(file=text, width=80))
    return text.getvalue()


def test_the_report_shows_beside_the_anomaly_what_each_instance_printed_last(folder: Path) -> None:
    (folder / "verdict.json").write_text(json.dumps(STALLED))
    page = write_report(folder).read_text()
    card = page[page.index('data-anomaly="eos-stalled"') : page.index('<section id="checked"')]
    assert "What app-1 printed last" in card
    assert "&lt;waits&gt; for" in card
    assert "step 1\n" in card
    assert "step 0\n" not in card
    assert "<pre>(nothing)</pre>" in card


def test_the_terminal_shows_the_last_lines(folder: Path) -> None:
    lines = on_terminal(STALLED, folder).splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("app-1 said")]
    assert "step 10" in lines[at]
    assert "<waits> for" in lines[at + 2]
    assert "\x1b" not in lines[at + 2]
    assert lines[at + 3].split() == ["app-2", "said", "(nothing)"]


def test_a_program_that_has_not_stalled_says_nothing(folder: Path) -> None:
    verdict = judge(folder / "history.jsonl").verdict_json()
    assert verdict["valid"] is False
    assert "printed last" not in write_report(folder).read_text()
    assert " said" not in on_terminal(verdict, folder)


def test_long_lines_are_cut_and_many_instances_are_not_all_told(folder: Path) -> None:
    for number in range(3, 12):
        printed(folder, f"app-{number}", "x" * (CHARS + 1))
    told = last_output(Judged(verdict=STALLED), folder)
    assert [name for name, _ in told] == [f"app-{number}" for number in range(1, INSTANCES + 1)]
    assert told[2][1] == ["x" * CHARS + "..."]


def test_an_error_is_told_whatever_was_printed_after_it(tmp_path: Path) -> None:
    printed(tmp_path, "app-1", "ERROR old", "ERROR the task will not recover", *map(str, range(50)))
    judged = Judged(verdict=STALLED)
    assert last_output(judged, tmp_path, 3) == [("app-1", ["ERROR the task will not recover", "48", "49"])]
    ((_, lines),) = last_output(judged, tmp_path)
    assert lines == ["ERROR old", "ERROR the task will not recover", *map(str, range(40, 50))]
