"""The command line as a user meets it: one line and the right status for bad input, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import store
from harness.cli import guarded
from harness.scenario import Scenario

VALID = [
    {"process": 0, "type": "invoke", "f": "send", "value": [["send", "t0/0", 1]]},
    {"process": 0, "type": "ok", "f": "send", "value": [["send", "t0/0", [0, 1]]]},
    {"process": 1, "type": "invoke", "f": "poll", "value": [["poll"]]},
    {"process": 1, "type": "ok", "f": "poll", "value": [["poll", [["t0/0", [[0, 1]]]]]]},
]
LOST = [
    *VALID[:2],
    {"process": 0, "type": "invoke", "f": "send", "value": [["send", "t0/0", 2]]},
    {"process": 0, "type": "ok", "f": "send", "value": [["send", "t0/0", [1, 2]]]},
    {"process": 1, "type": "invoke", "f": "poll", "value": [["poll"]]},
    {"process": 1, "type": "ok", "f": "poll", "value": [["poll", [["t0/0", [[1, 2]]]]]]},
]


def written(path: Path, ops) -> str:
    path.write_text("".join(json.dumps(op) + "\n" for op in ops))
    return str(path)


@pytest.mark.parametrize(
    ("scenario", "told"), [(b'{"seed": 7}', True), (b'{"of another version": 1, "nodes": "x"}', False)]
)
def test_a_runs_folder_is_checked_with_the_command_that_repeats_it(tmp_path, capsys, scenario, told):
    written(tmp_path / store.HISTORY, VALID)
    (tmp_path / store.SCENARIO).write_bytes(scenario)
    assert guarded(["check", str(tmp_path)]) in {0, 2}
    said = capsys.readouterr().out
    assert "operations   send 1 ok; poll 1 ok" in said
    assert ("harness run --cluster embedded --nemesis none --compression none --value-size 0 --seed 7" in said) == told


def test_a_valid_history_exits_0_and_prints_only_json(tmp_path, capsys):
    assert guarded(["check", written(tmp_path / "h.jsonl", VALID), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["valid"] is True
    assert {"anomalies", "allowed", "not-checked", "models", "ops", "seconds"} <= verdict.keys()
    assert verdict["ops"] == 4


def test_an_invalid_history_exits_1_and_names_the_ops(tmp_path, capsys):
    assert guarded(["check", written(tmp_path / "h.jsonl", LOST), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["valid"] is False
    example = verdict["anomalies"]["lost-write"]["examples"][0]
    assert 1 in example["ops"]
    assert example["why"]


def test_a_converted_history_has_the_verdict_of_its_source(tmp_path, capsys):
    source, target = written(tmp_path / "h.jsonl", LOST), str(tmp_path / "h.parquet")
    assert guarded(["history", "convert", source, target]) == 0
    assert capsys.readouterr().out == f"{target}: 6 lines\n"
    assert guarded(["check", target, "--json"]) == 1
    assert "lost-write" in json.loads(capsys.readouterr().out)["anomalies"]
    assert guarded(["history", "convert", source, target]) == 254


@pytest.mark.parametrize("name", ["h.jsonl", "h.jsonl.gz", "h.arrow", "h.parquet"])
def test_history_that_can_not_be_written_where_it_is_asked_for_is_one_line_and_254(name, tmp_path, capsys):
    source = written(tmp_path / "a-file", VALID)
    assert guarded(["history", "convert", source, f"{source}/{name}"]) == 254
    assert "can't be written" in capsys.readouterr().err


def test_report_that_can_not_be_written_is_one_line_and_254(tmp_path, capsys):
    written(tmp_path / "history.jsonl", VALID)
    store.write_json(tmp_path / "scenario.json", Scenario())
    (tmp_path / "report.html").mkdir()
    assert guarded(["report", str(tmp_path)]) == 254
    assert capsys.readouterr().err == f"harness: {tmp_path}: the report can't be written: Is a directory\n"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--workload", "regster"], "regster"),
        (["--anomalies", "lost-wrte"], "lost-wrte"),
        (["--anomalies", "lost-write,"], "''"),
        (["--workload", "list-append", "--anomalies", "lost-write"], "lost-write"),
        (["--workload", "register", "--anomalies", "G0"], "nonlinearizable"),
        (["--consistency-model", "serialisable"], "serialisable"),
        (["--consistency-model", "serializable"], "list-append"),
        (["--sub-via", "asign"], "asign"),
        (["--sub-via", ""], "--sub-via"),
        (["--isolation", "serializable"], "isolation"),
    ],
)
def test_a_name_that_nobody_knows_is_no_valid_check(options, named, tmp_path, capsys):
    assert guarded(["check", written(tmp_path / "h.jsonl", VALID), *options]) == 254
    captured = capsys.readouterr()
    assert (captured.err.count("\n"), captured.out) == (1, "")
    assert named in captured.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["check", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["check"], "HISTORY"),
        (["chekc"], "chekc"),
        (["check", "--no-such-option", "x"], "--no-such-option"),
        (["run", "--time-limit", "soon"], "harness run --help"),
        (["run", "--time-limit", "1e300"], "--time-limit"),
        (["run", "--shrink"], "--shrink needs --cluster simulated"),
        (["run", "--kafka-version", "4.1.1"], "--kafka-version 4.1.1 has no effect on --cluster embedded"),
        (["cluster", "up", "--kafka-version", "3.7.1"], "--kafka-version 3.7.1 has no effect on --cluster embedded"),
        (["check", "."], ".: a folder without history.jsonl"),
        (["check", ".", "--isolation", "dirty"], "--isolation dirty: it may be read_committed, read_uncommitted"),
        (["check", ".", "--sub-via", "assign,guess"], "--sub-via guess"),
        (["report", "."], ". is not a run's folder"),
        (["shrink", "no-such-folder"], "no-such-folder: no such folder"),
        (["run", "--cluster", "mainframe"], "mainframe"),
        (["run", "--workload", "bank"], "bank"),
        (["run", "--nemesis", "kill-leadr"], "kill-leader"),
        (["run", "--acks", "1"], "--acks 1"),
        (["run", "--app", ""], "Invalid value for '--app': it is empty"),
        (["soak", "--duration", "1s", "--bug", ""], "Invalid value for '--bug': it is empty"),
        (["run", "--replication", "5"], "--replication 5"),
        (["run", "--cluster", "existing"], "--bootstrap"),
        (["run", "--cluster", "existing", "--bootstrap", "127.0.0.1:9", "--nemesis", "kill-leader"], "kill-leader"),
        (["report", "no-such-folder"], "no-such-folder"),
        (["history", "convert", "no-such-file.jsonl", "out.parquet"], "no-such-file.jsonl"),
        (["history", "convert", ".", "out.xml"], "out.xml"),
        (["heal", "no-such-folder"], "no-such-folder"),
        (["cluster", "down", "--name", "ghost"], "ghost"),
        (["cluster", "status", "--cluster", "mainframe"], "mainframe"),
        (["soak", "--duration", "forever"], "--duration"),
        (["soak", "--workload", "bank"], "bank"),
    ],
)
def test_bad_input_is_one_line_and_254(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert guarded(arguments) == 254
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert named in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_broken_line_is_named_by_file_and_line(tmp_path, capsys):
    path = tmp_path / "h.jsonl"
    path.write_text(json.dumps(VALID[0]) + "\n{oops}\n" + json.dumps(VALID[1]) + "\n")
    assert guarded(["check", str(path)]) == 254
    assert "h.jsonl:2" in capsys.readouterr().err


def test_the_version_is_told_and_h_is_help(capsys):
    assert guarded(["--version"]) == 0
    assert capsys.readouterr().out.startswith("harness 0.")
    assert guarded(["run", "-h"]) == 0
    assert "--nemesis" in capsys.readouterr().out


def test_nothing_prints_help_and_exits_254(capsys):
    assert guarded([]) == 254
    assert "Usage" in capsys.readouterr().err


def test_list_names_everything_that_can_be_chosen(capsys):
    assert guarded(["list"]) == 0
    out = capsys.readouterr().out
    for name in (
        "txn",
        "send-poll",
        "kill-leader",
        "pause-followers",
        "compose",
        "embedded",
        "jvm",
        "existing",
        "priority-queue",
        "lost-write",
    ):
        assert f"  {name} " in out


def test_a_list_on_a_terminal_breaks_no_word(capsys, monkeypatch):
    guarded(["list"])
    whole = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    guarded(["list"])
    folded = capsys.readouterr().out
    assert max(map(len, whole.splitlines())) > 80 >= max(map(len, folded.splitlines()))
    assert folded.split() == whole.split()


def test_the_installed_command_answers_and_says_in_80_columns_what_each_command_does():
    call = [sys.executable, "-m", "harness", "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "80"})
    assert done.returncode == 0
    assert "check" in done.stdout
    assert "..." not in done.stdout.split("Commands:")[1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--cluster", "simulated", "--time-limit", "nan"], "--time-limit nan"),
        (["run", "--cluster", "simulated", "--rate", "inf"], "--rate"),
        (["run", "--cluster", "simulated", "--nemesis-interval", "nan"], "--nemesis-interval nan"),
        (["run", "--cluster", "simulated", "--topic-config", "retention.ms=abc"], "retention.ms=abc"),
        (["run", "--cluster", "simulated", "--broker-config", "log.retention.hours=x"], "log.retention.hours=x"),
        (["run", "--cluster", "simulated", "--topic-config", "no.such.setting=1"], "--topic-config is refused"),
        (["soak", "--cluster", "simulated", "--duration", "1s", "--time-limit", "nan"], "--time-limit nan"),
        (["shrink", "--budget", "nan"], "--budget nan"),
        (["bugs", "--score", "--only", "none", "--clean", "1", "--minutes", "nan"], "--minutes nan"),
        (["bugs", "--score", "--only", "none", "--clean", "1", "--write", "no/such/file"], "--write no/such/file"),
        (["cluster", "up", "--cluster", "simulated"], "lives inside its run"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line_before_anything_runs(arguments, named, tmp_path, capsys):
    assert guarded([*arguments, "--results", str(tmp_path / "results")]) == 254
    said = capsys.readouterr()
    assert named in said.err
    assert said.err.count("\n") == 1
    assert "hunting" not in said.out
    assert not list(tmp_path.glob("results/clusters/*"))


def test_a_cluster_can_not_be_kept_in_what_is_no_folder(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert guarded(["cluster", "up", "--results", str(tmp_path / "file")]) == 254
    assert "can't make" in capsys.readouterr().err


def test_a_scenario_with_a_broken_setting_is_named(tmp_path, capsys):
    written(tmp_path / "history.jsonl", VALID)
    (tmp_path / "scenario.json").write_text('{"topic_config": {"retention.ms": "abc"}}')
    assert guarded(["check", str(tmp_path)]) == 254
    assert "scenario.json: retention.ms=abc" in capsys.readouterr().err


@pytest.mark.parametrize("cluster", ["embedded", "simulated"])
def test_a_broker_setting_without_effect_is_refused_before_anything_is_judged_by_it(cluster, tmp_path, capsys):
    asked = ["--broker-config", "unclean.leader.election.enabel=true", "--time-limit", "1", "--results", str(tmp_path)]
    assert guarded(["run", "--cluster", cluster, *asked]) == 254
    line = capsys.readouterr().err
    assert "--broker-config unclean.leader.election.enabel: our own broker has no such property" in line
    assert line.count("\n") == 1


def test_a_broker_setting_that_can_not_be_is_the_callers_to_correct(tmp_path, capsys):
    asked = ["--broker-config", "num.io.threads=x", "--time-limit", "1", "--results", str(tmp_path)]
    assert guarded(["run", *asked]) == 254
    line = capsys.readouterr().err
    assert "num.io.threads=x: it must be a whole number\n" in line
    assert line.count("\n") == 1


def test_a_payload_as_a_value_does_not_flood_the_terminal(tmp_path, capsys):
    payload = "a" * 1_000_000
    sent = [{**LOST[0], "value": [["send", "t0/0", payload]]}, {**LOST[1], "value": [["send", "t0/0", [0, payload]]]}]
    assert guarded(["check", written(tmp_path / "h.jsonl", [*sent, *LOST[2:]])]) == 1
    told = capsys.readouterr().out
    assert "lost-write" in told
    assert len(told) < 20_000


def test_a_terminal_without_unicode_loses_no_verdict(tmp_path):
    call = [sys.executable, "-m", "harness", "check", written(tmp_path / "h.jsonl", LOST)]
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(call, env=plain, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert "? INVALID  1 acknowledged record is gone" in done.stdout


def test_a_full_disk_is_told_as_what_it_is(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "results/x/history.jsonl")

    monkeypatch.setattr("harness.review.list_all", full)
    assert guarded(["list"]) == 255
    said = capsys.readouterr().err
    assert said.startswith("harness: No space left on device: results/x/history.jsonl")
    assert "bug" not in said


def test_a_bug_is_one_line_even_where_its_traceback_can_not_be_written(monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("broken")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harness.review.list_all", broken)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert guarded(["list"]) == 255
    said = capsys.readouterr().err
    assert said.startswith("harness: internal error: RuntimeError: broken")
    assert said.count("\n") == 1


def test_ctrl_c_before_a_run_began_is_one_line_and_130(monkeypatch, capsys):
    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.review.list_all", pressed)
    assert guarded(["list"]) == 130
    assert capsys.readouterr().err == "harness: stopped\n"


@pytest.mark.parametrize(("options", "may_be"), [([], {0}), (["--json"], {0, 255})])
def test_a_reader_that_went_away_makes_no_valid_history_invalid(tmp_path, options, may_be):
    read, write = os.pipe()
    os.close(read)
    history = written(tmp_path / "h.jsonl", VALID)
    try:
        call = [sys.executable, "-m", "harness", "check", history, *options]
        done = subprocess.run(call, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    finally:
        os.close(write)
    assert done.returncode in may_be, done.stderr
    assert not done.stderr
