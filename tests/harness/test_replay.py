"""Simulated runs again: byte for byte, and smaller."""

from __future__ import annotations

import json
import shutil
import signal
from xml.etree import ElementTree as ET

import msgspec
import pytest

from checkers.judge import judge
from harness import replay, store
from harness import run as runs
from harness.cli import guarded
from harness.generator import INTERRUPT
from harness.replay import read
from harness.shrink import Case

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
    for run in (failed, again):
        (case,) = ET.parse(run / "junit.xml").getroot().iter("testcase")
        assert float(case.attrib["time"]) > 0


@pytest.mark.timeout(300)  # seconds of CPU are minutes on a busy machine
def test_a_failure_is_shrunk_to_a_stored_run_that_fails_alike(failed, tmp_path, capsys):
    before = store.read_json(failed / store.VERDICT)
    assert guarded(["shrink", str(failed), "--results", str(tmp_path), "--budget", "4"]) == 1
    said = capsys.readouterr()
    told = said.out
    assert "harness: looks for the least run with " in said.err
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
    target = next(iter(store.read_json(failed / store.VERDICT)["anomalies"]))
    fails = replay._fails(target, tmp_path, lawful=False)
    assert not fails(msgspec.structs.replace(case, scenario=impossible))
    assert fails(case)


def pressing(monkeypatch, *, at, times=1):
    """Press Ctrl-C while the simulation goes, at the event of that number."""
    seen = 0

    def event(self, op):
        nonlocal seen
        seen += 1
        if seen == at:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(runs.Unwatched, "event", event)


@pytest.mark.timeout(300)
def test_ctrl_c_ends_a_shrinking_with_the_least_run_so_far_which_no_interrupt_has_cut(
    failed, tmp_path, capsys, monkeypatch
):
    before = signal.getsignal(signal.SIGINT)
    whole = len((failed / store.HISTORY).read_bytes().splitlines())
    pressing(monkeypatch, at=whole + 50)  # in the first case that is tried
    assert guarded(["shrink", str(failed), "--results", str(tmp_path)]) == 1
    assert "by     1 runs" in capsys.readouterr().out
    least = (tmp_path / "latest").resolve()
    assert f'"f":"{INTERRUPT}"'.encode() not in (least / store.HISTORY).read_bytes()
    assert guarded(["replay", str(least), "--results", str(tmp_path / "again"), "--json"]) == 1
    again = (tmp_path / "again" / "latest").resolve()
    assert (again / store.HISTORY).read_bytes() == (least / store.HISTORY).read_bytes()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_a_shrinking_at_once(failed, tmp_path, capsys, monkeypatch):
    pressing(monkeypatch, at=100, times=2)
    assert guarded(["shrink", str(failed), "--results", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "harness: stopped\n"
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written_is_told_before_the_search(failed, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(replay, "_fails", None)
    assert guarded(["shrink", str(failed), "--results", str(tmp_path / "file")]) == 254
    assert "can't make a run's folder" in capsys.readouterr().err


def test_an_interrupted_run_is_replayed_to_where_it_was_interrupted(failed, tmp_path, capsys):
    stopped = tmp_path / "stopped"
    assert guarded([*RUN, str(stopped), "--fail-fast"]) == 1
    folder = (stopped / "latest").resolve()
    lines = (folder / store.HISTORY).read_bytes().splitlines()
    assert len(lines) < len((failed / store.HISTORY).read_bytes().splitlines())
    assert guarded(["replay", str(folder), "--results", str(tmp_path), "--json"]) == 1
    assert not capsys.readouterr().err
    again = ((tmp_path / "latest").resolve() / store.HISTORY).read_bytes().splitlines()
    at = next(json.loads(line)["time"] for line in lines if f'"f":"{INTERRUPT}"'.encode() in line)
    heal = next(op for op in map(json.loads, again) if op["f"] == "phase" and op["value"] == "heal")
    assert heal["time"] == at
    before = [line for line in lines if json.loads(line)["time"] < at]
    assert len(before) > len(lines) // 5
    assert again[: len(before)] == before


def test_a_replay_that_differs_says_so(failed, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(failed, other)
    lines = (other / store.HISTORY).read_bytes().splitlines(keepends=True)
    (other / store.HISTORY).write_bytes(b"".join([*lines[:-1], lines[-1].replace(b'"time":', b'"time":1')]))
    assert guarded(["replay", str(other), "--results", str(tmp_path), "--json"]) == 1
    assert f"differs from the stored one from line {len(lines)} on" in capsys.readouterr().err


def test_the_latest_run_is_held_against_itself_and_not_against_the_one_that_follows(failed, tmp_path, capsys):
    shutil.copytree(failed, tmp_path / "run" / "20260101T000000.000")
    (tmp_path / "latest").symlink_to(tmp_path / "run" / "20260101T000000.000")
    history = tmp_path / "latest" / store.HISTORY
    history.write_bytes(history.read_bytes() + b"\n")
    assert guarded(["replay", str(tmp_path / "latest"), "--results", str(tmp_path), "--json"]) == 1
    assert "the history differs from the stored one" in capsys.readouterr().err


def test_the_latest_run_is_shrunk(failed, tmp_path):
    shutil.copytree(failed, tmp_path / "run" / "20260101T000000.000")
    (tmp_path / "latest").symlink_to(tmp_path / "run" / "20260101T000000.000")
    assert guarded(["shrink", str(tmp_path / "latest"), "--results", str(tmp_path), "--budget", "1", "--json"]) == 1
    assert store.read_json(tmp_path / "latest" / store.SCRIPT)["of"] == "20260101T000000.000"


def test_what_no_setting_permits_is_shrunk_first_and_to_what_none_permits(failed):
    verdict = replay.Told(valid=False, anomalies={"unseen": {"permitted-by": "acks=1"}, "lost-write": {}})
    assert replay._target(verdict, None) == "lost-write"
    assert replay._target(verdict, "unseen") == "unseen"
    options = replay._options(read(failed).scenario)
    strict = judge(failed / store.HISTORY, options)
    lax = judge(failed / store.HISTORY, msgspec.structs.replace(options, acks="1"))
    name = "lost-write"
    assert [replay.shows(one, name, lawful=False) for one in (strict, lax)] == [True, False]
    assert replay.shows(lax, name, lawful=True)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (store.VERDICT, '{"valid": false}', "verdict.json"),
        (store.VERDICT, "[]", "verdict.json"),
        (store.PLAN, '{"entries": [{"a": 1}]}', "plan.json"),
        (store.PLAN, "[1]", "plan.json"),
        (store.PLAN, None, "plan.json"),
        (store.HISTORY, None, "history.jsonl"),
        (store.HISTORY, "no operation\n", "history.jsonl:1"),
    ],
)
def test_a_folder_that_is_no_whole_run_is_refused_in_one_line(failed, tmp_path, capsys, name, text, said):
    broken = tmp_path / "broken"
    shutil.copytree(failed, broken)
    if text is None:
        (broken / name).unlink()
    else:
        (broken / name).write_text(text)
    assert guarded(["shrink", str(broken), "--results", str(tmp_path / "out")]) == 254
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"bug": "ack-before-replication"', '"bug": "no-such"', "unknown bug 'no-such'"),
        ('"workload": "send-poll"', '"workload": "no-such"', "unknown workload 'no-such'"),
        ('"concurrency": 4', '"concurrency": 0', "$.concurrency"),
        ('"nodes": 5', '"nodes": 0', "$.nodes"),
        ('"scripted": false', '"scripted": true', "script.json"),
    ],
)
def test_a_scenario_that_this_version_can_not_run_is_refused_in_one_line(failed, tmp_path, capsys, old, new, said):
    other = tmp_path / "other"
    shutil.copytree(failed, other)
    text = (other / store.SCENARIO).read_text()
    assert old in text
    (other / store.SCENARIO).write_text(text.replace(old, new))
    assert guarded(["replay", str(other), "--results", str(tmp_path / "out")]) == 254
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


def test_a_fault_that_this_version_does_not_have_is_refused(failed, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(failed, other)
    (other / store.PLAN).write_text((other / store.PLAN).read_text().replace("partition-leader", "no-such"))
    assert guarded(["replay", str(other), "--results", str(tmp_path / "out")]) == 254
    assert "no fault is named 'no-such'" in capsys.readouterr().err


def test_a_case_on_which_the_harness_breaks_is_no_proof(failed, tmp_path, monkeypatch):
    def breaks(case: Case, folder):
        raise RuntimeError("it would wait for ever")

    monkeypatch.setattr(replay, "perform", breaks)
    assert not replay._fails("lost-write", tmp_path, lawful=False)(read(failed))
