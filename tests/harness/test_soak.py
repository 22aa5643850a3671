"""A soak with runs that take no time: what is kept, when it ends, what it tells."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from checkers.judgement import Judgement
from checkers.verdict import Anomaly, Example, Validity
from harness import soak, store
from harness.cluster.api import ClusterError
from harness.run import Run
from harness.scenario import Scenario

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LOST = Anomaly(name="lost-write", count=1, examples=[Example(ops=[1], why="op 1 was acknowledged and never read.")])


class Runs:
    """Stands for `launch.perform`: run number i (by seed) ends as `verdicts[i]`; None: the harness breaks."""

    def __init__(self, *verdicts: Validity | None) -> None:
        self.verdicts = itertools.cycle(verdicts)
        self.clock_s = 0.0
        self.seen: list[Scenario] = []

    def __call__(self, scenario: Scenario, results: Path) -> Run:
        self.seen.append(scenario)
        self.clock_s += 60
        verdict = next(self.verdicts)
        if verdict is None:
            raise ClusterError("n2 never answered")
        folder = store.new_folder(results, f"{scenario.workload}-{scenario.nemesis}", NOW).resolve()
        anomalies = (LOST,) if verdict is Validity.INVALID else ()
        judgement = Judgement(
            validity=verdict, anomalies=anomalies, allowed=(), not_checked=(), models={}, ops=10, seconds=0.1
        )
        store.write_json(folder / store.SCENARIO, scenario)
        store.write_json(folder / store.VERDICT, judgement.verdict_json())
        (folder / "bulk").write_bytes(b"x" * 100_000)
        return Run(folder=folder, scenario=scenario, judgement=judgement)


def soaked(folder: Path, runs: Runs, *, minutes=10, keep=100, max_bytes=10**9):
    lines: list[str] = []
    status = soak.soak(
        soak.scenarios([Scenario(seed=100)], ["txn", "send-poll"], ["kill-leader", "none"]),
        runs,
        folder=folder,
        limits=soak.Limits(seconds=minutes * 60, keep=keep, max_bytes=max_bytes),
        now_s=lambda: runs.clock_s,
        tell=lines.append,
    )
    return status, lines, json.loads((folder / soak.SOAK).read_text())


def test_every_combination_comes_in_turn_with_seeds_that_rise(tmp_path):
    runs = Runs(Validity.VALID)
    status, lines, rows = soaked(tmp_path, runs, minutes=8)
    assert status == 0
    assert [s.seed for s in runs.seen] == list(range(100, 108))
    assert len({(s.workload, s.nemesis) for s in runs.seen[:4]}) == 4
    assert len(lines) == len(rows) == 8


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ((Validity.VALID, Validity.INVALID), 1),
        ((Validity.VALID, Validity.UNKNOWN), 2),
        ((Validity.VALID, Validity.VACUOUS), 2),
        ((Validity.VALID, None), 255),
        ((Validity.INVALID, Validity.UNKNOWN, None), 1),
    ],
)
def test_it_exits_with_its_worst_run(tmp_path, verdicts, status):
    assert soaked(tmp_path, Runs(*verdicts), minutes=6)[0] == status


def test_valid_runs_are_thinned_and_every_failure_is_kept(tmp_path):
    _, _, rows = soaked(tmp_path, Runs(Validity.VALID, Validity.INVALID), minutes=10, keep=2)
    kept = [row for row in rows if row["folder"] is not None]
    assert sum(row["valid"] is True for row in kept) == 2
    assert sum(row["valid"] is False for row in kept) == 5
    assert all((tmp_path / row["folder"]).is_dir() for row in kept)
    bulk = [path for path in tmp_path.glob("*/*/bulk") if path.parent.name != store.LATEST]
    assert len(bulk) == len(kept)


def test_it_ends_when_its_disk_is_used_up(tmp_path):
    _, lines, rows = soaked(tmp_path, Runs(Validity.INVALID), minutes=100, max_bytes=1_000_000)
    assert "ended early" in lines[-1]
    assert 1 < len(rows) < 20


def test_it_gives_up_when_the_harness_breaks_again_and_again(tmp_path):
    status, lines, rows = soaked(tmp_path, Runs(None), minutes=100)
    assert status == 255
    assert len(rows) == soak.BROKEN_IN_A_ROW
    assert "n2 never answered" in lines[-1]


def test_the_index_and_junit_tell_of_every_run(tmp_path):
    soaked(tmp_path, Runs(Validity.VALID, Validity.INVALID, None), minutes=3)
    page = (tmp_path / "index.html").read_text()
    assert "lost-write" in page
    assert "n2 never answered" in page
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    cases = list(suite.iter("testcase"))
    assert len(cases) == 3
    assert [len(case.findall("failure")) for case in cases] == [0, 1, 0]
    assert [len(case.findall("error")) for case in cases] == [0, 0, 1]
