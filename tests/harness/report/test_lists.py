"""Lists of runs: JUnit XML, the step summary with its annotations, the index page of a soak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from harness.report.junit import write_junit
from harness.report.summary import (
    MAX_ANNOTATIONS,
    MAX_SUMMARY_BYTES,
    publish,
    summary_markdown,
    workflow_commands,
    write_index,
)
from tests.harness.report.test_html import Page


def row(valid: object, seed: int = 1, why: str = "", folder: str | None = None, **fields) -> dict[str, Any]:
    common = {"workload": "txn", "cluster": "jvm", "nemesis": "kill-leader", "status": 0, "seconds": 61.5}
    return {**common, "seed": seed, "valid": valid, "why": why, "folder": folder, **fields}


ROWS = [
    row(True, 1),
    row(False, 2, "lost-write, duplicate"),
    row("vacuous", 3, "The fault kill-leader never bit (3 injections)."),
    row("unknown", 4, "The final read of t0/1 stopped."),
    row(None, 5, "n2 did not come up within 60 s"),
]


def cases(path: Path) -> list[ET.Element]:
    return list(ET.parse(path).getroot().iter("testcase"))


def test_each_run_is_a_test_case_with_its_own_kind_of_failure(tmp_path: Path) -> None:
    found = cases(write_junit(tmp_path / "junit.xml", ROWS))
    kinds = [(case[0].tag, case[0].get("type")) if len(case) else None for case in found]
    assert kinds == [
        None,
        ("failure", "invalid"),
        ("failure", "vacuous"),
        ("failure", "unknown"),
        ("error", "harness"),
    ]


def test_a_broken_harness_is_counted_as_an_error_not_as_a_failure(tmp_path: Path) -> None:
    root = ET.parse(write_junit(tmp_path / "junit.xml", ROWS)).getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("5", "3", "1")


def test_a_failure_names_the_anomalies_and_the_command(bad_run: Path, tmp_path: Path) -> None:
    (case,) = cases(write_junit(tmp_path / "junit.xml", [bad_run]))
    (failure,) = case.findall("failure")
    assert failure.text is not None
    assert "lost-write: 2 acknowledged records are gone." in failure.text
    assert "Repeat: harness run --cluster jvm --nemesis kill-leader" in failure.text
    assert "--seed 1" in failure.text
    assert "seed 1" in (case.get("name") or "")


def test_a_row_whose_folder_is_there_is_told_from_it(bad_run: Path) -> None:
    base = bad_run.parent
    (case,) = cases(write_junit(base / "junit.xml", [row(False, 1, "lost-write", bad_run.name)]))
    assert "2 acknowledged records are gone" in (case[0].text or "")
    assert case.findtext("system-out") == f"{bad_run.name}/report.html"
    assert case.get("time") == "61.500"


def test_what_xml_cannot_hold_is_replaced(tmp_path: Path) -> None:
    (case,) = cases(write_junit(tmp_path / "junit.xml", [row(None, 1, "bad \x00\x1b bytes <&>")]))
    assert case[0].text == "bad �� bytes <&>"


def test_no_runs_are_a_valid_file(tmp_path: Path) -> None:
    assert cases(write_junit(tmp_path / "junit.xml", [])) == []


def test_the_summary_tells_the_worst_first(tmp_path: Path) -> None:
    text = summary_markdown(ROWS, tmp_path)
    assert text.startswith("## kafka-harness: 1 invalid, 1 no verdict, 1 unknown, 1 vacuous, 1 valid\n")
    assert text.index("seed 2") < text.index("seed 5") < text.index("seed 4") < text.index("seed 3")
    assert text.index("seed 3") < text.index("seed 1<") if "seed 1<" in text else text.index("seed 1\n")


def test_the_summary_stays_below_the_limit(tmp_path: Path) -> None:
    text = summary_markdown([row(None, seed, "x" * 5_000) for seed in range(400)], tmp_path)
    assert len(text.encode()) <= MAX_SUMMARY_BYTES + 100
    assert "more runs did not fit here" in text


def test_foreign_text_is_no_markup_in_the_summary(tmp_path: Path) -> None:
    text = summary_markdown([row(None, 1, "<img src=x> [a](b) | `c` **d**")], tmp_path)
    assert "<img" not in text
    for markup in ("[a](b)", "`c`", "**d**"):
        assert markup not in text


def test_annotations_are_bounded_and_say_how_many_are_missing(tmp_path: Path) -> None:
    lines = workflow_commands([row(False, seed, "lost-write") for seed in range(30)], tmp_path)
    assert len(lines) == MAX_ANNOTATIONS
    assert "21 more runs" in lines[-1]


def test_an_annotation_is_one_line_and_only_invalid_is_an_error(tmp_path: Path) -> None:
    lines = workflow_commands([row(None, 1, "two\nlines, 100%"), *ROWS[:3]], tmp_path)
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::warning"]
    assert all("\n" not in line for line in lines)
    assert any("two%0Alines, 100%25" in line for line in lines)


def test_a_summary_is_published_only_where_github_asks(tmp_path: Path) -> None:
    assert publish(ROWS, tmp_path, {}) == []
    target = tmp_path / "summary.md"
    target.write_text("before\n")
    lines = publish(ROWS, tmp_path, {"GITHUB_STEP_SUMMARY": str(target)})
    assert target.read_text().startswith("before\n## kafka-harness")
    assert len(lines) == 4


def test_the_index_lists_the_newest_first_with_links_to_reports(bad_run: Path) -> None:
    base = bad_run.parent
    page = Page(write_index(base, [*ROWS, row(False, 6, "lost-write", bad_run.name)]))
    verdicts = [attributes["class"] for attributes in page.all("tr") if attributes.get("class")]
    assert verdicts == ["invalid", "no-verdict", "unknown", "vacuous", "invalid", "valid"]
    links = [attributes["href"] for attributes in page.all("a")]
    assert links == [f"{bad_run.name}/report.html"]
    assert "lost-write" in page.text


def test_an_index_without_runs_says_so(tmp_path: Path) -> None:
    assert "No run has ended yet." in Page(write_index(tmp_path, [])).text


def test_foreign_text_is_no_markup_in_the_index(tmp_path: Path) -> None:
    page = Page(write_index(tmp_path, [row(None, 1, "<img src=x onerror=alert(1)>")]))
    assert page.all("img") == []
    assert "<img src=x" in page.text


@pytest.mark.parametrize("broken", ["", "[]", "{", '{"valid": 3}'])
def test_a_broken_verdict_file_never_accuses_the_system(tmp_path: Path, broken: str) -> None:
    (tmp_path / "verdict.json").write_text(broken)
    (tmp_path / "scenario.json").write_text(json.dumps({"seed": 4}))
    (case,) = cases(write_junit(tmp_path / "junit.xml", [tmp_path]))
    assert [one.tag for one in case if one.get("type") == "invalid"] == []
    assert case[0].tag in {"error", "failure"}
