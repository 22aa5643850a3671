"""The page: what a reader finds without running a script, that foreign text stays text, and that it needs no network."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import random
import re
import shutil
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from checkers.catalog import ORDER
from checkers.judge import judge
from harness import history
from harness.cluster.api import UsageError
from harness.history import HistoryError, Op
from harness.report.html import SCRIPTS, write_page, write_report
from tests.harness.report.synthetic import HOSTILE, Plan, make_run

LIMIT_BYTES = 5_000_000
VOID = frozenset({"meta", "link", "input", "br", "img", "path", "circle", "rect"})


class Page(HTMLParser):
    """What a browser would see: elements with their text, scripts apart."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._inside: str | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else None
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + data)
        elif self._inside is None:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def remade(bad_run: Path, tmp_path: Path) -> Path:
    """A copy of a run's folder without its report, with the verdict that was judged."""
    folder = tmp_path / "run"
    shutil.copytree(bad_run, folder, ignore=shutil.ignore_patterns("report.html"))
    verdict = judge(folder / "history.jsonl").verdict_json()
    (folder / "verdict.json").write_text(json.dumps(verdict))
    return folder


def test_the_verdict_and_its_sentence_come_first(bad_run: Path) -> None:
    text = Page(bad_run / "report.html").text
    assert text.index("Invalid") < text.index("acknowledged records are gone") < text.index("RF 3")
    assert text.index("RF 3") < text.index("Broken guarantee") < text.index("One axis for everything")


def test_the_configuration_line_names_what_a_reader_must_know(bad_run: Path) -> None:
    text = Page(bad_run / "report.html").text
    for part in ("Apache Kafka 4.1.1", "RF 3", "min ISR 2", "acks=all", "read_committed", "seed 1", "3 nodes"):
        assert part in text


def test_what_was_tested_is_told_as_what_it_is(bad_run: Path, tmp_path: Path) -> None:
    folder = remade(bad_run, tmp_path)
    scenario = json.loads((folder / "scenario.json").read_text())
    packed = {"compression": "mixed", "value_size": "128-16384"}
    (folder / "scenario.json").write_text(json.dumps(scenario | {"cluster": "embedded"} | packed))
    text = Page(write_report(folder)).text
    for part in ("the harness's own broker", "codec mixed", "values of 128-16384 bytes"):
        assert part in text
    theirs = {"cluster": "existing", "bootstrap": "kafka-1:9092"}
    (folder / "scenario.json").write_text(json.dumps(scenario | theirs))
    text = Page(write_report(folder)).text
    assert "the cluster at kafka-1:9092" in text
    assert "combined roles" not in text


def test_a_card_quotes_the_operations_and_links_to_the_timeline(bad_run: Path) -> None:
    verdict = json.loads((bad_run / "verdict.json").read_text())
    page = Page(bad_run / "report.html")
    cards = [attributes["data-anomaly"] for attributes in page.all("article")]
    assert cards[0] == "lost-write"
    assert "G1a" in cards
    jumps = {
        attributes["data-ops"] for attributes in page.all("button") if "primary" in (attributes.get("class") or "")
    }
    example = verdict["anomalies"]["lost-write"]["examples"][0]
    assert any(str(example["ops"][0]) in jump.split(",") for jump in jumps if jump)
    assert "nobody" in page.text


def test_every_fault_is_listed_with_whether_it_bit(bad_run: Path) -> None:
    page = Page(bad_run / "report.html")
    bits = [attributes["class"] for attributes in page.all("span") if (attributes.get("class") or "").startswith("bit")]
    assert bits == ["bit no", "bit yes", "bit yes"]
    assert "2 of 3" in page.text


def test_the_command_that_repeats_the_run_stands_in_the_page(bad_run: Path) -> None:
    text = Page(bad_run / "report.html").text
    assert "harness run --cluster jvm --nemesis kill-leader" in text
    assert "--seed 1" in text


def test_files_beside_the_page_are_linked(bad_run: Path) -> None:
    links = {attributes.get("href") for attributes in Page(bad_run / "report.html").all("a")}
    assert {"history.jsonl", "verdict.json", "scenario.json", "nodes/n1/server.log"} <= links
    for link in links:
        assert link is not None
        assert link.startswith("#") or (bad_run / link).exists()


def test_what_was_not_checked_is_said(bad_run: Path) -> None:
    text = Page(bad_run / "report.html").text
    assert "Not checked" in text
    assert "dirty-read" in text[text.index("Not checked") :]


def test_only_what_was_judged_is_called_silent(bad_run: Path, tmp_path: Path) -> None:
    folder = remade(bad_run, tmp_path)
    heading = "Checked, and silent"
    silent = Page(write_report(folder)).text.split(heading)[1].split("Not checked")[0].split()
    assert "phantom-read" in silent
    assert not {"lost-write", "G1a", "dirty-read"} & set(silent)
    scenario = json.loads((folder / "scenario.json").read_text())
    (folder / "scenario.json").write_text(json.dumps(scenario | {"workload": "list-append"}))
    assert heading not in Page(write_report(folder)).text


def test_the_page_needs_no_network(bad_run: Path) -> None:
    page = Page(bad_run / "report.html")
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or ""
            assert not re.match(r"(?i)(https?:)?//|javascript:", value), (tag, value)
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "url(" not in (bad_run / "report.html").read_text().split("</style>")[0]


def test_the_policy_names_every_script_by_its_hash(bad_run: Path) -> None:
    page = Page(bad_run / "report.html")
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    ours = [text for attributes, text in page.scripts if "type" not in attributes]
    assert len(ours) == len(SCRIPTS)
    for text in ours:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in (policy or "")


def test_foreign_markup_stays_text(hostile_run: Path) -> None:
    page = Page(hostile_run / "report.html")
    assert page.all("img") == []
    assert page.all("b") != []
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert len(page.scripts) == len(SCRIPTS) + 2
    assert HOSTILE[:20] in page.text
    assert 't"<b>&/0' in page.text


def test_the_same_run_gives_the_same_page(bad_run: Path, tmp_path: Path) -> None:
    folder = remade(bad_run, tmp_path)
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


@pytest.mark.xdist_group("browser")  # on the worker that makes the long run anyway
@pytest.mark.timeout(400)  # 20 s on a quiet machine
def test_a_hundred_thousand_operations_stay_below_five_megabytes(long_run: Path) -> None:
    size_bytes = (long_run / "report.html").stat().st_size
    assert 500_000 < size_bytes < LIMIT_BYTES


def test_long_values_in_many_anomalies_stay_below_five_megabytes(tmp_path: Path) -> None:
    dice = random.Random(3)

    def record(place: int) -> list[Any]:
        return [place, f"{place}-{dice.randbytes(400).hex()}"]

    polls = [
        [["poll", [[f"t{part}/0", [record(i * 8 + j) for j in range(8)]] for part in range(12)]]] for i in range(200)
    ]
    ops = [Op(process=0, type="ok", f="poll", value=value, time=i).at(i, i) for i, value in enumerate(polls)]
    history.write(tmp_path / "history.jsonl", ops)
    examples = [{"key": "t1/0", "offset": 8 * i, "ops": list(range(i, i + 12)), "why": "w"} for i in range(0, 160, 10)]
    found = {name: {"count": 99, "examples": examples} for name in ORDER}
    (tmp_path / "verdict.json").write_text(json.dumps({"valid": False, "anomalies": found}))
    page = Page(write_report(tmp_path))
    assert len(page.all("article")) == len(ORDER)
    assert (tmp_path / "report.html").stat().st_size < LIMIT_BYTES


def test_a_run_without_a_verdict_is_a_failure_of_the_harness(bad_run: Path, tmp_path: Path) -> None:
    folder = remade(bad_run, tmp_path)
    (folder / "verdict.json").unlink()
    page = Page(write_report(folder))
    assert "No verdict" in page.text
    assert "says nothing about the system under test" in page.text
    assert page.all("article") == []


def test_a_run_that_died_in_its_set_up_still_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "scenario.json").write_text("{}")
    assert "No verdict" in Page(write_report(tmp_path)).text


def test_a_torn_last_line_is_no_obstacle(bad_run: Path, tmp_path: Path) -> None:
    folder = remade(bad_run, tmp_path)
    with (folder / "history.jsonl").open("ab") as file:
        file.write(b'{"index": 99, "proc')
    assert "Invalid" in Page(write_report(folder)).text


def test_a_broken_line_is_named(bad_run: Path, tmp_path: Path) -> None:
    folder = remade(bad_run, tmp_path)
    lines = (folder / "history.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "history.jsonl").write_bytes(b"".join([lines[0], b"no json\n", *lines[1:]]))
    with pytest.raises(HistoryError, match=r"history\.jsonl:2"):
        write_report(folder)


@pytest.mark.parametrize(
    ("valid", "word", "reason"),
    [(True, "Valid", None), ("vacuous", "Vacuous", "no ok send in any window"), ("unknown", "Unknown", "gave up")],
)
def test_each_verdict_is_told_in_its_own_words(tmp_path: Path, valid: object, word: str, reason: str | None) -> None:
    make_run(tmp_path, Plan(ops=150, faults=1))
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    verdict |= {"valid": valid, "reasons": [reason] if reason else []}
    (tmp_path / "verdict.json").write_text(json.dumps(verdict))
    page = Page(write_report(tmp_path))
    assert page.all("html")[0]["data-verdict"] == word.lower()
    assert word in page.text
    if reason:
        assert reason in page.text


def test_a_vacuous_run_is_told_what_to_do(tmp_path: Path) -> None:
    make_run(tmp_path, Plan(ops=150, faults=1))
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    verdict |= {"valid": "vacuous", "reasons": ["The fault kill-leader never bit."]}
    (tmp_path / "verdict.json").write_text(json.dumps(verdict))
    page = Page(write_report(tmp_path))
    assert "What to do: each injection of kill-leader missed" in page.text
    assert [one for one in page.all("span") if one.get("class") == "option"], "an option may be broken at its hyphens"


def test_what_the_configuration_permits_is_marked(tmp_path: Path) -> None:
    make_run(tmp_path, Plan(ops=600, faults=1, lost=1), permitted="acks=1")
    text = Page(write_report(tmp_path)).text
    assert "permitted by acks=1" in text
    assert "The configuration permits this (acks=1)" in text


def test_an_odd_verdict_is_no_obstacle(bad_run: Path, tmp_path: Path) -> None:
    folder = remade(bad_run, tmp_path)
    odd = {"valid": False, "anomalies": {"x": 3, "lost-write": {"count": 1, "examples": [7, {"ops": ["a", 10**9]}]}}}
    (folder / "verdict.json").write_text(json.dumps(odd))
    assert [card["data-anomaly"] for card in Page(write_report(folder)).all("article")] == ["lost-write"]


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [":root {", ':root[data-theme="dark"] {', ":root:not([data-theme]) {"])
def test_text_stands_out_from_every_ground(theme: str) -> None:
    style = files("harness.report").joinpath("assets/report.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style[style.index(theme) :].split("}")[0]))
    inks = ["ink", "soft", "faint", "ok-ink", "info-ink", "fail-ink", "accent"]
    inks += ["valid", "vacuous", "unknown", "invalid", "harness"]
    for ink in inks:
        for ground in ("ground", "panel", "sunk"):
            low, high = sorted((luminance(colours[ink]), luminance(colours[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_a_page_that_finds_no_room_leaves_none_and_not_half_of_one(tmp_path, monkeypatch):
    recorded = tmp_path / "history.jsonl"
    recorded.write_text('{"process": 0, "type": "ok", "f": "send", "value": [["send", "t0/0", [0, 1]]]}\n')
    target = tmp_path / "page.html"
    whole = Path.write_text

    def full(path, text, **options):
        whole(path, text[:100], **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match="No space left"):
        write_page(recorded, target, judge(recorded), workload="kafka")
    assert list(tmp_path.iterdir()) == [recorded]
