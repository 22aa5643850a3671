"""The command line as a user meets it: one line and the right status for bad input, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import guarded

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
        (["--sub-via", ""], "sub_via"),
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
        (["run", "--time-limit", "soon"], "--time-limit"),
        (["run", "--cluster", "mainframe"], "mainframe"),
        (["run", "--workload", "bank"], "bank"),
        (["run", "--nemesis", "kill-leadr"], "kill-leader"),
        (["run", "--acks", "1"], "--acks 1"),
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


def test_the_installed_command_answers():
    done = subprocess.run([sys.executable, "-m", "harness.cli", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "check" in done.stdout
