"""Whole runs with a program of the user's: the right one is valid, each wrong one is found; Streams and MirrorMaker run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from checkers.judge import judge
from checkers.options import options_of_scenario
from harness.history import HARNESS
from tests.checkers import mutations_of_programs
from tests.checkers.mutating import MUTATIONS, apply
from tests.e2e.test_power import bitten
from tests.e2e.test_runs import ops, run, verdict

pytestmark = pytest.mark.timeout(420)

ROOT = Path(__file__).resolve().parents[2]
COPIER = f"{sys.executable} {ROOT / 'examples' / 'copier.py'}"
STREAMS = ROOT / "examples" / "streams"
MIRRORMAKER = ROOT / "examples" / "mirrormaker"
KILLS = ("--nemesis", "kill-apps", "--nemesis-length", "1", "--nemesis-interval", "8", "--time-limit", "20")
"""The group takes a dead member for alive for 6 s: the next kill shall meet one that works."""

NAMED = ("--app-input", "orders", "--app-output", "done.orders")


def copied(folder: Path, promise: str, *arguments: str) -> tuple[int, Path]:
    return run(folder, "--app", f"{COPIER} {promise}", *arguments)


@pytest.mark.embedded
def test_a_program_that_copies_in_transactions_is_valid_whoever_is_killed(tmp_path: Path):
    faults = ("kill-app", "kill-leader", "pause-app")
    status, folder = copied(
        tmp_path, "exactly-once", "--nemesis", ",".join(faults), "--time-limit", "20", "--seed", "81", *NAMED
    )
    assert status in {0, 2}, verdict(folder)  # 2: a busy machine, where it was killed again before it had begun
    assert verdict(folder)["anomalies"] == {}
    assert all(bitten(folder, fault) for fault in faults)
    (roles,) = [op.value for op in ops(folder) if op.process == HARNESS and op.f == "application"]
    assert {key.rpartition("/")[0] for key in roles["outputs"]} == {"done.orders"}
    told = [op for op in ops(folder) if op.process == HARNESS and op.f == "caught-up"]
    assert [op.value for op in told] == [{"missing": 0}]
    assert_found(folder)


def assert_found(folder: Path) -> None:
    """Assert that whatever goes wrong in a run that was valid is found."""
    recorded = ops(folder)
    options = options_of_scenario(json.loads((folder / "scenario.json").read_bytes()))
    for name, (function, expected) in MUTATIONS.items():
        if function.__module__ == mutations_of_programs.__name__:
            broken = apply(name, recorded, Random(1))
            if broken is not None:
                judgement = judge(broken, options)
                found = {anomaly.name for anomaly in judgement.anomalies} or {judgement.validity.wire}
                assert found & expected, (name, found)


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("promise", "found"),
    [
        pytest.param("at-least-once", "eos-duplicate", marks=pytest.mark.long),
        ("at-most-once", "eos-loss"),
    ],
)
def test_a_program_that_promises_less_is_found(promise: str, found: str, tmp_path: Path):
    status, folder = copied(tmp_path, promise, *KILLS, "--seed", "82")
    assert status == 1, verdict(folder)
    assert set(verdict(folder)["anomalies"]) == {found}


@pytest.mark.embedded
def test_a_program_that_does_not_begin_is_told_in_one_line(tmp_path: Path):
    status, folder = run(tmp_path, "--app", f"{sys.executable} -c 'raise SystemExit(7)'", "--time-limit", "5")
    assert status == 254
    (line,) = [text for text in (tmp_path / "run.log").read_text().splitlines() if text.startswith("harness: --app")]
    assert "it ended at once, with status 7, and it said nothing" in line
    assert not (folder / "verdict.json").exists()


@pytest.mark.docker
def test_a_program_reaches_brokers_in_containers(tmp_path: Path):
    timing = ("--nemesis-interval", "5", "--nemesis-length", "1", "--time-limit", "12", "--seed", "86")
    status, folder = copied(tmp_path, "exactly-once", "--cluster", "compose", "--nemesis", "kill-app", *timing)
    assert status in {0, 2}, verdict(folder)  # 2: a busy machine, where it had not begun when it was killed
    assert verdict(folder)["anomalies"] == {}
    assert {"missing": 0} in [op.value for op in ops(folder) if op.f == "caught-up"]


@pytest.mark.jvm
def test_mirrormaker_copies_exactly_once_whoever_is_killed(tmp_path: Path):
    app = f"env JARS={jars_of(MIRRORMAKER, tmp_path)} sh {MIRRORMAKER / 'supervised.sh'}"
    named = ("--app-input", "orders", "--app-output", "primary.orders")
    timing = ("--nemesis-interval", "10", "--nemesis-length", "2", "--time-limit", "30", "--seed", "87")
    status, folder = run(tmp_path, "--app", app, *named, "--nemesis", "kill-app,kill-leader", *timing)
    assert status in {0, 2}, verdict(folder)  # 2: a busy machine, where it had not begun when it was killed
    assert verdict(folder)["anomalies"] == {}
    assert bitten(folder, "kill-app")
    assert {"missing": 0} in [op.value for op in ops(folder) if op.f == "caught-up"]


@pytest.mark.jvm
@pytest.mark.parametrize(
    ("guarantee", "found"),
    [("exactly_once_v2", set()), pytest.param("at_least_once", {"eos-phantom"}, marks=pytest.mark.long)],
)
def test_kafka_streams_copies_exactly_once_and_reads_what_is_not_committed_where_it_promises_less(
    guarantee: str, found: set[str], tmp_path: Path
):
    jars = jars_of(STREAMS, tmp_path)
    app = f"java -cp {jars}/* {STREAMS / 'Copier.java'} {guarantee}"
    faults = ("--nemesis", "kill-app,kill-leader", "--nemesis-interval", "5", "--time-limit", "25", "--seed", "84")
    status, folder = run(tmp_path, "--app", app, *faults)
    assert status in ({1} if found else {0, 2}), verdict(folder)  # 2: as above
    told = set(verdict(folder)["anomalies"])
    assert told - {"eos-duplicate"} == found, "who is killed may have copied what it had not committed yet"
    assert not told or found
    assert bitten(folder, "kill-app")


def jars_of(example: Path, folder: Path) -> Path:
    """Return the jars that the example's pom.xml names."""
    maven = shutil.which("mvn")
    if maven is None:
        pytest.skip("the program's jars are fetched by Maven: there is no mvn")
    jars = folder / "jars"
    done = subprocess.run(
        [
            maven,
            "-q",
            "-B",
            "-f",
            str(example / "pom.xml"),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={jars}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return jars
