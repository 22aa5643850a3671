"""`harness bugs` and `--bug`: what can be planted, and where."""

from __future__ import annotations

import pytest

from broker.bugs.registry import BUGS
from harness.cli import guarded
from harness.cluster.api import UsageError
from harness.options import scenario
from harness.report.command import repeat_command
from harness.report.words import meaning
from tests.harness.test_options import GIVEN


def test_every_bug_is_listed_with_its_source_and_its_proof(capsys):
    assert guarded(["bugs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for bug in BUGS.values():
        at = lines.index(bug.name)
        assert lines[at + 1 : at + 4] == [
            f"  {bug.summary}",
            f"  source: {bug.source}",
            f"  proof: {', '.join(bug.proof)}",
        ]


def test_bugs_that_are_named_are_listed_alone(capsys):
    assert guarded(["bugs", "--only", "lso-ignored,ack-before-replication"]) == 0
    assert capsys.readouterr().out.splitlines()[::4] == ["lso-ignored", "ack-before-replication"]
    assert guarded(["bugs", "--workload", "share"]) == 0
    assert capsys.readouterr().out.splitlines()[::4] == [bug.name for bug in BUGS.values() if bug.workload == "share"]


@pytest.mark.parametrize("asked", [["--only", "lso-ignord"], ["--workload", "txn"], ["--workload", "no-such"]])
def test_what_can_not_be_listed_is_refused_in_one_line(capsys, asked):
    assert guarded(["bugs", *asked]) == 254
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_options_of_a_hunt_without_a_hunt_are_refused(capsys):
    assert guarded(["bugs", "--first-seed", "3"]) == 254
    assert capsys.readouterr().err == "harness: --first-seed needs --score (see `harness bugs --help`)\n"


def test_every_bug_has_a_source_and_is_proven_by_anomalies_that_the_report_explains():
    assert len(BUGS) >= 23
    assert all(bug.source and bug.summary and bug.proof for bug in BUGS.values())
    unexplained = {(bug.name, name) for bug in BUGS.values() for name in bug.proof if not meaning(name).guarantee}
    assert unexplained == set()


@pytest.mark.parametrize("cluster", ["jvm", "compose"])
def test_a_bug_needs_our_own_broker(cluster):
    with pytest.raises(UsageError, match="--bug lso-ignored needs our own broker"):
        scenario(**GIVEN | {"cluster": cluster, "bug": "lso-ignored"})


def test_an_unknown_bug_is_refused_in_one_line(capsys, tmp_path):
    assert guarded(["run", "--cluster", "embedded", "--bug", "no-such", "--results", str(tmp_path)]) == 254
    said = capsys.readouterr().err
    assert said.startswith("harness: unknown bug 'no-such'")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_repeat_command_plants_the_bug_again():
    made = scenario(**GIVEN | {"cluster": "embedded", "bug": "lso-ignored", "seed": 7})
    assert "--bug lso-ignored" in repeat_command(made)
    assert "--bug" not in repeat_command(scenario(**GIVEN | {"seed": 7}))


def test_a_workload_of_the_mix_is_no_other_than_the_mix(capsys, tmp_path):
    asked = ["bugs", "--score", "--workload", "txn", "--results", str(tmp_path)]
    assert guarded(asked) == 254
    assert capsys.readouterr().err == "harness: --workload txn: it is in the mix; leave it out\n"


def test_a_score_of_a_workload_that_is_not_in_the_mix_hunts_its_bugs_and_names_it(capsys, tmp_path):
    asked = ["bugs", "--score", "--workload", "share", "--seeds", "1", "--clean", "0", "--results", str(tmp_path)]
    assert guarded([*asked, "--only", "share-record-given-to-two", "--jobs", "1"]) in {0, 1}
    said = capsys.readouterr().out
    assert "`harness bugs --score --only share-record-given-to-two --workload share --seeds 1" in said
    assert "| `share-record-given-to-two` |" in said


def test_a_book_may_be_named_from_where_the_user_is(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = [
        "bugs",
        "--score",
        "--only",
        "lso-ignored",
        "--seeds",
        "1",
        "--clean",
        "0",
        "--jobs",
        "1",
        "--book",
        "book.jsonl",
    ]
    guarded(asked)
    assert "Found 1 of 1 bugs" in capsys.readouterr().out
    assert (tmp_path / "book.jsonl").read_bytes().count(b'"attempt"') == 1


def test_no_line_is_added_to_what_is_no_book(capsys, tmp_path):
    history = tmp_path / "history.jsonl"
    history.write_text('{"process":0,"type":"invoke","f":"txn","value":[]}\n')
    before = history.read_bytes()
    assert guarded(["bugs", "--score", "--book", str(history), "--results", str(tmp_path / "results")]) == 254
    assert "history.jsonl:1: no attempt" in capsys.readouterr().err
    assert history.read_bytes() == before
