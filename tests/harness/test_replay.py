"""Simulated runs again: byte for byte, and smaller."""

from __future__ import annotations

import msgspec
import pytest

from harness import replay, store
from harness.cli import guarded
from harness.replay import read

RUN = [
    *("run", "--cluster", "simulated", "--workload", "send-poll", "--seed", "3", "--time-limit", "8", "--rate", "20"),
    *(
        "--concurrency",
        "4",
        "--nemesis",
        "partition-leader",
        "--bug",
        "ack-before-replication",
        "--crash-interval",
        "4",
    ),
    *("--json", "--results"),
]


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    assert guarded([*RUN, str(results)]) == 1
    return (results / "latest").resolve()


def test_a_run_is_replayed_byte_for_byte(failed, tmp_path):
    assert guarded(["replay", str(failed), "--results", str(tmp_path), "--json"]) == 1
    again = (tmp_path / "latest").resolve()
    assert (again / store.HISTORY).read_bytes() == (failed / store.HISTORY).read_bytes()
    assert read(again) == read(failed)


@pytest.mark.timeout(300)  # seconds of CPU are minutes on a busy machine
def test_a_failure_is_shrunk_to_a_stored_run_that_fails_alike(failed, tmp_path, capsys):
    before = store.read_json(failed / store.VERDICT)
    assert guarded(["shrink", str(failed), "--results", str(tmp_path), "--budget", "4"]) == 1
    told = capsys.readouterr().out
    least = (tmp_path / "latest").resolve()
    case = read(least)
    assert len(case.faults) <= 1
    assert len(case.ops) < len(read(failed).ops) / 2
    assert next(iter(before["anomalies"])) in store.read_json(least / store.VERDICT)["anomalies"]
    assert (least / store.REPORT).exists()
    assert f"harness replay {least}" in told.replace("\n", "")
    assert "fault: partition-leader" in told
    assert guarded(["replay", str(least), "--results", str(tmp_path / "again"), "--json"]) == 1
    again = (tmp_path / "again" / "latest").resolve()
    assert (again / store.HISTORY).read_bytes() == (least / store.HISTORY).read_bytes()


def test_what_can_not_be_shrunk_is_refused_in_one_line(failed, tmp_path, capsys):
    assert guarded(["shrink", str(failed), "--results", str(tmp_path), "--anomaly", "torn-transaction"]) == 254
    assert "the run has" in capsys.readouterr().err
    scenario = store.read_json(failed / store.SCENARIO)
    store.write_json(tmp_path / store.SCENARIO, scenario | {"cluster": "jvm", "bug": ""})
    assert guarded(["shrink", str(tmp_path)]) == 254
    line = capsys.readouterr().err
    assert "it ran on cluster jvm" in line
    assert line.count("\n") == 1


def test_a_valid_run_has_nothing_to_shrink(tmp_path, capsys):
    quiet = [part for part in RUN if part not in {"--bug", "ack-before-replication", "--nemesis", "partition-leader"}]
    assert guarded([*quiet, str(tmp_path)]) == 0
    assert guarded(["shrink", str((tmp_path / "latest").resolve()), "--results", str(tmp_path)]) == 254
    assert replay.INVALID_FIRST in capsys.readouterr().err


def test_a_case_whose_cluster_can_not_be_made_does_not_fail_alike(failed, tmp_path):
    case = read(failed)
    impossible = msgspec.structs.replace(case.scenario, nodes=1, replication=3)
    fails = replay._fails(next(iter(store.read_json(failed / store.VERDICT)["anomalies"])), tmp_path)
    assert not fails(msgspec.structs.replace(case, scenario=impossible))
    assert fails(case)
